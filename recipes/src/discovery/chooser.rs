//! Whom to choose: pure, over who there is and how busy they are.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::instance::ServiceInstance;

/// How much an instance can bear, compared with others.
type Weigh<T> = Arc<dyn Fn(&ServiceInstance<T>) -> u32 + Send + Sync>;

/// How to choose among instances.
#[non_exhaustive]
pub enum Strategy<T> {
    /// One after the other, in the order of their ids.
    RoundRobin,
    /// Any.
    Random,
    /// The same as long as it is there.
    Sticky,
    /// In proportion to their weights, evenly mixed. An instance of weight 0 is not chosen, unless all
    /// are.
    Weighted(Weigh<T>),
    /// The one with the fewest requests of this process under way: those that were picked and whose
    /// [`super::Picked`] is not dropped.
    LeastLoaded,
    /// The less loaded of any two: nearly as even as [`Strategy::LeastLoaded`], without all processes
    /// running to the same one.
    PowerOfTwo,
}

impl<T> Strategy<T> {
    /// [`Strategy::Weighted`] by a function.
    pub fn weighted(weigh: impl Fn(&ServiceInstance<T>) -> u32 + Send + Sync + 'static) -> Self {
        Self::Weighted(Arc::new(weigh))
    }
}

impl<T> fmt::Debug for Strategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "RoundRobin",
            Self::Random => "Random",
            Self::Sticky => "Sticky",
            Self::Weighted(_) => "Weighted",
            Self::LeastLoaded => "LeastLoaded",
            Self::PowerOfTwo => "PowerOfTwo",
        })
    }
}

/// Somebody who may be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// Path of its znode, which tells it from others.
    pub(crate) path: &'a str,
    pub(crate) weight: u32,
    /// Requests under way.
    pub(crate) load: usize,
}

/// The way without what it weighs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    RoundRobin,
    Random,
    Sticky,
    Weighted,
    LeastLoaded,
    PowerOfTwo,
}

impl<T> Strategy<T> {
    pub(crate) fn way(&self) -> Way {
        match self {
            Self::RoundRobin => Way::RoundRobin,
            Self::Random => Way::Random,
            Self::Sticky => Way::Sticky,
            Self::Weighted(_) => Way::Weighted,
            Self::LeastLoaded => Way::LeastLoaded,
            Self::PowerOfTwo => Way::PowerOfTwo,
        }
    }

    pub(crate) fn weight(&self, instance: &ServiceInstance<T>) -> u32 {
        match self {
            Self::Weighted(weigh) => weigh(instance),
            Self::RoundRobin
            | Self::Random
            | Self::Sticky
            | Self::LeastLoaded
            | Self::PowerOfTwo => 1,
        }
    }
}

/// What is remembered between two choices.
#[derive(Debug)]
pub(crate) struct Chooser {
    way: Way,
    /// Choices so far.
    count: usize,
    /// Path of who was chosen last.
    last: Option<String>,
    /// What each, by path, has saved up towards its next turn.
    savings: HashMap<String, i64>,
    rng: fastrand::Rng,
}

