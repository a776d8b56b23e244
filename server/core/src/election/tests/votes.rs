//! How long is waited for better votes, which count, and who still has support.

use super::*;

#[test]
fn nobody_waits_when_every_voter_was_heard_or_is_out_of_reach() {
    let (mut election, mut out) = looking(2, config(THREE), 5, 1);
    election.handle(
        Time::ZERO,
        sid(1),
        &vote(PeerState::Looking, 2, 5, 1, 1),
        &mut out,
    );
    assert_eq!(decided(&out), None);
    election.set_unreachable(Time::ZERO, sid(3), &mut out);
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(2)));
    assert_eq!(election.state(), PeerState::Leading);

    let (mut election, mut out) = looking(2, config(THREE), 5, 1);
    election.handle(
        Time::ZERO,
        sid(1),
        &vote(PeerState::Looking, 1, 4, 1, 1),
        &mut out,
    );
    assert_eq!(decided(&out), None, "no quorum");
    election.handle(
        Time::ZERO,
        sid(3),
        &vote(PeerState::Looking, 2, 5, 1, 1),
        &mut out,
    );
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(2)));
}

#[test]
fn the_wait_is_short_among_servers_of_ours() {
    let (mut election, mut out) = looking(1, config(THREE), 0, 0);
    let ours = |notification| Notification {
        is_ours: true,
        ..notification
    };
    election.handle(
        Time::ZERO,
        sid(3),
        &ours(vote(PeerState::Looking, 3, 9, 0, 0)),
        &mut out,
    );
    election.handle(
        Time::ZERO,
        sid(2),
        &ours(vote(PeerState::Looking, 1, 0, 1, 0)),
        &mut out,
    );
    assert_eq!(election.next_deadline(), Some(Time::from_millis(50)));
    // A vote that is no better neither ends the wait nor makes it longer.
    election.handle(
        Time::from_millis(20),
        sid(2),
        &ours(vote(PeerState::Looking, 1, 0, 1, 0)),
        &mut out,
    );
    assert_eq!(election.next_deadline(), Some(Time::from_millis(50)));
}

#[test]
fn a_vote_that_came_just_before_the_start_counts() {
    let (mut election, mut out) = looking(1, config(THREE), 0, 0);
    for id in [2, 3] {
        election.handle(
            Time::ZERO,
            sid(id),
            &vote(PeerState::Looking, 3, 0, 1, 0),
            &mut out,
        );
    }
    assert_eq!(election.state(), PeerState::Following);
    out.clear();
    let late = Time::from_millis(5000);
    election.handle(
        late,
        sid(2),
        &vote(PeerState::Looking, 2, 7, 2, 1),
        &mut out,
    );
    assert_eq!(sent(&out), [(2, (1, 3, 0, 1, 0))]);
    out.clear();
    let initial = Vote::initial(sid(1), Zxid::new(7), Epoch::new(1));
    election.start(late, initial, &mut out);
    election.set_unreachable(late, sid(3), &mut out);
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(2)));

    // One that came long before may stand for nothing any more.
    election.handle(
        late,
        sid(2),
        &vote(PeerState::Looking, 2, 7, 3, 1),
        &mut out,
    );
    out.clear();
    let later = late + EARLY_MAX + Duration::from_millis(1);
    election.start(later, initial, &mut out);
    assert!(election.is_running() && election.round() == Round::new(3));
    assert!(sent(&out).iter().all(|(_, said)| said.1 == 1), "{out:?}");
}

#[test]
fn a_leader_whose_voters_look_for_another_has_no_support() {
    let (mut election, mut out) = looking(3, config(THREE), 0, 0);
    let mine = vote(PeerState::Looking, 3, 0, 1, 0);
    election.handle(Time::ZERO, sid(1), &mine, &mut out);
    election.set_unreachable(Time::ZERO, sid(2), &mut out);
    assert_eq!(election.state(), PeerState::Leading);
    assert!(election.has_support());
    // Late ones of the round, and those who follow already, mean nothing.
    election.handle(Time::ZERO, sid(1), &mine, &mut out);
    let follows = vote(PeerState::Following, 3, 0, 1, 0);
    election.handle(Time::ZERO, sid(1), &follows, &mut out);
    // A stranger to this election does not matter.
    let late = vote(PeerState::Looking, 2, 0, 9, 0);
    election.handle(Time::ZERO, sid(2), &late, &mut out);
    assert!(election.has_support());
    let next = vote(PeerState::Looking, 1, 0, 2, 0);
    election.handle(Time::ZERO, sid(1), &next, &mut out);
    assert!(!election.has_support());
}

