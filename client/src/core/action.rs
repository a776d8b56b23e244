use std::time::Duration;

use bytestring::ByteString;
use zk_proto::{EventType, OpCode, SessionId, Xid, Zxid};

use super::Time;
use super::event::AttemptError;
use super::request::{CloseReason, Failure, Reply};
use crate::connect_string::Server;

/// What is to be done. To be carried out in order.
#[derive(Debug)]
pub(crate) enum Action<W, S> {
    /// Connect to a server, taking no longer for each of its addresses. Ends in [`Event::Dialed`] or
    /// [`Event::DialFailed`]. A connection that is still there is dropped first. The servers behind a
    /// name are looked up instead, which ends in [`Event::Found`].
    Dial { server: Server, within: Duration },
    /// Drop the connection, and do not tell.
    HangUp,
    /// Tell who waits for a request.
    Complete(W, Result<Reply, Failure>, Trip),
    /// Tell who holds a watch.
    Deliver(S, Delivery),
    /// Ask another server whether it takes writes, or those behind a name one after another. Ends in
    /// [`Event::Probed`], with the one that does.
    Probe { server: Server },
    /// Tell whoever follows the connection.
    Transition(Transition),
}

/// What a request went through, for those who measure.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trip {
    pub(crate) op: Option<OpCode>,
    pub(crate) submitted: Time,
    /// Under which number it was answered, and when it was sent; `None` without an answer.
    pub(crate) sent: Option<(Xid, Time)>,
}

/// What the holder of a watch is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivery {
    Event {
        kind: EventType,
        path: ByteString,
        zxid: Option<Zxid>,
    },
    /// Events may be missing after this zxid: the connection was another.
    Gap { since: Zxid },
    /// From here on nothing is missing.
    Armed { zxid: Zxid },
    /// The session is over, and the watch with it.
    SessionEnded(SessionId),
    /// The client is closed, and the watch with it.
    Closed(CloseReason),
}

/// What changed about the connection or the session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Transition {
    AttemptFailed {
        server: Server,
        error: AttemptError,
        passed: bool,
    },
    Connected {
        server: Server,
        session: SessionId,
        timeout: Duration,
        read_only: bool,
    },
    Suspended {
        session: SessionId,
        since: Time,
        safe_until: Time,
        cause: AttemptError,
    },
    Expired {
        session: SessionId,
    },
    /// A ping was answered.
    Pinged {
        after: Duration,
    },
    Closing,
    Closed {
        reason: CloseReason,
    },
    /// A frame that the protocol knows and we have no use for.
    Ignored {
        what: &'static str,
        code: i32,
    },
}
