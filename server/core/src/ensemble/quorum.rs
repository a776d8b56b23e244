//! Which sets of voters decide.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumMaj`, `QuorumHierarchical`.

use std::collections::BTreeMap;

use zk_proto::ServerId;

/// Groups and weights of a hierarchical quorum, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Members of each group, by group id.
    pub groups: BTreeMap<i64, Vec<ServerId>>,
    /// Votes of members; one where absent.
    pub weights: BTreeMap<ServerId, u32>,
}

/// Which sets of voters decide.
///
/// Any two quorums of one rule have a voter in common: all of ZAB rests on that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumRule {
    /// More than half of the voters.
    Majority {
        /// Number of voters.
        voters: usize,
    },
    /// More than half of the weight, in more than half of the groups that have any.
    Hierarchical {
        /// Group and weight of each voter that is in a group.
        voters: BTreeMap<ServerId, (i64, u32)>,
        /// Weight of each group that has any; never zero.
        groups: BTreeMap<i64, u64>,
    },
}

impl QuorumRule {
    /// One voter, one vote.
    pub fn majority(voters: usize) -> Self {
        Self::Majority { voters }
    }

    /// By groups. Ids that are no voters have no say, whatever the groups list.
    pub fn hierarchical(hierarchy: &Hierarchy, is_voter: impl Fn(ServerId) -> bool) -> Self {
        let mut voters = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (&group, ids) in &hierarchy.groups {
            for &id in ids.iter().filter(|&&id| is_voter(id)) {
                let weight = hierarchy.weights.get(&id).copied().unwrap_or(1);
                voters.insert(id, (group, weight));
                if weight > 0 {
                    *groups.entry(group).or_insert(0) += u64::from(weight);
                }
            }
        }
        Self::Hierarchical { voters, groups }
    }

    /// Whether these voters decide. Each is to be given once, and none that is no voter.
    pub fn is_quorum(&self, acks: impl IntoIterator<Item = ServerId>) -> bool {
        match self {
            Self::Majority { voters } => acks.into_iter().count() > voters / 2,
            Self::Hierarchical { voters, groups } => {
                let mut acked = BTreeMap::new();
                for (group, weight) in acks.into_iter().filter_map(|id| voters.get(&id)) {
                    *acked.entry(group).or_insert(0) += u64::from(*weight);
                }
                let is_won = |(group, weight): &(&i64, &u64)| {
                    acked.get(group).copied().unwrap_or(0) > **weight / 2
                };
                groups.iter().filter(is_won).count() > groups.len() / 2
            }
        }
    }

    /// Votes of a voter. One that has none cannot be voted for.
    pub fn weight(&self, id: ServerId) -> u32 {
        match self {
            Self::Majority { .. } => 1,
            Self::Hierarchical { voters, .. } => voters.get(&id).map_or(0, |(_, weight)| *weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[i64]) -> Vec<ServerId> {
        numbers.iter().copied().map(ServerId::new).collect()
    }

    fn subsets(of: &[i64]) -> Vec<Vec<ServerId>> {
        let subset = |bits: usize| {
            let chosen = of.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            chosen.map(|(_, id)| ServerId::new(*id)).collect()
        };
        (0..1 << of.len()).map(subset).collect()
    }

    #[test]
    fn more_than_half_is_a_majority() {
        for voters in 0..10 {
            let rule = QuorumRule::majority(voters);
            for acks in 0..=voters {
                let acked = (0..acks).map(|id| ServerId::new(i64::try_from(id).unwrap()));
                assert_eq!(
                    rule.is_quorum(acked),
                    2 * acks > voters,
                    "{acks} of {voters}"
                );
            }
        }
    }

    /// Three groups of three, as the operators' manual has it, with one server of no weight.
    #[test]
    fn more_than_half_of_the_groups_must_be_won_by_weight() {
        let hierarchy = Hierarchy {
            groups: [
                (1, ids(&[1, 2, 3])),
                (2, ids(&[4, 5, 6])),
                (3, ids(&[7, 8, 9])),
                (4, ids(&[10])),
            ]
            .into(),
            weights: [(ServerId::new(3), 3), (ServerId::new(10), 0)].into(),
        };
        let rule = QuorumRule::hierarchical(&hierarchy, |id| id.get() != 9);
        for (acks, is_quorum) in [
            (&[1, 2, 4, 5][..], false),
            (&[3, 4, 5], true),
            (&[3, 4, 10], false),
            (&[4, 5, 7, 8], true),
            (&[4, 5, 7, 9], false),
            (&[1, 2, 3, 4, 7], false),
            (&[], false),
        ] {
            assert_eq!(rule.is_quorum(ids(acks)), is_quorum, "{acks:?}");
        }
        assert_eq!(
            [3, 4, 9, 10, 11].map(|id| rule.weight(ServerId::new(id))),
            [3, 1, 0, 0, 0]
        );
    }

    #[test]
    fn any_two_quorums_meet() {
        let members = [1, 2, 3, 4, 5, 6];
        let hierarchy = Hierarchy {
            groups: [(1, ids(&[1, 2])), (2, ids(&[3, 4])), (3, ids(&[5, 6]))].into(),
            weights: [(ServerId::new(1), 2), (ServerId::new(4), 0)].into(),
        };
        for rule in [
            QuorumRule::majority(members.len()),
            QuorumRule::hierarchical(&hierarchy, |_| true),
        ] {
            let mut quorums = subsets(&members);
            quorums.retain(|subset| rule.is_quorum(subset.iter().copied()));
            assert!(!quorums.is_empty());
            for one in &quorums {
                for other in &quorums {
                    assert!(one.iter().any(|id| other.contains(id)), "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_rule_without_weight_has_no_quorum() {
        let none = QuorumRule::hierarchical(&Hierarchy::default(), |_| true);
        assert!(!none.is_quorum(ids(&[1, 2, 3])));
    }
}
