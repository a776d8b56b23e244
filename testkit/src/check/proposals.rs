//! S2, S4, S6, S7: every transaction in any log was proposed by the established leader of its epoch;
//! it has the same bytes and stands behind the same history wherever it is; counters have no gaps.
//!
//! # Source
//! Zab: integrity, total order, local and global primary order. Apache `ZooKeeper`: gaps are refused
//! since ZOOKEEPER-4925.

use std::collections::BTreeMap;

use zk_proto::{Epoch, Zxid};

use super::{Member, Past, Pasts, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "proposals (S2, S4, S6, S7)";

/// Every transaction that was ever proposed.
#[derive(Debug, Default)]
pub struct Proposals {
    known: BTreeMap<Zxid, Past>,
}

impl Proposals {
    /// The history up to a transaction, once it was proposed.
    pub fn past(&self, zxid: Zxid) -> Option<Past> {
        self.known.get(&zxid).copied()
    }

    /// A server on its own starts with this history: what it had proposed behind it is gone, and
    /// other transactions take the numbers. Only epochs keep members of an ensemble from that.
    pub fn forget_behind(&mut self, zxid: Zxid) {
        self.known.retain(|known, _| *known <= zxid);
    }

    /// A member appends a transaction to its log, which makes it this history. `leads` is the epoch
    /// that it is the established leader of.
    pub fn appended(
        &mut self,
        pasts: &Pasts,
        member: Member,
        past: Past,
        leads: Option<Epoch>,
    ) -> Verdict {
        let zxid = pasts.last(past);
        let before = pasts.last(pasts.before(past));
        let follows = if zxid.epoch() == before.epoch() {
            zxid.get() == before.get() + 1
        } else {
            zxid > before && zxid.counter() == 1
        };
        hold(LAW, follows, || {
            format!("member {member} appends {zxid} behind {before}")
        })?;
        if let Some(&known) = self.known.get(&zxid) {
            return hold(LAW, known == past, || {
                format!(
                    "member {member} appends {zxid} and has {}, where {} was proposed",
                    pasts.show(past, 6),
                    pasts.show(known, 6)
                )
            });
        }
        hold(LAW, leads == Some(zxid.epoch()), || {
            format!("member {member} appends {zxid}, which nobody proposed, and leads {leads:?}")
        })?;
        self.known.insert(zxid, past);
        Ok(())
    }
}
