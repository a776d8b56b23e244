//! From the first bytes of a connection to its session.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zk_core::conn::handshake::{
    CloseReason, Decision, Handshake, Resumed, ServerFacts, ServingMode,
};
use zk_core::peer::Event;
use zk_core::session::SessionTimeout;
use zk_proto::{SessionId, frame};

use super::connections::{Caller, Conn, SessionReply};
use super::service::Service;
use super::words;
use crate::config::Topology;
use crate::four_letter::Word;
use crate::metrics::Counter;
use crate::stage::core::CoreItem;

/// Longest first frame: what a connection may cost before it has a session. A handshake is a tenth
/// of that.
pub(crate) const FRAME_MAX: usize = 512;

/// A connection that has a session.
pub(crate) struct Established {
    pub(crate) conn: Arc<Conn>,
    pub(crate) session: SessionId,
    pub(crate) timeout: SessionTimeout,
    /// Bytes that came behind the handshake.
    pub(crate) rest: BytesMut,
    /// The answer to the handshake, to be sent before anything else.
    pub(crate) reply: Bytes,
}

/// Takes the connection out of the registry, unless it got its session.
struct Registered<'a> {
    service: &'a Service,
    conn: Option<Arc<Conn>>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if let Some(conn) = &self.conn {
            self.service.connections.remove(conn);
        }
    }
}

/// Reads the first bytes and does what they ask for. `None` when the connection is at its end: it
/// was a four-letter word, or refused.
///
/// # Cancel safety
///
/// Safe: a session that was asked for meanwhile expires.
pub(crate) async fn establish(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    caller: &Caller,
    service: &Service,
) -> std::io::Result<Option<Established>> {
    let remote = caller.remote;
    let mut input = BytesMut::with_capacity(64);
    while input.len() < frame::LENGTH_LEN {
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(None);
        }
    }
    let first = input.first_chunk().copied().unwrap_or_default();
    if let Some(word) = Word::recognise(first) {
        words::answer(word, socket, input, remote, service).await?;
        return Ok(None);
    }
    let payload = loop {
        match frame::take(&mut input, FRAME_MAX) {
            Ok(Some(payload)) => break payload,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(peer = %remote, err = %error, "no handshake");
                return Ok(None);
            }
        }
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(None);
        }
    };
    let outcome = decide(&payload, caller, service).await;
    match outcome {
        Outcome::Serve {
            conn,
            session,
            timeout,
            reply,
        } => Ok(Some(Established {
            conn,
            session,
            timeout,
            rest: input,
            reply,
        })),
        Outcome::Refuse(reply) => {
            socket.write_all(&reply).await?;
            socket.shutdown().await?;
            Ok(None)
        }
        Outcome::Close(reason) => {
            if reason == CloseReason::Throttled {
                service.metrics.count(Counter::ConnectionDropCount, 1);
            }
            tracing::info!(peer = %remote, ?reason, "handshake refused");
            Ok(None)
        }
        Outcome::Stopping => Ok(None),
    }
}

enum Outcome {
    Serve {
        conn: Arc<Conn>,
        session: SessionId,
        timeout: SessionTimeout,
        reply: Bytes,
    },
    Refuse(Bytes),
    Close(CloseReason),
    Stopping,
}

async fn decide(payload: &Bytes, caller: &Caller, service: &Service) -> Outcome {
    let handshake = match Handshake::decode(payload) {
        Ok(handshake) => handshake,
        Err(reason) => return Outcome::Close(reason),
    };
    service.metrics.count(Counter::ConnectionRequestCount, 1);
    let has_local_sessions = service.config.topology != Topology::Standalone
        && service.config.ensemble.local_sessions_enabled;
    let facts = ServerFacts {
        mode: service.connections.settled_mode().await,
        last_zxid: service.tree.applied(),
        bounds: service.bounds,
        has_local_sessions,
        has_tokens: service.throttle.take(
            handshake.cost(service.throttle.weights, has_local_sessions),
            Instant::now(),
        ),
    };
    match handshake.decide(&facts) {
        Decision::Close(reason) => Outcome::Close(reason),
        Decision::Refuse { session, frame } => {
            service.connections.close_session(session);
            Outcome::Refuse(frame)
        }
        Decision::Create(awaiting) => {
            let timeout = awaiting.timeout();
            let ask = |conn: &Conn| Event::SessionRequested {
                conn: conn.id,
                timeout,
            };
            match ask_core(caller, service, ask).await {
                Some((conn, SessionReply::Opened(session))) => {
                    service.connections.bind(&conn, session);
                    let reply = awaiting.created(session);
                    Outcome::Serve {
                        conn,
                        session,
                        timeout,
                        reply,
                    }
                }
                Some((_, SessionReply::Claimed { .. })) | None => Outcome::Stopping,
            }
        }
        Decision::Resume(awaiting) => {
            let (session, timeout) = (awaiting.session(), awaiting.timeout());
            service.metrics.count(Counter::ConnectionRevalidateCount, 1);
            service.connections.close_session(session);
            let ask = |conn: &Conn| Event::SessionClaimed {
                conn: conn.id,
                session,
                timeout,
            };
            let Some((conn, SessionReply::Claimed { is_alive })) =
                ask_core(caller, service, ask).await
            else {
                return Outcome::Stopping;
            };
            match awaiting.looked_up(is_alive) {
                Resumed::Serve(reply) => {
                    service.connections.bind(&conn, session);
                    Outcome::Serve {
                        conn,
                        session,
                        timeout,
                        reply,
                    }
                }
                Resumed::Refuse(reply) => {
                    service.connections.remove(&conn);
                    Outcome::Refuse(reply)
                }
                Resumed::Close(reason) => {
                    service.connections.remove(&conn);
                    Outcome::Close(reason)
                }
            }
        }
    }
}

/// Asks the core for a session and waits for its reply; `None` if the server stops, or has too much
/// to do.
async fn ask_core(
    caller: &Caller,
    service: &Service,
    ask: impl FnOnce(&Conn) -> Event,
) -> Option<(Arc<Conn>, SessionReply)> {
    let conn = service.connections.add(caller);
    let mut registered = Registered {
        service,
        conn: Some(Arc::clone(&conn)),
    };
    let reply = conn.await_session();
    if service.connections.mode() == ServingMode::NotServing {
        // Who stops serving turns away the connections that it knows: this one may have come too
        // late for that, and then nobody would answer.
        return None;
    }
    let item = CoreItem::Event(ask(&conn));
    service.ask(&mut vec![item]).ok()?;
    let reply = reply.await.ok()?;
    registered.conn = None;
    Some((conn, reply))
}
