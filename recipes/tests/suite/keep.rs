//! Kept znodes and groups.

use std::time::{Duration, Instant};

use tokio::time::interval;
use zk_client::{Acl, Client, ErrorKind, EventType, SessionId, Version, WatchItem};
use zk_recipes::{Conflict, Group, GroupFormat, KeepMode, KeepNode, KeepState, Kept, Membership};
use zk_testkit::fault::Direction;

use crate::harness::{CALM, World, children, soon, until, until_children};

async fn until_state(kept: &Kept, what: &str, is_wanted: impl FnMut(&KeepState) -> bool) {
    soon(what, kept.state().wait_for(is_wanted))
        .await
        .expect("it lives");
}

#[tokio::test]
async fn znode_is_there_with_the_data_last_asked_for() {
    let world = World::start().await;
    let zk = world.client().await;
    let session = zk.session().await.unwrap().id();
    for (mode, owner) in [
        (KeepMode::Ephemeral, session),
        (KeepMode::EphemeralSequential, session),
        (KeepMode::Persistent, SessionId::NONE),
    ] {
        let kept = KeepNode::new(&zk, "/deep/k-", "0").mode(mode).start();
        let path = soon("it is there", kept.ready()).await.unwrap();
        assert_eq!(
            path.len() > "/deep/k-".len(),
            mode == KeepMode::EphemeralSequential
        );
        for version in 1..5 {
            kept.set_data(version.to_string());
        }
        until("the last wins", async || {
            zk.get(&path)
                .await
                .unwrap()
                .is_some_and(|node| node.data == "4")
        })
        .await;
        assert_eq!(
            zk.exists(&path).await.unwrap().unwrap().ephemeral_owner,
            owner
        );
        // Deleted by somebody, written by somebody.
        zk.delete(&path).await.unwrap();
        until("it is back", async || {
            zk.get(&path)
                .await
                .unwrap()
                .is_some_and(|node| node.data == "4")
        })
        .await;
        if mode != KeepMode::Persistent {
            zk.set(&path, "x").await.unwrap();
            until("it is right again", async || {
                zk.get(&path)
                    .await
                    .unwrap()
                    .is_some_and(|node| node.data == "4")
            })
            .await;
        }
        kept.close().await;
        assert!(children(&zk, "/deep").await.is_empty());
    }
}

#[tokio::test]
async fn znode_is_back_with_the_next_session_and_nobody_sees_a_gap() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let kept = KeepNode::new(&party, "/k", "1").start();
    soon("it is there", kept.ready()).await.unwrap();
    party.cut().await;
    kept.set_data("2");
    party.proxy.refuse(false);
    until("what was asked for while away", async || {
        zk.get("/k").await.unwrap().unwrap().data == "2"
    })
    .await;
    let before = zk.exists("/k").await.unwrap().unwrap();
    party.expire().await;
    until("it is back", async || {
        zk.exists("/k").await.unwrap().is_some()
    })
    .await;
    let after = zk.get("/k").await.unwrap().unwrap();
    assert!(after.stat.czxid > before.czxid && after.data == "2");
    assert_eq!(after.stat.ephemeral_owner, party.session_id());
}

#[tokio::test]
async fn znode_of_an_own_earlier_session_is_replaced_in_one_step() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    // As after an expiry that the server has not carried out yet: the znode is of a session that is not
    // this one, but was.
    let kept = KeepNode::new(&party, "/k", "")
        .conflict(Conflict::Steal)
        .start();
    soon("it is there", kept.ready()).await.unwrap();
    drop(kept);
    until("it has gone", async || {
        zk.exists("/k").await.unwrap().is_none()
    })
    .await;
    zk.create("/k", "other").ephemeral().await.unwrap();
    let mut states = zk.observe("/k");
    assert!(states.next().await.unwrap().unwrap().is_some());
    let kept = KeepNode::new(&party, "/k", "mine")
        .conflict(Conflict::Steal)
        .start();
    let state = soon("it is stolen", states.next()).await.unwrap().unwrap();
    assert_eq!(state.expect("no gap").data, "mine");
    soon("it is there", kept.ready()).await.unwrap();
}

