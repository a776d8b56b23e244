//! What was captured of the reference, and what it was seen to do.

use serde_json::Value;

use super::*;

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

fn fields(value: &Value) -> Said {
    (
        number(&value["state"]),
        number(&value["leader"]),
        number(&value["zxid"]),
        number(&value["electionEpoch"]),
        number(&value["peerEpoch"]),
    )
}

fn vectors(file: &str) -> Vec<Value> {
    let path = format!("{}/vectors/quorum/{file}", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "vectors are files")]
    let json = std::fs::read(path).unwrap();
    serde_json::from_slice(&json).unwrap()
}
