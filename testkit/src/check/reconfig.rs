//! S19: from the proposal of a change of the members to its commit, the old and the new ones decide
//! together, each by a quorum of their own; behind it the old ones decide nothing. One change is under
//! way at a time, and is in force nowhere before it is committed: so what is in force at any server is
//! a part of one chain.
//!
//! # Source
//! Shraer, Reed, Malkhi, Junqueira, "Dynamic Reconfiguration of Primary/Backup Clusters" (USENIX ATC
//! 2012); Apache `ZooKeeper`, `Leader#tryToCommit`, `QuorumPeer#processReconfig`; ZOOKEEPER-2778, 2172
//! are ways to go wrong. That epochs, too, need both is this project's.

use std::collections::BTreeMap;
use std::sync::Arc;

use zk_core::ensemble::{Configs, EnsembleConfig};
use zk_proto::{Epoch, ServerId, Zxid};

use super::{Member, Past, Pasts, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "changes of members (S19)";

/// Every configuration that was ever proposed.
#[derive(Debug)]
pub struct Reconfig {
    first: Arc<EnsembleConfig>,
    /// By the history that ends with the change.
    changes: BTreeMap<Past, Arc<EnsembleConfig>>,
    /// How many are committed.
    committed: u64,
}

impl Reconfig {
    /// Members before any change.
    pub fn new(first: Arc<EnsembleConfig>) -> Self {
        Self {
            first,
            changes: BTreeMap::new(),
            committed: 0,
        }
    }

    /// Changes that were committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// A change is committed.
    pub fn note_committed(&mut self) {
        self.committed += 1;
    }

    /// A change is logged, which makes a history this. Whether it was not known.
    ///
    /// # Errors
    /// If it is proposed behind another that is not `committed`.
    pub fn proposed(
        &mut self,
        pasts: &Pasts,
        member: Member,
        past: Past,
        config: Arc<EnsembleConfig>,
        committed: Past,
    ) -> Result<bool, super::Violation> {
        if self.changes.contains_key(&past) {
            return Ok(false);
        }
        let zxid = pasts.last(past);
        let before = self.last_change(pasts, pasts.before(past));
        let is_alone = before.is_none_or(|before| pasts.has(committed, before));
        hold(LAW, is_alone, || {
            let before = before.map(|before| pasts.last(before));
            format!("member {member} proposes {zxid} behind {before:?}, which is not committed")
        })?;
        hold(LAW, config.version() == zxid, || {
            let version = config.version();
            format!("member {member} proposes {zxid}, which makes a configuration of {version}")
        })?;
        self.changes.insert(past, config);
        Ok(true)
    }

    /// Whether servers that have a history on disk decide that it is committed, as far as it is not.
    pub fn is_decided(
        &self,
        pasts: &Pasts,
        committed: Past,
        past: Past,
        has: &dyn Fn(&Pasts, ServerId, Past) -> bool,
    ) -> bool {
        let mut deciding = past;
        let mut change = self.last_change(pasts, past);
        loop {
            if !self.is_quorum(change, |id| has(pasts, id, deciding)) {
                return false;
            }
            let Some(open) = change.filter(|change| !pasts.has(committed, *change)) else {
                return true;
            };
            // Those before it decide about the change itself.
            deciding = open;
            change = self.last_change(pasts, pasts.before(open));
        }
    }

    /// A member takes a history for committed that is more than what is `committed`.
    ///
    /// # Errors
    /// If those who decide have it not on disk.
    pub fn taken(
        &self,
        pasts: &Pasts,
        member: Member,
        committed: Past,
        past: Past,
        has: &dyn Fn(&Pasts, ServerId, Past) -> bool,
    ) -> Verdict {
        let is_fixed = self.changes.is_empty() || pasts.has(committed, past);
        hold(
            LAW,
            is_fixed || self.is_decided(pasts, committed, past, has),
            || {
                let config = self.in_force(pasts, past).text().clone();
                format!(
                    "member {member} takes {} for committed, and not all that decide have it; its \
                     members are {config}",
                    pasts.show(past, 6)
                )
            },
        )
    }

    /// Whether servers that a leader with this history has heard of may make it one: of the members as
    /// the history has them, and while that is not known to be committed, of those before, too.
    pub fn may_lead(
        &self,
        pasts: &Pasts,
        committed: Past,
        history: Past,
        counts: &dyn Fn(ServerId) -> bool,
    ) -> bool {
        let change = self.last_change(pasts, history);
        let open = change.filter(|change| !pasts.has(committed, *change));
        let before = open.map(|open| self.last_change(pasts, pasts.before(open)));
        self.is_quorum(change, counts) && before.is_none_or(|before| self.is_quorum(before, counts))
    }

    /// The members that are proposed behind what is committed: packets that tell of them may be on their
    /// way, though no server has them on disk.
    pub fn open(
        &self,
        pasts: &Pasts,
        committed: Past,
    ) -> impl Iterator<Item = &Arc<EnsembleConfig>> {
        let last = pasts.last(committed);
        self.changes
            .values()
            .filter(move |config| config.version() > last)
    }

    /// The members that a history makes.
    pub fn in_force(&self, pasts: &Pasts, past: Past) -> &Arc<EnsembleConfig> {
        self.made_by(self.last_change(pasts, past))
    }

    /// A member has this configuration in force, and sees that one proposed. `past` tells the history
    /// that ends with a transaction.
    ///
    /// # Errors
    /// If what is in force is not committed; if what it has are not the configurations of these
    /// versions; or if it is to decide about a change that is not committed, and does not know what
    /// that is to replace.
    pub fn configured(
        &self,
        pasts: &Pasts,
        member: Member,
        configs: &Configs,
        committed: Past,
        past: impl Fn(Zxid) -> Option<Past>,
    ) -> Verdict {
        let current = configs.current();
        if current.version() > Zxid::ZERO {
            let change = self.known(member, current, &past)?;
            let is_committed = change.is_none_or(|change| pasts.has(committed, change));
            hold(LAW, is_committed, || {
                let version = current.version();
                format!("member {member} has the members of {version} in force, not committed")
            })?;
        }
        let Some(next) = configs.next() else {
            return Ok(());
        };
        let Some(change) = self.known(member, next, &past)? else {
            return Ok(());
        };
        if pasts.has(committed, change) {
            return Ok(());
        }
        let last = self.last_change(pasts, pasts.before(change));
        let before = self.made_by(last);
        // Who was never told of any members has those that an operator wrote.
        let is_known =
            before.has_same_members(current) || last.is_none() && current.version() == Zxid::ZERO;
        hold(LAW, is_known, || {
            format!(
                "member {member} is to decide about {}, with the members of {} in force, not those \
                 of {}",
                next.version(),
                current.version(),
                before.version()
            )
        })
    }

    /// The change that made a configuration; none for the one that the first leader names after its
    /// epoch.
    fn known(
        &self,
        member: Member,
        config: &Arc<EnsembleConfig>,
        past: &impl Fn(Zxid) -> Option<Past>,
    ) -> Result<Option<Past>, super::Violation> {
        let version = config.version();
        if version == Zxid::from_parts(version.epoch(), 0) && version.epoch() > Epoch::new(0) {
            let is_first = config.has_same_members(&self.first);
            hold(LAW, is_first, || {
                format!(
                    "member {member} has {}, as the first members",
                    config.text()
                )
            })?;
            return Ok(None);
        }
        let change = past(version).filter(|past| {
            let known = self.changes.get(past);
            known.is_some_and(|known| known.text() == config.text())
        });
        hold(LAW, change.is_some(), || {
            format!(
                "member {member} has {}, which nobody proposed",
                config.text()
            )
        })?;
        Ok(change)
    }

    /// The last change in a history.
    fn last_change(&self, pasts: &Pasts, past: Past) -> Option<Past> {
        let changes = self.changes.keys().copied();
        let of_this = changes.filter(|change| pasts.has(past, *change));
        of_this.max_by_key(|change| pasts.len(*change))
    }

    fn made_by(&self, change: Option<Past>) -> &Arc<EnsembleConfig> {
        let made = change.and_then(|change| self.changes.get(&change));
        made.unwrap_or(&self.first)
    }

    fn is_quorum(&self, change: Option<Past>, counts: impl Fn(ServerId) -> bool) -> bool {
        let config = self.made_by(change);
        let voters: Vec<ServerId> = config.voters().filter(|id| counts(*id)).collect();
        config.is_quorum(&voters)
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

    fn zxid(counter: u32) -> Zxid {
        Zxid::from_parts(Epoch::new(1), counter)
    }

    /// A history of a transaction, a change from 1, 2 and 3 to 3, 4 and 5, and one behind.
    fn changed() -> (Pasts, Reconfig, [Past; 3]) {
        let mut pasts = Pasts::default();
        let a = pasts.then(Past::EMPTY, zxid(1), 1);
        let b = pasts.then(a, zxid(2), 2);
        let c = pasts.then(b, zxid(3), 3);
        let mut law = Reconfig::new(config(&[1, 2, 3], 0));
        let new = config(&[3, 4, 5], zxid(2).get());
        assert_eq!(law.proposed(&pasts, 0, b, new, a), Ok(true));
        (pasts, law, [a, b, c])
    }

    fn decides(of: &[i64]) -> impl Fn(&Pasts, ServerId, Past) -> bool {
        move |_, id, _| of.contains(&id.get())
    }

    #[test]
    fn old_and_new_members_decide_until_a_change_is_committed_and_then_the_new_ones() {
        let (pasts, law, [a, b, c]) = changed();
        let cases: [(&[i64], bool, bool, bool); 4] = [
            (&[1, 2], true, false, false),
            (&[4, 5], false, false, true),
            (&[1, 3, 4], true, true, true),
            (&[3, 1], true, false, false),
        ];
        for (of, before, both, behind) in cases {
            let has = decides(of);
            assert_eq!(
                law.is_decided(&pasts, Past::EMPTY, a, &has),
                before,
                "{of:?}"
            );
            assert_eq!(law.is_decided(&pasts, a, b, &has), both, "{of:?}");
            assert_eq!(law.is_decided(&pasts, a, c, &has), both, "{of:?}");
            assert_eq!(law.is_decided(&pasts, b, c, &has), behind, "{of:?}");
            assert_eq!(law.taken(&pasts, 0, b, c, &has).is_ok(), behind, "{of:?}");
            let counts = |id: ServerId| of.contains(&id.get());
            assert_eq!(law.may_lead(&pasts, a, c, &counts), both, "{of:?}");
            assert_eq!(law.may_lead(&pasts, b, c, &counts), behind, "{of:?}");
        }
    }

    #[test]
    fn a_second_change_waits_for_the_first() {
        let (mut pasts, mut law, [_, b, c]) = changed();
        let d = pasts.then(c, zxid(4), 4);
        let next = config(&[3, 4], zxid(4).get());
        assert!(
            law.proposed(&pasts, 0, d, Arc::clone(&next), Past::EMPTY)
                .is_err()
        );
        assert_eq!(law.proposed(&pasts, 0, d, next, b), Ok(true));
    }

    #[test]
    fn what_is_in_force_is_committed_and_what_is_proposed_follows_on_it() {
        let (mut pasts, mut law, [a, b, c]) = changed();
        let d = pasts.then(c, zxid(4), 4);
        let (second, third) = (
            config(&[3, 4, 5], zxid(2).get()),
            config(&[3, 4], zxid(4).get()),
        );
        law.proposed(&pasts, 0, d, Arc::clone(&third), c)
            .expect("legal");
        let open = |committed| law.open(&pasts, committed).cloned().collect::<Vec<_>>();
        assert_eq!(open(c), [Arc::clone(&third)]);
        assert_eq!(open(d), []);
        let past = |version: Zxid| {
            [(zxid(2), b), (zxid(4), d)]
                .into_iter()
                .find_map(|(at, past)| (at == version).then_some(past))
        };
        let first = config(&[1, 2, 3], zxid(0).get());
        let pair = |current: &Arc<EnsembleConfig>, next: &Arc<EnsembleConfig>| {
            let mut pair = Configs::new(Arc::clone(current));
            pair.see(Arc::clone(next));
            pair
        };
        let holds =
            |configs: &Configs, committed| law.configured(&pasts, 0, configs, committed, past);
        assert!(holds(&pair(&first, &second), a).is_ok());
        assert!(holds(&pair(&second, &third), c).is_ok());
        assert!(holds(&pair(&second, &third), a).is_err(), "not committed");
        assert!(holds(&pair(&first, &third), c).is_err(), "one is missing");
        assert!(
            holds(&pair(&first, &third), d).is_ok(),
            "all of them are committed"
        );
        let stranger = config(&[3, 4, 7], zxid(2).get());
        assert!(
            holds(&Configs::new(stranger), d).is_err(),
            "nobody proposed it"
        );
    }
}
