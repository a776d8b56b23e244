//! What reading found, each with the symptom as its name.

mod proofs;
mod requests;
mod servers;
mod sessions;
mod watches;

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
use zk_proto::{ErrorCode, EventType, OpCode, SessionId, WatcherEvent, Xid, Zxid, frame};

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

    /// Takes in a reply.
    fn reply(&mut self, xid: Xid, zxid: i64, err: i32, body: &[u8]) -> Actions {
        let mut payload = BytesMut::new();
        let zxid = Zxid::new(zxid);
        ReplyHeader { xid, zxid, err }.encode(&mut payload);
        payload.extend_from_slice(body);
        let mut actions = Vec::new();
        self.core.frame(self.now, payload.freeze(), &mut actions);
        actions
    }

    /// Answers a SASL token.
    fn sasl(&mut self, xid: i32, error: i32, token: Option<String>) -> Actions {
        let token = token.map(Bytes::from);
        let body = SetSaslResponse { token }.to_bytes();
        self.reply(Xid::new(xid), 0, error, &body)
    }

    /// Answers the addition of a watch.
    fn added(&mut self, xid: i32) -> Actions {
        let body = ErrorResponse { err: 0 }.to_bytes();
        self.reply(Xid::new(xid), i64::from(xid), 0, &body)
    }

    /// Asks for an added watch of `/a`. Returns what goes onto the wire.
    fn add_watch(&mut self, id: u32, mode: AddWatchMode) -> Vec<OpCode> {
        let record = Record::AddWatch(AddWatchRequest {
            path: Some("/a".into()),
            mode: mode.code(),
        });
        self.handle(Event::Submit(Request {
            resend: true,
            watch: Some(Box::new(WatchRequest {
                id: WatchId(id.into()),
                kind: WatchKind::Added(mode),
                path: "/a".into(),
                sink: id,
                epoch: None,
            })),
            ..request(&record, Some(Ticket::default()))
        }));
        self.sent().0
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

fn is_closed_for(actions: &Actions, wanted: CloseReason) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::Transition(Transition::Closed { reason }) if *reason == wanted)
    })
}

/// A request that has all the time there is.
fn request(record: &Record, waiter: Option<Ticket>) -> Request<Ticket, u32> {
    Request {
        frame: Frame::of(record.op(), record),
        epoch: None,
        timeout: Duration::MAX,
        resend: false,
        watch: None,
        waiter,
    }
}

fn sync() -> Record {
    Record::Sync(SyncRequest {
        path: Some("/".into()),
    })
}