#[tokio::test]
async fn znode_of_somebody_else_is_waited_for_or_refused() {
    let world = World::start().await;
    let zk = world.client().await;
    let other = world.client().await;
    other.create("/k", "other").ephemeral().await.unwrap();
    let owner = other.session().await.unwrap().id();
    let kept = KeepNode::new(&zk, "/k", "")
        .conflict(Conflict::Refuse)
        .start();
    assert!(soon("it is refused", kept.ready()).await.is_none());
    assert!(
        matches!(&*kept.state().borrow(), KeepState::Refused { owner: told } if *told == owner)
    );
    kept.close().await;
    let kept = KeepNode::new(&zk, "/k", "mine").start();
    until_state(&kept, "it waits", |state| {
        matches!(state, KeepState::Taken { .. })
    })
    .await;
    assert_eq!(zk.get("/k").await.unwrap().unwrap().data, "other");
    other.close(Duration::from_secs(5)).await;
    soon("it is there", kept.ready()).await.unwrap();
    assert_eq!(zk.get("/k").await.unwrap().unwrap().data, "mine");
}

/// Whether the znode holds that.
async fn holds(zk: &Client, path: &str, data: &str) -> bool {
    let node = zk.get(path).await.expect("a read");
    node.is_some_and(|node| node.data == data)
}

#[tokio::test]
async fn persistent_znode_is_taken_over_at_the_start_and_not_fought_for() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    // Of a run before this one, which crashed. Its data may be the same.
    zk.create("/k", "1").await.unwrap();
    let keep = |zk: &Client, data: &str| {
        let keep = KeepNode::new(zk, "/k", data.to_owned());
        keep.mode(KeepMode::Persistent)
    };
    let first = keep(&zk, "1").conflict(Conflict::Refuse).start();
    soon("it is taken over", first.ready()).await.unwrap();
    let waiting = keep(&zk, "2").start();
    soon("the next takes it over", waiting.ready())
        .await
        .unwrap();
    let is_refused = |state: &KeepState| matches!(state, KeepState::Refused { owner } if *owner == SessionId::NONE);
    until_state(&first, "it is given up", is_refused).await;
    let last = keep(&other, "3").conflict(Conflict::Refuse).start();
    soon("another client takes it over", last.ready())
        .await
        .unwrap();
    let is_taken = |state: &KeepState| matches!(state, KeepState::Taken { .. });
    until_state(&waiting, "it waits", is_taken).await;
    // One write each, to take it over.
    let stat = zk.exists("/k").await.unwrap().unwrap();
    assert_eq!(stat.version, Version::from(3));
    last.set_data("4");
    until("it says something else", async || {
        holds(&zk, "/k", "4").await
    })
    .await;
    // Whoever has lost it does not delete it.
    first.close().await;
    waiting.close().await;
    assert!(holds(&zk, "/k", "4").await);
    // Nor does it what somebody else has written.
    zk.set("/k", "x").await.unwrap();
    last.close().await;
    assert!(holds(&zk, "/k", "x").await);
}

#[tokio::test]
async fn whoever_waits_for_a_persistent_znode_has_it_when_it_is_gone() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let keep = |zk: &Client, data: &str| {
        let keep = KeepNode::new(zk, "/k", data.to_owned());
        keep.mode(KeepMode::Persistent).start()
    };
    let first = keep(&zk, "1");
    soon("it is there", first.ready()).await.unwrap();
    let second = keep(&other, "2");
    let is_taken = |state: &KeepState| matches!(state, KeepState::Taken { .. });
    until_state(&first, "it waits", is_taken).await;
    assert!(holds(&zk, "/k", "2").await);
    second.close().await;
    until_state(&first, "it is back", KeepState::is_kept).await;
    assert!(holds(&zk, "/k", "1").await);
    first.close().await;
    assert!(zk.exists("/k").await.unwrap().is_none());
}

#[tokio::test]
async fn one_session_keeps_a_znode_once() {
    let world = World::start().await;
    let zk = world.client().await;
    let session = zk.session().await.unwrap().id();
    let keep = |data: &str| KeepNode::new(&zk, "/k", data.to_owned());
    let first = keep("1").start();
    soon("it is there", first.ready()).await.unwrap();
    let second = keep("2").conflict(Conflict::Refuse).start();
    soon("it is taken over", second.ready()).await.unwrap();
    let is_taken =
        |state: &KeepState| matches!(state, KeepState::Taken { owner } if *owner == session);
    until_state(&first, "it waits", is_taken).await;
    let node = zk.get("/k").await.unwrap().unwrap();
    assert_eq!(
        (node.data.as_ref(), node.stat.version),
        (&b"2"[..], Version::from(0))
    );
    second.close().await;
    until_state(&first, "it is back", KeepState::is_kept).await;
    assert!(holds(&zk, "/k", "1").await);
    // One that is still being closed is in nobody's way.
    drop(first);
    let third = keep("3").conflict(Conflict::Refuse).start();
    until("it is there", async || {
        third.path().is_some() && holds(&zk, "/k", "3").await
    })
    .await;
    third.close().await;
    assert!(zk.exists("/k").await.unwrap().is_none());
}

