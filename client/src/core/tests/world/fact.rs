use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use zk_proto::{SessionId, Xid, Zxid};

use super::super::super::{
    AttemptError, Cause, CloseReason, Delivery, Failure, Load, Reply, Time, WatchKind,
};
use super::super::ensemble::{ConnId, ServerWatches, Tree, Txn};
use super::plan::Plan;

/// Something that a checker may want to know.
#[derive(Debug)]
pub(in super::super) enum Fact<'a> {
    /// It begins.
    Planned(&'a Plan),
    /// The user submitted a request.
    Submitted {
        id: u32,
        deadline: Time,
        pinned: Option<SessionId>,
        /// Whether it may be sent again when its outcome is lost.
        resend: bool,
    },
    /// Nobody waits for it any more.
    Abandoned {
        id: u32,
    },
    /// Bytes of a request, or of a credential, were handed to a connection.
    Sent {
        conn: ConnId,
        id: u32,
        is_auth: bool,
    },
    /// Bytes were handed to a connection: how many frames, and how many pings among them.
    Wrote {
        conn: ConnId,
        frames: usize,
        pings: usize,
    },
    /// A server executed a request.
    Executed {
        conn: ConnId,
        session: SessionId,
        xid: Xid,
        id: u32,
        err: i32,
        body: &'a Bytes,
    },
    /// Whoever waits was told. The connection is that on which a reply was just taken in.
    Resolved {
        conn: Option<ConnId>,
        id: u32,
        result: Result<&'a Reply, &'a Failure>,
    },
    /// The ensemble agreed on something.
    Committed(&'a Txn),
    /// A read saw a znode (`None`: saw that it is not there): by its data or its children.
    Observed {
        path: &'a str,
        children: bool,
        state: Option<Zxid>,
    },
    /// A watch is there since this state of the server, of which it saw this.
    Armed {
        watch: u32,
        held: &'a Held,
        zxid: Zxid,
        state: Option<Zxid>,
    },
    /// Nobody holds a watch any more, or it has ended.
    Disarmed {
        watch: u32,
    },
    /// A watch was told something; for an event, of which transaction, unless it catches up.
    Told {
        watch: u32,
        delivery: &'a Delivery,
        zxid: Option<i64>,
    },
    Dialed {
        within: Duration,
    },
    AttemptFailed {
        passed: bool,
    },
    Linked {
        conn: ConnId,
        timeout: Duration,
    },
    Connected {
        session: SessionId,
    },
    /// With when the servers let the session expire as far as they know, unless it was killed.
    Suspended {
        safe_until: Time,
        cause: &'a AttemptError,
        truth: Option<Time>,
    },
    /// With whether a server has in fact let it end, or it ended with its server.
    Expired {
        session: SessionId,
        is_true: bool,
    },
    Closed(CloseReason),
    /// The answer to a handshake that says that the session is gone arrived.
    Refused,
    /// A frame arrived: whether it answers something, and whether that was a ping.
    Received {
        conn: ConnId,
        answers: bool,
        is_pong: bool,
    },
    /// A connection was given up.
    HungUp,
    /// The list of servers is another.
    ServersSet {
        count: usize,
    },
    /// Time has passed and everything due was done.
    Turned {
        load: Load,
        /// What of it was sent.
        in_flight: Load,
        unresolved: usize,
        output: usize,
    },
    /// The client is connected, and nothing is on its way in either direction.
    Idle {
        held: &'a BTreeMap<u32, Held>,
        server: &'a ServerWatches,
    },
    /// All faults are over, and there was time enough to get over them.
    Settled {
        is_connected: bool,
        is_closed: bool,
        leader: &'a Tree,
        last_zxid: Zxid,
    },
    /// The user has let go of everything, and there was time to tidy up.
    Emptied {
        load: Load,
        watches: usize,
        server: Option<&'a ServerWatches>,
    },
    /// It ends; the user had closed the client.
    Ended {
        session_ended: bool,
    },
}

/// A watch as its user sees it.
#[derive(Debug, Clone)]
pub(in super::super) struct Held {
    pub(in super::super) path: ByteString,
    pub(in super::super) kind: WatchKind,
    /// Whether the registration was answered.
    pub(in super::super) is_live: bool,
}

/// What a cause leaves open.
pub(in super::super) fn is_answer(cause: &Cause) -> bool {
    matches!(cause, Cause::Server(_))
}
