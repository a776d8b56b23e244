//! Members among themselves: what they agree on, and how they get there.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use zk_proto::request::{MultiOp, MultiRequest, Request, SyncRequest};
use zk_proto::{Epoch, ErrorCode, ServerId, SessionId, Zxid};

use super::world::{CONN, World, create, create_ephemeral, zxid};
use crate::conn::handshake::ServingMode;
use crate::peer::*;
use crate::session::SessionTimeout;
use crate::time::Time;
use crate::tree::TxnResult;
use crate::wire::quorum::{LearnerInfo, LearnerKind, LearnerPacket};
use crate::wire::txn::{Op, Txn};

fn sync() -> Request {
    Request::Sync(SyncRequest {
        path: Some("/s".into()),
    })
}

/// Three members that follow 3, with a session at 1 that has created a znode.
fn three() -> (World, SessionId) {
    let mut world = World::started(3, 0);
    world.pass(1000);
    assert_eq!(world.leader(), 3);
    let session = world.open(1);
    world.create(1, session, "/a");
    world.assert_equal();
    (world, session)
}

#[test]
fn three_members_elect_the_highest_and_serve() {
    let mut world = World::started(3, 0);
    world.pass(1000);
    assert_eq!(world.leader(), 3);
    for id in 1..=3 {
        assert_eq!(world.members[&id].mode, ServingMode::Full, "{id}");
        assert_eq!(world.status(id).current_epoch, Epoch::new(1));
        assert_eq!(world.status(id).leader, Some(ServerId::new(3)));
    }
    let (a, b) = (world.open(1), world.open(3));
    world.create(1, a, "/a");
    world.create(3, b, "/b");
    world.assert_equal();
    assert_eq!(world.members[&1].answers.len(), 1);
    assert_eq!(world.members[&2].tree.applied(), zxid(1, 4));
    assert!(world.members[&2].tree.get("/b").is_some());
}

#[test]
fn one_of_three_does_not_lead() {
    let mut world = World::new(3, 0);
    world.start(3);
    world.pass(60_000);
    assert_eq!(world.status(3).role, Role::Looking);
    assert_eq!(world.members[&3].mode, ServingMode::NotServing);
}

#[test]
fn loss_of_the_leader_loses_nothing_that_was_acknowledged() {
    let (mut world, session) = three();
    world.kill(3);
    world.pass(1000);
    assert_eq!(world.leader(), 2);
    assert_eq!(world.status(1).current_epoch, Epoch::new(2));
    world.create(1, session, "/b");
    world.start(3);
    world.pass(2000);
    assert_eq!(world.leader(), 2);
    assert_eq!(world.last_plan(3), SyncPlan::Diff);
    world.assert_equal();
    assert!(world.members[&3].tree.get("/b").is_some());
}

#[test]
fn two_of_three_stopped_and_one_stops_to_serve() {
    let (mut world, _) = three();
    world.kill(1);
    world.kill(2);
    world.pass(1500);
    assert_eq!(world.status(3).role, Role::Looking);
    assert_eq!(world.members[&3].mode, ServingMode::NotServing);
    let left = Transition::Left(LeaveReason::QuorumLost);
    assert!(world.members[&3].transitions.contains(&left));
}

/// The old leader has a proposal that nobody else has: it is cut away.
#[test]
fn uncommitted_end_of_an_old_leader_is_cut_away() {
    let (mut world, session) = three();
    world.isolate(3);
    world.ask(3, session, 8, &create("/lost"));
    let at_three = world.open_at_isolated(3);
    assert!(at_three, "it is logged there");
    world.pass(10_000);
    assert_eq!(world.leader(), 2);
    let session = world.open(1);
    world.create(1, session, "/b");
    world.cut.clear();
    world.pass(61_000);
    assert_eq!(world.last_plan(3), SyncPlan::Trunc(zxid(1, 2)));
    assert!(world.members[&3].tree.get("/lost").is_none());
    assert!(world.members[&3].tree.get("/b").is_some());
    world.assert_equal();
}