#[tokio::test]
async fn those_who_steal_from_each_other_pause_ever_longer() {
    let world = World::start().await;
    for mode in [KeepMode::Ephemeral, KeepMode::Persistent] {
        let (zk, other) = (world.client().await, world.client().await);
        let path = format!("/{mode:?}");
        let mut stream = zk.watch_node(&path).await.unwrap();
        let steal = |zk: &Client, data: &str| {
            let keep = KeepNode::new(zk, &path, data.to_owned()).mode(mode);
            keep.conflict(Conflict::Steal).start()
        };
        let start = Instant::now();
        let _both = (steal(&zk, "1"), steal(&other, "2"));
        let mut writes = 0;
        while writes < 14 {
            match soon("they steal", stream.next()).await {
                Some(WatchItem::Event(event)) => {
                    // A theft is a deletion and a creation, or new data.
                    writes += u32::from(event.kind != EventType::NodeDeleted);
                }
                other => panic!("{other:?}"),
            }
        }
        // A creation, and two thefts or three at once. Then each pauses five times, from 25 ms on.
        assert!(start.elapsed() > Duration::from_millis(2 * (25 + 50 + 100 + 200)));
    }
}

#[tokio::test]
async fn creation_that_lost_its_answer_is_no_conflict() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    for mode in [
        KeepMode::Ephemeral,
        KeepMode::EphemeralSequential,
        KeepMode::Persistent,
    ] {
        let path = format!("/{mode:?}/k-");
        zk.ensure_path(&format!("/{mode:?}")).await.unwrap();
        // The answer that there is none passes, and a part of that to the creation.
        party.proxy.cut_after(Direction::ToClient, 30);
        let kept = KeepNode::new(&party, &path, "")
            .mode(mode)
            .conflict(Conflict::Refuse)
            .start();
        soon("it is there", kept.ready()).await.unwrap();
        until_children(&zk, &format!("/{mode:?}"), 1).await;
        kept.close().await;
        until_children(&zk, &format!("/{mode:?}"), 0).await;
    }
}

#[tokio::test]
async fn creation_that_lost_its_answer_is_not_taken_for_another_of_that_name() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    zk.ensure_path("/s").await.unwrap();
    let keep = || KeepNode::new(&party, "/s/k-", "").mode(KeepMode::EphemeralSequential);
    let first = keep().start();
    let path = soon("it is there", first.ready()).await;
    // Somewhere there is the answer to the creation.
    for bytes in (10..250).step_by(30) {
        party.proxy.cut_after(Direction::ToClient, bytes);
        let second = keep().start();
        let other = soon("it is there", second.ready()).await;
        assert_ne!(other, path);
        until_children(&zk, "/s", 2).await;
        party.proxy.heal();
        second.close().await;
        until_children(&zk, "/s", 1).await;
    }
    assert_eq!(first.path(), path);
}

#[tokio::test]
async fn closing_takes_nothing_whose_name_only_begins_the_same() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let other = KeepNode::new(&party, "/s/10", "").start();
    soon("it is there", other.ready()).await.unwrap();
    let before = zk.exists("/s/10").await.unwrap().unwrap();
    // The answer to the creation is still under way.
    party
        .proxy
        .delay(Direction::ToClient, Duration::from_millis(300));
    let kept = KeepNode::new(&party, "/s/1", "").mode(KeepMode::EphemeralSequential);
    let kept = kept.start();
    until_children(&zk, "/s", 2).await;
    kept.close().await;
    until_children(&zk, "/s", 1).await;
    let after = zk.exists("/s/10").await.unwrap().unwrap();
    assert_eq!(after.czxid, before.czxid);
}

#[tokio::test]
async fn it_is_gone_once_it_is_closed_though_its_creation_was_under_way() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    zk.ensure_path("/s").await.unwrap();
    party
        .proxy
        .delay(Direction::ToClient, Duration::from_millis(100));
    for mode in [
        KeepMode::Ephemeral,
        KeepMode::EphemeralSequential,
        KeepMode::Persistent,
    ] {
        let kept = KeepNode::new(&party, "/s/k-", "").mode(mode).start();
        until_children(&zk, "/s", 1).await;
        kept.close().await;
        assert!(children(&zk, "/s").await.is_empty(), "{mode:?}");
    }
}

