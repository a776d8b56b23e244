//! The server's side of one client connection.

pub mod auth;
pub mod four_letter;
pub mod handshake;
pub mod pipeline;
pub mod request;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;

use std::fmt;

/// Handle of a client connection at this server, given out by the driver.
///
/// Watches belong to a connection, not to a session: they are gone when it closes. A handle may be
/// given out again once everything that belonged to the connection before is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u32);

impl ConnId {
    /// Wraps a handle.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number of the handle.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}