/// The same, when nothing was committed since.
#[test]
fn uncommitted_end_is_cut_away_before_the_new_epoch_has_a_transaction() {
    let (mut world, session) = three();
    world.isolate(3);
    world.ask(3, session, 8, &create("/lost"));
    world.open_at_isolated(3);
    world.kill(3);
    world.pass(5000);
    assert_eq!(world.leader(), 2);
    world.cut.clear();
    world.start(3);
    world.pass(2000);
    assert_eq!(world.last_plan(3), SyncPlan::Trunc(zxid(1, 2)));
    assert_eq!(world.leader(), 2);
    world.assert_equal();
}

/// What one of a quorum has survives, though nobody was told.
#[test]
fn logged_by_one_of_the_next_quorum_becomes_history() {
    let (mut world, session) = three();
    world.members.get_mut(&3).unwrap().is_disk_slow = true;
    world.members.get_mut(&1).unwrap().is_disk_slow = true;
    world.members.get_mut(&2).unwrap().is_disk_slow = true;
    world.ask(1, session, 8, &create("/kept"));
    world.settle();
    assert_eq!(world.members[&1].answers.len(), 1, "/a");
    world.kill(3);
    world.release_disk(1);
    world.release_disk(2);
    world.pass(10_000);
    assert_eq!(world.leader(), 2);
    world.assert_equal();
    assert!(world.members[&1].tree.get("/kept").is_some());
}

#[test]
fn learner_behind_memory_is_synchronised_from_the_log() {
    let mut world = World::new(3, 0);
    world.adjust = |options| options.history_count_max = 2;
    for id in 1..=3 {
        world.start(id);
    }
    world.pass(1000);
    let session = world.open(2);
    world.create(2, session, "/a");
    world.kill(1);
    for path in ["/b", "/c", "/d", "/e"] {
        world.create(2, session, path);
    }
    world.start(1);
    world.pass(1000);
    assert_eq!(world.last_plan(1), SyncPlan::Diff);
    world.assert_equal();
    assert_eq!(world.members[&1].log.len(), 6);
}

#[test]
fn learner_behind_the_log_gets_the_tree() {
    let mut world = World::new(3, 0);
    world.adjust = |options| {
        options.history_count_max = 2;
        options.log_sync_bytes_max = 10;
    };
    for id in 1..=3 {
        world.start(id);
    }
    world.pass(1000);
    let session = world.open(2);
    world.create(2, session, "/a");
    world.kill(1);
    for path in ["/b", "/c", "/d", "/e"] {
        world.create(2, session, path);
    }
    world.start(1);
    world.pass(1000);
    assert_eq!(world.last_plan(1), SyncPlan::Snap(zxid(1, 6)));
    world.create(2, session, "/f");
    world.assert_equal();
    // And what it has on disk is the same.
    world.kill(1);
    world.start(1);
    world.pass(1000);
    assert_eq!(world.last_plan(1), SyncPlan::Diff);
    world.assert_equal();
}

/// Whoever computed a digest answers for it; a tree that came while it changed need not have it.
#[test]
fn digests_of_others_are_no_fault_of_this_server() {
    let mut world = World::new(3, 0);
    world.adjust = |options| {
        options.history_count_max = 2;
        options.log_sync_bytes_max = 10;
    };
    for id in 1..=3 {
        world.start(id);
    }
    world.pass(1000);
    let session = world.open(2);
    world.create(2, session, "/a");
    world.kill(1);
    world.create(2, session, "/b");
    world.start(1);
    world.pass(1000);
    assert_eq!(world.last_plan(1), SyncPlan::Diff);
    let last = world.members[&1].mismatches.last();
    assert_eq!(last, Some(&(zxid(1, 3), Mismatch::Divergence)));
    world.create(2, session, "/c");
    let told = |world: &World, id: i64| world.members[&id].mismatches.last().copied();
    let leader = world.leader();
    for id in 1..=3 {
        let meaning = if id == leader {
            Mismatch::OwnFault
        } else {
            Mismatch::Divergence
        };
        assert_eq!(told(&world, id), Some((zxid(1, 4), meaning)), "{id}");
    }
}

