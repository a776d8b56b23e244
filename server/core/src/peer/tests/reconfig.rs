//! Members that come and go while the others serve.

use std::sync::Arc;

use zk_proto::{Epoch, ErrorCode, ServerId, SessionId, Zxid};

use super::world::{World, member_line};
use crate::conn::handshake::ServingMode;
use crate::ensemble::EnsembleConfig;
use crate::peer::*;
use crate::tree::{CONFIG_PATH, TxnResult};

/// Three members that may be changed and follow 3, with a session at 1.
fn three() -> (World, SessionId) {
    let mut world = World::changeable(3, 0);
    world.pass(1000);
    assert_eq!(world.leader(), 3);
    let session = world.open(1);
    (world, session)
}

fn joiner(id: i64, role: &str) -> String {
    member_line(id, role).trim().to_owned()
}

/// Who the members are, as one of them knows, and what is about to come.
fn members(world: &World, id: i64) -> (Vec<i64>, Option<Vec<i64>>) {
    let configs = world.members[&id].configs.as_ref().unwrap();
    let ids = |config: &EnsembleConfig| config.members().map(|one| one.id.get()).collect();
    let next = configs.next().map(|next| ids(next));
    (ids(configs.current()), next)
}

fn version(world: &World, id: i64) -> Zxid {
    let configs = world.members[&id].configs.as_ref().unwrap();
    configs.current().version()
}

fn assert_members(world: &World, of: &[i64], expected: &[i64]) {
    for id in of {
        assert_eq!(members(world, *id), (expected.to_vec(), None), "of {id}");
        let tree = &world.members[id].tree;
        let configs = world.members[id].configs.as_ref().unwrap();
        let shown = tree.get(CONFIG_PATH).unwrap().data();
        let text = configs.current().text().as_bytes();
        assert_eq!(shown, Some(&**text), "of {id}");
    }
}

fn last_error(world: &World, id: i64) -> Option<ErrorCode> {
    world.members[&id].answers.last().unwrap().1.error()
}

/// A crash between the log and the files: whom it may have to follow must be dialled.
#[test]
fn members_that_only_the_log_knows_are_told_at_the_start() {
    let (mut world, session) = three();
    world.reconfig(1, session, &joiner(2, "observer"), "");
    let young = version(&world, 1);
    world.kill(1);
    let files = Arc::clone(&world.config);
    let member = world.members.get_mut(&1).unwrap();
    member.config = Some(files);
    member.configs = None;
    world.start(1);
    let configs = world.members[&1].configs.as_ref().unwrap();
    assert_eq!(configs.next().unwrap().version(), young);
    world.pass(1000);
    assert_eq!(version(&world, 1), young);
}

#[test]
fn the_first_leader_gives_the_members_a_version() {
    let (mut world, session) = three();
    for id in 1..=3 {
        assert_eq!(version(&world, id), super::world::zxid(1, 0), "{id}");
    }
    world.kill(3);
    world.pass(2000);
    world.create(1, session, "/a");
    assert_eq!(
        version(&world, 1),
        super::world::zxid(1, 0),
        "once and for all"
    );
}

#[test]
fn without_the_switch_versions_and_notifications_are_as_ever() {
    let mut world = World::started(3, 0);
    world.pass(1000);
    for member in world.members.values() {
        assert_eq!(member.configs, None);
    }
    let session = world.open(1);
    world.reconfig(1, session, "", "1");
    assert_eq!(last_error(&world, 1), Some(ErrorCode::ReconfigDisabled));
}

#[test]
fn a_stranger_follows_without_a_vote_and_becomes_a_member() {
    let (mut world, session) = three();
    world.add_stranger(4);
    world.pass(3000);
    assert_eq!(world.status(4).role, Role::Following);
    assert_eq!(world.status(3).synced_non_voting, 1);
    assert_members(&world, &[4], &[1, 2, 3]);
    let before = world.status(4).leader;
    world.reconfig(1, session, &joiner(4, "participant"), "");
    assert_eq!(last_error(&world, 1), None);
    assert_members(&world, &[1, 2, 3, 4], &[1, 2, 3, 4]);
    assert_eq!(world.status(4).leader, before);
    assert_eq!(world.status(3).synced_non_voting, 0);
    // Three of four are needed.
    world.kill(1);
    world.kill(2);
    world.pass(10_000);
    assert_eq!(world.status(3).role, Role::Looking);
    world.start(1);
    world.pass(3000);
    let leader = world.leader();
    let again = world.open(leader);
    world.create(leader, again, "/a");
    world.assert_equal();
}

