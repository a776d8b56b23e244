//! Signs of life that a learner collects for its leader.

use std::collections::BTreeMap;

use zk_proto::SessionId;

use super::timeout::SessionTimeout;

/// The sessions heard of since the last ping of the leader, each once.
///
/// Every request counts, not only writes and pings: a client that only reads lives from these.
#[derive(Debug, Clone, Default)]
pub struct Touches {
    heard: BTreeMap<SessionId, SessionTimeout>,
    /// The last that was told of, if there was no room for all.
    told: Option<SessionId>,
}

/// Sessions in one answer, at most: 768 KiB, which a leader with the default limits takes.
const TOLD_MAX: usize = 1 << 16;
/// Bytes of each: its id and its timeout.
const TOLD_BYTES: usize = 12;

impl Touches {
    /// Notes a sign of life on a connection with this negotiated timeout.
    pub fn note(&mut self, id: SessionId, timeout: SessionTimeout) {
        self.heard.insert(id, timeout);
    }

    /// Forgets a session that is gone.
    pub fn forget(&mut self, id: SessionId) {
        self.heard.remove(&id);
    }

    /// What the answer to the leader's ping carries, in order of ids; begins anew. Where there are too many for
    /// one answer, the next goes on behind the last.
    ///
    /// `bytes_max`: longest buffer of a packet that the leader reads.
    ///
    /// There is one answer to a ping, and a ping every half tick: with `n` times as many sessions as one answer
    /// has room for, each is told of every `n` half ticks, and those with shorter timeouts expire though they
    /// were heard of.
    pub fn take(&mut self, bytes_max: usize) -> Vec<(SessionId, SessionTimeout)> {
        self.take_some((bytes_max / TOLD_BYTES).clamp(1, TOLD_MAX))
    }

    fn take_some(&mut self, max: usize) -> Vec<(SessionId, SessionTimeout)> {
        if self.heard.len() <= max {
            self.told = None;
            return std::mem::take(&mut self.heard).into_iter().collect();
        }
        let mut before = std::mem::take(&mut self.heard);
        let mut behind = match self.told {
            Some(told) => before.split_off(&SessionId::new(told.get().saturating_add(1))),
            None => std::mem::take(&mut before),
        };
        let mut told = Vec::with_capacity(max);
        while told.len() < max
            && let Some(next) = behind.pop_first().or_else(|| before.pop_first())
        {
            told.push(next);
        }
        self.told = told.last().map(|&(id, _)| id);
        before.append(&mut behind);
        self.heard = before;
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_are_told_once_with_the_last_timeout() {
        let (a, b) = (SessionId::new(1), SessionId::new(2));
        let timeout = SessionTimeout::from_millis;
        let mut touches = Touches::default();
        touches.note(b, timeout(4000));
        touches.note(a, timeout(4000));
        touches.note(b, timeout(6000));
        assert_eq!(touches.take(1000), [(a, timeout(4000)), (b, timeout(6000))]);
        assert_eq!(touches.take(1000), []);
    }

    #[test]
    fn an_answer_is_no_longer_than_the_leader_reads() {
        let mut touches = Touches::default();
        for id in 1..=100_000 {
            touches.note(SessionId::new(id), SessionTimeout::from_millis(4000));
        }
        for (bytes_max, count) in [(0, 1), (12, 1), (100, 8), (usize::MAX, TOLD_MAX)] {
            assert_eq!(touches.take(bytes_max).len(), count, "{bytes_max}");
        }
    }

    #[test]
    fn sessions_that_find_no_room_are_told_of_before_the_others_come_again() {
        let timeout = SessionTimeout::from_millis(4000);
        let mut touches = Touches::default();
        let mut told = Vec::new();
        for _ in 0..5 {
            for id in 1..=7 {
                touches.note(SessionId::new(id), timeout);
            }
            let some = touches.take_some(3);
            told.extend(some.iter().map(|(id, _)| id.get()));
        }
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1]);
    }
}
