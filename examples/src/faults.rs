//! A test with faults: an ensemble of three in the process, real sockets and disks, and everything
//! that can go wrong with them.
//!
//! `cargo run -p zk-examples --example faults`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::error::Error;
use std::time::Duration;

use zk_client::{Client, ErrorKind};
use zk_recipes::Lock;
use zk_testkit::{Ensemble, Way};

type Outcome = Result<(), Box<dyn Error>>;

/// The code under test: counts what was sold, once each, whatever happens to the connection.
async fn sell(zk: &Client, item: u32) -> Result<(), zk_client::Error> {
    let path = format!("/sold/item-{item}");
    loop {
        match zk.create(&path, "").parents().await {
            Ok(_) => return Ok(()),
            // Sold, by a request whose answer was lost.
            Err(error) if error.kind() == ErrorKind::NodeExists => return Ok(()),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error),
        }
    }
}

async fn sold(zk: &Client) -> Result<usize, zk_client::Error> {
    zk.sync("/sold").await?;
    Ok(zk.children("/sold").await?.map_or(0, |names| names.len()))
}

#[tokio::main]
async fn main() -> Outcome {
    let ensemble = Ensemble::start(3).await?;
    let zk = ensemble.client().await?;
    sell(&zk, 1).await?;
    println!("calm          {} sold", sold(&zk).await?);

    let leader = ensemble.leader().await?;
    ensemble.kill(leader).await?;
    sell(&zk, 2).await?;
    println!("killed        the leader: {} sold", sold(&zk).await?);
    ensemble.restart(leader).await?;
    ensemble.wait_for_convergence().await?;

    let leader = ensemble.leader().await?;
    ensemble.isolate(leader)?;
    let others: Vec<_> = (0..3).filter(|server| *server != leader).collect();
    let far = Client::connect(&ensemble.connect_string_of(others.iter().copied())).await?;
    sell(&far, 3).await?;
    println!(
        "isolated      the leader: {} sold by the others",
        sold(&far).await?
    );
    ensemble.heal();
    ensemble.wait_for_convergence().await?;

    // One link is cut, another one is slow: a quorum is left, whoever leads.
    ensemble.cut(0, 1, Way::Both)?;
    ensemble.delay(1, 2, Way::Both, Duration::from_millis(20))?;
    sell(&zk, 4).await?;
    println!("cut, delayed  links: {} sold", sold(&zk).await?);
    ensemble.heal();

    // A session that is over for certain, behind the back of whoever relies on it.
    let lock = Lock::new(&zk, "/lock");
    let guard = lock.acquire().await?;
    let lost = guard.lost();
    ensemble.expire(guard.session().id()).await?;
    println!("expired       the lock is lost: {:?}", lost.await);
    drop(lock.acquire().await?);
    println!("acquired      in the next session");
    println!("at last       {} sold", sold(&zk).await?);
    Ok(())
}
