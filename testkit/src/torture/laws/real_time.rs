//! A write that begins after another was acknowledged has a later transaction.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees": linearizable writes. The law itself is the one of the
//! simulator.

use zk_proto::{SessionId, Zxid};

use super::registers::Known;
use crate::check::Violation;
use crate::check::real_time::RealTime;
use crate::torture::history::{NEVER, Slice, Tick, Write};

/// Judges a slice.
pub fn judge(slice: &Slice, known: &Known, found: &mut Vec<Violation>) {
    let mut writes = slice.acknowledged();
    writes.extend(slice.numbered.iter().filter_map(super::sequence::write));
    // What was seen of a write that was not answered: when it ended nobody knows.
    writes.extend(known.late.iter().copied());
    let mut moments: Vec<(Tick, bool, usize)> = Vec::with_capacity(writes.len() * 2);
    for (index, write) in writes.iter().enumerate() {
        moments.push((write.begin, false, index));
        moments.push((write.end, true, index));
    }
    moments.sort_unstable();
    let mut time = RealTime::default();
    // What was acknowledged in earlier slices; nobody asks who wrote it.
    drop(time.wrote(SessionId::NONE, Zxid::new(slice.floor), Zxid::ZERO));
    let mut floors = vec![Zxid::ZERO; writes.len()];
    for (_, is_end, index) in moments {
        let (Some(write), Some(floor)) = (writes.get(index), floors.get_mut(index)) else {
            continue;
        };
        let Write {
            session, end, zxid, ..
        } = *write;
        let (session, zxid) = (SessionId::new(session), Zxid::new(zxid));
        if !is_end {
            *floor = time.begin();
        } else if end == NEVER {
            found.extend(RealTime::default().wrote(session, zxid, *floor).err());
        } else {
            found.extend(time.wrote(session, zxid, *floor).err());
        }
    }
}
