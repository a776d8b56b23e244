//! Clients that are no part of the run: programs with connections of their own, which put bytes in and
//! take bytes out.
//!
//! A run with such clients goes on as far as they have come, and no further; see
//! [`crate::simulation`].

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use zk_core::session::{SessionTimeout, derive_password, is_password_of};
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::header::RequestHeader;
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::{OpCode, SessionId, Xid, frame};

use super::disk::mark;
use super::schedule::Micros;
use super::service::{ToClient, ToServer};
use super::trace::say;
use super::world::World;

/// Longest frame that is taken from a client, in bytes.
const FRAME_MAX: usize = 1 << 20;

/// In place of the client of a connection from outside.
pub(crate) const OUTSIDE: usize = usize::MAX - 1;

/// What is known of the world outside.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Lines from processes to members on which messages are held up, and until when, each way.
    cuts: BTreeMap<(u32, u8), [Micros; 2]>,
    /// What arrived at clients and was not taken, in order.
    arrived: Vec<(usize, Arrival)>,
}

/// One end of a connection from outside.
#[derive(Debug, Default)]
pub(crate) struct OutsideEnd {
    process: u32,
    /// Received and not complete.
    input: BytesMut,
    has_said_hello: bool,
    /// Whether the client knows of read-only servers, and is told.
    knows_read_only: bool,
}

/// What arrives at a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Bytes of the connection.
    Bytes(Bytes),
    /// Its end.
    End,
}

/// A direction of a line between a process and a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heading {
    /// From the process to the member.
    In,
    /// From the member to the process.
    Out,
}

impl World {
    /// When the next thing happens, if anything is to.
    pub(crate) fn next_at(&self) -> Option<Micros> {
        self.schedule.next_at()
    }

    /// What arrived at clients since the last call.
    pub(crate) fn take_arrived(&mut self) -> Vec<(usize, Arrival)> {
        std::mem::take(&mut self.outside.arrived)
    }

    /// Holds up what goes from a process to a member, or back.
    pub(crate) fn cut_outside(&mut self, process: u32, member: u8, heading: Heading, to: Micros) {
        let cut = self.outside.cuts.entry((process, member)).or_default();
        let [inwards, outwards] = cut;
        let until = match heading {
            Heading::In => inwards,
            Heading::Out => outwards,
        };
        *until = to.max(*until);
    }

    /// Lets everything through again, but what is on its way already takes its time.
    pub(crate) fn heal_outside(&mut self, process: u32) {
        let all = (process, 0)..=(process, u8::MAX);
        for (_, cut) in self.outside.cuts.range_mut(all) {
            *cut = [0; 2];
        }
    }

    /// Until when a line is cut, if it is.
    pub(crate) fn is_cut_outside(&self, process: u32, member: u8, heading: Heading) -> Micros {
        let cut = self.outside.cuts.get(&(process, member));
        let [inwards, outwards] = cut.copied().unwrap_or_default();
        match heading {
            Heading::In => inwards,
            Heading::Out => outwards,
        }
    }

    /// When what is on its way may arrive, if it has to wait.
    pub(crate) fn held_up(&self, place: usize, heading: Heading) -> Option<Micros> {
        let conn = self.conns.get(place)?;
        let end = conn.outside.as_ref()?;
        let until = self.is_cut_outside(end.process, conn.member, heading);
        (until > self.schedule.now()).then_some(until)
    }

    /// A process connects to a member that takes connections; `None` if that one is down.
    pub(crate) fn connect_outside(&mut self, process: u32, member: u8) -> Option<usize> {
        if !self.peek(member).is_up() {
            return None;
        }
        self.laws.model.has_clients_outside = true;
        let place = self.connect(OUTSIDE, member);
        let conn = self.conns.get_mut(place)?;
        conn.outside = Some(OutsideEnd {
            process,
            ..OutsideEnd::default()
        });
        say!(self, "process {process} connects to {member}");
        Some(place)
    }

    /// A client sends bytes.
    pub(crate) fn put_outside(&mut self, place: usize, bytes: &[u8]) {
        let now = self.schedule.now();
        self.trace.mix(&[6, now, place as u64, mark(bytes)]);
        let Some(conn) = self.conns.get_mut(place) else {
            return;
        };
        let Some(end) = &mut conn.outside else { return };
        end.input.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        loop {
            let piece = match frame::take(&mut end.input, FRAME_MAX) {
                Ok(None) => break,
                Err(_) => ToServer::Close,
                Ok(Some(payload)) if end.has_said_hello => ToServer::Request(payload),
                Ok(Some(payload)) => {
                    end.has_said_hello = true;
                    match ConnectRequest::decode(&mut Reader::shared(&payload)) {
                        Ok(request) => {
                            end.knows_read_only = request.read_only.is_some();
                            hello(&request, self.plan.members.tick_ms)
                        }
                        Err(_) => ToServer::Close,
                    }
                }
            };
            let is_over = matches!(piece, ToServer::Close);
            pieces.push(piece);
            if is_over {
                break;
            }
        }
        for piece in pieces {
            self.send_to_server(place, piece);
        }
    }