/// Seen when three servers were started cold: the third was not there yet when the second had the vote
/// of the first and took the third for unreachable; the first turned to the third a moment later, and the
/// second waited for learners as long as it may.
#[test]
fn a_leader_whose_voters_turn_to_a_better_one_in_the_same_round_has_no_support() {
    let (mut election, mut out) = looking(2, config(THREE), 0, 0);
    let mine = vote(PeerState::Looking, 2, 0, 1, 0);
    election.handle(Time::ZERO, sid(1), &mine, &mut out);
    election.set_unreachable(Time::ZERO, sid(3), &mut out);
    assert_eq!(election.state(), PeerState::Leading);
    // What it said before it voted for this server is no change of mind.
    let before = vote(PeerState::Looking, 1, 0, 1, 0);
    election.handle(Time::ZERO, sid(1), &before, &mut out);
    assert!(election.has_support());
    let turned = vote(PeerState::Looking, 3, 0, 1, 0);
    election.handle(Time::ZERO, sid(1), &turned, &mut out);
    assert!(!election.has_support());
}

#[test]
fn a_server_without_weight_is_not_voted_for() {
    let text = format!("{THREE}group.1=1:2:3\nweight.3=0\nversion=0");
    let (mut election, mut out) = looking(1, config(&text), 0, 0);
    election.handle(
        Time::ZERO,
        sid(3),
        &vote(PeerState::Looking, 3, 9, 1, 0),
        &mut out,
    );
    election.handle(
        Time::ZERO,
        sid(2),
        &vote(PeerState::Looking, 2, 0, 1, 0),
        &mut out,
    );
    let last = sent(&out).last().copied();
    assert_eq!(last, Some((3, (0, 2, 0, 1, 0))));
}

#[test]
fn who_has_decided_in_this_round_has_voted_so() {
    for (round, is_counted) in [(1, true), (7, false)] {
        let (mut election, mut out) = looking(1, voters(5), 3, 1);
        let now = Time::ZERO;
        for id in [3, 4] {
            election.set_unreachable(now, sid(id), &mut out);
        }
        let best = vote(PeerState::Looking, 5, 9, 1, 1);
        election.handle(now, sid(5), &best, &mut out);
        assert_eq!(decided(&out), None, "two of five");
        let follows = vote(PeerState::Following, 5, 9, round, 1);
        election.handle(now, sid(2), &follows, &mut out);
        let leader = decided(&out).map(|vote| vote.leader);
        assert_eq!(leader, is_counted.then_some(sid(5)), "in round {round}");
    }
}

/// Whoever is elected in it may be known only to who asks, and gives up soon if nobody comes.
#[test]
fn votes_of_a_later_round_are_sent_again_as_soon_as_those_of_the_first() {
    let (mut election, mut out) = looking(2, voters(4), 0, 0);
    let mut last = Time::ZERO;
    for _ in 0..6 {
        last = election.next_deadline().unwrap();
        election.handle_deadline(last, &mut out);
    }
    let pause = |election: &Election| election.next_deadline().unwrap().since(last);
    assert!(pause(&election) > Duration::from_secs(5));
    let later = vote(PeerState::Looking, 4, 0, 2, 0);
    election.handle(last, sid(4), &later, &mut out);
    assert_eq!(pause(&election), Duration::from_millis(200));
}

/// It was told while it followed somebody, and may wait long to be told again.
#[test]
fn who_begins_to_look_is_told_once() {
    for (after, told) in [(199, 0), (200, 1)] {
        let (mut election, mut out) = looking(2, voters(3), 0, 0);
        let now = Time::ZERO + Duration::from_millis(after);
        let theirs = vote(PeerState::Looking, 1, 0, 1, 0);
        out.clear();
        for _ in 0..2 {
            election.handle(now, sid(1), &theirs, &mut out);
        }
        let own = (PeerState::Looking as i64, 2, 0, 1, 0);
        assert_eq!(sent(&out), vec![(1, own); told], "after {after} ms");
    }
}

#[test]
fn votes_are_sent_again_in_time_whatever_comes() {
    let (mut election, mut out) = looking(2, voters(3), 0, 0);
    let due = election.next_deadline();
    let theirs = vote(PeerState::Looking, 1, 0, 1, 0);
    for after in [50, 199] {
        let now = Time::ZERO + Duration::from_millis(after);
        election.handle(now, sid(1), &theirs, &mut out);
    }
    assert_eq!(election.next_deadline(), due);
}
