//! Commits that wait for a learner to follow.

use zk_proto::{ServerId, Zxid};

/// Runs of commits that wait: a change of the ensemble begins another, and there are few.
const RUNS_MAX: usize = 1 << 10;

/// Commits in their order. Those of transactions that follow on each other take the room of one, however
/// long the tree takes to send that they wait behind.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<Run>);

/// Commits that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// Of all transactions from the first to the last.
    Commits {
        /// The first.
        first: Zxid,
        /// The last.
        last: Zxid,
    },
    /// Of one that changes the ensemble.
    Activation {
        /// The transaction.
        zxid: Zxid,
        /// Who is to lead.
        leader: ServerId,
    },
}

impl Held {
    /// Appends a commit; false if there is no room.
    pub(super) fn push(&mut self, zxid: Zxid, designated: Option<ServerId>) -> bool {
        if designated.is_none()
            && let Some(Run::Commits { last, .. }) = self.0.last_mut()
            && last.get().checked_add(1) == Some(zxid.get())
        {
            *last = zxid;
            return true;
        }
        if self.0.len() >= RUNS_MAX {
            return false;
        }
        self.0.push(match designated {
            None => Run::Commits {
                first: zxid,
                last: zxid,
            },
            Some(leader) => Run::Activation { zxid, leader },
        });
        true
    }

    /// All of them; none wait any more.
    pub(super) fn take(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_on_each_other_is_one_run() {
        let mut held = Held::default();
        let leader = ServerId::new(3);
        for zxid in [4, 5, 6, 8, 10, 11] {
            let designated = (zxid == 6).then_some(leader);
            assert!(held.push(Zxid::new(zxid), designated));
        }
        let run = |first, last| Run::Commits {
            first: Zxid::new(first),
            last: Zxid::new(last),
        };
        let zxid = Zxid::new(6);
        let activation = Run::Activation { zxid, leader };
        let expected = [run(4, 5), activation, run(8, 8), run(10, 11)];
        assert_eq!(held.take(), expected);
        assert_eq!(held.take(), []);
    }

    #[test]
    fn runs_are_bounded_and_commits_are_not() {
        let mut held = Held::default();
        let leader = ServerId::new(3);
        let runs = i64::try_from(RUNS_MAX).expect("few");
        for zxid in 1..runs {
            assert!(held.push(Zxid::new(zxid), Some(leader)));
        }
        for zxid in runs..10 * runs {
            assert!(held.push(Zxid::new(zxid), None));
        }
        assert!(!held.push(Zxid::new(10 * runs), Some(leader)));
    }
}
