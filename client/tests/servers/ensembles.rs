//! Ensembles of three servers: what one server alone cannot show.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use zk_client::{
    Auth, Client, CloseReason, ConnState, ErrorKind, OnExpire, Outcome, Server, Version, WatchItem,
};

use self::common::{
    SOON, Setup, fired, next, not_sent, quirks, rejected, session_of, soon, told, until,
    until_connected, until_state, until_suspended,
};

/// A session timeout that makes the client notice silence within a second.
const ALERT: Duration = Duration::from_secs(4);

// --- operations ------------------------------------------------------------------------------------

#[tokio::test]
async fn sync_brings_the_writes_of_others() {
    let servers = Setup::ensemble().start().await;
    let (leader, follower) = (servers.leader().await, servers.follower().await);
    let writer = common::builder(&servers.addr(leader).to_string()).connect();
    let reader = common::builder(&servers.addr(follower).to_string()).connect();
    let (writer, reader) = (writer.await.unwrap(), reader.await.unwrap());
    writer.create("/a", "").await.unwrap();
    for round in 1..=100 {
        writer.set("/a", "").await.unwrap();
        let (sync, get) = (reader.sync("/a").send(), reader.get("/a").send());
        sync.await.unwrap();
        let node = get.await.unwrap().unwrap();
        assert_eq!(node.stat.version, Version::new(round));
    }
    reader.sync("/no/such/znode").await.unwrap();
}

#[tokio::test]
async fn members_are_changed_by_who_may() {
    // The digest is that of "super:secret".
    let servers = Setup::ensemble()
        .config("reconfigEnabled", "true")
        .config(
            "DigestAuthenticationProvider.superDigest",
            "super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
        )
        .start()
        .await;
    let stranger = servers.builder().connect().await.unwrap();
    rejected(stranger.reconfig().leaving("1").await, ErrorKind::NoAuth);
    let zk = servers.builder().auth(Auth::digest("super", "secret"));
    let zk = zk.connect().await.unwrap();
    let below = zk.chroot("/some/where").unwrap();
    let (config, watch) = below.get_config().watch().await.unwrap();
    let text = String::from_utf8(config.data.to_vec()).unwrap();
    assert_eq!(text.matches("server.").count(), 3, "{text}");
    let version = text.rsplit_once("version=").unwrap().1;
    let version = i64::from_str_radix(version, 16).unwrap();
    let late = zk.reconfig().leaving("1").version(version + 1).await;
    rejected(late, ErrorKind::BadVersion);
    let garbage = zk.reconfig().joining("garbage").await;
    let kind = garbage.as_ref().unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::BadArguments | ErrorKind::Marshalling),
        "{garbage:?}"
    );
    let absent = "server.7=127.0.0.1:1:2:participant;127.0.0.1:3,\
                  server.8=127.0.0.1:4:5:participant;127.0.0.1:6,\
                  server.9=127.0.0.1:7:8:participant;127.0.0.1:9,\
                  server.10=127.0.0.1:10:11:participant;127.0.0.1:12";
    rejected(
        zk.reconfig().joining(absent).await,
        ErrorKind::NewConfigNoQuorum,
    );

    let follower = servers.follower().await + 1;
    let leaving = follower.to_string();
    let reconfig = zk.reconfig().leaving(&leaving).version(version);
    let config = reconfig.await.unwrap();
    let text = String::from_utf8(config.data.to_vec()).unwrap();
    assert_eq!(text.matches("server.").count(), 2, "{text}");
    let event = fired(watch).await;
    assert_eq!(told(&event), "NodeDataChanged /zookeeper/config");
}