/// Of two that are left, one needs the tree: the other cannot lead without its promise.
#[test]
fn learner_that_asks_for_the_tree_counts_for_the_quorum() {
    let (mut world, _) = three();
    world.want_tree(1);
    world.kill(3);
    world.pass(1000);
    assert_eq!(world.leader(), 2);
    assert!(matches!(world.last_plan(1), SyncPlan::Snap(_)));
    world.assert_equal();
}

#[test]
fn member_that_lost_its_disk_comes_back() {
    let (mut world, session) = three();
    world.kill(1);
    world.wipe(1);
    world.create(3, session, "/b");
    world.start(1);
    world.pass(1000);
    world.assert_equal();
    assert_eq!(world.leader(), 3);
}

#[test]
fn learner_acknowledges_its_history_only_when_it_is_on_disk() {
    let (mut world, session) = three();
    world.kill(1);
    world.kill(2);
    world.pass(2000);
    world.members.get_mut(&1).unwrap().is_disk_slow = true;
    world.start(1);
    world.pass(4000);
    assert_eq!(
        world.status(3).phase,
        Phase::Discovery,
        "no promise on disk"
    );
    world.release_disk(1);
    world.pass(2000);
    assert_eq!(world.leader(), 3);
    world.create(3, session, "/b");
    world.assert_equal();
}

