//! Clients: each keeps a session, asks for things, believes nothing it is told, and loses patience.

use std::collections::VecDeque;

use bytes::BytesMut;
use bytestring::ByteString;
use zk_core::session::SessionTimeout;
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::request::{
    CreateFlags, CreateRequest, DeleteRequest, ExistsRequest, GetChildrenRequest, GetDataRequest,
    MultiOp, MultiRequest, Request, SetDataRequest, SyncRequest,
};
use zk_proto::response::{
    ExistsResponse, GetChildrenResponse, GetDataResponse, MultiResponse, MultiResult,
};
use zk_proto::{
    Acl, Bytes, EventType, Id, OpCode, Perms, SessionId, Version, WatcherEvent, Xid, Zxid,
};

use super::event::Happening;
use super::plan::ClientPlan;
use super::rng::Rng;
use super::schedule::Micros;
use super::service::ToServer;
use super::trace::say;
use super::world::{CLIENTS, World};
use crate::check::client_order::{self, ClientOrder};
use crate::check::linearizability::{Action, Operation};
use crate::check::watches::{Subject, Watches};
use crate::check::{Verdict, Violation, reads};

/// Znodes that everybody writes.
pub(crate) const KEYS: [&str; 3] = ["/k0", "/k1", "/k2"];
/// Parent of sequential znodes.
const SEQUENCE: &str = "/s";

/// A client.
#[derive(Debug)]
pub struct Client {
    plan: ClientPlan,
    place: usize,
    rng: Rng,
    /// Requests that it may still make.
    pub(crate) left: u32,
    conn: Option<usize>,
    pub(crate) is_welcome: bool,
    pub(crate) session: Option<SessionId>,
    /// Sessions that a server said were over.
    pub(crate) refused: Vec<SessionId>,
    /// Sessions that it asked to be closed, answered or not.
    closing: Vec<SessionId>,
    order: ClientOrder,
    watches: Watches,
    in_flight: VecDeque<Asked>,
    next_xid: i32,
    /// Highest zxid it was told.
    last: Zxid,
    server: u8,
    since: Micros,
    heard: Micros,
    sent: Micros,
    asleep_until: Micros,
    values: u64,
    /// Writes that were done since all was healed.
    pub(crate) done_since_heal: u32,
}

impl Client {
    /// Its session, unless it has asked for the end of that.
    pub(crate) fn kept_session(&self) -> Option<SessionId> {
        self.session
            .filter(|session| !self.closing.contains(session))
    }
}

/// A request without an answer.
#[derive(Debug)]
struct Asked {
    xid: Xid,
    kind: Kind,
    begin: Micros,
    /// What was answered to anybody, or committed, when it began.
    floor: Zxid,
}

/// What an answer is compared with.
#[derive(Debug)]
enum Kind {
    Write {
        /// Places in the histories of keys.
        operations: Vec<(usize, usize)>,
        is_multi: bool,
    },
    Sync,
    Get {
        path: ByteString,
        watch: bool,
        /// When the sync in front of it began.
        synced: Option<Micros>,
    },
    Exists {
        path: ByteString,
        watch: bool,
    },
    Children {
        path: ByteString,
        watch: bool,
    },
    Close,
}

impl Client {
    /// A client that has not begun.
    pub(crate) fn new(place: usize, plan: ClientPlan, seed: u64) -> Self {
        let mut rng = Rng::new(seed, CLIENTS + place as u64);
        Self {
            left: plan.requests,
            conn: None,
            is_welcome: false,
            session: None,
            refused: Vec::new(),
            closing: Vec::new(),
            order: ClientOrder::default(),
            watches: Watches::default(),
            in_flight: VecDeque::new(),
            next_xid: 1,
            last: Zxid::ZERO,
            server: u8::try_from(rng.below(200)).unwrap_or(0),
            since: 0,
            heard: 0,
            sent: 0,
            asleep_until: 0,
            values: 0,
            done_since_heal: 0,
            plan,
            place,
            rng,
        }
    }

    fn timeout(&self) -> Micros {
        u64::try_from(self.plan.timeout_ms).unwrap_or(1) * 1000
    }

    /// Whether it waits for nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_welcome && self.in_flight.is_empty() && self.left == 0
    }

    /// What keeps it from being well, if anything does.
    pub(crate) fn state(&self) -> String {
        format!(
            "client {} of {:?}: connected {}, welcome {}, {} in flight, {} done",
            self.place,
            self.session,
            self.conn.is_some(),
            self.is_welcome,
            self.in_flight.len(),
            self.done_since_heal
        )
    }

    /// All is healed: it wakes up, and makes a last few requests.
    pub(crate) fn heal(&mut self) {
        self.asleep_until = 0;
        self.left = 3;
        self.done_since_heal = 0;
        self.plan.move_per_mille = 0;
        self.plan.close_per_mille = 0;
        self.plan.vanish_per_mille = 0;
    }
}

