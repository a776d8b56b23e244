//! What keeps a session, and what ends it.

use super::*;

#[test]
fn another_session_than_asked_for_is_not_taken() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.lose();
    bench.dial();
    let actions = bench.grant(2, false);
    let is_failed = |action: &Action<Ticket, u32>| {
        matches!(action, Action::Transition(Transition::AttemptFailed { .. }))
    };
    assert!(actions.iter().any(is_failed), "{actions:?}");
    assert_eq!(
        bench.core.granted().map(|granted| granted.id),
        Some(SessionId::new(1))
    );
}

#[test]
fn session_that_something_depends_on_is_pinged_twice_as_often() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let sixth = bench.now + Duration::from_secs(1);
    assert!(bench.core.next_deadline() > sixth);
    bench.handle(Event::Hold(1));
    assert!(bench.core.next_deadline() <= sixth);
    // The next connection is of the same mind.
    bench.lose();
    bench.dial();
    bench.grant(1, false);
    assert!(bench.core.next_deadline() <= bench.now + Duration::from_secs(1));
    bench.handle(Event::Hold(-1));
    assert!(bench.core.next_deadline() > bench.now + Duration::from_secs(1));
}

#[test]
fn session_that_something_depends_on_is_proven_by_the_leader_and_by_no_ping() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let granted = bench.core.proven();
    let answer = |bench: &mut Bench, xid| {
        bench.now = bench.now + Duration::from_millis(10);
        bench.reply(xid, 0, 0, &[]);
    };
    bench.now = bench.core.next_deadline();
    assert_eq!(bench.sent().0, [OpCode::Ping]);
    answer(&mut bench, Xid::PING);
    assert_eq!(
        bench.core.proven(),
        granted,
        "a server that lags answers pings"
    );
    // From now on the leader is asked instead, whatever else is.
    bench.handle(Event::Hold(1));
    for xid in 1..4 {
        bench.now = bench.now.max(bench.core.next_deadline());
        let asked = bench.now;
        assert_eq!(bench.sent().0, [OpCode::Sync]);
        answer(&mut bench, Xid::new(xid));
        assert_eq!(bench.core.proven(), Some(asked));
        assert!(bench.core.next_deadline() <= asked + Duration::from_secs(1));
    }
    bench.handle(Event::Hold(-1));
    bench.now = bench.core.next_deadline();
    assert_eq!(bench.sent().0, [OpCode::Ping]);
}

#[test]
fn session_that_is_fought_for_is_let_go_of_in_the_end_and_not_dialed_for_without_pauses() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.handle(Event::TokenGiven);
    let mut lost = 0;
    while !bench.core.is_closed() {
        let actions = bench.lose();
        lost += 1;
        assert!(lost < 100, "{actions:?}");
        if bench.core.is_closed() {
            let is_told = is_closed_for(&actions, CloseReason::SessionHijacked);
            assert!(is_told, "{actions:?}");
        } else {
            bench.dial();
            bench.grant(1, false);
        }
    }
    assert!(lost >= 10, "closed after {lost}");
    let elapsed = bench.now.since_start();
    assert!(elapsed > Duration::from_secs(1), "{elapsed:?}");
}

#[test]
fn session_whose_connections_break_is_never_let_go_of() {
    for (turn, kind) in [
        AttemptErrorKind::Io,
        AttemptErrorKind::Tls,
        AttemptErrorKind::Protocol,
        AttemptErrorKind::Timeout,
    ]
    .into_iter()
    .enumerate()
    {
        let mut bench = Bench::new();
        bench.dial();
        bench.grant(1, false);
        bench.handle(Event::TokenGiven);
        for round in 0..100 {
            bench.lose_to(kind);
            if (round + turn) % 3 == 0 {
                bench.now = bench.now.max(bench.core.next_deadline());
                bench.handle(Event::Tick);
                let error = AttemptError::new(AttemptErrorKind::Io, "refused");
                bench.handle(Event::DialFailed(error));
            }
            bench.dial();
            bench.grant(1, false);
        }
        assert!(!bench.core.is_closed(), "{kind:?}");
    }
}

#[test]
fn fight_is_noticed_though_some_of_its_connections_break() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.handle(Event::TokenGiven);
    for round in 0..100 {
        let broken = AttemptErrorKind::Io;
        bench.lose_to(if round % 4 == 0 {
            broken
        } else {
            AttemptErrorKind::Ended
        });
        if bench.core.is_closed() {
            return;
        }
        bench.dial();
        bench.grant(1, false);
    }
    panic!("they go on for ever");
}

#[test]
fn session_that_is_in_use_in_between_is_not_fought_for() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.handle(Event::TokenGiven);
    for round in 0..100 {
        // Every tenth connection lasts.
        if round % 10 == 0 {
            bench.now = bench.now + Duration::from_secs(2);
        }
        bench.lose();
        bench.dial();
        bench.grant(1, false);
    }
    assert!(!bench.core.is_closed());
}

#[test]
fn session_that_nobody_else_knows_of_is_never_let_go_of() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.dial();
        bench.grant(1, false);
        bench.lose();
    }
    assert!(!bench.core.is_closed());
}

#[test]
fn session_whose_close_was_not_answered_is_closed_on_the_next_connection() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let within = Duration::from_secs(5);
    bench.handle(Event::Close { within });
    let is_close = |wire: &BytesMut| {
        let code = Record::CloseSession.op().code().to_be_bytes();
        wire.len() == 12 && wire.ends_with(&code)
    };
    for _ in 0..2 {
        let mut wire = BytesMut::new();
        bench.core.transmit(bench.now, &mut wire);
        assert!(is_close(&wire), "{wire:?}");
        bench.lose();
        assert!(!bench.core.is_closed());
        bench.dial();
        bench.grant(1, false);
    }
    bench.lose();
    bench.dial();
    // A server that knows no such session: it was closed.
    let refused = ConnectResponse::refused(true).to_bytes();
    let now = bench.now;
    bench.core.frame(now, refused, &mut Vec::new());
    assert!(bench.core.is_closed());
}

#[test]
fn session_is_safe_for_as_long_as_the_leader_has_granted_and_no_server_that_lags_may_add_to_it() {
    let safe_until = |actions: Actions| {
        actions.into_iter().find_map(|action| {
            if let Action::Transition(Transition::Suspended { safe_until, .. }) = action {
                return Some(safe_until);
            }
            None
        })
    };
    for read_only in [false, true] {
        let mut bench = Bench::new();
        bench.now = Time::START + Duration::from_secs(1);
        bench.dial();
        let granted = bench.now;
        bench.grant(1, read_only);
        bench.now = bench.now + Duration::from_secs(2);
        assert_eq!(bench.sent().0, [OpCode::Ping]);
        bench.reply(Xid::PING, 0, 0, &[]);
        let lost = bench.now;
        let wanted = if read_only {
            lost
        } else {
            granted + Duration::from_secs(6)
        };
        assert_eq!(safe_until(bench.lose()), Some(wanted));
    }
}
