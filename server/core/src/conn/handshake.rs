//! What becomes of a connection's first frame.
//!
//! ```text
//!  frame ─► Handshake::decide ─┬─► Close                  (checks 1 to 5)
//!                              ├─► Create(AwaitingSession) ── created(id) ──► Reply, serve
//!                              ├─► Resume(AwaitingLookup) ─── found / gone ─► Reply, serve or close
//!                              └─► Refuse                  (check 8, or read-only)
//! ```
//!
//! The checks and their order are what clients see: the tests are named after their numbers.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `ZooKeeperServer#processConnectRequest`, `ReadOnlyZooKeeperServer`.

use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::{Bytes, ErrorCode, SessionId, Xid, Zxid, frame};

use crate::session::{SessionTimeout, TimeoutBounds, derive_password, is_password_of};

/// What a server lets its clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingMode {
    /// Nothing: it looks for a leader, or stops.
    NotServing,
    /// Reads of what it knows: it is cut off from its ensemble.
    ReadOnly,
    /// Everything.
    Full,
}

/// What a client takes from the connection throttle, by the kind of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// A new session that goes through the log.
    pub global: u32,
    /// A new session that only this server knows.
    pub local: u32,
    /// A session that comes back.
    pub renewed: u32,
}

/// What the decision depends on beside the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerFacts {
    /// What the server lets its clients do.
    pub mode: ServingMode,
    /// The last transaction applied here.
    pub last_zxid: Zxid,
    /// The timeouts that it grants.
    pub bounds: TimeoutBounds,
    /// Whether new sessions are local.
    pub has_local_sessions: bool,
    /// Whether the connection throttle lets another one in; see [`Handshake::cost`].
    pub has_tokens: bool,
}

/// Why a connection is closed without a word. The session, if there is one, lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The frame is no handshake.
    Undecodable,
    /// The server serves nobody.
    NotServing,
    /// Too many connections at once.
    Throttled,
    /// The server is read-only, and the client did not say that it would do.
    ReadOnly,
    /// The client has seen a state that the server has not: another server will do.
    ClientAhead {
        /// What the client has seen.
        seen: Zxid,
        /// What the server has applied.
        applied: Zxid,
    },
    /// A read-only server cannot tell whether a session lives that it does not have itself.
    SessionElsewhere,
}

/// Which kind of session to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// By a transaction, known to the whole ensemble.
    Global,
    /// Without, known to this server only.
    Local,
}

/// A decoded first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake(ConnectRequest);

/// What to do about a first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Close the connection.
    Close(CloseReason),
    /// Create a session, and read nothing meanwhile.
    Create(AwaitingSession),
    /// Close any other connection of the session at this server; then find out whether it lives,
    /// at the leader if this server is a learner; and read nothing meanwhile.
    Resume(AwaitingLookup),
    /// Close any other connection of `session` at this server, send the frame, close the connection.
    Refuse {
        /// The session that was asked for; [`SessionId::NONE`] for a new one.
        session: SessionId,
        /// The frame to send.
        frame: Bytes,
    },
}

/// A handshake that waits for its session to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitingSession {
    kind: SessionKind,
    reply: Granted,
}

/// A handshake that waits to hear whether its session lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitingLookup {
    session: SessionId,
    reply: Granted,
}

/// The parts of the reply that are known from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Granted {
    timeout: SessionTimeout,
    mode: ServingMode,
    /// Whether the client knows of read-only servers: only then it is told.
    tells_mode: bool,
}

/// What becomes of a handshake whose session was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// Send the frame and serve the session, with its timer touched.
    Serve(Bytes),
    /// Send the frame, then close.
    Refuse(Bytes),
    /// Close without a word.
    Close(CloseReason),
}

impl Handshake {
    /// Reads the first frame: check 1. What follows the record in it is ignored.
    ///
    /// # Errors
    /// [`CloseReason::Undecodable`].
    pub fn decode(payload: &Bytes) -> Result<Self, CloseReason> {
        let request = ConnectRequest::decode(&mut Reader::new(payload));
        request.map(Self).map_err(|_| CloseReason::Undecodable)
    }

    /// The session that the client asks for; [`SessionId::NONE`] for a new one.
    pub fn session(&self) -> SessionId {
        self.0.session_id
    }