impl World {
    fn client(&mut self, place: usize) -> &mut Client {
        self.clients
            .get_mut(place)
            .expect("places of clients are those of the plan")
    }

    /// A client looks around, and does something or nothing.
    pub(crate) fn think(&mut self, place: usize) -> Verdict {
        let now = self.schedule.now();
        let servers = self.plan.count();
        let client = self.client(place);
        let timeout = client.timeout();
        let pause = if now < client.asleep_until {
            client.asleep_until - now
        } else if let Some(conn) = client.conn {
            let waits = !client.is_welcome || !client.in_flight.is_empty();
            let silence = now - client.heard.max(client.since);
            if (waits && silence > timeout * 2 / 3) || silence > timeout {
                self.coverage.note("client loses patience");
                self.leave(conn);
                self.lost_conn(place);
                1_000
            } else if client.is_welcome {
                self.go_on(place);
                let client = self.client(place);
                if client.left > 0 && client.in_flight.len() < client.plan.pipeline as usize {
                    client.rng.between(client.plan.think)
                } else {
                    (timeout / 8).min(client.plan.think.1 + 20_000)
                }
            } else {
                timeout / 8
            }
        } else {
            let server = (client.server + 1) % servers;
            client.server = server;
            client.since = now;
            client.heard = now;
            let (session, last) = (client.session, client.last);
            let timeout_ms = client.plan.timeout_ms;
            let conn = self.connect(place, server);
            let hello = ToServer::Hello {
                session,
                timeout: SessionTimeout::from_millis(timeout_ms),
                last,
            };
            self.client(place).conn = Some(conn);
            self.send_to_server(conn, hello);
            timeout / 8
        };
        self.schedule.after(pause.max(100), Happening::Think(place));
        Ok(())
    }

    /// A connected client makes a request, or shows that it lives.
    fn go_on(&mut self, place: usize) {
        let now = self.schedule.now();
        let is_healed = self.is_healed;
        let client = self.client(place);
        let plan = client.plan;
        let timeout = client.timeout();
        if is_healed && client.done_since_heal == 0 {
            if client.in_flight.is_empty() {
                self.ask_last(place);
            }
        } else if client.left > 0 && client.in_flight.len() < plan.pipeline as usize {
            client.left -= 1;
            if client.rng.per_mille(plan.vanish_per_mille) {
                client.asleep_until = now + 3 * timeout;
                self.coverage.note("client vanishes");
            } else if client.rng.per_mille(plan.move_per_mille) {
                self.move_client(place);
            } else if client.rng.per_mille(plan.close_per_mille) {
                client.closing.extend(client.session);
                self.ask(place, &Request::CloseSession, Kind::Close);
            } else if is_healed || client.rng.per_mille(plan.read_per_mille) {
                self.ask_read(place);
            } else {
                self.ask_write(place);
            }
        } else if now - client.sent > timeout / 3 {
            client.sent = now;
            let mut payload = BytesMut::new();
            RequestHeader::new(Xid::PING, OpCode::Ping).encode(&mut payload);
            if let Some(conn) = client.conn {
                self.send_to_server(conn, ToServer::Request(payload.freeze()));
            }
        }
    }

    /// A client goes to another server, with its session.
    pub(crate) fn move_client(&mut self, place: usize) {
        if let Some(conn) = self.client(place).conn {
            self.coverage.note("client moves");
            self.leave(conn);
            self.lost_conn(place);
            self.schedule.after(100, Happening::Think(place));
        }
    }

    fn ask(&mut self, place: usize, request: &Request, kind: Kind) {
        let now = self.schedule.now();
        let laws = &self.laws;
        let committed = laws.pasts.last(laws.committed.past());
        let floor = laws.real_time.begin().max(committed);
        let client = self.client(place);
        let Some(conn) = client.conn else { return };
        let xid = Xid::new(client.next_xid);
        client.next_xid += 1;
        client.sent = now;
        client.in_flight.push_back(Asked {
            xid,
            kind,
            begin: now,
            floor,
        });
        let mut payload = BytesMut::new();
        RequestHeader::new(xid, request.op()).encode(&mut payload);
        request.encode(&mut payload);
        say!(self, "client {place} asks {} {request:?}", xid.get());
        self.send_to_server(conn, ToServer::Request(payload.freeze()));
    }

