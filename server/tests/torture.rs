//! A little of what `--bin torture` of the testkit does for hours: real servers, faults, clients, and
//! the laws. `TORTURE_SECS=600 TORTURE_SEED=n cargo test -p zk-server --test torture` does more of it.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zk_testkit::ensemble::process::ZkServer;
use zk_testkit::torture::{Plan, run};
use zk_testkit::{Backend, Ensemble};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_keep_the_laws_under_faults() {
    let directory = tempfile::tempdir().expect("a directory");
    let seed = number("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 32));
    println!("TORTURE_SEED={seed}");
    let plan = Plan {
        binary: env!("CARGO_BIN_EXE_zkserver").into(),
        servers: vec![3],
        time: Duration::from_secs(number("TORTURE_SECS").unwrap_or(30)),
        phase: Duration::from_mins(20),
        seed,
        directory: directory.path().into(),
    };
    let summary = run(&plan, |line| println!("{line}"))
        .await
        .expect("a verdict");
    println!("{summary}");
    if !summary.violations.is_empty() {
        let kept = directory.keep();
        panic!("{:#?}, see {}", summary.violations, kept.display());
    }
    // It was no walk in the park.
    assert!(summary.acknowledged > 100 && summary.reads > 100);
    assert!(summary.explained > 0 && !summary.faults.is_empty());
    assert!(summary.told > 0 && summary.watch_events > 0);
    assert!(summary.looks > 0 && summary.pairs > 0 && summary.listings > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_between_processes_can_be_cut_and_mended() {
    let binary = env!("CARGO_BIN_EXE_zkserver").into();
    let ensemble = Ensemble::builder().backend(Backend::Processes(binary));
    let ensemble = ensemble.start().await.expect("started");
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    let zk = ensemble.client_of(follower).await.expect("connected");
    ensemble.isolate(follower).expect("isolated");
    let hasty = zk.with_timeout(Duration::from_millis(500));
    hasty.sync("/").await.expect_err("nobody to ask");
    let others = ensemble.client_of(leader).await.expect("connected");
    others.create("/meanwhile", "").await.expect("created");
    ensemble.heal();
    ensemble.wait_for_convergence().await.expect("converged");
    let read = zk.get("/meanwhile").synced().await.expect("read");
    assert!(read.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_files_may_not_grow_stops_and_loses_nothing() {
    let builder = ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"));
    let ensemble = builder.start().await.expect("started");
    let zk = zk_client::Client::builder(&ensemble.connect_string())
        .op_timeout(Duration::from_secs(2))
        .connect()
        .await
        .expect("connected");
    zk.create("/kept", "").await.expect("created");
    ensemble.limit_files(0, 0).expect("limited");
    zk.create("/lost", "").await.expect_err("nobody can write");
    let soon = Duration::from_secs(30);
    let ended = async {
        while ensemble.server(0).pid().is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(soon, ended).await.expect("stopped by itself");
    ensemble.start_server(0).await.expect("started again");
    ensemble.wait_serving(0, soon).await.expect("serving");
    zk.wait_connected(soon).await.expect("connected");
    assert!(zk.get("/kept").await.expect("read").is_some());
    assert!(zk.get("/lost").await.expect("read").is_none());
}