#[tokio::test]
async fn members_are_followed_to_wherever_they_are() {
    let servers = Setup::ensemble()
        .config("reconfigEnabled", "true")
        .config(
            "DigestAuthenticationProvider.superDigest",
            "super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
        )
        .start()
        .await;
    let follower = servers.follower().await;
    let gone = servers.addr(follower).to_string();
    // It knows one server only, and the others by what the ensemble says of itself.
    let zk = common::builder(&gone).session_timeout(ALERT).connect();
    let zk = zk.await.unwrap();
    let session = session_of(&zk);
    let addrs: Vec<_> = (0..servers.count()).map(|i| servers.addr(i)).collect();
    let (tell, mut told) = watch::channel(BTreeSet::new());
    let follow = async {
        zk.follow_config(|member| {
            let index = usize::try_from(member.id).unwrap() - 1;
            tell.send_modify(|seen| _ = seen.insert(member.id));
            let addr = addrs.get(index)?;
            Some(Server::new(&addr.ip().to_string(), addr.port()))
        })
        .await
    };
    let play = async {
        soon("it learns of all", told.wait_for(|seen| seen.len() == 3))
            .await
            .unwrap();
        zk.sync("/").await.unwrap();
        servers.kill(follower).await;
        until_state(&zk, "it finds another", |state| {
            matches!(state, ConnState::Connected { server, .. } if server.to_string() != gone)
        })
        .await;
        assert_eq!(session_of(&zk), session);
        told_again(&tell, &zk).await;
        let mut told = tell.subscribe();
        let admin = servers.builder().auth(Auth::digest("super", "secret"));
        let admin = admin.connect().await.unwrap();
        let leaving = (follower + 1).to_string();
        admin.reconfig().leaving(&leaving).await.unwrap();
        let left =
            |seen: &BTreeSet<i64>| seen.len() == 2 && !seen.contains(&leaving.parse().unwrap());
        soon("it learns who left", told.wait_for(left))
            .await
            .unwrap();
        zk.close(SOON).await;
    };
    let (ended, ()) = tokio::join!(follow, play);
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
}

/// Forgets who was told of, once the client watches again.
async fn told_again(tell: &watch::Sender<BTreeSet<i64>>, zk: &Client) {
    until("the configuration is watched", async || {
        zk.stats().watches == 1
    })
    .await;
    zk.sync("/").await.expect("the server answers");
    tell.send_modify(BTreeSet::clear);
}

#[tokio::test]
async fn server_that_is_cut_off_is_read_by_who_allows_it() {
    let servers = Setup::ensemble()
        .property("readonlymode.enabled", "true")
        .config("localSessionsEnabled", "true")
        .config("localSessionsUpgradingEnabled", "true")
        .start()
        .await;
    let cut_off = servers.follower().await;
    let addr = servers.addr(cut_off).to_string();
    let zk = common::builder(&addr).allow_read_only(true).connect();
    let zk = zk.await.unwrap();
    let session = session_of(&zk);
    zk.create("/a", "x").await.unwrap();
    let others: Vec<_> = (0..servers.count()).filter(|i| *i != cut_off).collect();
    for i in &others {
        servers.kill(*i).await;
    }
    until_read_only(&zk, true).await;
    assert_eq!(zk.get("/a").await.unwrap().unwrap().data, "x");
    let error = rejected(zk.set("/a", "y").await, ErrorKind::NotReadOnly);
    assert!(error.is_retryable());
    // A session of a server that is cut off is no use elsewhere, unless it had it before.
    let kept = quirks().keeps_local_sessions.then_some(session);
    assert_eq!(zk.session_token().map(|token| token.id), kept);
    let strict = common::builder(&addr).connect_timeout(Duration::from_secs(1));
    not_sent(strict.connect().await, ErrorKind::Io);
    for i in &others {
        servers.start(*i).await;
    }
    for i in &others {
        servers.serving(*i).await;
    }
    until_read_only(&zk, false).await;
    zk.set("/a", "y").await.unwrap();
}

/// Waits until the client is at a server that is cut off, or at one that is not. Servers give up
/// looking for others, and being alone, in their own time.
async fn until_read_only(zk: &Client, wanted: bool) {
    let is_wanted = |state: &ConnState| matches!(state, ConnState::Connected { read_only, .. } if *read_only == wanted);
    let mut states = zk.state();
    let found = timeout(Duration::from_mins(1), states.wait_for(is_wanted)).await;
    assert!(found.is_ok(), "read-only {wanted}: {zk:?}");
}

#[tokio::test]
async fn members_stay_where_changing_them_is_switched_off() {
    let servers = Setup::ensemble().start().await;
    let zk = servers.builder().connect().await.unwrap();
    let reconfig = zk.reconfig().leaving("1").await;
    rejected(reconfig, ErrorKind::ReconfigDisabled);
}

// --- watches ---------------------------------------------------------------------------------------