    /// A connected client makes a request that writes no key.
    pub(crate) fn ask_for(&mut self, place: usize, request: &Request) {
        self.ask(place, request, write(Vec::new()));
    }

    /// A client's next value, which nobody else writes.
    fn value(&mut self, place: usize) -> u64 {
        let client = self.client(place);
        client.values += 1;
        (client.place as u64 + 1) << 32 | client.values
    }

    /// Notes that something may happen to a key from now on.
    fn begin(&mut self, key: usize, action: Action) -> (usize, usize) {
        let begin = self.schedule.now();
        let operation = Operation {
            begin,
            end: None,
            action,
        };
        let history = self.laws.history.entry(key).or_default();
        history.push(Some(operation));
        (key, history.len() - 1)
    }

    fn ask_write(&mut self, place: usize) {
        let value = self.value(place);
        let data = Some(Bytes::copy_from_slice(&value.to_be_bytes()));
        let client = self.client(place);
        let key = client.rng.index(KEYS.len());
        let other = (key + 1) % KEYS.len();
        let path = key_path(key);
        let draw = client.rng.below(100);
        let number = client.rng.below(4);
        match draw {
            0..30 => {
                let operations = vec![self.begin(key, Action::Replace(value))];
                let request = Request::SetData(set(&path, data));
                self.ask(place, &request, write(operations));
            }
            30..50 => {
                let action = Action::Swap(None, Some(value));
                let operations = vec![self.begin(key, action)];
                let request = Request::Create(create(&path, data, CreateFlags::Persistent));
                self.ask(place, &request, write(operations));
            }
            50..57 => {
                let operations = vec![self.begin(key, Action::Remove)];
                let request = Request::Delete(delete(&path));
                self.ask(place, &request, write(operations));
            }
            57..67 => {
                let operations = vec![
                    self.begin(key, Action::Replace(value)),
                    self.begin(other, Action::Replace(value)),
                ];
                let ops = vec![
                    MultiOp::SetData(set(&path, data.clone())),
                    MultiOp::SetData(set(&key_path(other), data)),
                ];
                let request = Request::Multi(MultiRequest { ops });
                let kind = Kind::Write {
                    operations,
                    is_multi: true,
                };
                self.ask(place, &request, kind);
            }
            67..72 => {
                let path = ByteString::from(SEQUENCE);
                let request = Request::Create2(create(&path, None, CreateFlags::Persistent));
                let operations = Vec::new();
                self.ask(place, &request, write(operations));
            }
            72..82 => {
                let path = ByteString::from(format!("{SEQUENCE}/n-"));
                let flags = if number == 0 {
                    CreateFlags::PersistentSequential
                } else {
                    CreateFlags::EphemeralSequential
                };
                let request = Request::Create2(create(&path, data, flags));
                let operations = Vec::new();
                self.ask(place, &request, write(operations));
            }
            82..95 => {
                let path = ByteString::from(format!("/e{place}-{number}"));
                let request = Request::Create(create(&path, data, CreateFlags::Ephemeral));
                let operations = Vec::new();
                self.ask(place, &request, write(operations));
            }
            _ => {
                let path = ByteString::from(format!("/e{place}-{number}"));
                let request = Request::Delete(delete(&path));
                let operations = Vec::new();
                self.ask(place, &request, write(operations));
            }
        }
    }

    fn ask_read(&mut self, place: usize) {
        let now = self.schedule.now();
        let count = self.clients.len();
        let client = self.client(place);
        let path = key_path(client.rng.index(KEYS.len()));
        let watch = client.rng.one_in(3);
        let other = client.rng.index(count);
        match client.rng.below(10) {
            0..3 => self.ask_get(place, path, watch, None),
            3..6 => {
                let sync = SyncRequest {
                    path: Some(path.clone()),
                };
                self.ask(place, &Request::Sync(sync), Kind::Sync);
                self.ask_get(place, path, false, Some(now));
            }
            6..8 => {
                let path = if watch {
                    path
                } else {
                    ByteString::from(format!("/e{other}-0"))
                };
                let request = ExistsRequest {
                    path: Some(path.clone()),
                    watch,
                };
                self.ask(
                    place,
                    &Request::Exists(request),
                    Kind::Exists { path, watch },
                );
            }
            _ => {
                let path = ByteString::from(if watch { SEQUENCE } else { "/" });
                let request = GetChildrenRequest {
                    path: Some(path.clone()),
                    watch,
                };
                self.ask(
                    place,
                    &Request::GetChildren(request),
                    Kind::Children { path, watch },
                );
            }
        }
    }

