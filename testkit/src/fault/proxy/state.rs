//! What the verbs of the proxy change and the connections obey.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Direction;

/// One of the two ways bytes go; [`Direction`] without `Both`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToServer,
    ToClient,
}

/// One `T` per way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PerWay<T> {
    to_server: T,
    to_client: T,
}

/// What is wrong with one way of the link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    pub(super) is_stalled: bool,
    pub(super) is_dropping: bool,
    pub(super) delay: Duration,
    /// Bytes per second.
    pub(super) rate: Option<u64>,
}

/// How many bytes may pass each way before the connection is cut; unlimited when `None`.
pub(super) type Budget = PerWay<Option<u64>>;

/// Everything that can be changed at run time.
#[derive(Debug)]
pub(super) struct State {
    pub(super) upstream: SocketAddr,
    pub(super) is_refusing: bool,
    /// Whether the server stands still: then nothing passes, whatever is wrong with the link.
    pub(super) is_frozen: bool,
    pub(super) links: PerWay<Link>,
    /// Live connections by number; one that is no longer here has been cut.
    pub(super) live: BTreeMap<u64, Budget>,
    /// The budget of the next connection.
    pub(super) next_budget: Budget,
    pub(super) accepted: u64,
    pub(super) passed: PerWay<u64>,
    pub(super) dropped: PerWay<u64>,
}

/// The state and the bell that rings when it changes.
///
/// Bytes move only under the lock, with system calls that do not block. So when a verb returns, not
/// one byte passes that the new state forbids.
#[derive(Debug)]
pub(super) struct Control {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::ToServer, Self::ToClient];

    /// The ways that `direction` means.
    pub(super) fn of(direction: Direction) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |way| match direction {
            Direction::ToServer => *way == Self::ToServer,
            Direction::ToClient => *way == Self::ToClient,
            Direction::Both => true,
        })
    }
}

impl<T> PerWay<T> {
    pub(super) fn get(&self, way: Way) -> &T {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }

    pub(super) fn get_mut(&mut self, way: Way) -> &mut T {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

impl State {
    pub(super) fn new(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            is_refusing: false,
            is_frozen: false,
            links: PerWay::default(),
            live: BTreeMap::new(),
            next_budget: Budget::default(),
            accepted: 0,
            passed: PerWay::default(),
            dropped: PerWay::default(),
        }
    }

    /// Counts a new connection and returns its number; none when it is refused.
    pub(super) fn admit(&mut self) -> Option<u64> {
        if self.is_refusing {
            return None;
        }
        self.accepted += 1;
        self.live
            .insert(self.accepted, std::mem::take(&mut self.next_budget));
        Some(self.accepted)
    }
}

impl Control {
    pub(super) fn new(upstream: SocketAddr) -> Self {
        Self {
            state: Mutex::new(State::new(upstream)),
            changed: watch::Sender::new(()),
        }
    }

    /// The state as it is. Critical sections never wait.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then lets every connection look at it.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_replace(());
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
