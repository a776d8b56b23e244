//! Configuration that follows its znode: typed, checked, and never worse than the last good one.
//!
//! `cargo run -p zk-examples --bin config_watch [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use serde::{Deserialize, Serialize};
use zk_examples::{Outcome, Servers};
use zk_recipes::{ConfigWatch, publish_config};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Limits {
    requests: u32,
    burst: u32,
}

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let zk = servers.client("/zk-example-config").await?;
    let first = Limits {
        requests: 100,
        burst: 10,
    };
    let stat = publish_config(&zk, "/limits", &first, None).await?;

    let limits = ConfigWatch::<Limits>::json(&zk, "/limits")
        .validate(|limits| {
            if limits.burst <= limits.requests {
                Ok(())
            } else {
                Err(format!(
                    "a burst of {} is more than {} requests",
                    limits.burst, limits.requests
                ))
            }
        })
        .start();
    let now = limits.ready().await?;
    println!(
        "at first      {} requests, bursts of {}",
        now.requests, now.burst
    );

    // Somebody publishes another value, over the one it has seen.
    let mut changes = limits.watch();
    changes.mark_unchanged();
    let second = Limits {
        requests: 200,
        burst: 20,
    };
    let stat = publish_config(&zk, "/limits", &second, Some(&stat)).await?;
    changes.changed().await?;
    if let Some(now) = limits.current() {
        println!(
            "followed      {} requests, bursts of {}",
            now.requests, now.burst
        );
    }

    // Values that are no good are refused, and the last good one is kept.
    let mut trouble = limits.trouble();
    let third = Limits {
        requests: 1,
        burst: 50,
    };
    publish_config(&zk, "/limits", &third, Some(&stat)).await?;
    if let Some(error) = &*trouble.wait_for(Option::is_some).await? {
        println!("refused       {error}");
    }
    if let Some(now) = limits.current() {
        println!(
            "still         {} requests, bursts of {}",
            now.requests, now.burst
        );
    }
    zk.root().delete_tree("/zk-example-config").await?;
    Ok(())
}
