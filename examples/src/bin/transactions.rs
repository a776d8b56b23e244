//! Several writes that happen together or not at all.
//!
//! `cargo run -p zk-examples --bin transactions [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use zk_client::{Client, Version};
use zk_examples::{Outcome, Servers};

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let zk = servers.client("/zk-example-transactions").await?;
    zk.transaction()
        .create("/alice", "100")
        .create("/bob", "20")
        .await?;
    println!("accounts      {}", accounts(&zk).await?);

    transfer(&zk, "/alice", "/bob", 30).await?;
    println!("30 moved      {}", accounts(&zk).await?);

    // What does not hold at the moment of writing makes all of it fail.
    let version = zk.get("/alice").require().await?.stat.version;
    zk.set("/alice", "5").await?;
    let late = zk
        .transaction()
        .set("/bob", "1000", Version::ANY)
        .set("/alice", "0", version)
        .await;
    if let Err(error) = late {
        let index = error.transaction_index().unwrap_or_default();
        println!("refused       operation {index}: {}", error.kind());
    }
    println!("as before     {}", accounts(&zk).await?);

    if let Err(error) = transfer(&zk, "/alice", "/bob", 30).await {
        println!("refused       {error}");
    }

    // Ten at a time, and nothing is lost.
    zk.set("/alice", "100").await?;
    let transfers = (0..10).map(|_| {
        let zk = zk.clone();
        tokio::spawn(async move { transfer(&zk, "/alice", "/bob", 10).await })
    });
    for transfer in transfers.collect::<Vec<_>>() {
        transfer.await??;
    }
    println!("10 at a time  {}", accounts(&zk).await?);
    zk.root().delete_tree("/zk-example-transactions").await?;
    Ok(())
}

/// Moves an amount, on the condition that both accounts are still as they were read.
async fn transfer(zk: &Client, from: &str, to: &str, amount: i64) -> Outcome {
    loop {
        let (giver, taker) = (zk.get(from).require().await?, zk.get(to).require().await?);
        let have: i64 = std::str::from_utf8(&giver.data)?.parse()?;
        let has: i64 = std::str::from_utf8(&taker.data)?.parse()?;
        if have < amount {
            return Err(format!("{from} has {have}, not {amount}").into());
        }
        let moved = zk
            .transaction()
            .set(from, (have - amount).to_string(), giver.stat.version)
            .set(to, (has + amount).to_string(), taker.stat.version)
            .await;
        match moved {
            // Somebody else was faster: once more.
            Err(error) if error.kind() == zk_client::ErrorKind::BadVersion => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

async fn accounts(zk: &Client) -> Result<String, zk_client::Error> {
    let (alice, bob) = (
        zk.get("/alice").require().await?,
        zk.get("/bob").require().await?,
    );
    let amount = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    Ok(format!(
        "alice {}, bob {}",
        amount(&alice.data),
        amount(&bob.data)
    ))
}
