//! A cluster whose members know who is there, while servers go up and down.
//!
//! `cargo run -p zk-examples --bin membership [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::time::Duration;

use zk_examples::{Outcome, Servers};
use zk_recipes::{Group, Membership};

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let zk = servers.client("/zk-example-members").await?;
    let mut members = Group::new(&zk, "/cluster").members();
    members.ready().await?;

    // Each node as a process of its own would: with a session of its own.
    let mut nodes = Vec::new();
    for (name, address) in [
        ("node-a", "10.0.0.1"),
        ("node-b", "10.0.0.2"),
        ("node-c", "10.0.0.3"),
    ] {
        let client = servers.client("/zk-example-members").await?;
        let membership = Group::new(&client, "/cluster").join(name, address);
        membership.ready().await;
        nodes.push((client, membership));
        told(&mut members, nodes.len(), "up").await;
    }

    // One says something else of itself.
    if let Some((_, membership)) = nodes.last() {
        membership.set_data("10.0.0.3 (draining)");
    }
    while !members
        .now()
        .iter()
        .any(|member| member.payload.ends_with(b"(draining)"))
    {
        members.changed().await;
    }
    println!("changed       {}", names(&members));

    // One leaves; another one closes its session without a word, and goes with it.
    if let Some((_, membership)) = nodes.pop() {
        membership.close().await;
        told(&mut members, 2, "left").await;
    }
    if let Some((client, _membership)) = nodes.pop() {
        client.close(Duration::from_secs(5)).await;
        told(&mut members, 1, "closed").await;
    }
    zk.root().delete_tree("/zk-example-members").await.ok();
    Ok(())
}

/// Waits until so many are there, and tells who.
async fn told(members: &mut Membership, count: usize, what: &str) {
    while members.now().len() != count {
        members.changed().await;
    }
    println!("{what:<13} {}", names(members));
}

fn names(members: &Membership) -> String {
    let name = |member: &zk_recipes::Member| {
        format!(
            "{} at {}",
            member.id,
            String::from_utf8_lossy(&member.payload)
        )
    };
    members
        .now()
        .iter()
        .map(name)
        .collect::<Vec<_>>()
        .join(", ")
}
