//! What reading found, each with the symptom as its name.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode, Reader};
use zk_proto::request::{
    AddWatchMode, AddWatchRequest, AuthPacket, GetSaslRequest, Request as Record, SyncRequest,
};
use zk_proto::response::{ErrorResponse, SetSaslResponse, SyncResponse};
use zk_proto::sasl::{Answer, Challenge, Service};
use zk_proto::{EventType, OpCode, SessionId, WatcherEvent, Xid, Zxid, frame};

use crate::connect_string::Server;
use crate::core::{
    Action, AttemptError, AttemptErrorKind, CloseReason, Core, CoreConfig, Delivery, Event, Frame,
    Proofs, Request, SaslConfig, Secret, ServiceRecord, Time, Transition, Waiter, WatchId,
    WatchKind, WatchRequest,
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
        Self::of(1)
    }

    fn of(servers: u16) -> Self {
        Self::with_sasl(servers, None)
    }

    fn with_sasl(servers: u16, sasl: Option<SaslConfig>) -> Self {
        let config = CoreConfig {
            sasl,
            servers: (1..=servers).map(|port| Server::new("zk", port)).collect(),
            session_timeout: Duration::from_secs(6),
            allow_read_only: true,
            renew: true,
            in_flight_max: 100,
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

    /// What goes onto the wire: opcodes, and the last SASL token.
    fn sent(&mut self) -> (Vec<OpCode>, Option<Bytes>) {
        let mut wire = BytesMut::new();
        self.core.transmit(self.now, &mut wire);
        let (mut ops, mut token) = (Vec::new(), None);
        while let Some(payload) = frame::take(&mut wire, frame::DEFAULT_FRAME_MAX).unwrap() {
            let mut reader = Reader::shared(&payload);
            let header = RequestHeader::decode(&mut reader).unwrap();
            ops.extend(header.op());
            if header.op() == Some(OpCode::Sasl) {
                token = GetSaslRequest::decode(&mut reader).unwrap().token;
            }
        }
        (ops, token)
    }

    /// Answers a SASL token.
    fn sasl(&mut self, xid: i32, error: i32, token: Option<String>) -> Actions {
        let mut payload = BytesMut::new();
        let (xid, zxid) = (Xid::new(xid), Zxid::ZERO);
        ReplyHeader {
            xid,
            zxid,
            err: error,
        }
        .encode(&mut payload);
        let token = token.map(Bytes::from);
        SetSaslResponse { token }.encode(&mut payload);
        let mut actions = Vec::new();
        self.core.frame(self.now, payload.freeze(), &mut actions);
        actions
    }

    /// The server ends the connection.
    fn lose(&mut self) -> Actions {
        self.lose_to(AttemptErrorKind::Ended)
    }

    fn lose_to(&mut self, kind: AttemptErrorKind) -> Actions {
        self.handle(Event::Lost(AttemptError::new(kind, "gone")))
    }
}

fn is_suspended(action: &Action<Ticket, u32>) -> bool {
    matches!(action, Action::Transition(Transition::Suspended { .. }))
}

fn is_connected(action: &Action<Ticket, u32>) -> bool {
    matches!(action, Action::Transition(Transition::Connected { .. }))
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
        let mut payload = BytesMut::new();
        let zxid = Zxid::ZERO;
        ReplyHeader { xid, zxid, err: 0 }.encode(&mut payload);
        let mut actions = Vec::new();
        bench.core.frame(bench.now, payload.freeze(), &mut actions);
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
fn a_few_requests_wait_for_others_behind_many_and_for_nothing_behind_few() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.sent();
    let ask = |bench: &mut Bench, count: usize| {
        for _ in 0..count {
            let record = Record::Sync(SyncRequest {
                path: Some("/".into()),
            });
            bench.handle(Event::Submit(Request {
                frame: Frame::of(record.op(), &record),
                epoch: None,
                timeout: Duration::MAX,
                resend: false,
                watch: None,
                waiter: Some(Ticket::default()),
            }));
        }
    };
    let answer = |bench: &mut Bench, xids: std::ops::RangeInclusive<i32>| {
        for xid in xids {
            let mut payload = BytesMut::new();
            let (xid, zxid, err) = (Xid::new(xid), Zxid::new(1), 0);
            ReplyHeader { xid, zxid, err }.encode(&mut payload);
            SyncResponse {
                path: Some("/".into()),
            }
            .encode(&mut payload);
            bench
                .core
                .frame(bench.now, payload.freeze(), &mut Vec::new());
        }
    };
    ask(&mut bench, 31);
    assert_eq!(bench.sent().0.len(), 31);
    ask(&mut bench, 1);
    assert_eq!(bench.sent().0.len(), 1);
    // An eighth of them makes a write.
    ask(&mut bench, 3);
    assert_eq!(bench.sent().0.len(), 0);
    ask(&mut bench, 1);
    assert_eq!(bench.sent().0.len(), 4);
    // One waits no longer than until the pipeline is short.
    ask(&mut bench, 1);
    answer(&mut bench, 1..=4);
    assert_eq!(bench.sent().0.len(), 0);
    answer(&mut bench, 5..=5);
    assert_eq!(bench.sent().0.len(), 1);
}

#[test]
fn read_only_server_is_taken_only_when_every_other_was_tried() {
    let mut bench = Bench::of(3);
    for attempt in 1..=3 {
        bench.dial();
        let actions = bench.grant(attempt, true);
        let is_connected = actions.iter().any(is_connected);
        assert_eq!(is_connected, attempt == 3, "attempt {attempt}: {actions:?}");
    }
}

/// What is dialed next, without waiting.
fn dialed(bench: &mut Bench) -> Option<Server> {
    let actions = bench.handle(Event::Tick);
    actions.into_iter().find_map(|action| {
        if let Action::Dial { server, .. } = action {
            return Some(server);
        }
        None
    })
}

fn is_hung_up(actions: &Actions) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::HangUp))
}