    /// A connection breaks: its client knows at once, its server only if told.
    pub(crate) fn reset_outside(&mut self, process: u32, tells_server: bool) {
        for place in 0..self.conns.len() {
            let Some(conn) = self.conns.get_mut(place) else {
                continue;
            };
            let is_of = |end: &OutsideEnd| end.process == process;
            if !conn.outside.as_ref().is_some_and(is_of) || !conn.client_open {
                continue;
            }
            conn.client_open = false;
            self.outside.arrived.push((place, Arrival::End));
            if tells_server {
                self.close_conn(place);
            }
        }
    }

    /// Sessions of a process that are connected, and where.
    pub(crate) fn sessions_outside(&self, process: u32) -> Vec<(SessionId, u8)> {
        let is_of = |end: &OutsideEnd| end.process == process;
        let conns = self.conns.iter().filter(|conn| conn.client_open);
        conns
            .filter(|conn| conn.outside.as_ref().is_some_and(is_of))
            .filter_map(|conn| Some((conn.session?, conn.member)))
            .collect()
    }

    /// All connections from outside break.
    pub(crate) fn reset_all_outside(&mut self) {
        for place in 0..self.conns.len() {
            let Some(conn) = self.conns.get_mut(place) else {
                continue;
            };
            if conn.outside.is_some() && std::mem::replace(&mut conn.client_open, false) {
                self.outside.arrived.push((place, Arrival::End));
                self.close_conn(place);
            }
        }
    }

    /// Something arrives at a client outside.
    pub(crate) fn arrives_outside(&mut self, place: usize, piece: ToClient) {
        let now = self.schedule.now();
        let Some(conn) = self.conns.get_mut(place) else {
            return;
        };
        let knows = |end: &OutsideEnd| end.knows_read_only;
        let knows_read_only = conn.outside.as_ref().is_some_and(knows);
        let arrival = match piece {
            ToClient::Welcome(session) => {
                let response = ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: conn.timeout.as_millis(),
                    session_id: session,
                    password: Some(Bytes::copy_from_slice(&derive_password(session))),
                    read_only: knows_read_only.then_some(false),
                };
                Arrival::Bytes(framed(&response))
            }
            ToClient::Expired => Arrival::Bytes(framed(&ConnectResponse::refused(knows_read_only))),
            ToClient::Frames(bytes) => Arrival::Bytes(bytes),
            ToClient::Close => {
                conn.client_open = false;
                Arrival::End
            }
        };
        let what = match &arrival {
            Arrival::Bytes(bytes) => mark(bytes),
            Arrival::End => 0,
        };
        self.trace.mix(&[7, now, place as u64, what]);
        self.outside.arrived.push((place, arrival));
    }

    /// A session goes on by another connection: a member that still has one of it closes that.
    pub(crate) fn take_over(&mut self, session: SessionId, member: u8) {
        for place in 0..self.conns.len() {
            let conn = self.conns.get(place);
            let is_old = conn.is_some_and(|conn| {
                conn.member == member && conn.session == Some(session) && conn.outside.is_some()
            });
            if is_old {
                self.close_conn(place);
            }
        }
    }

    /// Has a session ended by the member that it is connected to, if that one serves.
    pub(crate) fn expire_outside(&mut self, session: SessionId, member: u8) {
        self.take_over(session, member);
        let place = self.connect(usize::MAX, member);
        if let Some(conn) = self.conns.get_mut(place) {
            conn.client_open = false;
            conn.session = Some(session);
            conn.timeout = SessionTimeout::from_millis(1);
        }
        let mut payload = BytesMut::new();
        RequestHeader::new(Xid::new(0), OpCode::CloseSession).encode(&mut payload);
        self.send_to_server(place, ToServer::Request(payload.freeze()));
    }
}

/// What a server makes of a first frame.
fn hello(request: &ConnectRequest, tick_ms: u64) -> ToServer {
    let tick = i32::try_from(tick_ms).unwrap_or(i32::MAX);
    let granted = request
        .timeout_ms
        .clamp(tick.saturating_mul(2), tick.saturating_mul(20));
    let session = (request.session_id != SessionId::NONE).then_some(request.session_id);
    let password = request.password.as_deref();
    match session {
        // A wrong password opens nothing.
        Some(session) if !is_password_of(session, password) => ToServer::Close,
        session => ToServer::Hello {
            session,
            timeout: SessionTimeout::from_millis(granted),
            last: request.last_zxid_seen,
        },
    }
}

fn framed(response: &ConnectResponse) -> Bytes {
    let mut out = BytesMut::new();
    let len = i32::try_from(response.encoded_len()).unwrap_or(i32::MAX);
    len.encode(&mut out);
    response.encode(&mut out);
    out.freeze()
}
