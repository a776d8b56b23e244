//! What reading found, each with the symptom as its name.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::connect::{ConnectResponse, PASSWORD_LEN};
use zk_proto::jute::Encode as _;
use zk_proto::request::Request as Record;
use zk_proto::{SessionId, Zxid};

use crate::connect_string::Server;
use crate::core::{
    Action, AttemptError, AttemptErrorKind, Core, CoreConfig, Event, Frame, Request, Secret, Time,
    Transition, Waiter,
};

#[derive(Debug, Clone, Default)]
struct Ticket(Rc<Cell<bool>>);

impl Waiter for Ticket {
    fn is_abandoned(&self) -> bool {
        self.0.get()
    }
}

type Actions = Vec<Action<Ticket, u32>>;

struct Bench {
    core: Core<Ticket, u32>,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let config = CoreConfig {
            servers: vec![Server::new("zk", 1)],
            session_timeout: Duration::from_secs(6),
            allow_read_only: true,
            renew: true,
            in_flight_max: 10,
            in_flight_bytes_max: 1 << 20,
            resume: None,
            last_zxid: Zxid::ZERO,
            seed: 7,
        };
        Self {
            core: Core::new(config),
            now: Time::default(),
        }
    }

    fn handle(&mut self, event: Event<Ticket, u32>) -> Actions {
        let mut actions = Vec::new();
        self.core.handle(self.now, event, &mut actions);
        actions
    }

    /// Comes back when the core wants to; a connection is made at once.
    fn dial(&mut self) {
        self.now = self.now.max(self.core.next_deadline());
        self.handle(Event::Tick);
        self.handle(Event::Dialed);
        self.core.transmit(self.now, &mut BytesMut::new());
    }

    fn grant(&mut self, session: i64, read_only: bool) -> Actions {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: 6_000,
            session_id: SessionId::new(session),
            password: Some(Bytes::from_static(&[1; PASSWORD_LEN])),
            read_only: Some(read_only),
        };
        let mut actions = Vec::new();
        self.core.frame(self.now, response.to_bytes(), &mut actions);
        actions
    }

    fn lose(&mut self) -> Actions {
        self.handle(Event::Lost(AttemptError::new(AttemptErrorKind::Io, "gone")))
    }
}

fn is_suspended(action: &Action<Ticket, u32>) -> bool {
    matches!(action, Action::Transition(Transition::Suspended { .. }))
}

#[test]
fn read_only_server_that_leaves_at_once_is_not_dialed_without_a_pause() {
    let mut bench = Bench::new();
    for session in 1..100 {
        bench.dial();
        bench.grant(session, true);
        bench.lose();
    }
    let elapsed = bench.now.since_start();
    assert!(elapsed > Duration::from_mins(1), "{elapsed:?}");
}

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

#[test]
fn requests_that_nobody_waits_for_do_not_pile_up_while_disconnected() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        let ticket = Ticket::default();
        bench.handle(Event::Submit(Request {
            frame: Frame::of(Record::Ping.op(), &Record::Ping),
            epoch: None,
            timeout: Duration::MAX,
            resend: false,
            watch: None,
            waiter: Some(ticket.clone()),
        }));
        ticket.0.set(true);
    }
    let load = bench.core.load();
    assert!(load.requests <= 128, "{load:?}");
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