#[test]
fn attempt_at_a_server_that_left_the_list_is_given_up_for_one_that_is_in_it() {
    for has_connected in [false, true] {
        let mut bench = Bench::of(3);
        bench.handle(Event::Tick);
        if has_connected {
            bench.handle(Event::Dialed);
        }
        let new = Server::new("new", 9);
        let actions = bench.handle(Event::SetServers(vec![new.clone()]));
        assert!(is_hung_up(&actions), "{actions:?}");
        assert_eq!(dialed(&mut bench), Some(new));
    }
}

#[test]
fn attempt_at_a_server_that_stays_in_the_list_goes_on() {
    let mut bench = Bench::of(1);
    let tried = dialed(&mut bench).unwrap();
    let servers = vec![Server::new("new", 9), tried];
    let actions = bench.handle(Event::SetServers(servers));
    assert!(actions.is_empty(), "{actions:?}");
    bench.handle(Event::Dialed);
    assert!(bench.grant(1, false).iter().any(is_connected));
}

#[test]
fn answer_to_a_look_up_of_a_name_that_is_not_asked_for_any_more_is_dropped() {
    let mut bench = Bench::new();
    let name = Server::service("zk");
    let records = [ServiceRecord {
        priority: 0,
        weight: 1,
        host: "old".to_owned(),
        port: 1,
    }];
    bench.handle(Event::SetServers(vec![name.clone()]));
    assert_eq!(dialed(&mut bench), Some(name.clone()));
    // The same name again disturbs neither the look-up nor the attempt at what was found.
    assert!(!is_hung_up(
        &bench.handle(Event::SetServers(vec![name.clone()]))
    ));
    bench.handle(Event::Found(records.to_vec()));
    assert!(!is_hung_up(
        &bench.handle(Event::SetServers(vec![name.clone()]))
    ));
    bench.lose_to(AttemptErrorKind::Io);
    bench.now = bench.now.max(bench.core.next_deadline());
    assert_eq!(dialed(&mut bench), Some(name));
    let new = Server::new("new", 9);
    assert!(is_hung_up(
        &bench.handle(Event::SetServers(vec![new.clone()]))
    ));
    let actions = bench.handle(Event::Found(records.to_vec()));
    assert!(actions.is_empty(), "{actions:?}");
    // From now on, each time.
    for _ in 0..3 {
        bench.now = bench.now.max(bench.core.next_deadline());
        assert_eq!(dialed(&mut bench), Some(new.clone()));
        bench.lose_to(AttemptErrorKind::Io);
    }
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
            let hijacked = |action: &Action<Ticket, u32>| {
                let reason = CloseReason::SessionHijacked;
                matches!(action, Action::Transition(Transition::Closed { reason: told }) if *told == reason)
            };
            assert!(actions.iter().any(hijacked), "{actions:?}");
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
fn change_of_a_list_is_told_while_one_recursive_watch_goes_and_the_next_comes() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let mut ask = |id, mode| {
        let record = Record::AddWatch(AddWatchRequest {
            path: Some("/a".into()),
            mode: AddWatchMode::code(mode),
        });
        bench.handle(Event::Submit(Request {
            frame: Frame::of(record.op(), &record),
            epoch: None,
            timeout: Duration::MAX,
            resend: true,
            watch: Some(Box::new(WatchRequest {
                id: WatchId(id),
                kind: WatchKind::Added(mode),
                path: "/a".into(),
                sink: u32::try_from(id).unwrap(),
                epoch: None,
            })),
            waiter: Some(Ticket::default()),
        }));
        bench.core.transmit(bench.now, &mut BytesMut::new());
    };
    ask(1, AddWatchMode::Persistent);
    ask(2, AddWatchMode::PersistentRecursive);
    ask(3, AddWatchMode::PersistentRecursive);
    let frame = |bench: &mut Bench, xid, body: &dyn Encode| {
        let header = ReplyHeader {
            xid,
            zxid: Zxid::new(1),
            err: 0,
        };
        let mut payload = BytesMut::new();
        header.encode(&mut payload);
        body.encode(&mut payload);
        let mut actions = Vec::new();
        bench.core.frame(bench.now, payload.freeze(), &mut actions);
        actions
    };
    for xid in 1..=2 {
        frame(&mut bench, Xid::new(xid), &ErrorResponse { err: 0 });
    }
    bench.handle(Event::Unsubscribe(WatchId(2)));
    // A server before 3.9 has the recursive watch only, and says no more than this.
    let event = WatcherEvent {
        event_type: EventType::NodeCreated.code(),
        state: 3,
        path: Some("/a/b".into()),
    };
    let actions = frame(&mut bench, Xid::NOTIFICATION, &event);
    let is_told = |action: &Action<Ticket, u32>| {
        let Action::Deliver(1, Delivery::Event { kind, path, .. }) = action else {
            return false;
        };
        *kind == EventType::NodeChildrenChanged && path == "/a"
    };
    assert!(actions.iter().any(is_told), "{actions:?}");
}