    /// What it takes from the connection throttle: one, unless sessions are weighed by kind.
    pub fn cost(&self, weights: Option<Weights>, has_local_sessions: bool) -> u32 {
        let Some(weights) = weights else {
            return 1;
        };
        if self.0.session_id != SessionId::NONE {
            weights.renewed
        } else if has_local_sessions {
            weights.local
        } else {
            weights.global
        }
    }

    /// Goes through checks 2 to 8 in order. An accepted session is yet to be created or looked up.
    pub fn decide(self, facts: &ServerFacts) -> Decision {
        let Self(request) = self;
        if facts.mode == ServingMode::NotServing {
            return Decision::Close(CloseReason::NotServing);
        }
        if !facts.has_tokens {
            return Decision::Close(CloseReason::Throttled);
        }
        if facts.mode == ServingMode::ReadOnly && request.read_only != Some(true) {
            return Decision::Close(CloseReason::ReadOnly);
        }
        if request.last_zxid_seen > facts.last_zxid {
            return Decision::Close(CloseReason::ClientAhead {
                seen: request.last_zxid_seen,
                applied: facts.last_zxid,
            });
        }
        let reply = Granted {
            timeout: facts.bounds.grant(request.timeout_ms),
            mode: facts.mode,
            tells_mode: request.read_only.is_some(),
        };
        let session = request.session_id;
        if session == SessionId::NONE {
            return match (facts.mode, facts.has_local_sessions) {
                (_, true) => Decision::Create(AwaitingSession {
                    kind: SessionKind::Local,
                    reply,
                }),
                (ServingMode::ReadOnly, false) => Decision::Refuse {
                    session,
                    frame: not_read_only(facts.last_zxid),
                },
                (ServingMode::Full | ServingMode::NotServing, false) => {
                    Decision::Create(AwaitingSession {
                        kind: SessionKind::Global,
                        reply,
                    })
                }
            };
        }
        if is_password_of(session, request.password.as_deref()) {
            Decision::Resume(AwaitingLookup { session, reply })
        } else {
            let frame = reply.refusal();
            Decision::Refuse { session, frame }
        }
    }
}

impl AwaitingSession {
    /// Which kind of session to create.
    pub fn kind(&self) -> SessionKind {
        self.kind
    }

    /// Timeout to create it with.
    pub fn timeout(&self) -> SessionTimeout {
        self.reply.timeout
    }

    /// The frame to send once the session is there: for a global one, once it is applied here.
    pub fn created(self, id: SessionId) -> Bytes {
        self.reply.acceptance(id)
    }
}

impl AwaitingLookup {
    /// The session to look up.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Timeout that the connection is granted, to touch the session with.
    pub fn timeout(&self) -> SessionTimeout {
        self.reply.timeout
    }

    /// Goes on with check 9: whether the session is known and not closing. A read-only server knows
    /// its local sessions only.
    pub fn looked_up(self, is_alive: bool) -> Resumed {
        if is_alive {
            Resumed::Serve(self.reply.acceptance(self.session))
        } else if self.reply.mode == ServingMode::ReadOnly {
            Resumed::Close(CloseReason::SessionElsewhere)
        } else {
            Resumed::Refuse(self.reply.refusal())
        }
    }
}

impl Granted {
    fn acceptance(self, session_id: SessionId) -> Bytes {
        let is_read_only = self.mode == ServingMode::ReadOnly;
        to_frame(&ConnectResponse {
            protocol_version: 0,
            timeout_ms: self.timeout.as_millis(),
            session_id,
            password: Some(Bytes::copy_from_slice(&derive_password(session_id))),
            read_only: self.tells_mode.then_some(is_read_only),
        })
    }

    fn refusal(self) -> Bytes {
        to_frame(&ConnectResponse {
            password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
            read_only: self.tells_mode.then_some(false),
            ..ConnectResponse::default()
        })
    }
}

fn to_frame(response: &ConnectResponse) -> Bytes {
    let mut out = bytes::BytesMut::with_capacity(frame::LENGTH_LEN + response.encoded_len());
    frame::write(&mut out, &[response]);
    out.freeze()
}

