//! Kept znodes and groups.

use std::time::Duration;

use zk_client::{Acl, ErrorKind, SessionId};
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
        zk.set(&path, "x").await.unwrap();
        until("it is right again", async || {
            zk.get(&path)
                .await
                .unwrap()
                .is_some_and(|node| node.data == "4")
        })
        .await;
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
