//! Who the client is, and who the server is.

use super::*;

#[test]
fn connection_that_nobody_was_told_of_is_not_suspended() {
    let mut bench = Bench::new();
    bench.handle(Event::AddAuth {
        scheme: "digest".into(),
        auth: Secret::new(Bytes::from_static(b"user:secret")),
        waiter: None,
    });
    bench.dial();
    bench.grant(1, false);
    let actions = bench.lose();
    assert!(!actions.iter().any(is_suspended), "{actions:?}");
}

/// A client that is to prove who it is, has a credential besides, and is connected.
fn proving() -> Bench {
    let mut bench = Bench::with_sasl(
        1,
        Some(SaslConfig {
            user: "bob".into(),
            password: Secret::new(Bytes::from_static(b"secret")),
            nonce: 5,
        }),
    );
    let scheme = "digest".into();
    let auth = Secret::new(Bytes::from_static(b"user:secret"));
    bench.handle(Event::AddAuth {
        scheme,
        auth,
        waiter: None,
    });
    bench.dial();
    bench.grant(1, false);
    bench
}

#[test]
fn sasl_comes_first_and_both_sides_prove_themselves() {
    let mut bench = proving();
    assert_eq!(bench.sent(), (vec![OpCode::Sasl], Some(Bytes::new())));
    // Nothing else goes, whatever is wanted.
    let (scheme, auth) = ("digest".into(), Secret::new(Bytes::from_static(b"a:b")));
    bench.handle(Event::AddAuth {
        scheme,
        auth,
        waiter: None,
    });
    assert_eq!(bench.sent(), (vec![], None));
    let challenge = Challenge::new(Service::CLIENT, "n");
    assert_eq!(bench.sasl(1, 0, Some(challenge.to_token())).len(), 0);
    let (ops, token) = bench.sent();
    assert_eq!(ops, [OpCode::Sasl]);
    let answer = Answer::parse(&token.unwrap()).unwrap();
    assert!(answer.proves(&challenge, "secret"));
    let actions = bench.sasl(2, 0, Some(answer.reply("secret")));
    assert!(!actions.iter().any(is_connected), "{actions:?}");
    assert_eq!(bench.sent(), (vec![OpCode::Auth, OpCode::Auth], None));
}

#[test]
fn server_that_does_not_know_the_sasl_password_is_left() {
    let mut bench = proving();
    bench.sent();
    bench.sasl(1, 0, Some(Challenge::new(Service::CLIENT, "n").to_token()));
    bench.sent();
    let actions = bench.sasl(2, 0, Some("rspauth=0".to_owned()));
    assert!(
        matches!(actions.first(), Some(Action::HangUp)),
        "{actions:?}"
    );
    assert!(!bench.core.is_closed());
}

#[test]
fn answer_to_credentials_that_were_not_sent_is_no_proof_of_the_server() {
    for asked in [false, true] {
        let mut bench = proving();
        if asked {
            bench.sent();
        }
        let actions = bench.sasl(Xid::AUTH.get(), 0, None);
        assert!(!actions.iter().any(is_connected), "{actions:?}");
        assert!(
            matches!(actions.first(), Some(Action::HangUp)),
            "{actions:?}"
        );
        assert_eq!(bench.sent(), (vec![], None));
    }
}

#[test]
fn refusal_of_sasl_closes_the_client() {
    for (error, token) in [(-115, None), (-124, None), (0, None)] {
        let mut bench = proving();
        bench.sent();
        bench.sasl(1, error, token);
        assert!(bench.core.is_closed(), "{error}");
    }
}

#[test]
fn silence_in_the_middle_of_sasl_is_noticed() {
    let mut bench = proving();
    bench.sent();
    bench.now = bench.core.next_deadline();
    let actions = bench.handle(Event::Tick);
    assert!(
        matches!(actions.first(), Some(Action::HangUp)),
        "{actions:?}"
    );
}

#[test]
fn provided_credentials_stand_in_front_and_hold_for_one_connection() {
    let mut bench = Bench::new();
    let secret = |text: &'static str| Secret::new(Bytes::from_static(text.as_bytes()));
    bench.handle(Event::AddAuth {
        scheme: "digest".into(),
        auth: secret("added:1"),
        waiter: None,
    });
    for (given, wanted) in [
        (vec!["a:1", "b:1"], vec!["a:1", "b:1", "added:1"]),
        (vec!["a:2"], vec!["a:2", "added:1"]),
        (vec![], vec!["added:1"]),
    ] {
        bench.now = bench.now.max(bench.core.next_deadline());
        bench.handle(Event::Tick);
        let credentials = given
            .into_iter()
            .map(|text| ("digest".into(), secret(text)));
        bench.handle(Event::Provided(Box::new(Proofs {
            credentials: credentials.collect(),
            sasl: None,
        })));
        bench.handle(Event::Dialed);
        bench.core.transmit(bench.now, &mut BytesMut::new());
        bench.grant(1, false);
        let mut wire = BytesMut::new();
        bench.core.transmit(bench.now, &mut wire);
        let mut sent = Vec::new();
        while let Some(payload) = frame::take(&mut wire, frame::DEFAULT_FRAME_MAX).unwrap() {
            let mut reader = Reader::shared(&payload);
            RequestHeader::decode(&mut reader).unwrap();
            sent.push(AuthPacket::decode(&mut reader).unwrap().auth.unwrap());
        }
        assert_eq!(sent, wanted);
        bench.lose();
    }
}

