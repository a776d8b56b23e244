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
async fn a_paused_server_stays_so_when_links_are_healed() {
    let ensemble = Ensemble::start(1).await.expect("started");
    let zk = ensemble.client().await.expect("connected");
    ensemble.pause(0).await.expect("paused");
    ensemble.heal();
    hasty(&zk).get("/").await.expect_err("nobody answers");
    ensemble.resume(0).await.expect("resumed");
    zk.get("/").await.expect("read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_stalled_is_so_behind_a_pause() {
    let ensemble = Ensemble::start(1).await.expect("started");
    let zk = ensemble.client().await.expect("connected");
    ensemble.client_link(0).stall(Direction::Both, true);
    ensemble.pause(0).await.expect("paused");
    ensemble.resume(0).await.expect("resumed");
    hasty(&zk).get("/").await.expect_err("the link is stalled");
    ensemble.heal();
    zk.get("/").await.expect("read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_paused_is_reached_when_it_is_started_again() {
    let ensemble = Ensemble::start(1).await.expect("started");
    let is_reached = async || {
        let zk = timeout(SOON, ensemble.client()).await;
        let zk = zk.expect("in time").expect("connected");
        zk.get("/").await.expect("read");
    };
    ensemble.pause(0).await.expect("paused");
    ensemble.restart(0).await.expect("back");
    is_reached().await;
    ensemble.pause(0).await.expect("paused");
    ensemble.kill(0).await.expect("killed");
    ensemble.launch(0).await.expect("launched");
    is_reached().await;
    ensemble.kill(0).await.expect("killed");
    let error = ensemble.pause(0).await.expect_err("it does not run");
    assert!(matches!(error, Error::NotRunning { index: 0 }), "{error}");
    ensemble.restart(0).await.expect("back");
    is_reached().await;
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

/// Nothing from the leader reaches the follower: it takes writes without it.
async fn costs_a_follower_and_nothing_else(hurt: impl Fn(&Ensemble, usize, usize)) {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    let cut_off = ensemble.client_of(follower).await.expect("connected");
    assert!(!exists(&cut_off, "/a").await);
    hurt(&ensemble, leader, follower);
    let error = hasty(&cut_off).sync("/").await;
    error.expect_err("the leader is not to be reached");
    let zk = ensemble.client_of(leader).await.expect("connected");
    zk.create("/a", vec![7; 100_000]).await.expect("created");
    ensemble.heal();
    ensemble.reset(leader, follower).expect("reset");
    ensemble.wait_for_convergence().await.expect("converged");
    assert!(exists(&cut_off, "/a").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_room_costs_a_follower_and_nothing_else() {
    costs_a_follower_and_nothing_else(|ensemble, leader, follower| {
        let throttled = ensemble.throttle(leader, follower, Way::Both, Some(0));
        throttled.expect("throttled");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_with_holes_costs_a_follower_and_nothing_else() {
    costs_a_follower_and_nothing_else(|ensemble, leader, follower| {
        let dropped = ensemble.drop_bytes(leader, follower, Way::Both, true);
        dropped.expect("dropped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_link_is_reset_gives_up_its_clients_and_comes_back() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let follower = (leader + 1) % 3;
    let zk = ensemble.client_of(follower).await.expect("connected");
    let before = ensemble.client_link(follower).accepted();
    ensemble.reset(leader, follower).expect("reset");
    let is_back = async || ensemble.client_link(follower).accepted() > before;
    let back = ensemble.wait_until("another connection", SOON, is_back);
    back.await.expect("it lost its leader");
    ensemble.wait_for_convergence().await.expect("converged");
    insist(&zk, "/a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_not_there_is_not_hurt() {
    type Verb = fn(&Ensemble, usize, usize) -> Result<(), Error>;
    let ensemble = start().await;
    let verbs: [Verb; 7] = [
        |ensemble, a, b| ensemble.cut(a, b, Way::Both),
        |ensemble, a, b| ensemble.mend(a, b, Way::Both),
        |ensemble, a, b| ensemble.drop_bytes(a, b, Way::Both, true),
        |ensemble, a, b| ensemble.delay(a, b, Way::Both, SOON),
        |ensemble, a, b| ensemble.throttle(a, b, Way::Both, Some(0)),
        |ensemble, a, b| ensemble.reset(a, b),
        |ensemble, a, b| ensemble.isolate(a.max(b)),
    ];
    for (index, verb) in verbs.into_iter().enumerate() {
        for (a, b) in [(0, 3), (3, 0), (1, 1)] {
            // The last one is about a single server.
            if index == verbs.len() - 1 && a == b {
                continue;
            }
            let done = std::panic::AssertUnwindSafe(|| verb(&ensemble, a, b));
            std::panic::catch_unwind(done).expect_err("there is no such link");
        }
    }
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
async fn a_leader_that_stops_by_itself_leads_no_more() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let zk = ensemble.client().await.expect("connected");
    let faults = ensemble.faults(leader).await.expect("running");
    faults.break_disk();
    insist(&zk, "/a").await;
    let has_stopped = async || {
        let faults = ensemble.faults(leader).await;
        matches!(faults, Err(Error::NotRunning { index }) if index == leader)
    };
    let stopped = ensemble.wait_until("its end", SOON, has_stopped);
    stopped.await.expect("stopped");
    ensemble.wait_for_convergence().await.expect("converged");
    assert_ne!(ensemble.leader().await.expect("another"), leader);
    ensemble.launch(leader).await.expect("started again");
    ensemble.wait_for_convergence().await.expect("converged");
    let zk = ensemble.client_of(leader).await.expect("connected");
    assert!(exists(&zk, "/a").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_slows_writes_until_it_is_mended() {
    let ensemble = Ensemble::start(1).await.expect("started");
    let zk = ensemble.client().await.expect("connected");
    let faults = ensemble.faults(0).await.expect("running");
    let delay = Duration::from_millis(150);
    faults.slow_disk(delay);
    let start = Instant::now();
    zk.create("/slow", "").await.expect("created");
    assert!(start.elapsed() >= delay);
    // It ends by no writer's leave.
    faults.slow_disk(10 * SOON);
    hasty(&zk).create("/late", "").await.expect_err("no answer");
    let killed = timeout(SOON, ensemble.kill(0)).await;
    killed.expect("in time").expect("killed");
    ensemble.restart(0).await.expect("back");
    assert!(exists(&zk, "/slow").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_a_server_that_has_something_to_write() {
    let ensemble = Ensemble::start(1).await.expect("started");
    let zk = ensemble.client().await.expect("connected");
    ensemble.faults(0).await.expect("running").fill_disk();
    // Space is reserved ahead: a full disk is noticed when that is used up.
    let is_full = async || {
        zk.create("/a-", vec![7; 500_000])
            .sequential()
            .await
            .is_err()
    };
    let full = ensemble.wait_until("a full disk", SOON, is_full);
    full.await.expect("noticed");
    let has_stopped = async || ensemble.faults(0).await.is_err();
    let stopped = ensemble.wait_until("its end", SOON, has_stopped);
    stopped.await.expect("stopped");
    let error = ensemble.stop(0).await.expect_err("it had stopped");
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_takes_for_ever_is_given_up() {
    let ensemble = Ensemble::start(1).await.expect("started");
    let soon = Duration::from_millis(10);
    for is_met in [false, true] {
        let condition = async || is_met || std::future::pending().await;
        let waited = ensemble
            .wait_until("the end of time", soon, condition)
            .await;
        assert_eq!(waited.is_ok(), is_met);
    }
    let waited = ensemble.wait_until("what is not", soon, async || false);
    let error = waited.await.expect_err("it never is").to_string();
    assert!(
        error.contains("what is not") && error.contains("standalone"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_while_a_server_is_paused() {
    let ensemble = start().await;
    let leader = ensemble.leader().await.expect("one");
    let paused = (leader + 1) % 3;
    let zk = ensemble.client_of(leader).await.expect("connected");
    let session = zk.session().await.expect("in session");
    ensemble.pause(paused).await.expect("paused");
    ensemble.expire(session.id()).await.expect("expired");
    timeout(SOON, session.over()).await.expect("it hears of it");
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
