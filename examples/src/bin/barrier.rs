//! Workers that begin and end a round together, and one that waits for a gate.
//!
//! `cargo run -p zk-examples --bin barrier [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use zk_examples::{Outcome, Servers};
use zk_recipes::{Barrier, DoubleBarrier};

const WORKERS: usize = 3;

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let zk = servers.client("/zk-example-barrier").await?;

    let gate = Barrier::new(&zk, "/gate");
    gate.set().await?;
    println!(
        "gate          is {}",
        if gate.is_up().await? {
            "closed"
        } else {
            "open"
        }
    );

    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let client = servers.client("/zk-example-barrier").await?;
        let gate = Barrier::new(&client, "/gate");
        let round = DoubleBarrier::new(&client, "/round", WORKERS);
        workers.push(tokio::spawn(async move {
            gate.wait().await?;
            // Nobody begins before all are there,
            let entered = round.enter().await?;
            let present = client
                .children("/round")
                .await
                .ok()
                .flatten()
                .unwrap_or_default();
            // and nobody goes on before all are done.
            entered.leave().await?;
            Ok::<_, zk_recipes::BarrierError>(present.iter().any(|name| name == "ready"))
        }));
    }
    println!("started       {WORKERS} workers");
    gate.lift().await?;
    println!(
        "gate          is {}",
        if gate.is_up().await? {
            "closed"
        } else {
            "open"
        }
    );
    let mut together = 0;
    for worker in workers {
        together += usize::from(worker.await??);
    }
    println!("round         {together} workers began and ended together");
    println!(
        "left          {} members",
        zk.children("/round").await?.unwrap_or_default().len()
    );
    zk.root().delete_tree("/zk-example-barrier").await?;
    Ok(())
}