#[tokio::test]
async fn watch_moves_to_another_server_with_its_client() {
    let servers = Setup::ensemble().start().await;
    let zk = servers.builder().connect().await.unwrap();
    let writer = servers.builder().connect().await.unwrap();
    zk.create("/a", "").await.unwrap();
    let (mut stream, mut tree) = (
        zk.watch_node("/a").await.unwrap(),
        zk.watch_tree("/").await.unwrap(),
    );
    for round in 0..3 {
        let watch = zk.get("/a").watch().await.unwrap().1;
        let state = zk.state().borrow().clone();
        let ConnState::Connected { server, .. } = state else {
            panic!("{state:?}");
        };
        let others: Vec<_> = (0..servers.count())
            .map(|i| servers.addr(i).to_string())
            .filter(|addr| *addr != server.to_string())
            .collect();
        zk.set_servers(&others.join(",")).unwrap();
        until_suspended(&zk).await;
        until_connected(&zk).await;
        writer.set("/a", "").await.unwrap();
        assert_eq!(told(&fired(watch).await), "NodeDataChanged /a", "{round}");
        // The change may have come between, in the gap.
        for stream in [&mut stream, &mut tree] {
            assert!(matches!(next(stream).await, WatchItem::Gap { .. }));
            while let WatchItem::Event(_) = next(stream).await {}
        }
        zk.sync("/").await.unwrap();
        while stream.next().now_or_never().is_some() {}
        while tree.next().now_or_never().is_some() {}
    }
}

// --- sessions --------------------------------------------------------------------------------------

#[tokio::test]
async fn two_clients_with_one_session_drive_each_other_out_until_one_gives_up() {
    let servers = Setup::ensemble().start().await;
    let all = servers.connect_string();
    for apart in [false, true] {
        let first = common::builder(&servers.addr(0).to_string());
        // Links that last a third of this do not look like a fight, however slow the servers' disks are.
        let first = first.session_timeout(Duration::from_mins(1));
        let first = first.on_expire(OnExpire::Stop).connect().await.unwrap();
        let session = session_of(&first);
        let path = format!("/e-{apart}");
        first.create(&path, "0").ephemeral().await.unwrap();
        let second = if apart {
            servers.addr(1).to_string()
        } else {
            all.clone()
        };
        let second = common::builder(&second).session_timeout(Duration::from_mins(1));
        let second = second
            .on_expire(OnExpire::Stop)
            .resume(first.session_token().unwrap());
        let second = second.connect().await.unwrap();
        assert_eq!(session_of(&second), session);
        // Both go on; each write is done, or said not to be known, until one of them has had enough.
        let (mut done, mut asked) = (0, 0);
        let (gone, left) = loop {
            assert!(asked < 300, "they go on for ever");
            let (zk, other) = if asked % 2 == 0 {
                (&first, &second)
            } else {
                (&second, &first)
            };
            asked += 1;
            match soon("it ends", zk.set(&path, asked.to_string())).await {
                Ok(_) => done += 1,
                Err(error) if error.kind() == ErrorKind::SessionHijacked => {
                    assert!(error.is_client_fatal() && zk.is_closed(), "{error:?}");
                    break (zk, other);
                }
                Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}"),
            }
        };
        let told = gone.state().borrow().closed();
        assert_eq!(told, Some(CloseReason::SessionHijacked));
        until_connected(left).await;
        soon("it has the session", left.sync("/")).await.unwrap();
        let node = soon("it ends", left.get(&path)).await.unwrap().unwrap();
        assert!((done..=asked).contains(&node.stat.version.get()));
        assert_eq!(node.stat.ephemeral_owner.get(), session.get());
        assert_eq!(first.stats().expirations + second.stats().expirations, 0);
        let connects = first.stats().connects + second.stats().connects;
        assert!(connects < 100, "{connects} connections");
        second.close(SOON).await;
        first.close(SOON).await;
    }
}

