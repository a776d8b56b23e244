//! S22: a write that begins when another has been answered gets a higher zxid, and a sync shows every
//! write that was answered, or only committed, before it began.
//!
//! Apache's servers do not keep the second half: a leader that was deposed and has not noticed answers
//! a sync from an old state (ZOOKEEPER-1675). Ours asks a quorum first whether it still follows.
//!
//! # Source
//! Apache `ZooKeeper`, "linearizable writes"; `LearnerHandler`, `Leader#processSync`.

use zk_proto::{SessionId, Zxid};

use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "real time (S22)";

/// What was answered so far, whoever asked.
#[derive(Debug, Default)]
pub struct RealTime {
    answered: Zxid,
}

impl RealTime {
    /// Something begins: the zxid that it must get beyond, or show.
    pub fn begin(&self) -> Zxid {
        self.answered
    }

    /// A write that began at `floor` was answered.
    pub fn wrote(&mut self, session: SessionId, zxid: Zxid, floor: Zxid) -> Verdict {
        self.answered = self.answered.max(zxid);
        hold(LAW, zxid > floor, || {
            format!("a write of {session} is {zxid}, and began after {floor} was answered")
        })
    }

    /// A sync that began at `floor` was answered in state `zxid`.
    pub fn synced(&self, session: SessionId, zxid: Zxid, floor: Zxid) -> Verdict {
        hold(LAW, zxid >= floor, || {
            format!("a sync of {session} shows {zxid}, and began after {floor} was answered")
        })
    }
}
