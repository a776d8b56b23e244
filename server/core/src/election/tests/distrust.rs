//! Leaders that could not be followed.

use super::*;

#[test]
fn a_leader_that_could_not_be_followed_is_passed_over_if_the_others_are_a_quorum() {
    let (mut election, mut out) = looking_without_3(0, 10_000);
    let best = vote(PeerState::Looking, 3, 0, 2, 0);
    election.handle(Time::ZERO, sid(3), &best, &mut out);
    let other = vote(PeerState::Looking, 1, 0, 2, 0);
    election.handle(Time::ZERO, sid(1), &other, &mut out);
    election.handle_deadline(Time::from_millis(200), &mut out);
    assert_eq!(decided(&out), None);
    let agreed = vote(PeerState::Looking, 2, 0, 2, 0);
    election.handle(Time::from_millis(300), sid(1), &agreed, &mut out);
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(2)));

    // Its time is over.
    let (mut election, mut out) = looking_without_3(0, 10_000);
    let late = Time::from_millis(10_000);
    for id in [1, 3] {
        election.handle(late, sid(id), &best, &mut out);
    }
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(3)));
}

#[test]
fn a_leader_that_could_not_be_followed_is_voted_for_if_the_others_are_no_quorum() {
    let (mut election, mut out) = looking_without_3(0, 10_000);
    let best = vote(PeerState::Looking, 3, 0, 2, 0);
    election.handle(Time::ZERO, sid(3), &best, &mut out);
    out.clear();
    let due = election.next_deadline().unwrap();
    election.handle_deadline(due, &mut out);
    let votes = sent(&out);
    assert!(votes.iter().all(|(_, said)| said.1 == 3), "{votes:?}");
    let due = election.next_deadline().unwrap();
    election.handle_deadline(due, &mut out);
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(3)));
}

#[test]
fn a_leader_that_could_not_be_followed_is_joined_when_others_follow_it() {
    let (mut election, mut out) = looking_without_3(500, 10_000);
    let follows = vote(PeerState::Following, 3, 0, 1, 0);
    let leads = vote(PeerState::Leading, 3, 0, 1, 0);
    for (at, is_joined) in [(0, false), (499, false), (500, true)] {
        let now = Time::from_millis(at);
        election.handle(now, sid(1), &follows, &mut out);
        election.handle(now, sid(3), &leads, &mut out);
        assert_eq!(decided(&out).is_some(), is_joined, "after {at} ms");
    }
    election.trust_all();
    out.clear();
    let initial = Vote::initial(sid(2), Zxid::ZERO, Epoch::default());
    election.start(Time::from_millis(600), initial, &mut out);
    for id in [1, 3] {
        let theirs = vote(PeerState::Looking, 3, 0, 3, 0);
        election.handle(Time::from_millis(600), sid(id), &theirs, &mut out);
    }
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(3)));
}

#[test]
fn a_leader_that_refuses_is_passed_over_the_second_time() {
    let (mut election, mut out) = looking(2, config(THREE), 0, 0);
    for (round, is_elected) in [(1, true), (2, true), (3, false)] {
        out.clear();
        for id in [1, 3] {
            let theirs = vote(PeerState::Looking, 3, 0, round, 0);
            election.handle(Time::ZERO, sid(id), &theirs, &mut out);
        }
        assert_eq!(decided(&out).is_some(), is_elected, "round {round}");
        election.leader_failed(Failed::Refused, Time::ZERO, Time::from_millis(1));
        let initial = Vote::initial(sid(2), Zxid::ZERO, Epoch::default());
        election.start(Time::ZERO, initial, &mut out);
    }
}

/// Server 2 of three, which could not follow 3, when it looks again.
fn looking_without_3(join_from: u64, until: u64) -> (Election, Vec<ElectionOut>) {
    let (mut election, mut out) = looking(2, config(THREE), 0, 0);
    for id in [1, 3] {
        let theirs = vote(PeerState::Looking, 3, 0, 1, 0);
        election.handle(Time::ZERO, sid(id), &theirs, &mut out);
    }
    assert_eq!(election.state(), PeerState::Following);
    let (join_from, until) = (Time::from_millis(join_from), Time::from_millis(until));
    election.leader_failed(Failed::Silent, join_from, until);
    let initial = Vote::initial(sid(2), Zxid::ZERO, Epoch::default());
    out.clear();
    election.start(Time::ZERO, initial, &mut out);
    (election, out)
}
