//! What a test can do to a server in its process, each shown by its effect.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use zk_client::{Client, ErrorKind};
use zk_server::Server;
use zk_server::faults::Faults;

/// Long enough for whatever is to happen soon.
const SOON: Duration = Duration::from_secs(30);

async fn start(faults: &Faults) -> (Server, Client) {
    let server = Server::builder().faults(faults).start().await;
    let server = server.expect("started");
    let zk = Client::builder(&server.client_address().to_string())
        .session_timeout(Duration::from_secs(20))
        .connect();
    let zk = timeout(SOON, zk)
        .await
        .expect("in time")
        .expect("connected");
    (server, zk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_delays_every_write_until_it_is_mended() {
    let faults = Faults::default();
    let (_server, zk) = start(&faults).await;
    let delay = Duration::from_millis(150);
    faults.slow_disk(delay);
    let start = Instant::now();
    zk.create("/slow", "").await.expect("created");
    assert!(start.elapsed() >= delay);
    faults.heal();
    zk.create("/fast", "").await.expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_holds_up_neither_its_mending_nor_a_stop() {
    let slow = 4 * SOON;
    for end in [Faults::heal, Faults::kill, |_: &Faults| ()] {
        let faults = Faults::default();
        let (server, zk) = start(&faults).await;
        faults.slow_disk(slow);
        let hasty = zk.with_timeout(Duration::from_millis(200));
        hasty.create("/a", "").await.expect_err("the disk is slow");
        let start = Instant::now();
        end(&faults);
        server.shutdown().await.ok();
        assert!(start.elapsed() < slow, "it was held up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_broken_disk_stops_the_server_and_acknowledges_nothing() {
    for hurt in [Faults::fill_disk, Faults::break_disk] {
        let faults = Faults::default();
        let (server, zk) = start(&faults).await;
        zk.create("/before", "").await.expect("created");
        hurt(&faults);
        // Space is reserved ahead: a full disk is noticed when that is used up.
        let mut failed = None;
        for count in 0..10_000 {
            let data = vec![7; 100_000];
            if let Err(error) = zk.create(&format!("/after-{count}"), data).await {
                failed = Some(error);
                break;
            }
        }
        assert!(failed.is_some(), "the server goes on without a disk");
        timeout(SOON, server.stopped()).await.expect("stopped");
        server.shutdown().await.expect_err("stopped by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_decides_nothing_and_goes_on_when_it_is_resumed() {
    let faults = Faults::default();
    let (_server, zk) = start(&faults).await;
    zk.create("/before", "").await.expect("created");
    faults.pause();
    let zk = zk.with_timeout(Duration::from_millis(300));
    let error = zk.create("/during", "").await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    faults.resume();
    let zk = zk.with_timeout(SOON);
    zk.create("/after", "").await.expect("created");
    // The request of the client that gave up was on its way all the same.
    assert!(zk.get("/during").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_its_directory_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let faults = Faults::default();
    let server = Server::builder()
        .data_dir(directory.path())
        .faults(&faults)
        .start();
    let server = server.await.expect("started");
    let zk = Client::connect(&server.client_address().to_string()).await;
    let zk = zk.expect("connected").with_timeout(Duration::from_secs(2));
    zk.create("/kept", "").await.expect("created");
    faults.kill();
    zk.create("/lost", "").await.expect_err("nobody writes it");
    drop(server);
    let server = Server::builder().data_dir(directory.path()).start();
    let server = server.await.expect("started again");
    let zk = Client::connect(&server.client_address().to_string()).await;
    let zk = zk.expect("connected");
    assert!(zk.get("/kept").await.expect("read").is_some());
    assert!(zk.get("/lost").await.expect("read").is_none());
}
