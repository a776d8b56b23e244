//! What can be done to an ensemble of this process, each verb shown by its effect.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use zk_client::{Client, ConnState, ErrorKind};
use zk_testkit::fault::Direction;
use zk_testkit::{Ensemble, Error, Way};

/// Long enough for whatever is to happen soon.
const SOON: Duration = Duration::from_mins(1);

async fn start() -> Ensemble {
    let start = Ensemble::start(3);
    let ensemble = timeout(SOON, start).await.expect("in time");
    ensemble.expect("started")
}

/// A client that gives up early, for what is not to succeed.
fn hasty(zk: &Client) -> Client {
    zk.with_timeout(Duration::from_millis(500))
}

/// Creates a znode, whatever becomes of the connection meanwhile.
async fn insist(zk: &Client, path: &str) {
    while let Err(error) = zk.create(path, "").await {
        if error.kind() == ErrorKind::NodeExists {
            return;
        }
        assert!(error.is_retryable(), "{error}");
    }
}

async fn exists(zk: &Client, path: &str) -> bool {
    zk.sync(path).await.expect("synced");
    zk.get(path).await.expect("read").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_serve_as_one() {
    let ensemble = start().await;
    let zk = ensemble.client().await.expect("connected");
    zk.create("/a", "").await.expect("created");
    ensemble.wait_for_convergence().await.expect("converged");
    for server in 0..ensemble.len() {
        let zk = ensemble.client_of(server).await.expect("connected");
        assert!(exists(&zk, "/a").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_stands_alone_and_observers_do_not_vote() {
    let alone = Ensemble::start(1).await.expect("started");
    assert_eq!(alone.leader().await.expect("itself"), 0);
    let builder = Ensemble::builder().servers(3).observers(1);
    let ensemble = builder.start().await.expect("started");
    let zk = ensemble.client_of(3).await.expect("connected");
    zk.create("/through-an-observer", "")
        .await
        .expect("created");
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    ensemble.kill(leader).await.expect("killed");
    ensemble.kill(follower).await.expect("killed");
    let error = hasty(&zk).create("/without-a-quorum", "").await;
    error.expect_err("an observer makes no quorum");
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_ensembles_are_refused() {
    for (servers, observers) in [(0, 0), (10, 0), (3, 17), (1, 1)] {
        let builder = Ensemble::builder().servers(servers).observers(observers);
        let error = builder.start().await.expect_err("not possible");
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_comes_back() {
    let ensemble = start().await;
    let zk = ensemble.client().await.expect("connected");
    zk.create("/before", "").await.expect("created");
    let leader = ensemble.leader().await.expect("one");
    ensemble.kill(leader).await.expect("killed");
    assert!(matches!(
        ensemble.kill(leader).await,
        Err(Error::NotRunning { index }) if index == leader
    ));
    let next = ensemble.leader().await.expect("another");
    assert_ne!(next, leader);
    insist(&zk, "/after").await;
    ensemble.restart(leader).await.expect("back");
    let zk = ensemble.client_of(leader).await.expect("connected");
    assert!(exists(&zk, "/before").await && exists(&zk, "/after").await);
    let error = ensemble.launch(leader).await.expect_err("runs");
    assert!(matches!(error, Error::Running { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_is_forced() {
    let ensemble = start().await;
    let before = ensemble.leader().await.expect("one");
    let after = ensemble.force_election().await.expect("elected");
    assert_ne!(before, after);
    ensemble.wait_for_convergence().await.expect("converged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_answers_nobody_and_goes_on_later() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let zk = ensemble.client_of(leader).await.expect("connected");
    ensemble.pause(leader).await.expect("paused");
    hasty(&zk).get("/").await.expect_err("nobody answers");
    let next = ensemble.leader().await.expect("another");
    assert_ne!(next, leader);
    let other = ensemble.client_of(next).await.expect("connected");
    other.create("/meanwhile", "").await.expect("created");
    ensemble.resume(leader).await.expect("resumed");
    ensemble.wait_for_convergence().await.expect("converged");
    assert!(exists(&zk, "/meanwhile").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_leader_takes_no_write_and_comes_back() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let cut_off = ensemble.client_of(leader).await.expect("connected");
    ensemble.isolate(leader).expect("isolated");
    let error = hasty(&cut_off).create("/minority", "").await;
    error.expect_err("no quorum");
    let others = (0..3).filter(|&one| one != leader);
    let majority = ensemble.connect_string_of(others);
    let majority = Client::builder(&majority).start().expect("addresses");
    let written = timeout(SOON, insist(&majority, "/majority")).await;
    written.expect("two of three serve");
    ensemble.heal();
    ensemble.wait_for_convergence().await.expect("converged");
    assert!(exists(&cut_off, "/majority").await);
    let zk = ensemble.client().await.expect("connected");
    insist(&zk, "/all").await;
    assert!(exists(&cut_off, "/all").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_cut_one_way_and_mended() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    let zk = ensemble.client_of(follower).await.expect("connected");
    ensemble.cut(leader, follower, Way::There).expect("cut");
    hasty(&zk).create("/lost", "").await.expect_err("no answer");
    ensemble.mend(leader, follower, Way::There).expect("mended");
    ensemble.wait_for_convergence().await.expect("converged");
    insist(&zk, "/found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_link_makes_writes_slow() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let delay = Duration::from_millis(100);
    for other in (0..3).filter(|&one| one != leader) {
        let delayed = ensemble.delay(leader, other, Way::Both, delay);
        delayed.expect("delayed");
    }
    let zk = ensemble.client_of(leader).await.expect("connected");
    let start = Instant::now();
    zk.create("/slow", "").await.expect("created");
    // There and back again.
    assert!(start.elapsed() >= 2 * delay);
    ensemble.heal();
    zk.create("/fast", "").await.expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_room_or_with_holes_costs_a_follower_and_nothing_else() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    ensemble
        .throttle(leader, follower, Way::Both, Some(0))
        .expect("throttled");
    let zk = ensemble.client_of(leader).await.expect("connected");
    zk.create("/a", vec![7; 100_000]).await.expect("created");
    ensemble
        .drop_bytes(leader, follower, Way::Both, true)
        .expect("dropped");
    zk.create("/b", "").await.expect("created");
    ensemble.heal();
    ensemble.reset(leader, follower).expect("reset");
    ensemble.wait_for_convergence().await.expect("converged");
    let zk = ensemble.client_of(follower).await.expect("connected");
    assert!(exists(&zk, "/a").await && exists(&zk, "/b").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_breaks_stops_and_the_others_go_on() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    let faults = ensemble.faults(follower).await.expect("running");
    faults.break_disk();
    let zk = ensemble.client_of(leader).await.expect("connected");
    zk.create("/a", "").await.expect("created");
    let stopped = ensemble.restart(follower).await;
    stopped.expect("a server that stopped by itself is started again");
    let zk = ensemble.client_of(follower).await.expect("connected");
    assert!(exists(&zk, "/a").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_for_certain() {
    let ensemble = start().await;
    let zk = ensemble.client().await.expect("connected");
    let other = ensemble.client().await.expect("connected");
    zk.create("/mine", "").ephemeral().await.expect("created");
    let session = zk.session().await.expect("in session");
    ensemble.expire(session.id()).await.expect("expired");
    other.sync("/").await.expect("synced");
    assert!(other.get("/mine").await.expect("read").is_none());
    timeout(SOON, session.over()).await.expect("it hears of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_moved() {
    let ensemble = start().await;
    let zk = ensemble.client().await.expect("connected");
    let session = zk.session().await.expect("in session").id();
    for server in [2, 0, 1] {
        ensemble.move_client(&zk, server).await.expect("moved");
        let port = ensemble.client_link(server).addr().port();
        let state = zk.state().borrow().clone();
        assert!(
            matches!(&state, ConnState::Connected { server, .. } if server.port() == port),
            "{state:?}"
        );
    }
    assert_eq!(zk.session().await.expect("in session").id(), session);
    ensemble.free_client(&zk).expect("freed");
    ensemble.kill(1).await.expect("killed");
    assert!(zk.get("/").await.expect("read elsewhere").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_clients_is_a_proxy() {
    let ensemble = start().await;
    let zk = ensemble.client_of(0).await.expect("connected");
    ensemble.client_link(0).stall(Direction::Both, true);
    let error = hasty(&zk).get("/").await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    ensemble.heal();
    assert!(zk.get("/").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind() {
    let ensemble = start().await;
    let address = ensemble.client_link(0).addr();
    drop(ensemble);
    // The runtime drops the tasks, and the listener with them, in its own time.
    let free = async {
        while std::net::TcpListener::bind(address).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, free).await.expect("the port is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ensembles_live_side_by_side() {
    let starts = (0..8).map(|_| tokio::spawn(Ensemble::start(3)));
    let mut ensembles = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        let started = timeout(SOON, start).await.expect("in time");
        ensembles.push(started.expect("no panic").expect("started"));
    }
    for ensemble in &ensembles {
        let zk = ensemble.client().await.expect("connected");
        zk.create("/own", "").await.expect("not yet there");
    }
}