impl Chooser {
    pub(crate) fn new(way: Way, seed: u64) -> Self {
        Self {
            way,
            count: 0,
            last: None,
            savings: HashMap::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Chooses one of those, who are in the order of their ids; `None` if there is none.
    pub(crate) fn choose(&mut self, candidates: &[Candidate<'_>]) -> Option<usize> {
        if candidates.is_empty() {
            return None;
        }
        let chosen = match self.way {
            Way::RoundRobin => {
                let turn = self.count % candidates.len();
                self.count = self.count.wrapping_add(1);
                turn
            }
            Way::Random => self.rng.usize(..candidates.len()),
            Way::Sticky => {
                let last = self.last.as_deref();
                let same = candidates
                    .iter()
                    .position(|candidate| Some(candidate.path) == last);
                same.unwrap_or_else(|| self.rng.usize(..candidates.len()))
            }
            Way::Weighted => self.weighted(candidates),
            Way::LeastLoaded => least(candidates, 0..candidates.len(), &mut self.rng),
            Way::PowerOfTwo => {
                let one = self.rng.usize(..candidates.len());
                // Another one, if there is another.
                let step = 1 + self.rng.usize(..candidates.len().max(2) - 1);
                let two = (one + step) % candidates.len();
                least(candidates, [one, two], &mut self.rng)
            }
        };
        self.last = candidates
            .get(chosen)
            .map(|candidate| candidate.path.to_owned());
        Some(chosen)
    }

    /// Each saves its weight at every choice; the richest is chosen, and pays what all have saved.
    fn weighted(&mut self, candidates: &[Candidate<'_>]) -> usize {
        let is_void = candidates.iter().all(|candidate| candidate.weight == 0);
        let weight = |candidate: &Candidate<'_>| {
            if is_void {
                1
            } else {
                i64::from(candidate.weight)
            }
        };
        self.savings
            .retain(|path, _| candidates.iter().any(|candidate| candidate.path == path));
        let mut total = 0;
        let mut richest: Option<(i64, usize)> = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let weight = weight(candidate);
            total += weight;
            let savings = self.savings.entry(candidate.path.to_owned()).or_default();
            *savings += weight;
            if weight > 0 && richest.is_none_or(|(most, _)| *savings > most) {
                richest = Some((*savings, index));
            }
        }
        let chosen = richest.map_or(0, |(_, index)| index);
        if let Some(candidate) = candidates.get(chosen)
            && let Some(savings) = self.savings.get_mut(candidate.path)
        {
            *savings -= total;
        }
        chosen
    }
}

/// The least loaded; any of several.
fn least(
    candidates: &[Candidate<'_>],
    among: impl IntoIterator<Item = usize>,
    rng: &mut fastrand::Rng,
) -> usize {
    let load = |index: usize| candidates.get(index).map_or(usize::MAX, |one| one.load);
    let mut best = Vec::new();
    for index in among {
        match best.first().map(|best| load(index).cmp(&load(*best))) {
            None | Some(std::cmp::Ordering::Less) => best = vec![index],
            Some(std::cmp::Ordering::Equal) => best.push(index),
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    rng.choice(best).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(of: &[(&'static str, u32, usize)]) -> Vec<Candidate<'static>> {
        let candidate = |(path, weight, load): &(&'static str, u32, usize)| Candidate {
            path,
            weight: *weight,
            load: *load,
        };
        of.iter().map(candidate).collect()
    }

    fn counts(way: Way, all: &[Candidate<'_>], times: usize) -> Vec<usize> {
        let mut chooser = Chooser::new(way, 7);
        let mut counts = vec![0; all.len()];
        for _ in 0..times {
            counts[chooser.choose(all).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn nobody_is_chosen_of_nobody() {
        for way in [
            Way::RoundRobin,
            Way::Random,
            Way::Sticky,
            Way::Weighted,
            Way::LeastLoaded,
            Way::PowerOfTwo,
        ] {
            assert_eq!(Chooser::new(way, 7).choose(&[]), None);
            assert_eq!(
                Chooser::new(way, 7).choose(&candidates(&[("a", 0, 9)])),
                Some(0)
            );
        }
    }

    #[test]
    fn round_robin_goes_on_over_the_overflow_of_its_counter() {
        let all = candidates(&[("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]);
        assert_eq!(counts(Way::RoundRobin, &all, 30), [10, 10, 10]);
        let mut chooser = Chooser::new(Way::RoundRobin, 7);
        chooser.count = usize::MAX - 1;
        for _ in 0..4 {
            assert!(chooser.choose(&all).is_some());
        }
        // Fewer than before.
        assert!(chooser.choose(&all[..1]).is_some());
    }

    #[test]
    fn random_reaches_all() {
        let all = candidates(&[("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]);
        assert!(
            counts(Way::Random, &all, 3_000)
                .iter()
                .all(|count| (800..1_200).contains(count))
        );
    }

    #[test]
    fn sticky_stays_until_its_choice_is_gone() {
        let all = candidates(&[("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]);
        let mut chooser = Chooser::new(Way::Sticky, 7);
        let first = chooser.choose(&all).unwrap();
        for _ in 0..20 {
            assert_eq!(chooser.choose(&all), Some(first));
        }
        let mut rest = all.clone();
        let gone = rest.remove(first).path;
        let next = chooser.choose(&rest).unwrap();
        assert_ne!(rest[next].path, gone);
        // Even when the first is back.
        let again = chooser.choose(&all).unwrap();
        assert_eq!(all[again].path, rest[next].path);
    }

    #[test]
    fn weights_are_kept_exactly_and_mixed_evenly() {
        let all = candidates(&[("a", 5, 0), ("b", 1, 0), ("c", 0, 0), ("d", 2, 0)]);
        assert_eq!(counts(Way::Weighted, &all, 80), [50, 10, 0, 20]);
        let mut chooser = Chooser::new(Way::Weighted, 7);
        let turns: Vec<_> = (0..8)
            .map(|_| all[chooser.choose(&all).unwrap()].path)
            .collect();
        let longest = turns
            .chunk_by(|one, next| one == next)
            .map(<[_]>::len)
            .max();
        assert!(longest <= Some(3), "{turns:?}");
        let void = candidates(&[("a", 0, 0), ("b", 0, 0)]);
        assert_eq!(counts(Way::Weighted, &void, 10), [5, 5]);
    }

    #[test]
    fn load_decides() {
        let all = candidates(&[("a", 1, 3), ("b", 1, 1), ("c", 1, 1), ("d", 1, 2)]);
        let least = counts(Way::LeastLoaded, &all, 100);
        assert_eq!((least[0], least[3]), (0, 0));
        assert!(least[1] > 20 && least[2] > 20);
        let two = counts(Way::PowerOfTwo, &all, 1_000);
        assert_eq!(two[0], 0, "there is always a better one");
        assert!(two[3] > 0 && two[1] > two[3] && two[2] > two[3]);
    }
}
