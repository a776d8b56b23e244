//! Servers in containers, each verb shown by its effect. Needs a container engine.

use std::time::Duration;

use tokio::time::timeout;
use zk_client::{Client, ErrorKind};
use zk_testkit::ensemble::containers::{ContainerError, Containers, Image, parts_of};
use zk_testkit::{Backend, Ensemble, Error, Way};

/// Long enough for whatever is to happen soon, on a machine that has a lot else to do.
const SOON: Duration = Duration::from_mins(2);

fn image() -> Image {
    Image::of(env!("CARGO_BIN_EXE_zkserver"))
}

async fn start(servers: usize) -> Ensemble {
    let builder = Ensemble::builder().backend(Backend::Containers(image()));
    let start = builder.servers(servers).start();
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

/// Waits until another server leads than this one, which may think for a while that it still does.
async fn other_leader(ensemble: &Ensemble, former: usize) -> usize {
    let other = async {
        loop {
            let leader = ensemble.leader().await.expect("one leads");
            if leader != former {
                return leader;
            }
        }
    };
    timeout(SOON, other).await.expect("another leads soon")
}

fn name(ensemble: &Ensemble) -> String {
    let containers = ensemble.containers().expect("they are containers");
    containers.name().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_comes_back_with_what_it_had() {
    let ensemble = start(3).await;
    let zk = ensemble.client().await.expect("connected");
    zk.create("/before", "").await.expect("created");
    let leader = ensemble.leader().await.expect("one");
    ensemble.kill(leader).await.expect("killed");
    let again = ensemble.kill(leader).await.expect_err("it does not run");
    assert!(
        matches!(again, Error::NotRunning { index } if index == leader),
        "{again}"
    );
    assert_ne!(ensemble.leader().await.expect("another"), leader);
    insist(&zk, "/after").await;
    ensemble.restart(leader).await.expect("back");
    let back = ensemble.client_of(leader).await.expect("connected");
    assert!(exists(&back, "/before").await && exists(&back, "/after").await);
    let twice = ensemble.launch(leader).await.expect_err("it runs");
    assert!(matches!(twice, Error::Running { .. }), "{twice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_stands_alone_keeps_its_data_and_says_what_it_does() {
    let ensemble = start(1).await;
    assert_eq!(ensemble.leader().await.expect("itself"), 0);
    let zk = ensemble.client().await.expect("connected");
    zk.create("/kept", "").await.expect("created");
    ensemble.restart(0).await.expect("stopped and started");
    zk.wait_connected(SOON).await.expect("connected again");
    assert!(exists(&zk, "/kept").await);
    let containers = ensemble.containers().expect("they are containers");
    assert!(!containers.logs(0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_answers_nobody_and_goes_on_later() {
    let ensemble = start(3).await;
    let leader = ensemble.leader().await.expect("one");
    let zk = ensemble.client_of(leader).await.expect("connected");
    ensemble.pause(leader).await.expect("paused");
    hasty(&zk).get("/").await.expect_err("nobody answers");
    let next = other_leader(&ensemble, leader).await;
    let other = ensemble.client_of(next).await.expect("connected");
    other.create("/meanwhile", "").await.expect("created");
    ensemble.resume(leader).await.expect("resumed");
    ensemble.wait_for_convergence().await.expect("converged");
    assert!(exists(&zk, "/meanwhile").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_off_the_network_of_its_peers_acknowledges_nothing_and_comes_back() {
    let ensemble = start(3).await;
    let leader = ensemble.leader().await.expect("one");
    let cut_off = ensemble.client_of(leader).await.expect("connected");
    let others = (0..3).filter(|&one| one != leader);
    let majority = ensemble.connect_string_of(others);
    let majority = Client::builder(&majority).start().expect("addresses");

    ensemble.isolate(leader).expect("isolated");
    // It reaches its clients still, and says nothing that a quorum does not stand behind.
    assert!(cut_off.get("/").await.expect("read").is_some());
    let mut refused = 0;
    let next = async {
        let next = other_leader(&ensemble, leader).await;
        insist(&majority, "/majority").await;
        next
    };
    let next = {
        let mut next = std::pin::pin!(next);
        loop {
            let write = hasty(&cut_off);
            let path = format!("/minority-{refused}");
            tokio::select! {
                next = &mut next => break next,
                written = write.create(&path, "") => {
                    written.expect_err("no quorum stands behind it");
                    refused += 1;
                }
            }
        }
    };
    assert!(refused > 0, "the partition was seen by nobody");
    let written = hasty(&cut_off).create("/minority", "").await;
    written.expect_err("nor when the others have a leader");

    ensemble.heal();
    ensemble.wait_for_convergence().await.expect("converged");
    let reborn = ensemble.client_of(leader).await.expect("connected");
    assert!(exists(&reborn, "/majority").await);
    let same = ensemble.client_of(next).await.expect("connected");
    let mine = reborn.children("/").await.expect("a list");
    assert_eq!(mine, same.children("/").await.expect("a list"));
    insist(&reborn, "/all").await;
    assert!(exists(&same, "/all").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restarts_while_it_is_cut_off_and_joins_when_that_is_healed() {
    let ensemble = start(3).await;
    let follower = (ensemble.leader().await.expect("one") + 1) % 3;
    ensemble.isolate(follower).expect("isolated");
    ensemble.isolate(follower).expect("it is so already");
    ensemble.kill(follower).await.expect("killed");
    let zk = ensemble.client().await.expect("connected");
    insist(&zk, "/missed").await;
    ensemble.launch(follower).await.expect("launched");
    ensemble.heal();
    ensemble.wait_for_convergence().await.expect("converged");
    let joined = ensemble.client_of(follower).await.expect("connected");
    assert!(exists(&joined, "/missed").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_pass_no_proxy_are_not_cut_one_by_one() {
    let ensemble = start(1).await;
    let error = ensemble.cut(0, 0, Way::Both).expect_err("no such link");
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_is_an_error_with_its_log_and_is_removed() {
    let builder = Ensemble::builder().backend(Backend::Containers(image()));
    let builder = builder.servers(1).config("tickTime", "never");
    let error = builder.start().await.expect_err("no such tick");
    let Error::Container(ContainerError::Ended { log, .. }) = error else {
        panic!("{error}");
    };
    assert!(log.contains("tickTime"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind_by_a_drop() {
    let ensemble = start(3).await;
    let name = name(&ensemble);
    let parts = parts_of(&name).await.expect("the engine answers");
    assert_eq!(parts.len(), 4, "three containers and a network: {parts:?}");
    ensemble.isolate(0).expect("isolated");
    ensemble.pause(1).await.expect("paused");
    ensemble.kill(2).await.expect("killed");
    drop(ensemble);
    let left = parts_of(&name).await.expect("the engine answers");
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind_by_a_start_that_is_given_up() {
    let name = format!("zk-given-up-{}", std::process::id());
    let builder = Containers::builder(image()).name(&name).servers(3);
    // They listen where nobody dials: none ever serves.
    let builder = builder.config("server.1", "127.0.0.1:1:2;2181");
    let start = tokio::spawn(builder.start());
    let all_are_there = async {
        while parts_of(&name).await.expect("the engine answers").len() < 4 {
            assert!(!start.is_finished(), "nothing was to come of it");
        }
    };
    timeout(SOON, all_are_there).await.expect("in time");
    start.abort();
    start.await.expect_err("given up");
    let left = parts_of(&name).await.expect("the engine answers");
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn nothing_is_left_behind_by_a_test_that_panics() {
    let (tell, told) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let ensemble = start(1).await;
            tell.send(name(&ensemble)).expect("somebody listens");
            panic!("as a test does");
        });
    });
    test.join().expect_err("it panicked");
    let name = told.recv().expect("it said so before");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let left = runtime.block_on(parts_of(&name));
    assert_eq!(left.expect("the engine answers"), Vec::<String>::new());
}