#[test]
fn commit_needs_the_disks_of_a_quorum() {
    let (mut world, session) = three();
    for id in [1, 3] {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    world.kill(2);
    world.ask(1, session, 9, &create("/b"));
    world.settle();
    assert!(world.members[&3].tree.get("/b").is_none());
    world.release_disk(3);
    assert!(world.members[&3].tree.get("/b").is_none(), "one of three");
    world.release_disk(1);
    assert!(world.members[&3].tree.get("/b").is_some());
    assert!(world.members[&1].tree.get("/b").is_some());
}

/// A quorum suffices: the leader's own disk may be the slow one.
#[test]
fn leader_commits_before_its_own_disk_when_others_have_it() {
    let (mut world, session) = three();
    world.members.get_mut(&3).unwrap().is_disk_slow = true;
    world.create(1, session, "/b");
    assert!(world.members[&3].tree.get("/b").is_some());
    assert!(world.status(3).durable < world.status(3).committed);
    world.release_disk(3);
    world.assert_equal();
}

#[test]
fn sync_through_a_follower_comes_behind_what_was_proposed() {
    let (mut world, session) = three();
    world.ask(1, session, 6, &sync());
    world.settle();
    assert_eq!(world.members[&1].synced.len(), 1, "nothing to wait for");
    for id in 1..=3 {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    world.ask(1, session, 7, &create("/b"));
    world.ask(1, session, 8, &sync());
    world.ask(1, session, 9, &create("/c"));
    world.settle();
    assert_eq!(world.members[&1].synced.len(), 1);
    for id in 1..=3 {
        world.release_disk(id);
    }
    let member = &world.members[&1];
    assert_eq!(member.synced.len(), 2);
    assert_eq!(member.synced[1].origin.xid.get(), 8);
    assert_eq!(member.answers.len(), 3, "/a, /b and /c");
    assert!(
        member
            .answers
            .iter()
            .all(|(_, result)| !matches!(result, TxnResult::Failed(_)))
    );
}

/// In proposals it is a create; who answers knows better, wherever the client is.
#[test]
fn create2_in_a_multi_is_answered_as_what_it_is() {
    let (mut world, session) = three();
    let leaders = world.open(3);
    for (id, session) in [(1, session), (3, leaders)] {
        let part = |name: &str| {
            let Request::Create(create) = create(format!("/{name}-{id}")) else {
                unreachable!("that is what it makes");
            };
            create
        };
        let ops = vec![
            MultiOp::Create(part("a")),
            MultiOp::Create2(part("b")),
            MultiOp::Create(part("c")),
        ];
        world.ask(id, session, 6, &Request::Multi(MultiRequest { ops }));
        world.settle();
        let Some(Txn::Multi(ops)) = &world.members[&id].asked else {
            panic!("{:?}", world.members[&id].asked);
        };
        let is_create2 = ops.iter().map(|op| matches!(op, Op::Create2(_)));
        assert_eq!(is_create2.collect::<Vec<_>>(), [false, true, false], "{id}");
    }
    assert!(world.members[&2].asked.is_none());
    world.assert_equal();
}

#[test]
fn leader_that_is_shut_down_hands_over_at_once() {
    let (mut world, session) = three();
    world.ask(1, session, 6, &create("/b"));
    world.feed(3, Event::ShutdownRequested);
    let start = world.now;
    world.settle();
    assert!(world.members[&3].is_stopped);
    assert!(
        world.members[&1].tree.get("/b").is_some() || world.members[&3].tree.get("/b").is_none()
    );
    world.kill(3);
    world.pass(10);
    assert_eq!(world.leader(), 2);
    world.create(1, session, "/c");
    assert!(world.members[&1].tree.get("/c").is_some());
    assert!(world.now - start <= 10);
    world.assert_equal();
}

#[test]
fn observer_follows_without_a_vote() {
    let mut world = World::started(3, 1);
    world.pass(1000);
    assert_eq!(world.leader(), 3);
    assert_eq!(world.status(4).role, Role::Observing);
    assert_eq!(world.members[&4].mode, ServingMode::Full);
    let session = world.open(4);
    world.create(4, session, "/a");
    world.assert_equal();
    assert_eq!(world.status(3).synced_observers, 1);
    world.kill(1);
    world.kill(2);
    world.pass(3000);
    assert_eq!(
        world.status(3).role,
        Role::Looking,
        "an observer makes no quorum"
    );
    world.start(1);
    world.pass(61_000);
    assert_eq!(world.status(4).phase, Phase::Broadcast);
    world.create(4, session, "/b");
    world.assert_equal();
}

#[test]
fn sessions_at_followers_expire_at_the_leader_only_without_signs() {
    let (mut world, session) = three();
    let silent = world.open(2);
    for _ in 0..20 {
        world.pass(500);
        let heard = Event::SessionHeard {
            session,
            timeout: SessionTimeout::from_millis(4000),
            at: Time::from_millis(world.now),
        };
        world.feed(1, heard);
    }
    let sessions: BTreeSet<_> = world.members[&2]
        .tree
        .sessions()
        .map(|(id, _)| id)
        .collect();
    assert!(sessions.contains(&session) && !sessions.contains(&silent));
    world.assert_equal();
}

#[test]
fn session_is_resumed_at_another_member_and_has_moved_from_the_old_one() {
    let (mut world, session) = three();
    let claim = Event::SessionClaimed {
        conn: CONN,
        session,
        timeout: SessionTimeout::from_millis(4000),
    };
    world.feed(2, claim);
    world.settle();
    assert_eq!(world.members[&2].claims, [(session, true)]);
    world.create(2, session, "/b");
    world.create(1, session, "/c");
    let (_, result) = world.members[&1].answers.last().unwrap();
    assert_eq!(*result, TxnResult::Failed(ErrorCode::SessionMoved));
    assert!(world.members[&3].tree.get("/c").is_none());
    let gone = Event::SessionClaimed {
        conn: CONN,
        session: SessionId::new(77),
        timeout: SessionTimeout::from_millis(4000),
    };
    world.feed(3, gone.clone());
    world.feed(1, gone);
    world.settle();
    assert!(!world.members[&1].claims[0].1 && !world.members[&3].claims[0].1);
}

/// What it asked for at the old one comes before the answer, and so before what it asks for at the new
/// one, even under the same number.
#[test]
fn session_is_resumed_at_an_observer_behind_what_it_asked_for_elsewhere() {
    let mut world = World::started(3, 1);
    world.pass(1000);
    let session = world.open(1);
    for id in 1..=3 {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    world.ask(1, session, 5, &create("/before"));
    world.settle();
    let claim = Event::SessionClaimed {
        conn: CONN,
        session,
        timeout: SessionTimeout::from_millis(4000),
    };
    world.feed(4, claim.clone());
    world.settle();
    assert_eq!(world.members[&4].claims, []);
    world.release_disk(1);
    world.release_disk(3);
    assert!(world.members[&4].tree.get("/before").is_some());
    assert_eq!(world.members[&4].claims, [(session, true)]);
    world.feed(4, claim);
    world.settle();
    assert_eq!(world.members[&4].claims.len(), 2, "nothing to wait for");
    world.create(4, session, "/behind");
    assert_eq!(world.members[&4].answers.len(), 1);
    assert!(world.members[&4].tree.get("/behind").is_some());
}

#[test]
fn new_leader_gives_every_session_its_full_timeout() {
    let (mut world, session) = three();
    world.pass(3000);
    world.kill(3);
    world.pass(4000);
    assert_eq!(world.leader(), 2);
    assert_eq!(world.members[&2].tree.sessions().count(), 1);
    world.pass(6000);
    assert_eq!(world.members[&2].tree.sessions().count(), 0, "{session}");
}

/// A crash between the transactions of an epoch and its file.
#[test]
fn epoch_of_the_log_is_taken_over_after_a_crash() {
    let (mut world, session) = three();
    world.kill(1);
    world.members.get_mut(&1).unwrap().epochs.current = Epoch::new(0);
    world.start(1);
    world.settle();
    assert_eq!(world.members[&1].epochs.current, Epoch::new(1));
    world.pass(1000);
    world.create(1, session, "/b");
    world.assert_equal();
}

#[test]
fn isolated_leader_acknowledges_nothing() {
    let (mut world, _) = three();
    let own = world.open(3);
    world.isolate(3);
    world.ask(3, own, 5, &create("/b"));
    world.pass(20_000);
    assert_eq!(world.leader(), 2);
    assert!(world.members[&3].answers.is_empty());
    assert_eq!(world.members[&3].mode, ServingMode::NotServing);
    let session = world.open(1);
    world.create(1, session, "/c");
    assert!(world.members[&2].tree.get("/c").is_some());
}

/// Its port for votes is open and the other one is not.
#[test]
fn leader_that_is_heard_and_cannot_be_followed_makes_way() {
    for stalled in 1..=3 {
        let (mut world, _) = three();
        world.stalled.insert(3);
        // Beside the leader, or nobody else, or what would be the next one.
        if stalled < 3 {
            world.cut.insert((stalled, 3));
        }
        world.pass(60_000);
        assert_eq!(world.leader(), 2);
        assert_eq!(world.members[&3].mode, ServingMode::NotServing);
        let session = world.open(1);
        world.create(1, session, "/b");
        world.stalled.clear();
        world.cut.clear();
        world.pass(60_000);
        assert_eq!(world.leader(), 2);
        assert_eq!(world.status(3).role, Role::Following);
        world.assert_equal();
    }
}

/// It cannot be followed by one, which must not keep the other from it.
#[test]
fn leader_that_one_cannot_follow_is_followed_by_the_other_and_then_by_both() {
    let (mut world, _) = three();
    world.cut.insert((1, 3));
    world.disconnect(1, 3);
    world.pass(10_000);
    assert_eq!(world.leader(), 3);
    assert_ne!(world.status(1).phase, Phase::Broadcast);
    world.cut.clear();
    world.pass(60_000);
    assert_eq!(world.status(1).leader, Some(ServerId::new(3)));
    world.assert_equal();
}

/// ZOOKEEPER-1675: it may have been replaced without knowing it.
#[test]
fn isolated_leader_answers_no_sync() {
    let (mut world, _) = three();
    let own = world.open(3);
    world.ask(3, own, 5, &sync());
    assert_eq!(world.members[&3].synced.len(), 0, "nobody was asked yet");
    world.settle();
    assert_eq!(world.members[&3].synced.len(), 1);
    // The others are cut off, and nobody has noticed.
    for other in [1, 2] {
        world.members.get_mut(&other).unwrap().peer = None;
    }
    world.ask(3, own, 6, &sync());
    world.settle();
    assert_eq!(world.status(3).phase, Phase::Broadcast);
    assert_eq!(world.members[&3].synced.len(), 1);
}

/// A sync is answered before what is proposed behind it, whatever comes first.
#[test]
fn sync_is_confirmed_by_the_commit_of_what_comes_behind_it() {
    let (mut world, _) = three();
    let own = world.open(3);
    world.ask(3, own, 5, &sync());
    world.ask(3, own, 6, &create("/b"));
    let mut order = Vec::new();
    for _ in 0..100 {
        let member = &world.members[&3];
        order.push((member.synced.len(), member.tree.get("/b").is_some()));
        world.step();
    }
    assert!(!order.contains(&(0, true)));
    assert_eq!(order.last(), Some(&(1, true)));
}

/// Rule M3: what is committed between NEWLEADER and UPTODATE comes behind UPTODATE.
#[test]
fn commits_are_held_back_until_a_learner_follows() {
    let (mut world, session) = three();
    world.kill(1);
    world.members.get_mut(&1).unwrap().is_disk_slow = true;
    // Its promise is on disk: it is synchronised, and waits for its epoch to be written.
    world.members.get_mut(&1).unwrap().epochs.current = Epoch::new(0);
    world.members.get_mut(&1).unwrap().log.clear();
    world.start(1);
    world.settle();
    assert_eq!(world.status(3).pending_syncs, 1);
    let own = world.open(2);
    world.create(2, own, "/b");
    assert!(world.members[&1].tree.get("/b").is_none());
    world.release_disk(1);
    world.pass(10);
    assert!(world.members[&1].tree.get("/b").is_some());
    world.create(1, session, "/c");
    world.assert_equal();
}

#[test]
fn epoch_without_a_number_left_ends_in_order() {
    let mut world = World::new(3, 0);
    for id in 1..=3 {
        let member = world.members.get_mut(&id).unwrap();
        member.epochs.accepted = Epoch::new(1);
        member.epochs.current = Epoch::new(1);
        world.start(id);
    }
    world.pass(1000);
    let session = world.open(1);
    world.exhaust_epoch(3);
    world.create(1, session, "/last");
    assert!(
        world.members[&3]
            .transitions
            .contains(&Transition::Left(LeaveReason::EpochExhausted))
    );
    world.pass(500);
    let leader = world.leader();
    assert_eq!(world.status(leader).current_epoch, Epoch::new(3));
    world.create(1, session, "/first");
    assert!(world.members[&2].tree.get("/first").is_some());
    world.assert_equal();
}

/// A member that promised an epoch to a leader that then died.
#[test]
fn leader_makes_way_for_whoever_promised_a_later_epoch() {
    for id in [1, 4] {
        let mut world = World::started(3, 1);
        world.pass(1000);
        let session = world.open(2);
        world.kill(id);
        world.members.get_mut(&id).unwrap().epochs.accepted = Epoch::new(4);
        world.start(id);
        world.pass(1000);
        let leader = world.leader();
        assert_eq!(world.status(leader).current_epoch, Epoch::new(5), "{id}");
        assert_eq!(world.status(id).phase, Phase::Broadcast, "{id}");
        world.create(2, session, "/b");
        world.assert_equal();
    }
}

/// What it says is of another ensemble, or damaged: the epochs of this one are not used up by it.
#[test]
fn leader_does_not_make_way_for_an_epoch_out_of_reach() {
    let mut world = World::started(3, 1);
    world.pass(1000);
    let session = world.open(2);
    let (leader, epoch) = (world.leader(), world.status(2).current_epoch);
    let link = LinkId::new(NonZeroU64::MAX);
    let packet = LearnerPacket::Info {
        kind: LearnerKind::Observer,
        accepted: Epoch::new((1 << 30) - 1),
        info: LearnerInfo::ours(ServerId::new(4), Zxid::ZERO),
    };
    world.feed(leader, Event::LearnerUp { link });
    world.feed(leader, Event::LearnerPacket { link, packet });
    world.feed(leader, Event::LearnerDown { link });
    world.pass(1000);
    assert_eq!(
        (world.leader(), world.status(2).current_epoch),
        (leader, epoch)
    );
    world.create(2, session, "/b");
    world.assert_equal();
}

fn open_local(world: &mut World, id: i64) -> SessionId {
    world.request_session(id);
    world.settle();
    world.members.get_mut(&id).unwrap().opened.pop().unwrap()
}

fn with_local_sessions(adjust: fn(&mut MemberOptions)) -> World {
    let mut world = World::new(3, 0);
    world.adjust = adjust;
    for id in 1..=3 {
        world.start(id);
    }
    world.pass(1000);
    world
}

#[test]
fn local_session_writes_without_a_transaction_of_its_own() {
    let mut world = with_local_sessions(|options| options.local_sessions = true);
    for id in [1, 3] {
        let before = world.members[&2].tree.applied();
        let session = open_local(&mut world, id);
        assert_eq!(world.members[&2].tree.applied(), before);
        world.ask(id, session, 5, &create(format!("/a{id}")));
        world.ask(id, session, 6, &create_ephemeral(format!("/e{id}")));
        world.settle();
        let results: Vec<TxnResult> = world
            .members
            .get_mut(&id)
            .unwrap()
            .answers
            .drain(..)
            .map(|(_, result)| result)
            .collect();
        assert!(matches!(results[0], TxnResult::Done(_)), "{results:?}");
        assert_eq!(
            results[1],
            TxnResult::Failed(ErrorCode::EphemeralOnLocalSession)
        );
        world.pass(6000);
        assert_eq!(world.members[&id].ended, [session]);
        world.assert_equal();
    }
}

#[test]
fn local_session_becomes_global_for_an_ephemeral_znode() {
    let mut world = with_local_sessions(|options| {
        options.local_sessions = true;
        options.local_sessions_upgrading = true;
    });
    for id in [1, 3] {
        let session = open_local(&mut world, id);
        let path = format!("/e{id}");
        world.ask(id, session, 6, &create_ephemeral(path.clone()));
        world.settle();
        assert!(world.members[&2].tree.get(&path).is_some());
        assert!(
            world.members[&2]
                .tree
                .sessions()
                .any(|(one, _)| one == session)
        );
        world.pass(6000);
        assert!(
            world.members[&2].tree.get(&path).is_none(),
            "it ran out as all do"
        );
        assert_eq!(world.members[&id].ended, []);
        world.assert_equal();
    }
}

#[test]
fn member_without_a_leader_serves_reads_to_local_sessions() {
    let mut world = World::new(3, 0);
    world.adjust = |options| {
        options.read_only = true;
        options.local_sessions = true;
    };
    world.start(1);
    world.pass(1900);
    assert_eq!(world.members[&1].mode, ServingMode::NotServing);
    world.pass(200);
    assert_eq!(world.members[&1].mode, ServingMode::ReadOnly);
    let session = open_local(&mut world, 1);
    let claim = |session| Event::SessionClaimed {
        conn: CONN,
        session,
        timeout: SessionTimeout::from_millis(4000),
    };
    world.feed(1, claim(session));
    world.feed(1, claim(SessionId::new(7)));
    let claims = [(session, true), (SessionId::new(7), false)];
    assert_eq!(world.members[&1].claims, claims);
    world.pass(6000);
    assert_eq!(world.members[&1].ended, [session]);
    world.start(2);
    world.pass(61_000);
    assert_eq!(world.members[&1].mode, ServingMode::Full);
}
