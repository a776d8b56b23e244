//! A lock whose holder is told when it may not hold any more, and fences what it writes.
//!
//! `cargo run -p zk-examples --bin fenced_lock [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use zk_examples::{Outcome, Servers};
use zk_recipes::{Hold, Lock};

/// A store that takes a write only if nobody who came later has written: what a lock protects has to look
/// at tokens, because no lock can stop a holder that was asleep when it lost it.
#[derive(Debug, Default)]
struct Store {
    highest: i64,
    value: String,
}

impl Store {
    fn write(&mut self, token: i64, value: &str) -> Result<(), String> {
        if token < self.highest {
            return Err("a later holder has written already".to_owned());
        }
        self.highest = token;
        value.clone_into(&mut self.value);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let (zk, other) = (
        servers.client("/zk-example-lock").await?,
        servers.client("/zk-example-lock").await?,
    );
    zk.create("/report", "").await?;
    let mut store = Store::default();

    let lock = Lock::new(&zk, "/lock").identity("first");
    let first = lock.acquire().await?;
    println!("acquired      by first");
    let free = Lock::new(&other, "/lock").try_acquire().await?;
    println!(
        "tried         by second: {}",
        if free.is_some() { "free" } else { "held" }
    );

    // The lock is lost: here because somebody deletes its znode.
    let lost = first.lost();
    other.delete(first.node_path()).await?;
    println!("lost          {:?}", lost.await);

    let second = Lock::new(&other, "/lock")
        .identity("second")
        .acquire()
        .await?;
    println!(
        "acquired      by second, with a {} token",
        if second.token() > first.token() {
            "higher"
        } else {
            "lower"
        }
    );
    store.write(second.token().czxid(), "written by second")?;

    // Whoever does not listen is stopped by its token,
    if let Err(reason) = store.write(first.token().czxid(), "written by first") {
        println!("store         refuses first: {reason}");
    }
    println!("store         {:?}", store.value);
    // and by its znode, in what is kept in the ensemble itself.
    second
        .transaction()
        .set("/report", "done by second", -1)
        .await?;
    if let Err(error) = first
        .transaction()
        .set("/report", "done by first", -1)
        .await
    {
        println!(
            "ensemble      refuses first: {}",
            if Hold::is_loss(&error) {
                "the lock is lost"
            } else {
                "?"
            }
        );
    }

    second.release().await?;
    println!("released      {} in line", lock.contenders().await?.len());
    zk.root().delete_tree("/zk-example-lock").await?;
    Ok(())
}
