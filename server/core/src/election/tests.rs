//! Laws of votes, captured elections, and elections among machines over links that delay.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const THREE: &str = "server.1=127.0.0.1:22101:22111:participant\n\
                     server.2=127.0.0.1:22102:22112:participant\n\
                     server.3=127.0.0.1:22103:22113:participant\n";

fn sid(id: i64) -> ServerId {
    ServerId::new(id)
}

fn config(text: &str) -> Arc<EnsembleConfig> {
    Arc::new(EnsembleConfig::parse(text).unwrap())
}

fn voters(count: i64) -> Arc<EnsembleConfig> {
    let line = |id| format!("server.{id}=h{id}:2888:3888:participant\n");
    let text: String = (1..=count).map(line).collect();
    config(&text)
}

fn number(value: &Value) -> i64 {
    match value.as_str() {
        Some(hex) => u64::from_str_radix(hex.trim_start_matches("0x"), 16)
            .unwrap()
            .cast_signed(),
        None => value.as_i64().unwrap(),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// State, leader, zxid, round and peer epoch.
type Said = (i64, i64, i64, i64, i64);

fn said(notification: &Notification) -> Said {
    let state = notification.state.map_or(-1, |state| state as i64);
    let Notification {
        leader,
        zxid,
        round,
        peer_epoch,
        ..
    } = notification;
    (state, leader.get(), zxid.get(), round.get(), *peer_epoch)
}

fn fields(value: &Value) -> Said {
    (
        number(&value["state"]),
        number(&value["leader"]),
        number(&value["zxid"]),
        number(&value["electionEpoch"]),
        number(&value["peerEpoch"]),
    )
}

fn sent(out: &[ElectionOut]) -> Vec<(i64, Said)> {
    let one = |out: &ElectionOut| match out {
        ElectionOut::Send { to, notification } => Some((to.get(), said(notification))),
        ElectionOut::Decided(_)
        | ElectionOut::Noted(_)
        | ElectionOut::YoungerConfig(_)
        | ElectionOut::ProposedConfig(_) => None,
    };
    out.iter().filter_map(one).collect()
}

fn decided(out: &[ElectionOut]) -> Option<Vote> {
    out.iter().find_map(|out| match out {
        ElectionOut::Decided(vote) => Some(*vote),
        ElectionOut::Send { .. }
        | ElectionOut::Noted(_)
        | ElectionOut::YoungerConfig(_)
        | ElectionOut::ProposedConfig(_) => None,
    })
}

fn vectors(file: &str) -> Vec<Value> {
    let path = format!("{}/vectors/quorum/{file}", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "vectors are files")]
    let json = std::fs::read(path).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn looking(
    me: i64,
    config: Arc<EnsembleConfig>,
    zxid: i64,
    epoch: i32,
) -> (Election, Vec<ElectionOut>) {
    let mut election = Election::new(ElectionOptions::new(sid(me), config));
    let initial = Vote::initial(sid(me), Zxid::new(zxid), Epoch::new(epoch));
    let mut out = Vec::new();
    election.start(Time::ZERO, initial, &mut out);
    (election, out)
}

fn vote(state: PeerState, leader: i64, zxid: i64, round: i64, peer_epoch: i64) -> Notification {
    Notification {
        state: Some(state),
        leader: sid(leader),
        zxid: Zxid::new(zxid),
        round: Round::new(round),
        peer_epoch,
        version: 2,
        config: None,
        is_ours: false,
        proposed: None,
    }
}

#[test]
fn captured_notifications_and_initial_messages_are_read_and_written_the_same() {
    use crate::wire::election::{InitialMessage, Reading};
    let mut count = 0;
    for file in [
        "01-election-startup.json",
        "03-election-rejoin.json",
        "04-election-leader-change.json",
    ] {
        for message in vectors(file) {
            let bytes = hex(message["hex"].as_str().unwrap());
            match message["kind"].as_str().unwrap() {
                "notification" => {
                    let notification = Notification::decode(&bytes[4..]).unwrap();
                    assert_eq!(said(&notification), fields(&message["decoded"]));
                    assert_eq!(notification.to_frame(), bytes, "{}", message["name"]);
                    count += 1;
                }
                "initial" => {
                    let Ok(Reading::Done(initial)) = InitialMessage::read(&bytes) else {
                        panic!("{}", message["name"]);
                    };
                    assert_eq!(initial.to_bytes(), bytes);
                    assert_eq!(initial.sid.get(), number(&message["decoded"]["sid"]));
                    count += 1;
                }
                _ => {}
            }
        }
    }
    assert!(count > 30, "{count}");
}

/// Our machines in place of each server of a capture: fed what it received, they say what it said.
#[test]
fn captured_elections_go_the_same_way() {
    for (file, zxid, epoch, elections) in [
        ("01-election-startup.json", 0, 0, 1),
        ("04-election-leader-change.json", 0x3_0000_0002, 3, 2),
    ] {
        let messages = vectors(file);
        let notifications: Vec<_> = messages
            .iter()
            .filter(|message| message["kind"] == "notification")
            .map(|message| {
                let bytes = hex(message["hex"].as_str().unwrap());
                let decoded = Notification::decode(&bytes[4..]).unwrap();
                let (from, to) = (number(&message["from"]), number(&message["to"]));
                (from, to, message["t"].as_f64().unwrap(), decoded)
            })
            .collect();
        let config = config(notifications[0].3.config.as_ref().unwrap());
        for member in config.members() {
            let me = member.id.get();
            let first = notifications.iter().find(|(from, ..)| *from == me);
            let Some((_, _, start, _)) = first else {
                continue;
            };
            let (mut election, mut out) = looking(me, Arc::clone(&config), zxid, epoch);
            let at = |t: f64| Time::ZERO + Duration::from_secs_f64((t - start).max(0.0));
            for _ in 1..elections {
                out.clear();
                let initial = Vote::initial(sid(me), Zxid::new(zxid), Epoch::new(epoch));
                election.start(Time::ZERO, initial, &mut out);
            }
            for (from, to, t, notification) in &notifications {
                while let Some(due) = election.next_deadline().filter(|due| *due <= at(*t)) {
                    election.handle_deadline(due, &mut out);
                }
                if *to == me {
                    election.handle(at(*t), sid(*from), notification, &mut out);
                }
                if election.state() != PeerState::Looking
                    && let Some(epoch) = notifications.iter().find_map(|(from, .., said)| {
                        (*from == me && said.state != Some(PeerState::Looking))
                            .then_some(said.peer_epoch)
                    })
                {
                    // What it told after it was synced.
                    election.set_synced_epoch(Epoch::new(i32::try_from(epoch).unwrap()));
                }
                if *from == me {
                    let said = (*to, said(notification));
                    let mut ours = sent(&out).into_iter();
                    assert!(
                        ours.any(|ours| ours == said),
                        "{file} {me}: {said:?} not in {out:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn scenarios_end_as_they_do_at_the_reference() {
    let mut count = 0;
    for case in vectors("22-fle-scenarios.json") {
        let name = case["name"].as_str().unwrap();
        let config = config(case["config"].as_str().unwrap());
        let me = &case["self"];
        let epoch = i32::try_from(number(&me["currentEpoch"])).unwrap();
        let (mut election, mut out) = looking(
            number(&me["sid"]),
            Arc::clone(&config),
            number(&me["lastZxid"]),
            epoch,
        );
        assert_eq!(election.round().get(), number(&me["logicalClock"]));
        out.clear();
        let (expect, mut now) = (&case["expect"], Time::ZERO);
        for input in case["inputs"].as_array().unwrap() {
            now = Time::from_millis(input["atMs"].as_u64().unwrap_or(0));
            let frame = hex(input["hex"].as_str().unwrap());
            if let Some(notification) = Notification::decode(&frame[4..]) {
                let from = sid(number(&input["from"]));
                election.handle(now, from, &notification, &mut out);
            }
        }
        if let Some(output) = expect["output"].as_array() {
            let wanted: Vec<_> = output
                .iter()
                .flat_map(|one| [2, 3].map(|to| (to, fields(&one["toEachVoter"]))))
                .collect();
            assert_eq!(sent(&out), wanted, "{name}");
        }
        if let Some(times) = expect["notificationsToEachVoterAtMs"].as_array() {
            for time in &times[1..] {
                let due = election.next_deadline().unwrap();
                assert_eq!(due.as_millis(), time.as_u64().unwrap(), "{name}");
                election.handle_deadline(due, &mut out);
                assert_eq!(sent(&std::mem::take(&mut out)).len(), 2, "{name}");
            }
            continue;
        }
        if let Some(wait) = expect["decisionAfterMs"].as_u64().filter(|wait| *wait > 0) {
            assert_eq!(decided(&out), None, "{name}");
            let due = election.next_deadline().unwrap();
            assert_eq!(due, now + Duration::from_millis(wait), "{name}");
            election.handle_deadline(due, &mut out);
        }
        match expect["state"].as_str().unwrap() {
            "LOOKING" => assert!(election.is_running(), "{name}"),
            "FOLLOWING" => {
                let leader = number(&expect["leader"]);
                assert_eq!(
                    decided(&out).map(|vote| vote.leader.get()),
                    Some(leader),
                    "{name}"
                );
                assert_eq!(election.state(), PeerState::Following, "{name}");
            }
            other => panic!("{other}"),
        }
        if let Some(vote) = expect.get("voteAfterwards") {
            let ours = election.vote().unwrap();
            assert_eq!(ours.zxid.get(), number(&vote["zxid"]), "{name}");
            assert_eq!(ours.round.get(), number(&vote["electionEpoch"]), "{name}");
            assert_eq!(ours.peer_epoch, number(&vote["peerEpoch"]), "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn a_settled_server_answers_as_the_reference_does() {
    let mut count = 0;
    for case in vectors("21-election-probes.json") {
        let name = case["name"].as_str().unwrap();
        let Some(frame) = case["send"].as_array().and_then(|sent| sent.get(1)) else {
            continue;
        };
        let frame = frame.as_str().unwrap();
        let initial = case["send"][0].as_str().unwrap();
        if frame.len() <= 8 || !frame.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            continue;
        }
        let from = if name.starts_with("bare") { 0 } else { 16 };
        let from = number(&Value::from(&initial[from..from + 16]));
        // Server 2 of five follows server 3.
        let (mut election, mut out) = looking(2, voters(5), 0, 0);
        for id in [1, 3] {
            election.handle(
                Time::ZERO,
                sid(id),
                &vote(PeerState::Looking, 3, 0, 1, 0),
                &mut out,
            );
        }
        election.handle_deadline(Time::from_millis(200), &mut out);
        assert_eq!(election.state(), PeerState::Following);
        election.set_synced_epoch(Epoch::new(1));
        out.clear();
        if let Some(notification) = Notification::decode(&hex(frame)[4..]) {
            election.handle(Time::from_millis(201), sid(from), &notification, &mut out);
        }
        let answers = sent(&out);
        let reply = &case["expect"]["reply"];
        if reply.is_null() {
            assert_eq!(answers, [], "{name}");
        } else {
            let [(to, (state, leader, _, round, peer_epoch))] = answers[..] else {
                panic!("{name}: {answers:?}");
            };
            assert_eq!((to, state, leader), (from, 1, 3), "{name}");
            assert_eq!((round, peer_epoch), (1, 1), "{name}");
        }
        assert_eq!(election.round(), Round::new(1), "{name}");
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

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

fn any_vote() -> impl Strategy<Value = Vote> {
    (1i64..6, 0i64..3, 0i64..3, 1i64..3).prop_map(|(leader, zxid, peer_epoch, round)| Vote {
        leader: sid(leader),
        zxid: Zxid::new(zxid),
        round: Round::new(round),
        peer_epoch,
    })
}

/// Machines over links that deliver in order, each at its own pace; only the latest to each waits.
struct Net {
    config: Arc<EnsembleConfig>,
    elections: BTreeMap<ServerId, Election>,
    claims: BTreeMap<ServerId, Vote>,
    links: BTreeMap<(ServerId, ServerId), VecDeque<Notification>>,
    now: Time,
    random: u64,
    decided: BTreeMap<ServerId, Vote>,
}

impl Net {
    /// Servers that have had up to so many elections before, with these zxids and epochs.
    fn new(count: i64, seed: u64, elections: u64, claims: &[(i64, i32)]) -> Self {
        let config = voters(count);
        let new = |id| {
            let options = ElectionOptions::new(sid(id), voters(count));
            (sid(id), Election::new(options))
        };
        let claim = |(id, &(zxid, epoch)): (i64, &(i64, i32))| {
            let vote = Vote::initial(sid(id), Zxid::new(zxid), Epoch::new(epoch));
            (sid(id), vote)
        };
        let mut net = Self {
            config,
            elections: (1..=count).map(new).collect(),
            claims: (1..=count).zip(claims).map(claim).collect(),
            links: BTreeMap::new(),
            now: Time::ZERO,
            random: seed | 1,
            decided: BTreeMap::new(),
        };
        for id in (1..=count).map(sid) {
            for _ in 0..net.draw(elections) {
                let election = net.elections.get_mut(&id).unwrap();
                election.start(net.now, net.claims[&id], &mut Vec::new());
            }
            net.start(id);
        }
        net
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn start(&mut self, id: ServerId) {
        let (mut out, now, claim) = (Vec::new(), self.now, self.claims[&id]);
        self.decided.remove(&id);
        self.elections
            .get_mut(&id)
            .unwrap()
            .start(now, claim, &mut out);
        self.carry_out(id, out);
    }

    fn carry_out(&mut self, from: ServerId, out: Vec<ElectionOut>) {
        for out in out {
            match out {
                ElectionOut::Send { to, notification } => {
                    let link = self.links.entry((from, to)).or_default();
                    // One is on its way, one waits.
                    link.truncate(1);
                    link.push_back(notification);
                }
                ElectionOut::Decided(vote) => {
                    self.decided.insert(from, vote);
                }
                ElectionOut::Noted(_)
                | ElectionOut::YoungerConfig(_)
                | ElectionOut::ProposedConfig(_) => panic!("{out:?}"),
            }
        }
    }

    /// The leader that a quorum has, itself among them.
    fn leader(&self) -> Option<ServerId> {
        let mut candidates = self.decided.values().map(|vote| vote.leader);
        candidates.find(|leader| {
            let followers = self
                .decided
                .iter()
                .filter(|(_, vote)| vote.leader == *leader);
            let followers: Vec<_> = followers.map(|(id, _)| *id).collect();
            followers.contains(leader) && self.config.is_quorum(&followers)
        })
    }

    /// Delivers messages, and lets time pass when there are none, until there is a leader and all
    /// follow it. Who decided in vain starts anew when nothing else happens.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let full = self.links.iter().filter(|(_, link)| !link.is_empty());
            let full: Vec<_> = full.map(|(key, _)| *key).collect();
            if full.is_empty() {
                let leader = self.leader();
                let is_vain = |vote: &Vote| Some(vote.leader) != leader;
                let vain = self.decided.iter().find(|(_, vote)| is_vain(vote));
                if let Some((&id, _)) = vain {
                    self.start(id);
                } else if self.decided.len() == self.elections.len() {
                    return;
                } else {
                    self.pass_time();
                }
                continue;
            }
            let at = self.draw(full.len() as u64);
            let (from, to) = full[usize::try_from(at).unwrap()];
            let link = self.links.get_mut(&(from, to)).unwrap();
            let (notification, mut out) = (link.pop_front().unwrap(), Vec::new());
            let election = self.elections.get_mut(&to).unwrap();
            election.handle(self.now, from, &notification, &mut out);
            self.carry_out(to, out);
        }
        panic!("no end: {:?} {:?}", self.claims, self.decided);
    }

    fn pass_time(&mut self) {
        let due = self.elections.values().filter_map(Election::next_deadline);
        self.now = due.min().unwrap_or(self.now).max(self.now);
        let ids: Vec<_> = self.elections.keys().copied().collect();
        for id in ids {
            let mut out = Vec::new();
            let election = self.elections.get_mut(&id).unwrap();
            if election.next_deadline().is_some_and(|due| due <= self.now) {
                election.handle_deadline(self.now, &mut out);
            }
            self.carry_out(id, out);
        }
    }
}

proptest! {
    #[test]
    fn of_two_votes_one_is_better_unless_they_are_for_the_same(a in any_vote(), b in any_vote(), c in any_vote()) {
        let config = Configs::new(voters(5));
        let is_equal = (a.leader, a.zxid, a.peer_epoch) == (b.leader, b.zxid, b.peer_epoch);
        let (ab, ba) = (a.is_better(&b, &config), b.is_better(&a, &config));
        prop_assert_eq!(is_equal, !ab && !ba);
        prop_assert!(!(ab && ba));
        if ab && b.is_better(&c, &config) {
            prop_assert!(a.is_better(&c, &config));
        }
    }

    #[test]
    fn more_votes_never_undo_a_choice(votes in proptest::collection::vec(any_vote(), 1..6), extra in 1i64..6) {
        let config = Configs::new(voters(5));
        let cast = Cast::looking(votes[0]);
        let mut set: BTreeMap<_, _> = (1..).map(sid).zip(votes.iter().copied().map(Cast::looking)).collect();
        let before = is_elected(&set, &cast, &config);
        let same = set.values().filter(|vote| vote.is_same(&cast)).count();
        prop_assert_eq!(before, same >= 3);
        set.insert(sid(extra), cast);
        prop_assert!(!before || is_elected(&set, &cast, &config));
    }

    /// With everybody there, in one round, all choose the one with the best claim. A vote that was
    /// replaced by a later one on its way may have to be sent again, twice at most.
    #[test]
    fn all_choose_the_best(
        seed: u64,
        count in 1i64..8,
        claims in proptest::collection::vec((0i64..4, 0i32..3), 8),
    ) {
        let mut net = Net::new(count, seed, 1, &claims);
        net.run();
        let claims = (1..=count).zip(&claims).map(|(id, (zxid, epoch))| (epoch, zxid, id));
        let best = claims.max().unwrap().2;
        prop_assert_eq!(net.leader(), Some(sid(best)));
        prop_assert!(net.now <= Time::from_millis(600), "nobody waits for long");
    }

    /// Whatever rounds they come from, they end up with one leader.
    #[test]
    fn rounds_meet(
        seed: u64,
        count in 1i64..8,
        claims in proptest::collection::vec((0i64..4, 0i32..3), 8),
    ) {
        let mut net = Net::new(count, seed, 4, &claims);
        net.run();
        let leader = net.leader().unwrap();
        prop_assert!(net.decided.values().all(|vote| vote.leader == leader));
    }
}
