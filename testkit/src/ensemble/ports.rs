//! Chooses ports that no other ensemble on this machine is likely to choose.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::LaunchError;

/// First port handed out: above those of well-known services.
const FIRST: u32 = 10_240;

/// Number of ports handed out. The range ends at 32 000, below Linux' ephemeral ports (32 768 and
/// up), so that no outgoing connection sits on a port while a server is down for a restart.
const COUNT: u32 = 32_000 - FIRST;

/// Next port to try, as an offset into the range.
///
/// Each process starts somewhere else and walks upwards, so parallel test processes rarely meet,
/// and a port is not given twice within a process before all others were.
static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| {
    let seed = RandomState::new().hash_one(std::process::id());
    AtomicU32::new(u32::try_from(seed % u64::from(COUNT)).unwrap_or_default())
});

/// A port that could be bound on 127.0.0.1 a moment ago, and that no outgoing connection will take: for
/// servers that are to find it free when they start again.
///
/// # Errors
/// [`LaunchError::NoFreePort`] when the whole range is taken.
pub fn free_port() -> Result<u16, LaunchError> {
    free_port_from(&NEXT)
}

fn free_port_from(next: &AtomicU32) -> Result<u16, LaunchError> {
    for _ in 0..COUNT {
        let offset = next.fetch_add(1, Ordering::Relaxed) % COUNT;
        let Ok(port) = u16::try_from(FIRST + offset) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(LaunchError::NoFreePort {
        tried: COUNT as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_distinct_and_below_the_ephemeral_range() {
        let ports: BTreeSet<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| (10_240..32_000).contains(port)));
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let port = free_port().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let next = AtomicU32::new(u32::from(port) - FIRST);
        assert_ne!(free_port_from(&next).unwrap(), port);
    }

    #[test]
    fn the_walk_starts_over_at_the_end_of_the_range() {
        let next = AtomicU32::new(COUNT);
        assert!(free_port_from(&next).unwrap() >= 10_240);
    }
}
