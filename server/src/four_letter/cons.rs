//! `cons`: a line per client connection, with what its session did.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;

use zk_proto::{SessionId, Zxid};

use super::java::java_address;
use super::render::render;

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Address of the client.
    pub remote: SocketAddr,
    /// What the socket waits for: 1 reading, 4 writing, 0 nothing.
    pub interest_ops: u32,
    /// Requests being worked on.
    pub queued: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Its session, once there is one.
    pub session: Option<SessionInfo>,
}

/// What a session did on its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Four letters of the last operation; `NA` after a reset.
    pub last_operation: &'static str,
    /// When the connection was made, in ms since the epoch.
    pub established_ms: i64,
    /// Timeout granted, in ms.
    pub timeout_ms: i32,
    /// Last xid of the client; -1 after a reset.
    pub last_cxid: i32,
    /// Zxid of the last answer; -1 after a reset.
    pub last_zxid: Zxid,
    /// When that was, in ms of the monotonic clock.
    pub last_response_ms: i64,
    /// Latency of the last answer, in ms.
    pub last_latency_ms: u64,
    /// Smallest.
    pub min_latency_ms: u64,
    /// Mean, rounded down.
    pub avg_latency_ms: u64,
    /// Largest.
    pub max_latency_ms: u64,
}

/// The answer.
pub fn cons(connections: &[ConnectionInfo]) -> String {
    render(|out| {
        for connection in connections {
            connection.write_full(out)?;
        }
        out.write_str("\n")
    })
}

impl ConnectionInfo {
    /// Address and counters, up to where the session would follow.
    pub(super) fn write_brief(&self, out: &mut String) -> fmt::Result {
        write!(
            out,
            " {}[{:x}](queued={},recved={},sent={}",
            java_address(self.remote),
            self.interest_ops,
            self.queued,
            self.received,
            self.sent
        )
    }

    fn write_full(&self, out: &mut String) -> fmt::Result {
        self.write_brief(out)?;
        if let Some(session) = &self.session {
            write!(
                out,
                ",sid={},lop={},est={},to={}",
                session.id, session.last_operation, session.established_ms, session.timeout_ms
            )?;
            if session.last_cxid >= 0 {
                write!(out, ",lcxid=0x{:x}", session.last_cxid)?;
            }
            write!(
                out,
                ",lzxid={},lresp={},llat={},minlat={},avglat={},maxlat={}",
                session.last_zxid,
                session.last_response_ms,
                session.last_latency_ms,
                session.min_latency_ms,
                session.avg_latency_ms,
                session.max_latency_ms
            )?;
        }
        out.write_str(")\n")
    }
}