#[test]
fn server_that_takes_nothing_without_sasl_is_not_asked_for_ever() {
    let error = ErrorCode::SessionClosedRequireSaslAuth.code();
    let told = |actions: &Actions| is_closed_for(actions, CloseReason::AuthFailed);
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.now = bench.core.next_deadline();
    assert_eq!(bench.sent().0, [OpCode::Ping]);
    let actions = bench.reply(Xid::PING, 0, error, &[]);
    assert!(told(&actions), "{actions:?}");

    // What goes ahead on the next connection, and what the client does for itself.
    for mode in [Some(AddWatchMode::Persistent), None] {
        let mut bench = Bench::new();
        bench.dial();
        bench.grant(1, false);
        bench.add_watch(1, AddWatchMode::Persistent);
        bench.added(1);
        let xid = if mode.is_some() {
            bench.lose();
            bench.dial();
            bench.grant(1, false);
            assert_eq!(bench.sent().0, [OpCode::SetWatches2]);
            Xid::SET_WATCHES
        } else {
            bench.handle(Event::Unsubscribe(WatchId(1)));
            assert_eq!(bench.sent().0, [OpCode::RemoveWatches]);
            Xid::new(2)
        };
        let actions = bench.reply(xid, 0, error, &[]);
        assert!(told(&actions), "{actions:?}");
    }
}

#[test]
fn server_that_has_not_proved_itself_says_nothing_that_counts() {
    let event = WatcherEvent {
        event_type: EventType::NodeDataChanged.code(),
        state: 3,
        path: Some("/a".into()),
    };
    for (xid, body) in [
        (Xid::NOTIFICATION, event.to_bytes()),
        (Xid::PING, Bytes::new()),
        (Xid::SET_WATCHES, Bytes::new()),
    ] {
        let mut bench = proving();
        bench.sent();
        let actions = bench.reply(xid, i64::MAX, 0, &body);
        assert!(is_hung_up(&actions), "{xid}: {actions:?}");
        assert_eq!(bench.core.last_zxid(), Zxid::ZERO, "{xid}");
    }
    let mut bench = proving();
    bench.sent();
    let token = Challenge::new(Service::CLIENT, "n").to_token().into();
    let body = SetSaslResponse { token: Some(token) }.to_bytes();
    let actions = bench.reply(Xid::new(1), i64::MAX, 0, &body);
    assert!(!is_hung_up(&actions), "{actions:?}");
    assert_eq!(bench.core.last_zxid(), Zxid::ZERO);
    // It may take long to answer.
    bench.sent();
    bench.now = bench.now + Duration::from_millis(1_400);
    bench.core.received(bench.now);
    bench.now = bench.now + Duration::from_millis(1_400);
    assert_eq!(bench.sent().0, [OpCode::Ping]);
    let actions = bench.reply(Xid::PING, i64::MAX, 0, &[]);
    assert!(!is_hung_up(&actions) && !bench.core.is_of_use());
    assert_eq!(bench.core.last_zxid(), Zxid::ZERO);
}

#[test]
fn answers_to_what_was_not_sent_are_no_answers() {
    for xid in [Xid::PING, Xid::SET_WATCHES, Xid::AUTH] {
        let mut bench = Bench::new();
        bench.dial();
        bench.grant(1, false);
        let actions = bench.reply(xid, 1, 0, &[]);
        assert!(is_hung_up(&actions), "{xid}: {actions:?}");
    }
}

#[test]
fn move_of_a_connection_that_nobody_was_told_of_is_silent() {
    let mut bench = proving();
    let actions = bench.handle(Event::SetServers(vec![Server::new("new", 9)]));
    let is_told = |action: &Action<Ticket, u32>| matches!(action, Action::Transition(_));
    assert!(
        is_hung_up(&actions) && !actions.iter().any(is_told),
        "{actions:?}"
    );
    assert_eq!(dialed(&mut bench), Some(Server::new("new", 9)));
}