    fn ask_get(&mut self, place: usize, path: ByteString, watch: bool, synced: Option<Micros>) {
        let request = GetDataRequest {
            path: Some(path.clone()),
            watch,
        };
        let kind = Kind::Get {
            path,
            watch,
            synced,
        };
        self.ask(place, &Request::GetData(request), kind);
    }

    /// What a client does first when all is healed: it writes.
    fn ask_last(&mut self, place: usize) {
        let value = self.value(place);
        let data = Some(Bytes::copy_from_slice(&value.to_be_bytes()));
        let operations = vec![self.begin(0, Action::Swap(None, Some(value)))];
        let request = create(&key_path(0), data, CreateFlags::Persistent);
        self.ask(place, &Request::Create(request), write(operations));
    }

    pub(crate) fn welcomed(&mut self, place: usize, session: SessionId) -> Verdict {
        let now = self.schedule.now();
        let client = self.client(place);
        client.is_welcome = true;
        client.heard = now;
        client.sent = now;
        if client.session != Some(session) {
            if let Some(old) = client.session {
                return Err(Violation {
                    law: client_order::LAW,
                    what: format!("client {place} claimed {old} and got {session}"),
                });
            }
            client.session = Some(session);
            client.order = ClientOrder::default();
        }
        say!(self, "client {place} is welcome as {session}");
        Ok(())
    }

    pub(crate) fn found_expired(&mut self, place: usize) {
        say!(self, "client {place} has no session any more");
        let client = self.client(place);
        client.refused.extend(client.session.take());
    }

    pub(crate) fn lost_conn(&mut self, place: usize) {
        let now = self.schedule.now();
        let client = self.client(place);
        client.conn = None;
        client.is_welcome = false;
        client.watches.clear();
        let lost = client.in_flight.drain(..);
        let was_closing = lost
            .filter(|asked| matches!(asked.kind, Kind::Close))
            .count()
            > 0;
        if was_closing {
            // It may or may not be over: the next server will tell.
            self.coverage.note("session lost while it was being closed");
        }
        let pause = self.client(place).rng.between((1_000, 100_000));
        let client = self.client(place);
        client.asleep_until = client.asleep_until.max(now + pause);
    }

    /// Frames arrive at a client.
    pub(crate) fn told(&mut self, place: usize, frames: Bytes) -> Verdict {
        let mut rest = frames;
        while rest.len() >= 4 {
            let head: [u8; 4] = rest
                .get(..4)
                .and_then(|head| head.try_into().ok())
                .unwrap_or([0; 4]);
            let len = u32::from_be_bytes(head) as usize;
            let payload = rest.slice(4..4 + len);
            rest = rest.slice(4 + len..);
            self.told_one(place, &payload)?;
        }
        Ok(())
    }

