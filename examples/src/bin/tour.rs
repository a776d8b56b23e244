//! Connects to the ensemble named on the command line, writes, watches and reads.
//!
//! `cargo run -p zk-examples --bin tour -- localhost:2181`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::error::Error;
use std::time::Duration;

use zk_client::{Change, Client, WatchEnd, WatchItem};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args()
        .nth(1)
        .ok_or("usage: tour HOST:PORT[,HOST:PORT…]")?;

    // Everything below lives under one path, so that nothing else is touched.
    let root = Client::connect(&servers).await?;
    let session = root.session().await?;
    println!(
        "connected     session {} for {:?}",
        session.id(),
        session.timeout()
    );
    root.delete_tree("/zk-tour").await?;
    root.ensure_path("/zk-tour").await?;
    let zk = root.chroot("/zk-tour")?;

    // Write and read.
    zk.create("/greeting", "hello").or_set().await?;
    let (node, changed) = zk.get("/greeting").watch().await?;
    println!(
        "read          /greeting {:?}, version {}",
        node.data, node.stat.version
    );

    // The watch fires for the first change after that read, whoever makes it.
    zk.set("/greeting", "hello again")
        .version(node.stat.version)
        .await?;
    if let WatchEnd::Event(event) = changed.await {
        println!("watch fired   {} {}", event.path, event.kind);
    }

    // Compare and set: ten tasks count to a hundred together, and no step is lost.
    let counting: Vec<_> = (0..10)
        .map(|_| {
            let zk = zk.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    zk.update("/counter", |node| {
                        let count =
                            node.and_then(|n| std::str::from_utf8(&n.data).ok()?.parse().ok());
                        Change::Set((count.unwrap_or(0) + 1u32).to_string().into())
                    })
                    .await?;
                }
                Ok::<_, zk_client::Error>(())
            })
        })
        .collect();
    for task in counting {
        task.await??;
    }
    let counter = zk.get("/counter").await?.ok_or("the counter is gone")?;
    println!("counted to    {}", String::from_utf8_lossy(&counter.data));

    // Members come and go with their sessions; a stream tells.
    zk.ensure_path("/members").await?;
    let mut members = zk.watch_tree("/members").await?;
    let worker = Client::connect(&servers).await?;
    let me = worker
        .chroot("/zk-tour")?
        .create("/members/worker-", "")
        .ephemeral()
        .sequential()
        .await?;
    println!("joined        {}", me.path);
    worker.close(Duration::from_secs(5)).await;
    for _ in 0..2 {
        if let Some(WatchItem::Event(event)) = members.next().await {
            println!("member event  {} {}", event.path, event.kind);
        }
    }

    // All or nothing.
    let moved = zk
        .transaction()
        .check("/greeting", 1)
        .create("/archive", "hello again")
        .delete("/greeting", 1)
        .await?;
    println!("transaction   {} operations", moved.len());

    println!(
        "cleaned up    {} znodes",
        root.delete_tree("/zk-tour").await?
    );
    root.close(Duration::from_secs(5)).await;
    Ok(())
}