#[test]
fn a_removed_follower_follows_on_without_a_vote() {
    let (mut world, session) = three();
    world.reconfig(1, session, "", "2");
    assert_members(&world, &[1, 2, 3], &[1, 3]);
    world.pass(5000);
    assert_eq!(world.leader(), 3);
    assert_eq!(world.status(2).role, Role::Following);
    world.create(1, session, "/a");
    world.assert_equal();
    // It counts for nothing.
    world.kill(1);
    world.pass(10_000);
    assert_eq!(world.status(3).role, Role::Looking);
    world.start(1);
    world.pass(5000);
    assert_eq!(world.members[&2].mode, ServingMode::Full);
    world.assert_equal();
}

#[test]
fn a_voter_that_is_removed_after_a_promise_comes_back() {
    let (mut world, session) = three();
    world.kill(2);
    world.members.get_mut(&2).unwrap().epochs.accepted = Epoch::new(4);
    world.reconfig(1, session, "", "2");
    assert_members(&world, &[1, 3], &[1, 3]);
    world.start(2);
    world.pass(1000);
    assert_eq!(world.status(2).phase, Phase::Broadcast);
    world.reconfig(1, session, &joiner(2, "participant"), "");
    assert_eq!(last_error(&world, 1), None);
    assert_members(&world, &[1, 2, 3], &[1, 2, 3]);
    world.create(1, session, "/a");
    world.assert_equal();
}

#[test]
fn a_leader_that_is_removed_hands_over_without_an_election() {
    let (mut world, session) = three();
    for member in world.members.values_mut() {
        member.transitions.clear();
    }
    world.reconfig(1, session, "", "3");
    assert_eq!(last_error(&world, 1), None, "who asked is answered");
    world.pass(2000);
    assert_members(&world, &[1, 2, 3], &[1, 2]);
    let leader = world.leader();
    assert!(leader < 3);
    let looked = |id: &i64| {
        let transitions = world.members[id].transitions.iter();
        let elected = transitions.filter(|one| matches!(one, Transition::Elected { .. }));
        elected.count()
    };
    assert_eq!([1, 2, 3].map(|id| looked(&id)), [1, 1, 1]);
    assert_eq!(world.status(3).role, Role::Following);
    world.create(1, session, "/a");
    world.assert_equal();
    assert_eq!(world.status(leader).synced_non_voting, 1);
}

#[test]
fn a_leader_that_is_removed_while_its_heir_dies_is_succeeded_all_the_same() {
    let (mut world, session) = three();
    world.add_stranger(4);
    world.pass(3000);
    world.reconfig(1, session, &joiner(4, "participant"), "");
    world.reconfig(1, session, "", "3");
    let heir = world.status(1).leader;
    for id in [2, 4] {
        if heir == Some(ServerId::new(id)) {
            world.kill(id);
        }
    }
    world.pass(30_000);
    let leader = world.leader();
    assert_ne!(leader, 3);
    let again = world.open(leader);
    world.create(leader, again, "/a");
    world.assert_equal();
}

#[test]
fn an_observer_votes_and_a_voter_observes_from_then_on() {
    let mut world = World::changeable(3, 1);
    world.pass(1000);
    assert_eq!((world.leader(), world.status(4).role), (3, Role::Observing));
    let session = world.open(1);
    world.reconfig(1, session, &joiner(4, "participant"), "");
    world.pass(1000);
    assert_eq!(world.status(4).role, Role::Following);
    assert_eq!(world.leader(), 3);
    world.create(1, session, "/a");
    world.assert_equal();
    world.reconfig(1, session, &joiner(4, "observer"), "");
    world.pass(1000);
    assert_eq!(world.status(4).role, Role::Observing);
    world.create(1, session, "/b");
    world.assert_equal();
    assert_eq!(world.leader(), 3);
}

