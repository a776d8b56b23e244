//! How many bytes have to come before the socket wakes the driver.

use std::time::Duration;

use super::transport::Io;
use crate::core::{GATHER_PART, Time};

/// Longest that replies are left alone for others to come.
const PATIENCE: Duration = Duration::from_millis(1);
/// Most bytes that are waited for.
const BYTES_MAX: usize = 16 * 1024;
/// The least that a reply has, in bytes.
const REPLY_LEN: usize = 20;
/// The most that one counts, in bytes. A part of the replies that are due is waited for: all of them together
/// have as many bytes, however short they are.
const REPLY_LEN_MAX: usize = GATHER_PART * REPLY_LEN;

/// Where much is on its way, a server that answers one request at a time wakes the driver for each of
/// its replies, which costs more than to take them in. So the socket is told to wait for a few of them,
/// and no longer than [`PATIENCE`]. The end of the connection is told of at once.
///
/// Only sockets of Linux can wait, and none that TLS is on.
#[derive(Debug)]
pub(super) struct LowWater {
    /// What the socket has been told.
    bytes: usize,
    /// When the driver takes in what there is, unless it comes to that before.
    until: Time,
    /// Whether it came to that, and nothing has come since.
    is_given_up: bool,
    /// Mean length of the replies that came last, as far as it counts.
    reply_len: usize,
}

impl LowWater {
    /// Of a new connection.
    pub(super) fn new() -> Self {
        Self {
            bytes: 1,
            until: Time::NEVER,
            is_given_up: false,
            reply_len: REPLY_LEN,
        }
    }

    /// When to come back with [`Self::set`] at the latest.
    pub(super) fn until(&self) -> Time {
        self.until
    }

    /// Something came, with so many replies in it.
    pub(super) fn came(&mut self, now: Time, bytes: usize, replies: usize) {
        if let Some(len) = bytes.checked_div(replies) {
            self.reply_len = len.min(REPLY_LEN_MAX);
        }
        self.is_given_up = false;
        self.wait_from(now);
    }

    /// Tells the socket how many replies are worth a wake-up.
    pub(super) fn set(&mut self, now: Time, io: &dyn Io, replies: usize) {
        self.is_given_up |= self.until <= now;
        let wanted = if self.is_given_up {
            1
        } else {
            replies.saturating_mul(self.reply_len).clamp(1, BYTES_MAX)
        };
        // Each change is a system call.
        let is_near = wanted > 1 && wanted < self.bytes * 2 && self.bytes < wanted * 2;
        if wanted == self.bytes || is_near {
            return;
        }
        if tell(io, wanted) {
            self.bytes = wanted;
        }
        self.wait_from(now);
    }

    fn wait_from(&mut self, now: Time) {
        self.until = if self.bytes > 1 {
            now + PATIENCE
        } else {
            Time::NEVER
        };
    }
}

/// Returns whether the socket can be told.
#[cfg(target_os = "linux")]
fn tell(io: &dyn Io, bytes: usize) -> bool {
    let io: &dyn std::any::Any = io;
    let Some(socket) = io.downcast_ref::<tokio::net::TcpStream>() else {
        return false;
    };
    nix::sys::socket::setsockopt(socket, option::RecvLowat, &bytes).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn tell(_: &dyn Io, _: usize) -> bool {
    false
}

#[cfg(target_os = "linux")]
mod option {
    use nix::libc;
    use nix::sys::socket::sockopt::SetUsize;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct RecvLowat;

    nix::setsockopt_impl!(
        RecvLowat,
        libc::SOL_SOCKET,
        libc::SO_RCVLOWAT,
        usize,
        SetUsize
    );
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::libc;
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::GetUsize;
    use tokio::net::{TcpListener, TcpStream};

    use super::option::RecvLowat;
    use super::*;

    nix::getsockopt_impl!(
        RecvLowat,
        libc::SOL_SOCKET,
        libc::SO_RCVLOWAT,
        usize,
        GetUsize
    );

    async fn socket() -> (TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        (
            TcpStream::connect(address).await.expect("connected"),
            listener,
        )
    }

    fn told(socket: &TcpStream) -> usize {
        getsockopt(socket, RecvLowat).expect("told")
    }

    #[tokio::test]
    async fn the_socket_waits_for_as_much_as_is_wanted_and_no_longer_than_that() {
        let (socket, _listener) = socket().await;
        let mut mark = LowWater::new();
        let start = Time::START;
        mark.set(start, &socket, 0);
        assert_eq!((told(&socket), mark.until()), (1, Time::NEVER));

        mark.set(start, &socket, 8);
        assert_eq!(told(&socket), 8 * REPLY_LEN);
        assert_eq!(mark.until(), start + PATIENCE);
        // A little more or less is not worth a system call.
        mark.set(start, &socket, 10);
        assert_eq!(told(&socket), 8 * REPLY_LEN);
        let later = start + PATIENCE / 2;
        mark.came(later, 1000, 10);
        assert_eq!(mark.until(), later + PATIENCE);
        mark.set(later, &socket, 8);
        assert_eq!(told(&socket), 800);
        mark.came(later, 1 << 20, 1);
        mark.set(later, &socket, 16);
        assert_eq!(told(&socket), 16 * REPLY_LEN_MAX);
        mark.set(later, &socket, usize::MAX);
        assert_eq!(told(&socket), BYTES_MAX);
        mark.set(later, &socket, 0);
        assert_eq!((told(&socket), mark.until()), (1, Time::NEVER));
    }

    #[tokio::test]
    async fn what_does_not_come_in_time_is_not_waited_for_until_something_comes() {
        let (socket, _listener) = socket().await;
        let mut mark = LowWater::new();
        mark.set(Time::START, &socket, 8);
        let end = mark.until();
        for _ in 0..3 {
            mark.set(end, &socket, 8);
            assert_eq!((told(&socket), mark.until()), (1, Time::NEVER));
        }
        mark.came(end, 0, 0);
        mark.set(end, &socket, 8);
        assert_eq!(told(&socket), 8 * REPLY_LEN);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_waited_for() {
        let (io, _other) = tokio::io::duplex(1);
        let mut mark = LowWater::new();
        mark.set(Time::START, &io, 8);
        assert_eq!(mark.until(), Time::NEVER);
    }
}
