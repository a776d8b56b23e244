//! What a server is to the others, as far as it says.

use std::fmt;

/// What a server is to the others, as far as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// `leader`, `follower`, `observer`, `standalone`, or in parentheses why it is none of them.
    word: String,
    /// Of its last transaction, 0 if unknown.
    zxid: u64,
    /// In which it is what it is; 0 if unknown.
    epoch: u64,
}

impl Standing {
    pub(super) fn new(word: &str, zxid: u64, epoch: u64) -> Self {
        Self {
            word: word.to_owned(),
            zxid,
            epoch,
        }
    }

    /// Of a server that is nothing to the others, and why.
    pub(super) fn none(why: &str) -> Self {
        Self::new(&format!("({why})"), 0, 0)
    }

    /// As a server answers `srvr`.
    pub(super) fn told((word, zxid): (String, u64)) -> Self {
        let epoch = zxid >> 32;
        Self { word, zxid, epoch }
    }

    /// Whether it leads; one that stands alone leads itself.
    pub(super) fn leads(&self) -> bool {
        matches!(self.word.as_str(), "leader" | "standalone")
    }

    /// Whether it serves clients.
    pub(super) fn serves(&self) -> bool {
        !self.word.starts_with('(')
    }

    /// Whether it can be nothing: it does not run, or is paused.
    fn is_out(&self) -> bool {
        matches!(self.word.as_str(), "(not running)" | "(paused)")
    }

    /// The index of the one that leads: of several, who does in the latest epoch. The others have not
    /// noticed yet.
    pub(super) fn leader(standings: &[Self]) -> Option<usize> {
        let all = standings.iter().enumerate();
        let leaders = all.filter(|(_, one)| one.leads());
        let last = leaders.max_by_key(|(_, one)| (one.epoch, one.zxid));
        last.map(|(index, _)| index)
    }

    /// Whether all that are not out serve, under one leader, with the same last transaction.
    pub(super) fn have_converged(standings: &[Self]) -> bool {
        let running = standings.iter().filter(|one| !one.is_out());
        let (leaders, learners): (Vec<_>, Vec<_>) = running.partition(|one| one.leads());
        let [leader] = leaders.as_slice() else {
            return false;
        };
        let Some(first) = learners.first() else {
            return true;
        };
        // A leader says the zeroth transaction of its epoch as long as there is no other, and those that
        // follow it say what they have from before: all that it had, or they would not serve.
        let (epoch, counter) = (leader.zxid >> 32, leader.zxid & 0xffff_ffff);
        let is_fresh = counter == 0 && first.zxid >> 32 < epoch;
        learners.iter().all(|one| one.serves())
            && learners.iter().all(|one| one.zxid == first.zxid)
            && (first.zxid == leader.zxid || is_fresh)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.word, self.zxid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(standings: &[(&str, u64)]) -> Vec<Standing> {
        let standings = standings
            .iter()
            .map(|(word, zxid)| ((*word).to_owned(), *zxid));
        standings.map(Standing::told).collect()
    }

    const OLD: u64 = 0x1_0000_0007;
    const NEW: u64 = 0x2_0000_0000;

    #[test]
    fn a_leader_without_a_transaction_has_what_its_learners_have() {
        for (standings, have_converged) in [
            (
                &[("leader", NEW), ("follower", OLD), ("observer", OLD)],
                true,
            ),
            (
                &[("leader", OLD), ("follower", OLD), ("observer", OLD)],
                true,
            ),
            (
                &[("leader", NEW), ("follower", OLD), ("follower", OLD - 1)],
                false,
            ),
            (
                &[("leader", NEW), ("follower", NEW), ("follower", OLD)],
                false,
            ),
            (
                &[("leader", NEW + 1), ("follower", OLD), ("follower", OLD)],
                false,
            ),
            (
                &[("leader", NEW), ("follower", OLD), ("leader", OLD)],
                false,
            ),
            (
                &[("leader", NEW), ("follower", OLD), ("(looking)", 0)],
                false,
            ),
            (
                &[("leader", NEW), ("follower", OLD), ("(not running)", 0)],
                true,
            ),
            (
                &[("leader", NEW), ("(paused)", 0), ("(not running)", 0)],
                true,
            ),
            (
                &[("(looking)", 0), ("follower", OLD), ("follower", OLD)],
                false,
            ),
        ] {
            assert_eq!(
                Standing::have_converged(&told(standings)),
                have_converged,
                "{standings:?}"
            );
        }
    }

    #[test]
    fn of_two_leaders_the_later_epoch_has_it() {
        let leads = |epoch| Standing::new("leader", OLD, epoch);
        assert_eq!(Standing::leader(&[leads(2), leads(1)]), Some(0));
        assert_eq!(Standing::leader(&[leads(1), leads(2)]), Some(1));
        assert_eq!(Standing::leader(&[Standing::none("paused")]), None);
    }
}