/// While some are under way, the zxid that the next connection begins with stands still.
#[test]
fn registrations_of_one_path_that_were_put_off_together_are_all_made() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let ask = |bench: &mut Bench, id, mode| {
        let record = Record::AddWatch(AddWatchRequest {
            path: Some("/a".into()),
            mode: AddWatchMode::code(mode),
        });
        bench.handle(Event::Submit(Request {
            frame: Frame::of(record.op(), &record),
            epoch: None,
            timeout: Duration::MAX,
            resend: true,
            watch: Some(Box::new(WatchRequest {
                id: WatchId(id),
                kind: WatchKind::Added(mode),
                path: "/a".into(),
                sink: u32::try_from(id).unwrap(),
                epoch: None,
            })),
            waiter: Some(Ticket::default()),
        }));
        bench.sent().0
    };
    let answer = |bench: &mut Bench, xid| {
        let mut payload = BytesMut::new();
        let (xid, zxid, err) = (Xid::new(xid), Zxid::new(i64::from(xid)), 0);
        ReplyHeader { xid, zxid, err }.encode(&mut payload);
        ErrorResponse { err: 0 }.encode(&mut payload);
        let mut actions = Vec::new();
        bench.core.frame(bench.now, payload.freeze(), &mut actions);
        assert!(bench.core.is_connected(), "{actions:?}");
    };
    assert_eq!(
        ask(&mut bench, 1, AddWatchMode::Persistent),
        [OpCode::AddWatch]
    );
    answer(&mut bench, 1);
    // Each of two goes while the next is being added.
    ask(&mut bench, 2, AddWatchMode::PersistentRecursive);
    bench.handle(Event::Unsubscribe(WatchId(1)));
    assert_eq!(bench.sent().0, [OpCode::RemoveWatches]);
    ask(&mut bench, 3, AddWatchMode::Persistent);
    answer(&mut bench, 2);
    bench.handle(Event::Unsubscribe(WatchId(2)));
    assert_eq!(bench.sent().0, [OpCode::RemoveWatches]);
    for xid in 3..=5 {
        answer(&mut bench, xid);
    }
    assert_eq!(bench.sent().0, [OpCode::SetWatches2, OpCode::SetWatches2]);
    for xid in 6..=7 {
        answer(&mut bench, xid);
    }
    assert_eq!((bench.core.rearming, bench.core.exposed), (0, 0));
    assert_eq!(bench.core.watched_zxid, Zxid::new(7));
}

/// Another server may not have got there, and would be read from as it was before.
#[test]
fn what_an_event_tells_of_is_not_read_of_from_a_server_that_is_behind_it() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let header = ReplyHeader {
        xid: Xid::NOTIFICATION,
        zxid: Zxid::new(9),
        err: 0,
    };
    let event = WatcherEvent {
        event_type: EventType::NodeDataChanged.code(),
        state: 3,
        path: Some("/a".into()),
    };
    let mut payload = BytesMut::new();
    header.encode(&mut payload);
    event.encode(&mut payload);
    bench
        .core
        .frame(bench.now, payload.freeze(), &mut Vec::new());
    bench.lose();
    bench.now = bench.now.max(bench.core.next_deadline());
    bench.handle(Event::Tick);
    bench.handle(Event::Dialed);
    let mut wire = BytesMut::new();
    bench.core.transmit(bench.now, &mut wire);
    let payload = frame::take(&mut wire, frame::DEFAULT_FRAME_MAX)
        .unwrap()
        .unwrap();
    let request = ConnectRequest::decode(&mut Reader::shared(&payload)).unwrap();
    assert_eq!(request.last_zxid_seen, Zxid::new(9));
}
