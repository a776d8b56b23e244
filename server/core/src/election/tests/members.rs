//! Who has no vote, is about to get one, or knows other members.

use super::*;

#[test]
fn an_observer_votes_for_nobody_and_joins_what_a_quorum_has() {
    let text = format!("{THREE}server.4=h:1:2:observer\nversion=0");
    let (mut election, mut out) = looking(4, config(&text), 3, 1);
    let nobody = (0, i64::MIN, i64::MIN, 1, i64::MIN);
    assert_eq!(sent(&out), [1, 2, 3].map(|to| (to, nobody)));
    election.handle(
        Time::ZERO,
        sid(3),
        &vote(PeerState::Leading, 3, 0, 6, 2),
        &mut out,
    );
    election.handle(
        Time::ZERO,
        sid(1),
        &vote(PeerState::Following, 3, 0, 6, 2),
        &mut out,
    );
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(3)));
    assert_eq!(election.state(), PeerState::Observing);
}

#[test]
fn another_member_list_is_told_of_once() {
    let (mut election, mut out) = looking(1, config(THREE), 0, 0);
    let with = |text: &str| Notification {
        config: Some(text.into()),
        ..vote(PeerState::Looking, 2, 0, 1, 0)
    };
    let mut reordered: Vec<&str> = THREE.lines().collect();
    reordered.reverse();
    election.handle(Time::ZERO, sid(2), &with(&reordered.join("\n")), &mut out);
    let notes = |out: &[ElectionOut]| {
        let is_note = |out: &&ElectionOut| matches!(out, ElectionOut::Noted(_));
        out.iter().filter(is_note).count()
    };
    assert_eq!(notes(&out), 0);
    for _ in 0..2 {
        election.handle(
            Time::ZERO,
            sid(2),
            &with("server.1=h:1:2\nversion=0"),
            &mut out,
        );
    }
    election.handle(Time::ZERO, sid(3), &with("nonsense"), &mut out);
    assert_eq!(notes(&out), 2);
}

#[test]
fn who_hears_of_proposed_members_votes_for_one_of_them_and_hands_it_on() {
    let proposed = config(&format!("{THREE}server.4=h4:1:2:participant\nversion=7"));
    let mut election = Election::new(ElectionOptions {
        adopts_configs: true,
        ..ElectionOptions::new(sid(1), config(THREE))
    });
    let mut out = Vec::new();
    let initial = Vote::initial(sid(1), Zxid::new(3), Epoch::new(0));
    election.start(Time::ZERO, initial, &mut out);
    out.clear();
    let better = |proposed| Notification {
        config: Some(THREE.into()),
        is_ours: true,
        proposed,
        ..vote(PeerState::Looking, 4, 9, 1, 0)
    };
    election.handle(Time::ZERO, sid(4), &better(None), &mut out);
    assert_eq!(out, [], "a stranger, who knows as much of the members");
    let text = proposed.text().clone();
    election.handle(Time::ZERO, sid(4), &better(Some(text.clone())), &mut out);
    assert!(out.contains(&ElectionOut::ProposedConfig(proposed)));
    let told = out.iter().filter_map(|out| match out {
        ElectionOut::Send { to, notification } => {
            Some((to.get(), notification.leader, notification.proposed.clone()))
        }
        ElectionOut::Decided(_)
        | ElectionOut::Noted(_)
        | ElectionOut::YoungerConfig(_)
        | ElectionOut::ProposedConfig(_) => None,
    });
    let expected = [2, 3, 4].map(|to| (to, sid(4), Some(text.clone())));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn who_hears_that_it_is_about_to_vote_claims_to_lead_if_it_knows_most() {
    // It followed a leader of a later epoch than any that is here.
    let claim = (0, 4, 5, 1, 2);
    let told = sent(&told_of_its_vote(5, 2));
    assert_eq!(told, [1, 2, 3].map(|to| (to, claim)));
    let told = sent(&told_of_its_vote(9, 1));
    let expected = [1, 2, 3].map(|to| (to, (0, 3, 9, 1, 1)));
    assert!(
        told.ends_with(&expected),
        "3 has its vote already: {told:?}"
    );
}

#[test]
fn who_hears_of_a_vote_to_come_waits_a_moment_for_it() {
    let proposed = config(&format!("{THREE}server.4=h4:1:2:participant\nversion=7"));
    let mut election = Election::new(ElectionOptions {
        adopts_configs: true,
        ..ElectionOptions::new(sid(1), config(THREE))
    });
    let mut out = Vec::new();
    let now = Time::ZERO;
    election.start(
        now,
        Vote::initial(sid(1), Zxid::new(3), Epoch::new(0)),
        &mut out,
    );
    election.set_unreachable(now, sid(3), &mut out);
    let news = |leader, zxid, epoch| Notification {
        config: Some(THREE.into()),
        is_ours: true,
        proposed: Some(proposed.text().clone()),
        ..vote(PeerState::Looking, leader, zxid, 1, epoch)
    };
    election.handle(now, sid(2), &news(2, 9, 0), &mut out);
    assert_eq!(decided(&out), None, "1 and 2 are a quorum for 2");
    election.handle(now, sid(4), &news(4, 5, 1), &mut out);
    election.handle(now, sid(2), &news(4, 5, 1), &mut out);
    assert_eq!(decided(&out).map(|vote| vote.leader), Some(sid(4)));
}

#[test]
fn one_without_a_vote_tells_who_looks_among_former_members_and_not_too_often() {
    let with = |version: u8| format!("{THREE}server.4=h4:1:2:observer\nversion={version}");
    let (now, mut out) = (Time::ZERO, Vec::new());
    let mut election = Election::new(ElectionOptions {
        adopts_configs: true,
        ..ElectionOptions::new(sid(4), config(&with(5)))
    });
    election.follow(sid(3), Zxid::new(9), &mut out);
    let mut heard = |at: Time, version: u8| {
        let notification = Notification {
            config: Some(with(version).into()),
            ..vote(PeerState::Looking, 1, 0, 1, 0)
        };
        let mut out = Vec::new();
        election.handle(at, sid(1), &notification, &mut out);
        sent(&out)
            .into_iter()
            .map(|(to, said)| (to, said.1))
            .collect::<Vec<_>>()
    };
    assert_eq!(heard(now, 5), [], "it knows the members");
    assert_eq!(heard(now, 4), [(1, 3)]);
    assert_eq!(heard(now, 4), [], "a moment ago");
    assert_eq!(
        heard(now + Duration::from_millis(200), 4),
        [(1, 3)],
        "it asks again"
    );
}

/// Server 4, no member, and what it hears: a vote for 3, from 1, that tells of its own vote to come.
fn told_of_its_vote(zxid: i64, epoch: i32) -> Vec<ElectionOut> {
    let proposed = config(&format!("{THREE}server.4=h4:1:2:participant\nversion=7"));
    let mut election = Election::new(ElectionOptions {
        adopts_configs: true,
        ..ElectionOptions::new(sid(4), config(THREE))
    });
    let mut out = Vec::new();
    let claim = Vote::initial(sid(4), Zxid::new(zxid), Epoch::new(epoch));
    election.start(Time::ZERO, claim, &mut out);
    let for_nobody = |(_, said): &(i64, Said)| said.1 == i64::MIN;
    assert!(sent(&out).iter().all(for_nobody));
    out.clear();
    let news = Notification {
        config: Some(THREE.into()),
        is_ours: true,
        proposed: Some(proposed.text().clone()),
        ..vote(PeerState::Looking, 3, 9, 1, 1)
    };
    election.handle(Time::ZERO, sid(1), &news, &mut out);
    out
}
