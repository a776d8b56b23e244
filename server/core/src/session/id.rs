//! Ids of new sessions.

use zk_proto::{ServerId, SessionId};

use crate::mutation::mutated;
use crate::time::WallTime;

/// Session id that the tree takes for the mark of a container; never given out.
const CONTAINER: u64 = 0x8000_0000_0000_0000;
const COUNTER_MASK: u64 = 0x00ff_ffff_ffff_ffff;
/// Ids between two leaps behind a clock that went back: more than a server gives out in a blink.
const LEAP_BITS: u32 = 8;

/// Where a server begins to count its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdStart {
    /// Wall clock at the start of the server.
    pub wall: WallTime,
    /// Random bits drawn at the start of the server: the place within that millisecond.
    pub salt: u16,
    /// The highest id of this server that is known to have been given out: in the recovered sessions,
    /// in the log, in whatever else the server keeps. Ids go on above it, even if the wall clock has
    /// gone back.
    pub highest_known: Option<SessionId>,
    /// Whether TTL znodes are on: then the top byte 0xff belongs to them.
    pub extended_types: bool,
}

/// Why a server id cannot stand in session ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("server id {id} is not between 0 and {max}, so that session ids cannot carry it")]
pub struct ServerIdError {
    /// The server id.
    pub id: ServerId,
    /// The highest that will do.
    pub max: u8,
}

/// Gives out session ids: the server id in the top byte, 56 bits of count below.
///
/// An id that comes back is a hole: the password follows from the id, so that a client of the dead
/// session could attach to the new one. The count starts at the *wall* clock (40 bits of
/// milliseconds, then 16 bits) and above every id known, because a monotonic clock starts over at
/// each boot.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `SessionTrackerImpl#initializeNextSessionId`, which takes a monotonic
/// clock and starts the low 16 bits at 0.
#[derive(Debug, Clone)]
pub struct SessionIds {
    server: u8,
    /// The low 56 bits of the next id.
    next: u64,
}

impl SessionIds {
    /// Begins to count.
    ///
    /// # Errors
    /// [`ServerIdError`] if the id is not within 0 and 255, or 254 with extended types.
    pub fn new(server: ServerId, start: IdStart) -> Result<Self, ServerIdError> {
        let max = if start.extended_types { 254 } else { 255 };
        let byte = u8::try_from(server.get()).ok();
        let byte = byte.filter(|byte| *byte <= max);
        let server = byte.ok_or(ServerIdError { id: server, max })?;
        let millis = start.wall.as_millis().cast_unsigned();
        let from_clock = (millis << 16 | u64::from(start.salt)) & COUNTER_MASK;
        let known = start.highest_known.map(|id| id.get().cast_unsigned());
        let known = known.filter(|id| id >> 56 == u64::from(server));
        // Sessions that ended are not known. Behind a clock that went back, a leap of the salt's
        // making keeps clear of those that were given since the highest known.
        let leap = if mutated!(SessionIdsComeBack) {
            0
        } else {
            u64::from(start.salt) << LEAP_BITS
        };
        let above_known = known.map_or(0, |id| (id & COUNTER_MASK) + 1 + leap);
        Ok(Self {
            server,
            next: from_clock.max(above_known) & COUNTER_MASK,
        })
    }

    /// The next id. Never one before, for 2⁵⁶ sessions.
    pub fn allocate(&mut self) -> SessionId {
        let mut id = self.take();
        // That of nobody is one of server 0.
        if id == CONTAINER || SessionId::new(id.cast_signed()) == SessionId::NONE {
            id = self.take();
        }
        SessionId::new(id.cast_signed())
    }

    fn take(&mut self) -> u64 {
        let id = u64::from(self.server) << 56 | self.next;
        self.next = (self.next + 1) & COUNTER_MASK;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(millis: i64) -> IdStart {
        IdStart {
            wall: WallTime::from_millis(millis),
            salt: 0,
            highest_known: None,
            extended_types: false,
        }
    }

    fn first(server: i64, start: IdStart) -> u64 {
        let mut ids = SessionIds::new(ServerId::new(server), start).unwrap();
        ids.allocate().get().cast_unsigned()
    }

    /// The formula of the reference, in its words.
    fn reference(server: u64, millis: u64) -> u64 {
        (millis << 24) >> 8 | server << 56
    }

    #[test]
    fn id_is_server_then_clock_then_count() {
        let mut ids = SessionIds::new(ServerId::new(3), start(0x0123_4567_89ab)).unwrap();
        assert_eq!(ids.allocate().get(), 0x0323_4567_89ab_0000);
        assert_eq!(ids.allocate().get(), 0x0323_4567_89ab_0001);
        assert_eq!(
            first(1, start(1_764_000_000_000)),
            reference(1, 1_764_000_000_000)
        );
    }

    /// ZOOKEEPER-1622: the clock reached the sign bit.
    #[test]
    fn no_date_reaches_the_server_byte() {
        for year in 1971..2200 {
            let millis = (year - 1970) * 31_556_952_000;
            for server in [1, 127, 128, 255] {
                let id = first(server, start(millis));
                assert_eq!(id >> 56, server.cast_unsigned());
                assert_eq!(
                    id,
                    reference(server.cast_unsigned(), millis.cast_unsigned())
                );
            }
        }
        assert_eq!(first(7, start(-1)) >> 56, 7);
    }

    /// Of the reference, whose clock starts over at each boot: failures row 62.
    #[test]
    fn reboot_and_clock_going_back_bring_no_id_back() {
        let mut before = SessionIds::new(ServerId::new(1), start(5_000_000)).unwrap();
        let given: Vec<_> = (0..1000).map(|_| before.allocate()).collect();
        let after_reboot = IdStart {
            highest_known: given.last().copied(),
            ..start(40)
        };
        let mut after = SessionIds::new(ServerId::new(1), after_reboot).unwrap();
        assert!((0..1000).all(|_| !given.contains(&after.allocate())));
    }

    #[test]
    fn ids_known_of_other_servers_do_not_count() {
        let known = Some(SessionId::new(0x02ff_0000_0000_0000));
        let start = IdStart {
            highest_known: known,
            ..start(1)
        };
        assert_eq!(first(1, start), 0x0100_0000_0001_0000);
    }

    #[test]
    fn mark_of_containers_is_skipped() {
        assert_eq!(first(128, start(0)), CONTAINER + 1);
    }

    #[test]
    fn sessions_of_server_0_are_somebodys() {
        assert_eq!(first(0, start(0)), 1);
        assert_eq!(first(0, start(0x0123_4567_89ab)), 0x23_4567_89ab_0000);
    }

    #[test]
    fn count_wraps_within_its_bits() {
        let known = Some(SessionId::new(0x01ff_ffff_ffff_ffff));
        let start = IdStart {
            highest_known: known,
            ..start(1)
        };
        assert_eq!(first(1, start), 0x0100_0000_0000_0000);
    }

    /// ZOOKEEPER-2503.
    #[test]
    fn server_ids_that_do_not_fit_are_refused() {
        for id in [i64::MIN, -1, 256, i64::MAX] {
            let err = SessionIds::new(ServerId::new(id), start(1)).unwrap_err();
            assert_eq!((err.id.get(), err.max), (id, 255));
        }
        let extended = IdStart {
            extended_types: true,
            ..start(1)
        };
        assert!(SessionIds::new(ServerId::new(255), extended).is_err());
        assert!(SessionIds::new(ServerId::new(254), extended).is_ok());
    }
}
