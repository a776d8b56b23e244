use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use zeroize::Zeroizing;
use zk_proto::{SessionId, Zxid};

use crate::connect_string::Server;
use crate::core::CloseReason;

/// Where a client stands. Read it with [`crate::Client::state`].
///
/// ```text
///   Connecting ──▶ Connected ◀──▶ Suspended ──▶ Expired ──▶ Connected (renewal) or Closed
///   any ── close ──▶ Closing ──▶ Closed        any ── credentials refused ──▶ Closed
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnState {
    /// There is no session, and a server is being looked for.
    Connecting,
    /// In session.
    Connected {
        /// The session.
        session: SessionId,
        /// Session timeout that the server granted.
        timeout: Duration,
        /// Whether the server is cut off from the ensemble and takes no writes.
        read_only: bool,
        /// The server.
        server: Server,
    },
    /// The connection is lost. The session lives on for a while.
    Suspended {
        /// The session.
        session: SessionId,
        /// When the loss was noticed.
        since: Instant,
        /// Until then no server can have let the session expire: the session timeout from when the last
        /// request was sent that the leader answered, as [`crate::Session::confirmed`] tells it. Pings
        /// and reads add nothing, a server that lags answers them for a session that is over. `since`
        /// if the session was on a server that is cut off from the leader.
        safe_until: Instant,
    },
    /// A server said that the session is over; its ephemeral znodes are gone.
    Expired {
        /// The session.
        session: SessionId,
    },
    /// The client is being closed.
    Closing,
    /// The client is closed for good.
    Closed(CloseReason),
}

impl ConnState {
    /// Whether requests can be sent now.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Whether nothing follows.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Why the client is closed, if it is.
    pub fn closed(&self) -> Option<CloseReason> {
        if let Self::Closed(reason) = self {
            Some(*reason)
        } else {
            None
        }
    }

    /// The session, while there is one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Connected { session, .. } | Self::Suspended { session, .. } => Some(*session),
            Self::Connecting | Self::Expired { .. } | Self::Closing | Self::Closed(_) => None,
        }
    }
}

/// Every change of a client's [`ConnState`], in order, none left out that matters.
///
/// A reader that falls behind by more than 64 changes loses the oldest among those that only say
/// that a connection went or came; expiry and closing are kept.
#[derive(Debug)]
pub struct ConnEvents {
    cell: Arc<EventCell>,
    is_ended: bool,
}

/// Changes held for a reader that is behind.
const EVENTS_MAX: usize = 64;

/// Where the driver puts changes for one reader.
#[derive(Debug, Default)]
pub(crate) struct EventCell(Mutex<(VecDeque<ConnState>, Option<Waker>)>);

impl EventCell {
    pub(crate) fn push(&self, state: ConnState) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (states, waker) = &mut *inner;
        if states.len() >= EVENTS_MAX {
            let minor = |state: &ConnState| {
                !matches!(state, ConnState::Expired { .. } | ConnState::Closed(_))
            };
            let oldest = states.iter().position(minor).unwrap_or_default();
            states.remove(oldest);
        }
        states.push_back(state);
        let waker = waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl ConnEvents {
    pub(crate) fn new(cell: Arc<EventCell>) -> Self {
        Self {
            cell,
            is_ended: false,
        }
    }

    /// The next change; `None` after the client was closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<ConnState> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<ConnState>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let mut inner = self.cell.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (states, waker) = &mut *inner;
        if let Some(state) = states.pop_front() {
            self.is_ended = state.is_closed();
            return Poll::Ready(Some(state));
        }
        *waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stream for ConnEvents {
    type Item = ConnState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnState>> {
        self.poll(cx)
    }
}

/// What is needed to go on with a session in another process: see [`crate::Client::session_token`]
/// and [`crate::Builder::resume`].
///
/// Whoever has it can act in the session's name. The password is wiped from memory on drop and left
/// out of `Debug`.
#[derive(Clone)]
pub struct SessionToken {
    /// The session.
    pub id: SessionId,
    /// Its password.
    pub password: Zeroizing<Vec<u8>>,
    /// Session timeout that the server granted.
    pub timeout: Duration,
    /// Highest zxid that the client has seen: a server that is behind will not do.
    pub last_zxid: Zxid,
}

impl SessionToken {
    pub(crate) fn password_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.password)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionToken")
            .field("id", &self.id)
            .field("timeout", &self.timeout)
            .field("last_zxid", &self.last_zxid)
            .finish_non_exhaustive()
    }
}