    fn told_one(&mut self, place: usize, payload: &Bytes) -> Verdict {
        let now = self.schedule.now();
        let garbled = |what: &str| Violation {
            law: client_order::LAW,
            what: format!("client {place} is told {what} that does not decode"),
        };
        let mut reader = Reader::shared(payload);
        let header = ReplyHeader::decode(&mut reader).map_err(|_| garbled("a header"))?;
        self.trace
            .mix(&[5, now, place as u64, header.zxid.get().cast_unsigned()]);
        say!(
            self,
            "client {place} is told {} at {} error {}",
            header.xid.get(),
            header.zxid,
            header.err
        );
        let Self { clients, laws, .. } = self;
        let client = clients
            .get_mut(place)
            .expect("places of clients are those of the plan");
        client.heard = now;
        if header.xid == Xid::NOTIFICATION {
            let event = WatcherEvent::decode(&mut reader).map_err(|_| garbled("an event"))?;
            let kind = EventType::from_code(event.event_type);
            let kind = kind.ok_or_else(|| garbled("a kind of event"))?;
            let path = event.path.unwrap_or_default();
            self.coverage.note("watch fired");
            let client = self
                .clients
                .get_mut(place)
                .expect("places of clients are those of the plan");
            return client.watches.fired(&self.laws.model, &path, kind);
        }
        let session = client.session.unwrap_or(SessionId::NONE);
        if header.zxid > Zxid::ZERO {
            client.order.replied(session, header.xid, header.zxid)?;
            client.watches.replied(&laws.model, header.zxid)?;
            client.last = client.last.max(header.zxid);
        }
        if header.xid == Xid::PING {
            return Ok(());
        }
        let asked = client.in_flight.pop_front();
        let asked = asked.filter(|asked| asked.xid == header.xid);
        let Some(asked) = asked else {
            return Err(Violation {
                law: client_order::LAW,
                what: format!("client {place} is told {} out of turn", header.xid.get()),
            });
        };
        let Asked {
            xid,
            kind,
            begin,
            floor,
        } = asked;
        let zxid = header.zxid;
        match kind {
            Kind::Write {
                operations,
                is_multi,
            } => {
                // A multi tells its errors one by one.
                let is_done = header.err == 0
                    && (!is_multi || {
                        let response = MultiResponse::decode(&mut reader);
                        let response = response.map_err(|_| garbled("results"))?;
                        let is_error =
                            |result: &MultiResult| matches!(result, MultiResult::Error(_));
                        !response.results.iter().any(is_error)
                    });
                client.order.wrote(session, xid, zxid, &laws.model)?;
                laws.real_time.wrote(session, zxid, floor)?;
                for (key, at) in operations {
                    let history = laws.history.entry(key).or_default();
                    if let Some(operation) = history.get_mut(at) {
                        if is_done {
                            if let Some(operation) = operation {
                                operation.end = Some(now);
                            }
                        } else {
                            *operation = None;
                        }
                    }
                }
                client.done_since_heal += 1;
                self.coverage.note(if is_done {
                    "write answered"
                } else {
                    "write refused"
                });
            }
            Kind::Sync => {
                if header.err == 0 {
                    laws.real_time.synced(session, zxid, floor)?;
                    self.coverage.note("sync answered");
                }
            }
            Kind::Get {
                path,
                watch,
                synced,
            } => {
                let known = if header.err == 0 {
                    let response = GetDataResponse::decode(&mut reader);
                    Some(response.map_err(|_| garbled("data"))?)
                } else {
                    None
                };
                let stat = known.as_ref().map(|known| &known.stat);
                let data = known.as_ref().map(|known| known.data.as_deref());
                reads::shown(&laws.model, &path, zxid, stat, data)?;
                if watch && known.is_some() {
                    client.watches.set(&path, Subject::Data, zxid);
                }
                self.coverage.note("read answered");
                if let Some(synced) = synced {
                    let seen = known.as_ref().map(|known| {
                        let data = known.data.as_deref().unwrap_or_default();
                        data.try_into().map_or(0, u64::from_be_bytes)
                    });
                    let key = KEYS.iter().position(|key| **key == *path).unwrap_or(0);
                    let operation = Operation {
                        begin: synced.min(begin),
                        end: Some(now),
                        action: Action::Read(seen),
                    };
                    self.laws
                        .history
                        .entry(key)
                        .or_default()
                        .push(Some(operation));
                }
            }
            Kind::Exists { path, watch } => {
                let known = if header.err == 0 {
                    let response = ExistsResponse::decode(&mut reader);
                    Some(response.map_err(|_| garbled("a stat"))?)
                } else {
                    None
                };
                let stat = known.as_ref().map(|known| &known.stat);
                reads::shown(&laws.model, &path, zxid, stat, None)?;
                if watch {
                    client.watches.set(&path, Subject::Data, zxid);
                }
                self.coverage.note("read answered");
            }
            Kind::Children { path, watch } => {
                if header.err == 0 {
                    let response = GetChildrenResponse::decode(&mut reader);
                    let response = response.map_err(|_| garbled("children"))?;
                    let names: Vec<_> = response.children.iter().map(|name| &**name).collect();
                    if &*path != "/" {
                        reads::listed(&laws.model, &path, zxid, &names)?;
                    }
                    if watch {
                        client.watches.set(&path, Subject::Children, zxid);
                    }
                }
                self.coverage.note("read answered");
            }
            Kind::Close => {
                if header.err == 0 {
                    client.order.wrote(session, xid, zxid, &laws.model)?;
                    client.session = None;
                    self.coverage.note("session closed");
                }
            }
        }
        Ok(())
    }
}

fn write(operations: Vec<(usize, usize)>) -> Kind {
    Kind::Write {
        operations,
        is_multi: false,
    }
}

fn key_path(key: usize) -> ByteString {
    ByteString::from_static(KEYS.get(key).copied().unwrap_or("/k0"))
}

fn set(path: &ByteString, data: Option<Bytes>) -> SetDataRequest {
    SetDataRequest {
        path: Some(path.clone()),
        data,
        version: Version::new(-1),
    }
}

fn delete(path: &ByteString) -> DeleteRequest {
    DeleteRequest {
        path: Some(path.clone()),
        version: Version::new(-1),
    }
}

fn create(path: &ByteString, data: Option<Bytes>, flags: CreateFlags) -> CreateRequest {
    CreateRequest {
        path: Some(path.clone()),
        data,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: flags.code(),
    }
}