/// What the reference answers when a read-only server would have to create a global session: the
/// header of a reply, which no client takes for a handshake.
fn not_read_only(zxid: Zxid) -> Bytes {
    let header = ReplyHeader {
        xid: Xid::new(0),
        zxid,
        err: ErrorCode::NotReadOnly.code(),
    };
    let mut out = bytes::BytesMut::new();
    frame::write_reply(&mut out, &header, None);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::new(0x0100_2d1e_2800_0000);

    fn facts() -> ServerFacts {
        ServerFacts {
            mode: ServingMode::Full,
            last_zxid: Zxid::new(100),
            bounds: TimeoutBounds::new(2000, None, None).unwrap(),
            has_local_sessions: false,
            has_tokens: true,
        }
    }

    fn new_session() -> ConnectRequest {
        ConnectRequest {
            timeout_ms: 10_000,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only: Some(false),
            ..ConnectRequest::default()
        }
    }

    fn resume() -> ConnectRequest {
        ConnectRequest {
            session_id: ID,
            password: Some(Bytes::copy_from_slice(&derive_password(ID))),
            ..new_session()
        }
    }

    fn decide(request: ConnectRequest, facts: &ServerFacts) -> Decision {
        Handshake(request).decide(facts)
    }

    fn response(frame: &Bytes) -> ConnectResponse {
        let payload = frame.slice(4..);
        let mut reader = Reader::new(&payload);
        let response = ConnectResponse::decode(&mut reader).unwrap();
        assert!(reader.is_empty());
        response
    }

    fn created(request: ConnectRequest, facts: &ServerFacts) -> ConnectResponse {
        let Decision::Create(awaiting) = decide(request, facts) else {
            panic!("no session");
        };
        response(&awaiting.created(ID))
    }

    #[test]
    fn check_1_frame_that_is_no_handshake_closes() {
        let short = Bytes::from_static(&[0; 27]);
        assert_eq!(Handshake::decode(&short), Err(CloseReason::Undecodable));
        let wire = resume().to_bytes();
        let mut longer = wire.to_vec();
        longer.extend([1, 2, 3]);
        let longer = Bytes::from(longer);
        assert_eq!(Handshake::decode(&longer), Handshake::decode(&wire));
    }

    #[test]
    fn checks_2_to_5_close_in_their_order() {
        let mut facts = ServerFacts {
            mode: ServingMode::NotServing,
            has_tokens: false,
            last_zxid: Zxid::new(1),
            ..facts()
        };
        let ahead = || ConnectRequest {
            last_zxid_seen: Zxid::new(2),
            ..resume()
        };
        let mut closes = |reason| {
            assert_eq!(decide(ahead(), &facts), Decision::Close(reason));
            match reason {
                CloseReason::NotServing => facts.mode = ServingMode::ReadOnly,
                CloseReason::Throttled => facts.has_tokens = true,
                CloseReason::ReadOnly => facts.mode = ServingMode::Full,
                CloseReason::ClientAhead { .. } => facts.last_zxid = Zxid::new(2),
                CloseReason::Undecodable | CloseReason::SessionElsewhere => unreachable!(),
            }
        };
        closes(CloseReason::NotServing);
        closes(CloseReason::Throttled);
        closes(CloseReason::ReadOnly);
        closes(CloseReason::ClientAhead {
            seen: Zxid::new(2),
            applied: Zxid::new(1),
        });
        assert!(matches!(decide(ahead(), &facts), Decision::Resume(_)));
    }

    #[test]
    fn check_4_counts_a_missing_read_only_byte_as_false() {
        let facts = ServerFacts {
            mode: ServingMode::ReadOnly,
            has_local_sessions: true,
            ..facts()
        };
        for (read_only, is_closed) in [(None, true), (Some(false), true), (Some(true), false)] {
            let request = ConnectRequest {
                read_only,
                ..new_session()
            };
            let is_close = matches!(decide(request, &facts), Decision::Close(_));
            assert_eq!(is_close, is_closed);
        }
    }

    #[test]
    fn check_6_timeout_is_clamped() {
        for (asked, granted) in [(-5, 4000), (10_000, 10_000), (1_000_000_000, 40_000)] {
            let request = ConnectRequest {
                timeout_ms: asked,
                ..new_session()
            };
            assert_eq!(created(request, &facts()).timeout_ms, granted);
        }
    }

    #[test]
    fn check_7a_new_session_is_created_whatever_the_password() {
        for password in [None, Some(Bytes::new()), Some(Bytes::from_static(&[7; 16]))] {
            let request = ConnectRequest {
                password,
                protocol_version: 77,
                ..new_session()
            };
            let response = created(request, &facts());
            assert_eq!(response.session_id, ID);
            assert_eq!(response.password.unwrap().as_ref(), derive_password(ID));
        }
    }

    #[test]
    fn check_7a_local_sessions_are_created_where_they_are_on() {
        for (mode, has_local_sessions, kind) in [
            (ServingMode::Full, false, SessionKind::Global),
            (ServingMode::Full, true, SessionKind::Local),
            (ServingMode::ReadOnly, true, SessionKind::Local),
        ] {
            let facts = ServerFacts {
                mode,
                has_local_sessions,
                ..facts()
            };
            let request = ConnectRequest {
                read_only: Some(true),
                ..new_session()
            };
            let Decision::Create(awaiting) = decide(request, &facts) else {
                panic!("no session");
            };
            assert_eq!(awaiting.kind(), kind);
            let response = response(&awaiting.created(ID));
            assert_eq!(response.read_only, Some(mode == ServingMode::ReadOnly));
        }
    }

    #[test]
    fn check_7a_read_only_server_answers_a_header_where_it_would_need_a_global_session() {
        let facts = ServerFacts {
            mode: ServingMode::ReadOnly,
            ..facts()
        };
        let request = ConnectRequest {
            read_only: Some(true),
            ..new_session()
        };
        let Decision::Refuse { frame, .. } = decide(request, &facts) else {
            panic!("not refused");
        };
        let header = ReplyHeader::decode(&mut Reader::new(&frame[4..])).unwrap();
        assert_eq!(frame.len(), 4 + ReplyHeader::LEN);
        assert_eq!(header.error(), Some(ErrorCode::NotReadOnly));
        assert_eq!(header.zxid, Zxid::new(100));
    }

    #[test]
    fn check_8_wrong_password_is_refused_after_the_other_connection_is_named() {
        for password in [None, Some(Bytes::new()), Some(Bytes::from_static(&[0; 16]))] {
            let request = ConnectRequest {
                password,
                ..resume()
            };
            let Decision::Refuse { session, frame } = decide(request, &facts()) else {
                panic!("not refused");
            };
            assert_eq!(session, ID);
            let refused = response(&frame);
            assert_eq!(
                (refused.timeout_ms, refused.session_id),
                (0, SessionId::NONE)
            );
            assert_eq!(refused.password.unwrap().as_ref(), [0; 16]);
            assert_eq!(refused.read_only, Some(false));
        }
    }

    #[test]
    fn check_9_session_that_lives_is_served_and_another_refused() {
        for is_alive in [true, false] {
            let Decision::Resume(awaiting) = decide(resume(), &facts()) else {
                panic!("not resumed");
            };
            assert_eq!(
                (awaiting.session(), awaiting.timeout().as_millis()),
                (ID, 10_000)
            );
            match awaiting.looked_up(is_alive) {
                Resumed::Serve(frame) => assert_eq!(response(&frame).session_id, ID),
                Resumed::Refuse(frame) => assert_eq!(response(&frame).timeout_ms, 0),
                Resumed::Close(_) => panic!("closed"),
            }
        }
    }

    #[test]
    fn check_9_read_only_server_expires_no_session_that_it_does_not_have() {
        let facts = ServerFacts {
            mode: ServingMode::ReadOnly,
            ..facts()
        };
        let request = ConnectRequest {
            read_only: Some(true),
            ..resume()
        };
        let Decision::Resume(awaiting) = decide(request, &facts) else {
            panic!("not resumed");
        };
        let closed = Resumed::Close(CloseReason::SessionElsewhere);
        assert_eq!(awaiting.looked_up(false), closed);
    }

    /// ZOOKEEPER-4814.
    #[test]
    fn clients_that_sent_no_read_only_byte_get_none() {
        let request = ConnectRequest {
            read_only: None,
            ..new_session()
        };
        let Decision::Create(awaiting) = decide(request, &facts()) else {
            panic!("no session");
        };
        let frame = awaiting.created(ID);
        assert_eq!(frame.len(), 4 + 36);
        assert_eq!(response(&frame).read_only, None);
    }

    #[test]
    fn throttle_charges_by_what_a_session_costs() {
        let weights = Weights {
            global: 3,
            local: 1,
            renewed: 2,
        };
        let cost = |request: ConnectRequest, weights, has_local| {
            Handshake(request).cost(weights, has_local)
        };
        assert_eq!(cost(new_session(), Some(weights), false), 3);
        assert_eq!(cost(resume(), Some(weights), false), 2);
        assert_eq!(cost(new_session(), Some(weights), true), 1);
        assert_eq!(cost(new_session(), None, false), 1);
        assert_eq!(cost(resume(), None, false), 1);
    }
}
