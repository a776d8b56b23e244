//! Ensembles of Apache's servers and ours: each role, and every order in which one takes the place of
//! the other, under clients that write.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod ensembles;

use std::time::Duration;

use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::mixed::Kind::{Apache, Ours};
use zk_testkit::ensemble::mixed::{Builder, Kind, Mixed};

use ensembles::{Load, until_modes, until_settled};

const ALL: [usize; 3] = [0, 1, 2];

fn builder(voters: &[Kind]) -> Builder {
    Mixed::builder(env!("CARGO_BIN_EXE_zkserver"), voters)
        .session_timeouts(Duration::from_secs(1), Duration::from_secs(40))
        .start_within(Duration::from_mins(2))
}

/// Lets a server go, and come back as what it is told to be.
async fn replace(ensemble: &Ensemble, server: usize, kind: Kind, is_killed: bool) {
    if is_killed {
        ensemble.kill(server).await.unwrap();
    } else {
        ensemble.stop(server).await.unwrap();
    }
    let others: Vec<usize> = ALL.into_iter().filter(|one| *one != server).collect();
    until_settled(ensemble, &others).await;
    ensemble.become_at_start(server, kind);
    ensemble.start_server(server).await.unwrap();
    until_settled(ensemble, &ALL).await;
    assert_eq!(kind_of(ensemble, server).await, kind);
}

/// What a server is, by the version that it tells.
async fn kind_of(ensemble: &Ensemble, server: usize) -> Kind {
    let reply = ensemble.four_letter(server, "srvr").await.unwrap();
    if reply.starts_with("Zookeeper version: 3.8.0-") {
        Apache
    } else {
        Ours
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_follows_apache() {
    let ensemble = builder(&[Ours, Apache, Apache]).start().await.unwrap();
    let load = Load::start(&ensemble, 3).await;
    // Whoever led at first: after these one of Apache's leads, and has to sync ours each time.
    for is_killed in [false, true, false] {
        replace(&ensemble, 0, Ours, is_killed).await;
    }
    assert_ne!(until_settled(&ensemble, &ALL).await, 0);
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_leads_apache() {
    let ensemble = builder(&[Apache, Apache, Ours]).start().await.unwrap();
    let load = Load::start(&ensemble, 3).await;
    // Two that restart in turn leave the lead to ours, at the latest when both did.
    for server in [0, 1, 0, 1] {
        replace(&ensemble, server, Apache, server == 1).await;
    }
    assert_eq!(until_settled(&ensemble, &ALL).await, 2);
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_observes_apache_and_apache_ours() {
    for (voter, observer) in [(Apache, Ours), (Ours, Apache)] {
        let ensemble = builder(&[voter; 3]).observer(observer);
        let ensemble = ensemble.start().await.unwrap();
        until_modes(&ensemble, &[(3, Some("observer"))]).await;
        let load = Load::start(&ensemble, 3).await;
        ensemble.kill(3).await.unwrap();
        ensemble.start_server(3).await.unwrap();
        until_modes(&ensemble, &[(3, Some("observer"))]).await;
        let leader = until_settled(&ensemble, &ALL).await;
        ensemble.kill(leader).await.unwrap();
        ensemble.start_server(leader).await.unwrap();
        until_settled(&ensemble, &ALL).await;
        until_modes(&ensemble, &[(3, Some("observer"))]).await;
        load.judge(&ensemble, &[0, 1, 2, 3]).await;
        ensemble.shutdown().await;
    }
}

/// Three of Apache's are replaced in this order, and then back.
async fn there_and_back(order: [usize; 3]) {
    let ensemble = builder(&[Apache; 3]).start().await.unwrap();
    let load = Load::start(&ensemble, 3).await;
    for kind in [Ours, Apache] {
        for (step, server) in order.into_iter().enumerate() {
            replace(&ensemble, server, kind, step % 2 == 1).await;
        }
    }
    let count = load.judge(&ensemble, &ALL).await;
    assert!(count > 0, "nothing was written");
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_order_123() {
    there_and_back([0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_order_132() {
    there_and_back([0, 2, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_order_213() {
    there_and_back([1, 0, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_order_231() {
    there_and_back([1, 2, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_order_312() {
    there_and_back([2, 0, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_in_order_321() {
    there_and_back([2, 1, 0]).await;
}