#[tokio::test]
async fn session_moves_through_all_servers() {
    let servers = Setup::ensemble().start().await;
    let zk = common::builder(&servers.addr(0).to_string()).connect();
    let zk = zk.await.unwrap();
    let session = session_of(&zk);
    zk.create("/e", "").ephemeral().await.unwrap();
    for (round, i) in [1, 2, 0, 2, 1, 0].into_iter().enumerate() {
        let addr = servers.addr(i).to_string();
        let sets: Vec<_> = (0..50)
            .map(|n| zk.set("/e", n.to_string()).send())
            .collect();
        zk.set_servers(&addr).unwrap();
        // What is in flight is answered before the client leaves, what is not goes with it.
        for set in sets {
            soon("it is done", set).await.unwrap();
        }
        until_state(&zk, "it moves", |state| {
            matches!(state, ConnState::Connected { server, .. } if server.to_string() == addr)
        })
        .await;
        let node = zk.get("/e").await.unwrap().unwrap();
        assert_eq!(
            node.stat.version.get(),
            i32::try_from(round + 1).unwrap() * 50
        );
        assert_eq!(session_of(&zk), session);
    }
    assert_eq!(zk.stats().unknown, 0);
}

// --- faults ----------------------------------------------------------------------------------------

#[tokio::test]
async fn client_of_a_paused_server_moves_to_another() {
    let servers = Setup::ensemble().start().await;
    let zk = servers.builder().session_timeout(ALERT).connect().await;
    let zk = zk.unwrap();
    let session = session_of(&zk);
    zk.create("/e", "").ephemeral().await.unwrap();
    let state = zk.state().borrow().clone();
    let ConnState::Connected { server, .. } = state else {
        panic!("{state:?}");
    };
    let addr = server.to_string();
    let paused = (0..3)
        .find(|i| servers.addr(*i).to_string() == addr)
        .unwrap();
    servers.pause(paused).await;
    // Followers of a paused leader stop serving as well until there is another.
    let stat = soon("the read moves", zk.exists("/e")).await.unwrap();
    let owner = stat.map(|stat| stat.ephemeral_owner.get());
    servers.resume(paused).await;
    // An election may outlast the session, and then it is gone for good reason.
    if session_of(&zk) == session {
        assert_eq!(owner, Some(session.get()));
    } else {
        assert_eq!(zk.stats().expirations, 1);
    }
}

#[tokio::test]
async fn leader_killed_under_pipelined_writes_loses_none_that_was_acknowledged() {
    let servers = Setup::ensemble().start().await;
    let judge = servers.client_below("/kill").await;
    for round in 0..2 {
        let connect = format!("{}/kill", servers.connect_string());
        let zk = Client::builder(&connect)
            .session_timeout(Duration::from_secs(20))
            .op_timeout(Duration::from_secs(15))
            .connect()
            .await
            .unwrap();
        let leader = servers.leader().await;
        let begun = Instant::now();
        let writer = tokio::spawn({
            let zk = zk.clone();
            async move {
                let mut results = Vec::new();
                for batch in 0..60 {
                    let pending: Vec<_> = (0..20)
                        .map(|n| format!("/{round}-{:05}", batch * 20 + n))
                        .map(|path| (zk.create(&path, "").send(), path))
                        .collect();
                    for (pending, path) in pending {
                        results.push((path, pending.await));
                    }
                }
                results
            }
        });
        until("writes are done", async || zk.stats().succeeded > 100).await;
        servers.kill(leader).await;
        let results = timeout(Duration::from_mins(1), writer)
            .await
            .unwrap()
            .unwrap();
        servers.start(leader).await;
        servers.serving(leader).await;
        judge.sync("/").await.unwrap();
        let names = judge.children("/").await.unwrap().unwrap();
        let mut last = None;
        for (path, result) in results {
            let is_there = names.contains(&path[1..].to_owned());
            match result {
                Ok(created) => {
                    assert!(is_there, "{path} was acknowledged");
                    let czxid = created.stat.unwrap().czxid;
                    assert!(
                        last.is_none_or(|last| last < czxid),
                        "{path} is out of order"
                    );
                    last = Some(czxid);
                }
                Err(error) => match error.outcome() {
                    Outcome::NotSent => assert!(!is_there, "{path}: {error:?}"),
                    Outcome::Unknown => assert!(error.is_retryable(), "{error:?}"),
                    Outcome::Rejected => panic!("{path}: {error:?}"),
                },
            }
        }
        assert!(begun.elapsed() < Duration::from_mins(1));
        zk.close(SOON).await;
    }
}