#[tokio::test]
async fn path_without_a_name_is_refused() {
    let world = World::start().await;
    let zk = world.client().await;
    for mode in [KeepMode::Ephemeral, KeepMode::EphemeralSequential] {
        let kept = KeepNode::new(&zk, "/members/", "").mode(mode).start();
        let is_told = |state: &KeepState| matches!(state, KeepState::Troubled(error) if error.kind() == ErrorKind::BadArguments);
        until_state(&kept, "it is told", is_told).await;
        kept.close().await;
    }
    assert!(children(&zk, "/").await.is_empty());
}

#[tokio::test]
async fn whoever_writes_again_and_again_does_not_keep_the_data_out() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let kept = KeepNode::new(&zk, "/k", "own").start();
    soon("it is there", kept.ready()).await.unwrap();
    let mut states = other.observe("/k");
    let mut beat = interval(Duration::from_millis(20));
    let write = async {
        loop {
            beat.tick().await;
            other.set("/k", "x").await.unwrap();
        }
    };
    let look = async {
        // The first are written over with no pause, or with hardly one.
        for _ in 0..6 {
            while states.next().await.unwrap().unwrap().unwrap().data != "x" {}
            until_state(&kept, "it gives way", |state| {
                matches!(state, KeepState::Taken { .. })
            })
            .await;
            while states.next().await.unwrap().unwrap().unwrap().data != "own" {}
        }
    };
    tokio::select! {
        () = write => {}
        () = soon("the own data is there again and again", look) => {}
    }
    // The last write may still be under way.
    until("the own data is back", async || {
        holds(&zk, "/k", "own").await
    })
    .await;
}

#[tokio::test]
async fn starting_and_closing_leaves_nothing() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.ensure_path("/k").await.unwrap();
    for round in 0..30_u32 {
        let mode = [
            KeepMode::Ephemeral,
            KeepMode::EphemeralSequential,
            KeepMode::Persistent,
        ];
        let mode = mode[round as usize % 3];
        let kept = KeepNode::new(&zk, format!("/k/{round}-"), "")
            .mode(mode)
            .start();
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        if round % 2 == 0 {
            drop(kept);
        } else {
            kept.close().await;
        }
    }
    until_children(&zk, "/k", 0).await;
}

#[tokio::test]
async fn trouble_is_told_and_tried_on() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/k", "").acl(Acl::read_only()).await.unwrap();
    let kept = KeepNode::new(&zk, "/k/x", "").start();
    let is_told = |state: &KeepState| matches!(state, KeepState::Troubled(error) if error.kind() == ErrorKind::NoAuth);
    until_state(&kept, "it is told", is_told).await;
    zk.delete("/k").await.unwrap();
    soon("it is there", kept.ready()).await.unwrap();
    zk.close(Duration::from_secs(5)).await;
    until_state(&kept, "it is closed", |state| {
        matches!(state, KeepState::Closed)
    })
    .await;
}

async fn until_members(members: &Membership, wanted: &[&str]) {
    until(&format!("{wanted:?} are there"), async || {
        let now = members.now();
        now.iter()
            .map(|member| member.id.as_str())
            .collect::<Vec<_>>()
            == wanted
    })
    .await;
}

#[tokio::test]
async fn members_come_and_go() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    for format in [
        GroupFormat::Curator,
        GroupFormat::Party,
        GroupFormat::ShallowParty,
    ] {
        let path = format!("/{format:?}");
        let group = Group::new(&zk, &path).format(format);
        let mut members = group.members();
        soon("ready", members.ready()).await.unwrap();
        assert!(members.now().is_empty());
        let a = group.join("a", "1");
        until_members(&members, &["a"]).await;
        let b = Group::new(&party, &path).format(format).join("b-1", "2");
        until_members(&members, &["a", "b-1"]).await;
        let session = party.session_id();
        assert_eq!(members.now()[1].session, session);
        if format == GroupFormat::Curator {
            assert_eq!(members.now()[1].payload, "2");
            b.set_data("3");
            until("it says something else", async || {
                members.now()[1].payload == "3"
            })
            .await;
        }
        party.expire().await;
        until("it is back", async || {
            members.now().len() == 2 && members.now()[1].session == party.session_id()
        })
        .await;
        b.close().await;
        until_members(&members, &["a"]).await;
        // Foreign children are no members, where names tell. Once nobody is there the directory may go.
        if format != GroupFormat::Curator {
            zk.create(&format!("{path}/readme"), "x").await.unwrap();
        }
        drop(a);
        until_members(&members, &[]).await;
        zk.sync("/").await.unwrap();
        assert!(members.now().is_empty());
    }
}