#[test]
fn from_the_proposal_to_the_commit_both_quorums_are_needed() {
    let (mut world, _) = three();
    for id in [4, 5] {
        world.add_stranger(id);
    }
    world.pass(3000);
    let session = world.open(3);
    let old = world.status(3).committed;
    // 1, 2 and 3 are a quorum of themselves, and none of 3, 4 and 5.
    for id in [4, 5] {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    let joining = format!("{},{}", joiner(4, "participant"), joiner(5, "participant"));
    world.reconfig(3, session, &joining, "1,2");
    world.create(3, session, "/a");
    world.reconfig(3, session, "", "5");
    assert_eq!(world.status(3).committed, old);
    assert_eq!(members(&world, 1), (vec![1, 2, 3], Some(vec![3, 4, 5])));
    for id in [1, 2] {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    world.release_disk(4);
    assert_eq!(world.status(3).committed.get(), old.get() + 3);
    assert_eq!(last_error(&world, 3), Some(ErrorCode::ReconfigInProgress));
    world.release_disk(5);
    assert_members(&world, &[3, 4, 5], &[3, 4, 5]);
    // From here on the old ones do not matter.
    world.create(3, session, "/b");
    assert!(world.members[&4].tree.get("/b").is_some());
    for id in [1, 2] {
        world.release_disk(id);
    }
    world.pass(2000);
    assert_eq!(world.leader(), 3);
    world.assert_equal();
}

#[test]
fn a_change_that_all_have_logged_outlives_a_crash_of_all() {
    for loses_files in [false, true] {
        let (mut world, _) = three();
        world.add_stranger(4);
        world.pass(3000);
        let session = world.open(3);
        for id in 1..=4 {
            world.members.get_mut(&id).unwrap().is_disk_slow = true;
        }
        let before = world.status(3).committed;
        world.reconfig(3, session, &joiner(4, "participant"), "1");
        assert_eq!(world.status(3).committed, before);
        for id in 1..=4 {
            let member = world.members.get_mut(&id).unwrap();
            // On disk, and nobody heard of it.
            member.store_pending();
            if loses_files && id < 4 {
                member.config = None;
            }
        }
        for id in 1..=4 {
            world.kill(id);
        }
        for id in 1..=4 {
            world.members.get_mut(&id).unwrap().is_disk_slow = false;
            world.start(id);
        }
        world.pass(20_000);
        assert_members(&world, &[1, 2, 3, 4], &[2, 3, 4]);
        let leader = world.leader();
        assert!(leader > 1);
        let again = world.open(leader);
        world.create(leader, again, "/a");
        world.assert_equal();
    }
}

#[test]
fn a_change_that_only_a_lost_leader_has_is_cut_away() {
    let (mut world, _) = three();
    let session = world.open(3);
    world.isolate(3);
    world.reconfig(3, session, "", "1");
    assert_eq!(members(&world, 3), (vec![1, 2, 3], Some(vec![2, 3])));
    world.pass(20_000);
    assert_ne!(world.leader(), 3);
    world.cut.clear();
    world.pass(60_000);
    let leader = world.leader();
    assert_members(&world, &[1, 2, 3], &[1, 2, 3]);
    let session = world.open(leader);
    world.reconfig(leader, session, "", "3");
    world.pass(2000);
    assert_members(&world, &[1, 2, 3], &[1, 2]);
    world.assert_equal();
}

#[test]
fn one_that_was_away_hears_of_the_change_while_it_looks() {
    let (mut world, session) = three();
    world.kill(2);
    world.add_stranger(4);
    world.pass(3000);
    world.reconfig(1, session, &joiner(4, "participant"), "2");
    assert_members(&world, &[1, 3, 4], &[1, 3, 4]);
    world.start(2);
    world.pass(5000);
    assert_members(&world, &[2], &[1, 3, 4]);
    assert_eq!(world.status(2).role, Role::Following);
    world.assert_equal();
}

#[test]
fn what_is_refused_changes_nothing() {
    let (mut world, session) = three();
    let before = members(&world, 3);
    world.reconfig(1, session, "", "2,3");
    assert_eq!(last_error(&world, 1), Some(ErrorCode::BadArguments));
    let far = format!("{},{}", joiner(8, "participant"), joiner(9, "participant"));
    world.reconfig(1, session, &far, "1,2");
    assert_eq!(last_error(&world, 1), Some(ErrorCode::NewConfigNoQuorum));
    world.pass(2000);
    assert_eq!(members(&world, 3), before);
    let answer = &world.members[&1].answers.last().unwrap().1;
    assert!(matches!(answer, TxnResult::Failed(_)));
}

#[test]
fn one_that_is_about_to_vote_leads_if_nobody_else_knows_as_much() {
    for knowing in [&[1, 2][..], &[2]] {
        let (mut world, _) = three();
        world.add_stranger(4);
        world.pass(3000);
        let session = world.open(3);
        for id in [1, 2, 4] {
            world.members.get_mut(&id).unwrap().is_disk_slow = true;
        }
        let unknowing = |id: &i64| !knowing.contains(id);
        world.stalled = [1, 2].into_iter().filter(unknowing).collect();
        world.reconfig(3, session, &joiner(4, "participant"), "");
        world.stalled = [1, 2].into();
        world.create(3, session, "/behind");
        for id in [1, 2, 4] {
            world.members.get_mut(&id).unwrap().store_pending();
        }
        for id in 1..=4 {
            world.kill(id);
        }
        world.stalled.clear();
        // Without 3, which is gone for good, all others are needed.
        for id in [1, 2, 4] {
            world.members.get_mut(&id).unwrap().is_disk_slow = false;
            world.start(id);
        }
        world.pass(60_000);
        assert_eq!(world.leader(), 4, "{knowing:?}");
        assert_members(&world, &[1, 2, 4], &[1, 2, 3, 4]);
        assert!(world.members[&1].tree.get("/behind").is_some());
        let again = world.open(4);
        world.create(4, again, "/a");
        world.assert_equal();
    }
}

#[test]
fn one_that_has_only_heard_of_its_vote_leads_if_it_followed_a_later_leader() {
    let (mut world, _) = three();
    world.add_stranger(4);
    world.pass(3000);
    let session = world.open(3);
    // The change that gives 4 its vote is on the disk of 2, and nowhere else.
    for id in [1, 2, 3] {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    world.stalled = [1, 4].into();
    world.reconfig(3, session, &joiner(4, "participant"), "");
    world.members.get_mut(&2).unwrap().store_pending();
    for id in 1..=4 {
        world.kill(id);
    }
    world.stalled.clear();
    // 1 promises the next epoch to 3, and 4 follows in it. 3 is gone for good then.
    for id in [1, 3, 4] {
        world.members.get_mut(&id).unwrap().is_disk_slow = false;
        world.start(id);
    }
    while world.members[&4].epochs.current < Epoch::new(2) {
        if world.members[&1].epochs.accepted == Epoch::new(2) {
            world.members.get_mut(&1).unwrap().is_disk_slow = true;
        }
        world.step();
        if world.is_idle() {
            world.pass_unsettled(100);
        }
    }
    let current = |world: &World, id| world.members[&id].epochs.current.get();
    assert_eq!([1, 2, 4].map(|id| current(&world, id)), [1, 1, 2]);
    for id in [3, 1] {
        world.kill(id);
    }
    for id in [1, 2] {
        world.members.get_mut(&id).unwrap().is_disk_slow = false;
        world.start(id);
    }
    world.pass(60_000);
    let led = |one: &Transition| matches!(one, Transition::Established(_));
    let transitions = &world.members[&4].transitions;
    let at = transitions.iter().position(led).unwrap();
    let is_left = |one: &&Transition| matches!(one, Transition::Left(_));
    let left = transitions[at..].iter().find(is_left);
    let expected = Transition::Left(LeaveReason::Reconfigured);
    assert_eq!(left, Some(&expected), "4 has no vote");
    assert!(world.leader() < 3);
    assert_members(&world, &[1, 2, 4], &[1, 2, 3]);
    let leader = world.leader();
    let again = world.open(leader);
    world.create(leader, again, "/a");
    world.assert_equal();
}

#[test]
fn an_observer_that_is_about_to_vote_gives_its_vote_when_it_is_needed() {
    let mut world = World::changeable(3, 1);
    world.pass(1000);
    let session = world.open(3);
    for id in [1, 2] {
        world.members.get_mut(&id).unwrap().is_disk_slow = true;
    }
    world.reconfig(3, session, &joiner(4, "participant"), "");
    for id in [1, 2] {
        world.members.get_mut(&id).unwrap().store_pending();
    }
    assert_eq!(
        members(&world, 4),
        (vec![1, 2, 3, 4], None),
        "it heard of none"
    );
    for id in 1..=3 {
        world.kill(id);
    }
    for id in [1, 2] {
        world.members.get_mut(&id).unwrap().is_disk_slow = false;
        world.start(id);
    }
    world.pass(60_000);
    assert!(world.leader() < 3);
    assert_members(&world, &[1, 2, 4], &[1, 2, 3, 4]);
    assert_eq!(world.status(4).role, Role::Following);
    world.assert_equal();
}

#[test]
fn a_change_that_was_not_logged_is_forgotten_with_its_leader() {
    let (mut world, session) = three();
    world.kill(2);
    world.create(1, session, "/a");
    world.start(2);
    world.members.get_mut(&2).unwrap().is_disk_slow = true;
    world.pass(900);
    let status = world.status(2);
    assert_eq!(
        (status.role, status.phase),
        (Role::Following, Phase::Synchronization)
    );
    world.members.get_mut(&1).unwrap().is_disk_slow = true;
    world.reconfig(1, session, "", "2");
    assert_eq!(members(&world, 2), (vec![1, 2, 3], Some(vec![1, 3])));
    world.kill(3);
    world.kill(1);
    world.members.get_mut(&1).unwrap().is_disk_slow = false;
    world.start(1);
    world.release_disk(2);
    world.pass(10_000);
    assert_members(&world, &[2], &[1, 2, 3]);
    assert!(world.leader() < 3);
}
