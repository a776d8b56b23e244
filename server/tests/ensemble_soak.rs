//! Members that come and go at random under clients that write, for as long as `SOAK_SECS` says.
//!
//! `ENSEMBLE_SEED=n SOAK_SECS=600 cargo test -p zk-server --test ensemble_soak` repeats the order of
//! what is done; how it falls together is the machine's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod ensembles;

use std::fs;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};
use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::process::ZkServer;

use ensembles::{Load, until_settled};

const ALL: [usize; 3] = [0, 1, 2];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is done to an ensemble.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Kill,
    Stop,
    /// Everybody at once.
    KillAll,
    /// Two, so that nobody is served meanwhile.
    KillTwo,
    /// Long enough to be given up, or not.
    Pause,
    /// Killed, and its disk lost.
    Wipe,
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let seed = number("ENSEMBLE_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 32));
    println!("ENSEMBLE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let ensemble = ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"))
        .servers(3)
        .session_timeouts(Duration::from_secs(1), Duration::from_mins(2))
        .config("syncLimit", 5)
        .config("snapCount", 200)
        .start()
        .await
        .unwrap();
    let load = Load::start(&ensemble, 4).await;
    let end = Instant::now() + Duration::from_secs(number("SOAK_SECS").unwrap_or(10));
    let mut deeds = 0;
    while Instant::now() < end {
        let deed = *rng
            .choice(&[
                Deed::Kill,
                Deed::Kill,
                Deed::Stop,
                Deed::KillAll,
                Deed::KillTwo,
                Deed::Pause,
                Deed::Wipe,
            ])
            .unwrap();
        let victim = rng.usize(0..3);
        println!("{deed:?} {victim}");
        done(&ensemble, deed, victim, &mut rng).await;
        deeds += 1;
        if rng.bool() || matches!(deed, Deed::Wipe) {
            until_settled(&ensemble, &ALL).await;
        }
    }
    until_settled(&ensemble, &ALL).await;
    let count = load.judge(&ensemble, &ALL).await;
    println!("{deeds} deeds, {count} writes acknowledged");
    ensemble.shutdown().await;
}

async fn done(ensemble: &Ensemble, deed: Deed, victim: usize, rng: &mut Rng) {
    let others = [(victim + 1) % 3, (victim + 2) % 3];
    // How long it lasts is part of what is tried.
    let moment = Duration::from_millis(rng.u64(0..300));
    match deed {
        Deed::Kill => {
            ensemble.kill(victim).await.unwrap();
            sleep(moment).await;
            ensemble.start_server(victim).await.unwrap();
        }
        Deed::Stop => {
            ensemble.stop(victim).await.unwrap();
            sleep(moment).await;
            ensemble.start_server(victim).await.unwrap();
        }
        Deed::KillAll => {
            for one in ALL {
                ensemble.kill(one).await.unwrap();
            }
            for one in ALL {
                ensemble.start_server(one).await.unwrap();
            }
        }
        Deed::KillTwo => {
            for one in others {
                ensemble.kill(one).await.unwrap();
            }
            sleep(moment).await;
            for one in others {
                ensemble.start_server(one).await.unwrap();
            }
        }
        Deed::Pause => {
            ensemble.pause(victim).await.unwrap();
            sleep(moment * 10).await;
            ensemble.resume(victim).await.unwrap();
        }
        Deed::Wipe => {
            // What two have, two must keep: the others are in step before one forgets.
            until_settled(ensemble, &ALL).await;
            ensemble.kill(victim).await.unwrap();
            until_settled(ensemble, &others).await;
            let state = ensemble.server(victim).data_dir().join("version-2");
            fs::remove_dir_all(state).unwrap();
            ensemble.start_server(victim).await.unwrap();
        }
    }
}
