//! The configuration in force, and the one that is about to take its place.
//!
//! ```text
//!  current ──── a reconfig is proposed ────► current + next ──── committed: activated ────► next
//!     one quorum                               both quorums                                one quorum
//! ```
//!
//! Any quorum of the pair has a voter in common with any quorum of either: so whoever was left behind
//! at the old configuration, and whoever is ahead at the new one, cannot decide beside the other.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `SyncedLearnerTracker`, `QuorumPeer#getCurrentAndNextConfigVoters`.

use std::sync::Arc;

use zk_proto::{ServerId, Zxid};

use super::config::EnsembleConfig;
use super::member::Member;

/// The configuration in force, and a younger one that may be committed by now.
///
/// # Invariants
/// - `next` is younger than `current`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configs {
    current: Arc<EnsembleConfig>,
    next: Option<Arc<EnsembleConfig>>,
    /// Counts changes.
    generation: u64,
}

impl Configs {
    /// One configuration, and none that is about to take its place.
    pub fn new(current: Arc<EnsembleConfig>) -> Self {
        Self {
            current,
            next: None,
            generation: 0,
        }
    }

    /// The one in force.
    pub fn current(&self) -> &Arc<EnsembleConfig> {
        &self.current
    }

    /// The one that is proposed, if there is one.
    pub fn next(&self) -> Option<&Arc<EnsembleConfig>> {
        self.next.as_ref()
    }

    /// The youngest.
    pub fn last_seen(&self) -> &Arc<EnsembleConfig> {
        self.next.as_ref().unwrap_or(&self.current)
    }

    /// Number of changes so far: equal ones are of equal copies.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes a configuration for the youngest; one that is no younger than the one in force means
    /// that nothing is about to take its place. Whether that changed anything.
    pub fn see(&mut self, config: Arc<EnsembleConfig>) -> bool {
        let next = Some(config).filter(|config| config.version() > self.current.version());
        let is_same = self.next.as_ref().map(|next| next.version())
            == next.as_ref().map(|next| next.version());
        if !is_same {
            self.next = next;
            self.generation += 1;
        }
        !is_same
    }

    /// Puts a configuration in force, unless one as young is. What is proposed and younger remains
    /// proposed. Whether that changed anything.
    pub fn activate(&mut self, config: Arc<EnsembleConfig>) -> bool {
        if config.version() <= self.current.version() {
            return false;
        }
        self.next.take_if(|next| next.version() <= config.version());
        self.current = config;
        self.generation += 1;
        true
    }

