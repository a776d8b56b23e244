use std::time::Duration;

use bytestring::ByteString;

use super::request::{Request, WatchId};
use super::{SaslConfig, Secret, ServiceRecord};
use crate::connect_string::Server;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<W, S> {
    /// The user wants something done.
    Submit(Request<W, S>),
    /// A request was refused for want of room.
    Crowded,
    /// Nobody holds the watch any more.
    Unsubscribe(WatchId),
    /// The user adds a credential.
    AddAuth {
        scheme: ByteString,
        auth: Secret,
        waiter: Option<W>,
    },
    /// The user has taken what it takes to go on with the session elsewhere.
    TokenGiven,
    /// The user has a new list of servers.
    SetServers(Vec<Server>),
    /// So many more holds, or fewer, need to know early when the session may be over.
    Hold(i32),
    /// The user closes the client: what was submitted before is still done, for so long.
    Close { within: Duration },
    /// The user lets go of the session without ending it.
    Detach,
    /// The servers behind the name asked for: the attempt goes on with one of them.
    Found(Vec<ServiceRecord>),
    /// Comes right before [`Event::Dialed`]: what to say on that connection, in the place of what a
    /// provider gave for the last one.
    Provided(Box<Proofs>),
    /// The connection asked for is there.
    Dialed,
    /// The connection asked for cannot be had.
    DialFailed(AttemptError),
    /// The connection is gone, or is not usable any more.
    Lost(AttemptError),
    /// The look for a writable server is over.
    Probed { server: Server, writable: bool },
    /// Time has passed: [`Core::next_deadline`] is over.
    Tick,
}

/// Who the client is on one connection, and how it shows it.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// In the order in which they are sent, before all others: scheme and credential.
    pub(crate) credentials: Vec<(ByteString, Secret)>,
    /// In the place of what the client was made with.
    pub(crate) sasl: Option<SaslConfig>,
}

/// Why a connection could not be had or did not last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptError {
    pub(crate) kind: AttemptErrorKind,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptErrorKind {
    Dns,
    /// Nobody says what to show to the server.
    Credentials,
    Io,
    /// The server ended it, between two frames and without an error.
    Ended,
    Tls,
    /// The other side does not speak the protocol.
    Protocol,
    /// It took too long.
    Timeout,
    /// The server closed the connection during the handshake: it is behind, read-only, or stopping.
    Refused,
    /// It did its work and is not wanted any more.
    Moved,
    /// The server sent more at once than the client takes.
    TooLong,
}

impl AttemptError {
    pub(crate) fn new(kind: AttemptErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
