//! Three workers, of which one works: when it goes, another carries on.
//!
//! `cargo run -p zk-examples --bin leader_worker [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::mpsc;
use zk_examples::{Outcome, Servers};
use zk_recipes::Election;

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let zk = servers.client("/zk-example-leader").await?;
    let (sender, mut reports) = mpsc::channel(8);
    let mut workers = Vec::new();
    for name in ["worker-1", "worker-2", "worker-3"] {
        // Each as a process of its own would: with a session of its own.
        let client = servers.client("/zk-example-leader").await?;
        let election = Election::new(&client, "/leader").identity(name);
        let sender = sender.clone();
        let running = tokio::spawn(async move {
            election
                .run(|leadership| {
                    let sender = sender.clone();
                    async move {
                        // Tasks of the leader end with its leadership.
                        leadership.spawn(async move {
                            for job in 1..=2 {
                                sender.send(format!("{name} does job {job}")).await.ok();
                            }
                        });
                        leadership.lost().await;
                        ControlFlow::<()>::Continue(())
                    }
                })
                .await
        });
        // In line, before the next one comes.
        while zk.children("/leader").await?.unwrap_or_default().len() <= workers.len() {
            tokio::task::yield_now().await;
        }
        workers.push((name, client, running));
    }

    while !workers.is_empty() {
        for _ in 0..2 {
            if let Some(report) = reports.recv().await {
                println!("working       {report}");
            }
        }
        let (name, client, running) = workers.remove(0);
        client.close(Duration::from_secs(5)).await;
        println!("stopped       {name}");
        running.await?.err().ok_or("a closed client cannot lead")?;
    }
    println!(
        "nobody leads  {} in line",
        zk.children("/leader").await?.unwrap_or_default().len()
    );
    zk.root().delete_tree("/zk-example-leader").await?;
    Ok(())
}
