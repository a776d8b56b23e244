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
/// - `next` is younger than `current`, `heard` is younger than both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configs {
    current: Arc<EnsembleConfig>,
    next: Option<Arc<EnsembleConfig>>,
    /// One that another server says is proposed. It decides nothing: it may be that nobody will ever have
    /// it. But who is a voter there may be the only one that can lead.
    heard: Option<Arc<EnsembleConfig>>,
    /// Counts changes.
    generation: u64,
}

impl Configs {
    /// One configuration, and none that is about to take its place.
    pub fn new(current: Arc<EnsembleConfig>) -> Self {
        Self {
            current,
            next: None,
            heard: None,
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
            self.forget_old();
        }
        !is_same
    }

    /// Takes note of one that another server says is proposed, if it is the youngest. Whether it is.
    pub fn hear(&mut self, config: Arc<EnsembleConfig>) -> bool {
        let youngest = self.heard.as_ref().unwrap_or_else(|| self.last_seen());
        let is_news = config.version() > youngest.version();
        if is_news {
            self.heard = Some(config);
            self.generation += 1;
        }
        is_news
    }

    /// Forgets what others said is proposed. Whether there was anything.
    pub fn forget_heard(&mut self) -> bool {
        let has_heard = self.heard.take().is_some();
        self.generation += u64::from(has_heard);
        has_heard
    }

    /// The youngest that is proposed, here or elsewhere.
    pub(crate) fn youngest_proposed(&self) -> Option<&Arc<EnsembleConfig>> {
        self.heard.as_ref().or(self.next.as_ref())
    }

    /// Whether this is the text of one of them.
    pub(crate) fn has_text(&self, text: &str) -> bool {
        let others = self.next.iter().chain(&self.heard);
        others
            .chain([&self.current])
            .any(|one| **one.text() == *text)
    }

    fn forget_old(&mut self) {
        let version = self.last_seen().version();
        self.heard.take_if(|heard| heard.version() <= version);
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
        self.forget_old();
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

    /// A member of either, or of one that was heard of; as it is in the first of these that has it.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        let others = self.next.iter().chain(&self.heard);
        let mut all = std::iter::once(&self.current).chain(others);
        all.find_map(|config| config.member(id))
    }

    /// Whether this is a voter of either.
    pub fn is_voter(&self, id: ServerId) -> bool {
        let votes = |config: &Arc<EnsembleConfig>| config.is_voter(id);
        votes(&self.current) || self.next.as_ref().is_some_and(votes)
    }

    /// Whether this is a voter of either, or of one that was heard of.
    pub(crate) fn may_vote(&self, id: ServerId) -> bool {
        let heard = self.heard.as_ref();
        self.is_voter(id) || heard.is_some_and(|heard| heard.is_voter(id))
    }

    /// Whether this observes, and is not about to get a vote.
    pub(crate) fn observes(&self, id: ServerId) -> bool {
        self.current.is_observer(id) && !self.may_vote(id)
    }

    /// The voters of both, each once: those of the one in force by id, then the others.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        let next = self.next.iter().flat_map(|next| next.voters());
        let is_new = |id: &ServerId| !self.current.is_voter(*id);
        self.current.voters().chain(next.filter(is_new))
    }

    /// The voters of both, and of one that was heard of, each once.
    pub(crate) fn all_voters(&self) -> impl Iterator<Item = ServerId> {
        let heard = self.heard.iter().flat_map(|heard| heard.voters());
        self.voters().chain(heard.filter(|id| !self.is_voter(*id)))
    }

    /// Votes of a server in the first configuration in which it has one.
    pub fn weight(&self, id: ServerId) -> u32 {
        let others = self.next.iter().chain(&self.heard);
        let mut all = std::iter::once(&self.current).chain(others);
        let votes = all.find(|config| config.is_voter(id));
        votes.map_or(0, |config| config.weight(id))
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
        assert_eq!(
            [1, 4, 6].map(|id| pair.weight(ServerId::new(id))),
            [1, 1, 0]
        );
    }

    #[test]
    fn what_was_heard_decides_nothing_and_is_forgotten_when_it_is_old() {
        let mut pair = pair();
        assert!(!pair.hear(config(&[6], 7)), "as young as the next");
        assert!(pair.hear(config(&[6, 7], 9)) && !pair.hear(config(&[6, 7], 9)));
        let six = ServerId::new(6);
        assert!(pair.may_vote(six) && !pair.is_voter(six) && pair.member(six).is_some());
        assert_eq!(pair.weight(six), 1);
        assert_eq!(pair.voters().count(), 5);
        assert_eq!(
            pair.all_voters().collect::<Vec<_>>(),
            ids(&[1, 2, 3, 4, 5, 6, 7])
        );
        assert!(pair.is_quorum(&ids(&[1, 3, 4])), "without them");
        assert!(!pair.is_quorum(&ids(&[6, 7])));
        assert!(pair.see(config(&[3, 4], 9)));
        assert!(!pair.may_vote(six) && !pair.forget_heard());
    }
}
