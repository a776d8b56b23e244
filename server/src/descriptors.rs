//! File descriptors: who has to do without when few are left.
//!
//! A server that cannot open its next log file stops, so sockets of others must not take the last
//! descriptors. The system hands out the lowest number that is free: the number of a socket tells that as
//! many are open in this process at least, whoever opened them.
//!
//! | number of the socket, below the limit | given to |
//! |---|---|
//! | 64 and more, or a quarter of the limit if that is less | anybody |
//! | half as many | members, operators |
//! | fewer | nobody: log, snapshots, connections to members |

use std::os::fd::AsRawFd;

use rustix::process::{Resource, getrlimit};

/// Kept from clients. A member opens a few files at a time, and a connection or two to each other one.
const RESERVE: u64 = 64;

/// As many may be open.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether a socket that was accepted takes what is kept from clients.
pub(crate) fn is_kept_from_clients(socket: &impl AsRawFd) -> bool {
    is_beyond(socket, limit(), 1)
}

/// Whether a socket that was accepted takes what is kept for files.
pub(crate) fn is_kept_for_files(socket: &impl AsRawFd) -> bool {
    is_beyond(socket, limit(), 2)
}

fn is_beyond(socket: &impl AsRawFd, limit: u64, part: u64) -> bool {
    let number = u64::try_from(socket.as_raw_fd()).unwrap_or(0);
    number >= limit - RESERVE.min(limit / 4) / part
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use super::*;

    #[test]
    fn files_come_before_members_and_members_before_clients() {
        let first_beyond = |limit, part| {
            let mut numbers = 0..RawFd::MAX;
            numbers.find(|number| is_beyond(number, limit, part))
        };
        assert_eq!(first_beyond(1024, 1), Some(960));
        assert_eq!(first_beyond(1024, 2), Some(992));
        assert_eq!(first_beyond(128, 1), Some(96));
        assert_eq!(first_beyond(128, 2), Some(112));
        assert!(!is_beyond(&RawFd::MAX, u64::MAX, 1));
    }
}