    /// Whether these decide, by the configuration in force and by the next one. Each is to be given
    /// once; those without a vote do not count.
    pub fn is_quorum<'a>(
        &self,
        acks: impl IntoIterator<Item = &'a ServerId, IntoIter: Clone>,
    ) -> bool {
        self.is_quorum_for(Zxid::new(i64::MAX), acks)
    }

    /// Whether these decide about a transaction: the next configuration has no say in what was
    /// proposed before it.
    pub fn is_quorum_for<'a>(
        &self,
        zxid: Zxid,
        acks: impl IntoIterator<Item = &'a ServerId, IntoIter: Clone>,
    ) -> bool {
        let acks = acks.into_iter();
        let has_say = |next: &&Arc<EnsembleConfig>| next.version() <= zxid;
        let next = self.next.as_ref().filter(has_say);
        next.is_none_or(|next| next.is_quorum(acks.clone())) && self.current.is_quorum(acks)
    }

    /// A member of either; as it is in the one in force, if it is in both.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        let of_next = || self.next.as_ref()?.member(id);
        self.current.member(id).or_else(of_next)
    }

    /// Whether this is a voter of either.
    pub fn is_voter(&self, id: ServerId) -> bool {
        let votes = |config: &Arc<EnsembleConfig>| config.is_voter(id);
        votes(&self.current) || self.next.as_ref().is_some_and(votes)
    }

    /// The voters of both, each once: those of the one in force by id, then the others.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        let next = self.next.iter().flat_map(|next| next.voters());
        let is_new = |id: &ServerId| !self.current.is_voter(*id);
        self.current.voters().chain(next.filter(is_new))
    }

    /// Votes of a member in the configuration in force. Who has none there cannot be voted for: those
    /// who have not heard of the next one would not know it.
    pub fn weight(&self, id: ServerId) -> u32 {
        if self.current.is_voter(id) {
            self.current.weight(id)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(voters: &[i64], version: i64) -> Arc<EnsembleConfig> {
        let line = |id: &i64| format!("server.{id}=h{id}:1:2:participant\n");
        let lines: String = voters.iter().map(line).collect();
        let text = format!("{lines}version={version:x}");
        Arc::new(EnsembleConfig::parse(&text).expect("legal"))
    }

    fn ids(numbers: &[i64]) -> Vec<ServerId> {
        numbers.iter().copied().map(ServerId::new).collect()
    }

    fn pair() -> Configs {
        let mut pair = Configs::new(config(&[1, 2, 3], 0));
        assert!(pair.see(config(&[3, 4, 5], 7)));
        pair
    }

    #[test]
    fn both_must_agree_from_the_change_on() {
        let pair = pair();
        for (acks, before, after) in [
            (&[1, 2][..], true, false),
            (&[4, 5], false, false),
            (&[1, 3, 4], true, true),
            (&[1, 2, 4, 5], true, true),
            (&[3, 4], false, false),
        ] {
            let acks = ids(acks);
            assert_eq!(pair.is_quorum_for(Zxid::new(6), &acks), before, "{acks:?}");
            assert_eq!(pair.is_quorum_for(Zxid::new(7), &acks), after, "{acks:?}");
            assert_eq!(pair.is_quorum(&acks), after, "{acks:?}");
        }
    }

    #[test]
    fn any_two_quorums_of_a_pair_and_its_parts_meet() {
        let pair = pair();
        let subset = |bits: usize| -> Vec<ServerId> {
            let all = (1..=5).filter(|id| bits >> id & 1 == 1);
            all.map(ServerId::new).collect()
        };
        let subsets: Vec<_> = (0..64).step_by(2).map(subset).collect();
        for of_pair in subsets.iter().filter(|ids| pair.is_quorum(*ids)) {
            for part in [pair.current(), pair.last_seen()] {
                for other in subsets.iter().filter(|ids| part.is_quorum(*ids)) {
                    let meet = of_pair.iter().any(|id| other.contains(id));
                    assert!(meet, "{of_pair:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn only_younger_ones_are_seen_and_put_in_force() {
        let mut pair = pair();
        assert!(!pair.see(config(&[3, 4, 5], 7)), "the same again");
        assert!(
            !pair.activate(config(&[9], 0)),
            "as old as the one in force"
        );
        assert!(pair.activate(config(&[3, 4, 5], 7)));
        assert_eq!(
            (pair.next(), pair.current().version()),
            (None, Zxid::new(7))
        );
        assert!(pair.see(config(&[3, 4], 9)));
        // The transaction that proposed it was cut away.
        assert!(pair.see(config(&[3, 4, 5], 7)));
        assert_eq!(pair.next(), None);
        assert!(pair.see(config(&[3, 4], 9)) && pair.activate(config(&[3, 5], 8)));
        assert_eq!(pair.last_seen().version(), Zxid::new(9));
    }

    #[test]
    fn voters_of_both_vote_and_are_counted_once() {
        let pair = pair();
        assert_eq!(pair.voters().collect::<Vec<_>>(), ids(&[1, 2, 3, 4, 5]));
        assert!(pair.is_voter(ServerId::new(1)) && pair.is_voter(ServerId::new(5)));
        assert!(!pair.is_voter(ServerId::new(6)) && pair.member(ServerId::new(6)).is_none());
        assert_eq!([1, 4].map(|id| pair.weight(ServerId::new(id))), [1, 0]);
    }
}
