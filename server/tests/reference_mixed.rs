//! Ensembles of Apache's servers and ours: each role, and every order in which one takes the place of
//! the other, under clients that write.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod ensembles;
mod papers;
mod support;

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use zk_client::{Acl, Client, Ttl};
use zk_proto::response::MultiResult;
use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::mixed::Kind::{Apache, Ours};
use zk_testkit::ensemble::mixed::{Builder, Kind, Mixed};

use ensembles::{
    Load, SOON, jaas, move_to_another_machine, trees, until_modes, until_settled, zxid,
};
use papers::Papers;

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

/// Has a server of this kind lead, by restarts of those that do: of two that are left the one with
/// the higher id leads, as they know the same.
async fn lead(ensemble: &Ensemble, kinds: &[Kind; 3], kind: Kind) -> usize {
    for _ in 0..10 {
        let leader = until_settled(ensemble, &ALL).await;
        if kinds[leader] == kind {
            return leader;
        }
        replace(ensemble, leader, kinds[leader], false).await;
    }
    panic!("none of {kind:?} leads");
}

/// Znodes of all kinds, and a session that owns some.
async fn grow(ensemble: &Ensemble) -> Client {
    let zk = Client::builder(&ensemble.connect_string())
        .session_timeout(Duration::from_secs(40))
        .connect()
        .await
        .unwrap();
    zk.create("/big", "").await.unwrap();
    for chunk in 0..20 {
        let data = vec![b'x'; 1000];
        let paths: Vec<_> = (0..100).map(|n| format!("/big/{chunk}-{n}")).collect();
        let creates = paths
            .iter()
            .map(|path| zk.create(path, data.clone()).send());
        for created in join_all(creates).await {
            created.unwrap();
        }
    }
    let open = Acl::read_only();
    zk.create("/locked", "").acl(open).await.unwrap();
    zk.create("/box", "").container().await.unwrap();
    let ttl = Ttl::new(Duration::from_hours(10)).unwrap();
    zk.create("/timed", "").ttl(ttl).await.unwrap();
    zk.create("/seq-", "").sequential().await.unwrap();
    zk.create("/mine", "").ephemeral().await.unwrap();
    zk
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_its_disk_gets_the_tree_from_a_leader_of_the_other_kind() {
    for (kinds, leading) in [
        ([Ours, Apache, Apache], Apache),
        ([Apache, Ours, Ours], Ours),
    ] {
        let ensemble = builder(&kinds).start().await.unwrap();
        let zk = grow(&ensemble).await;
        let load = Load::start(&ensemble, 2).await;
        let leader = lead(&ensemble, &kinds, leading).await;
        let epoch = zxid(&ensemble, leader).await >> 32;
        ensemble.kill(0).await.unwrap();
        let state = ensemble.server(0).data_dir().join("version-2");
        fs::remove_dir_all(state).unwrap();
        ensemble.start_server(0).await.unwrap();
        assert_eq!(until_settled(&ensemble, &ALL).await, leader);
        assert_eq!(zxid(&ensemble, leader).await >> 32, epoch, "an election");
        // What it got is on its disk, too.
        replace(&ensemble, 0, kinds[0], true).await;
        load.judge(&ensemble, &ALL).await;
        assert!(zk.exists("/mine").await.unwrap().is_some());
        ensemble.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_takes_the_place_of_a_member_of_either_kind() {
    for kinds in [[Ours, Apache, Apache], [Apache, Ours, Ours]] {
        let ensemble = builder(&kinds).start().await.unwrap();
        let load = Load::start(&ensemble, 3).await;
        move_to_another_machine(&ensemble, 0).await;
        load.judge(&ensemble, &ALL).await;
        ensemble.shutdown().await;
    }
}

/// Apache's 3.8.0 loses a multi with a create2 in it, unless it is logged and proposed as a create.
/// Neither side looks at names: Apache's because of this release's defaults.
#[tokio::test(flavor = "multi_thread")]
async fn members_speak_tls() {
    let papers = Papers::new(&[("member", &["localhost", "127.0.0.1"])]);
    let ensemble = builder(&[Ours, Apache, Ours])
        .config("sslQuorum", "true")
        .config("ssl.quorum.keyStore.location", papers.path("member"))
        .config("ssl.quorum.trustStore.location", papers.path("ca"))
        .start()
        .await
        .unwrap();
    until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    for (server, kind) in [(0, Apache), (0, Ours), (1, Ours), (2, Apache), (1, Apache)] {
        replace(&ensemble, server, kind, server == 1).await;
    }
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_prove_by_sasl_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = jaas(dir.path(), "secret");
    let ensemble = builder(&[Ours, Apache, Ours])
        .config("quorum.auth.enableSasl", "true")
        .config("quorum.auth.learnerRequireSasl", "true")
        .config("quorum.auth.serverRequireSasl", "true")
        .property("java.security.auth.login.config", &file)
        .start()
        .await
        .unwrap();
    until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    for (server, kind) in [(0, Apache), (0, Ours), (1, Ours), (2, Apache), (1, Apache)] {
        replace(&ensemble, server, kind, server == 1).await;
    }
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create2_in_a_multi_is_kept_by_all_whoever_is_asked_and_whoever_leads() {
    let kinds = [Ours, Apache, Ours];
    let ensemble = builder(&kinds).start().await.unwrap();
    let mut created = Vec::new();
    for leading in [Ours, Apache] {
        lead(&ensemble, &kinds, leading).await;
        for (server, kind) in kinds.into_iter().enumerate() {
            let top = format!("/{leading:?}-{server}");
            let below = format!("{top}/below");
            let address = ensemble.server(server).client_addr();
            let results = support::create2s(address, &[&top, &below]);
            for (result, wanted) in results.iter().zip([&top, &below]) {
                // Apache's 3.8 leaves the stat out.
                let path = if let (MultiResult::Create2(one), Ours) = (result, kind) {
                    &one.path
                } else if let (MultiResult::Create(one), Apache) = (result, kind) {
                    &one.path
                } else {
                    panic!("{leading:?} leads, {server} answers {result:?}");
                };
                assert_eq!(path, wanted.as_str());
            }
            created.extend([top, below]);
        }
    }
    let assert_all = async |when: &str| {
        let trees = trees(&ensemble, &ALL).await;
        for (server, tree) in &trees {
            let lost: Vec<_> = created
                .iter()
                .filter(|path| !tree.contains_key(*path))
                .collect();
            assert!(lost.is_empty(), "{when}: {server} has lost {lost:?}");
            assert_eq!(tree, &trees[0].1, "{when}: {server}");
        }
    };
    assert_all("applied").await;
    for server in ALL {
        replace(&ensemble, server, kinds[server], true).await;
    }
    assert_all("recovered").await;
    ensemble.shutdown().await;
}

/// It changes the root twice at once, and computes the digest of something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_of_a_leader_of_apaches_is_counted_and_stops_nobody() {
    let kinds = [Ours, Apache, Apache];
    let ensemble = builder(&kinds).start().await.unwrap();
    let leader = lead(&ensemble, &kinds, Apache).await;
    let address = ensemble.server(leader).client_addr().to_string();
    let zk = Client::builder(&address).connect().await.unwrap();
    for n in 0..100 {
        let path = format!("/z{n}");
        let data = zk.set("/", "some").send();
        let (set, created) = futures_util::join!(data, zk.create(&path, "").send());
        set.unwrap();
        created.unwrap();
    }
    let trees = trees(&ensemble, &ALL).await;
    for (server, tree) in &trees {
        assert!(tree.contains_key("/z99"));
        assert_eq!(tree, &trees[0].1, "{server}");
    }
    let mntr = ensemble.four_letter(0, "mntr").await.unwrap();
    let name = "zk_digest_mismatches_count\t";
    let count = mntr.lines().find_map(|line| line.strip_prefix(name));
    assert!(count.is_some_and(|count| count != "0"), "{count:?}");
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_both_kinds_tell_the_same_of_the_ensemble() {
    let ensemble = builder(&[Ours, Apache, Ours]).start().await.unwrap();
    until_settled(&ensemble, &ALL).await;
    let mut told = Vec::new();
    for server in ALL {
        let address = ensemble.server(server).client_addr().to_string();
        let zk = Client::connect(&address).await.unwrap();
        let config = zk.get_config().await.unwrap();
        told.push(String::from_utf8(config.data.to_vec()).unwrap());
    }
    assert!(told[0].contains("server.3="), "{}", told[0]);
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    ensemble.shutdown().await;
}

/// Has members come and go; one that comes may have to be in step first.
async fn change(zk: &Client, joining: &str, leaving: &str) {
    let changed = async {
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            let request = zk.reconfig();
            let request = match (joining, leaving) {
                ("", _) => request.leaving(leaving),
                (_, "") => request.joining(joining),
                (_, _) => request.joining(joining).leaving(leaving),
            };
            match request.await {
                Ok(_) => return,
                // Somebody who is needed is not in step yet, or the connection was lost.
                Err(error) => eprintln!("joining {joining:?}, leaving {leaving:?}: {error}"),
            }
        }
    };
    timeout(SOON, changed).await.expect("changed in time");
}

/// Waits until servers tell that these are the members, each with its role.
async fn until_members(ensemble: &Ensemble, of: &[usize], members: &[String]) {
    for &server in of {
        let address = ensemble.server(server).client_addr().to_string();
        let zk = Client::connect(&address).await.unwrap();
        let told = async {
            let mut poll = tokio::time::interval(Duration::from_millis(20));
            loop {
                poll.tick().await;
                let Ok(config) = zk.get_config().await else {
                    continue;
                };
                let text = String::from_utf8(config.data.to_vec()).unwrap();
                let mut lines: Vec<_> = text
                    .lines()
                    .filter(|one| one.starts_with("server."))
                    .collect();
                lines.sort_unstable();
                if lines == members {
                    return;
                }
            }
        };
        let told = timeout(SOON, told).await;
        told.unwrap_or_else(|_| panic!("{server} does not tell {members:?}"));
        zk.close(SOON).await;
    }
}

/// Two of ours and one of Apache's vote, and this one comes and goes, while clients write.
async fn come_and_go(fourth: Kind) {
    const FOUR: [usize; 4] = [0, 1, 2, 3];
    let ensemble = builder(&[Ours, Apache, Ours])
        .observer(fourth)
        .config("reconfigEnabled", true)
        .config("skipACL", "yes")
        .start()
        .await
        .unwrap();
    until_settled(&ensemble, &ALL).await;
    until_modes(&ensemble, &[(3, Some("observer"))]).await;
    let load = Load::start(&ensemble, 3).await;
    let addresses = ALL.map(|server| ensemble.server(server).client_addr().to_string());
    let zk = Client::connect(&addresses.join(",")).await.unwrap();
    let voters: Vec<_> = (0..4)
        .map(|one| ensemble.server(one).member_line("participant"))
        .collect();
    for (role, mode) in [("participant", "follower"), ("observer", "observer")] {
        let line = ensemble.server(3).member_line(role);
        change(&zk, &line, "").await;
        until_modes(&ensemble, &[(3, Some(mode))]).await;
        let four = [&voters[..3], &[line]].concat();
        until_members(&ensemble, &FOUR, &four).await;
    }
    change(&zk, "", "4").await;
    until_members(&ensemble, &ALL, &voters[..3]).await;
    // It follows without a vote, and gets one.
    change(&zk, &voters[3], "").await;
    until_members(&ensemble, &FOUR, &voters).await;
    let leader = until_settled(&ensemble, &FOUR).await;
    for one in [1, leader] {
        change(&zk, "", &(one + 1).to_string()).await;
        let mut left = voters.clone();
        left.remove(one);
        until_members(&ensemble, &FOUR, &left).await;
        change(&zk, &voters[one], "").await;
        until_members(&ensemble, &FOUR, &voters).await;
        until_settled(&ensemble, &FOUR).await;
    }
    // Each reads the files that the other kind wrote.
    for (server, kind) in [(0, Apache), (1, Ours)] {
        ensemble.kill(server).await.unwrap();
        ensemble.become_at_start(server, kind);
        ensemble.start_server(server).await.unwrap();
        until_settled(&ensemble, &FOUR).await;
        assert_eq!(kind_of(&ensemble, server).await, kind);
    }
    until_members(&ensemble, &FOUR, &voters).await;
    let count = load.judge(&ensemble, &FOUR).await;
    assert!(count > 0, "nothing was written");
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_both_kinds_come_and_go_with_one_of_ours() {
    come_and_go(Ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_both_kinds_come_and_go_with_one_of_apaches() {
    come_and_go(Apache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_of_either_kind_proposed_alone_is_taken_back() {
    for (kinds, leading) in [
        ([Apache, Apache, Ours], Ours),
        ([Ours, Ours, Apache], Apache),
        ([Ours, Ours, Ours], Ours),
    ] {
        let ensemble = builder(&kinds).start().await.unwrap();
        let load = Load::start(&ensemble, 2).await;
        let leader = lead(&ensemble, &kinds, leading).await;
        let others: Vec<usize> = ALL.into_iter().filter(|one| *one != leader).collect();
        let address = ensemble.server(leader).client_addr().to_string();
        let zk = Client::connect(&address).await.unwrap();
        zk.create("/alone", "").await.unwrap();
        for other in &others {
            ensemble.pause(*other).await.unwrap();
        }
        // Logged by the leader, and by nobody else.
        let lost: Vec<_> = (0..5).map(|n| format!("/alone/{n}")).collect();
        let asked: Vec<_> = lost.iter().map(|path| zk.create(path, "").send()).collect();
        until_logged(&ensemble, leader, &lost).await;
        ensemble.kill(leader).await.unwrap();
        // What was on its way to them goes with them.
        for other in &others {
            ensemble.kill(*other).await.unwrap();
            ensemble.start_server(*other).await.unwrap();
        }
        for answer in asked {
            assert!(answer.await.is_err(), "acknowledged by nobody");
        }
        until_settled(&ensemble, &others).await;
        ensemble.start_server(leader).await.unwrap();
        until_settled(&ensemble, &ALL).await;
        load.judge(&ensemble, &ALL).await;
        let (_, tree) = &trees(&ensemble, &[leader]).await[0];
        assert!(lost.iter().all(|path| !tree.contains_key(path)));
        ensemble.shutdown().await;
    }
}

/// Waits until the log of a server holds these paths.
async fn until_logged(ensemble: &Ensemble, server: usize, paths: &[String]) {
    let dir = ensemble.server(server).data_dir().join("version-2");
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    let logged = async {
        loop {
            poll.tick().await;
            let mut all = Vec::new();
            for file in fs::read_dir(&dir).unwrap().map(|file| file.unwrap()) {
                if file.file_name().to_string_lossy().starts_with("log.") {
                    all.extend(fs::read(file.path()).unwrap());
                }
            }
            let has = |path: &String| all.windows(path.len()).any(|some| some == path.as_bytes());
            if paths.iter().all(has) {
                return;
            }
        }
    };
    timeout(SOON, logged).await.expect("logged in time");
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
