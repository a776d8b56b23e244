//! What runs covered, so that a hole in the workload shows.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Debug, Default, Clone)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    /// Deaths on each side of each step of a disk.
    steps: BTreeMap<(super::plan::DurableStep, super::plan::Side), u64>,
}

impl Coverage {
    /// Something happened.
    pub fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// Something happened so many times.
    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    /// A member died at a step.
    pub fn died_at(&mut self, step: super::plan::DurableStep, side: super::plan::Side) {
        *self.steps.entry((step, side)).or_default() += 1;
    }

    /// How often something happened.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Adds what another covered.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
        for (step, count) in &other.steps {
            *self.steps.entry(*step).or_default() += count;
        }
    }

    /// Sides of steps at which no member died.
    pub fn steps_missed(&self) -> Vec<(super::plan::DurableStep, super::plan::Side)> {
        let all = super::plan::DurableStep::ALL.into_iter();
        let all = all.flat_map(|step| super::plan::Side::ALL.map(|side| (step, side)));
        all.filter(|step| !self.steps.contains_key(step)).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.counts {
            writeln!(f, "  {what:<44} {count:>12}")?;
        }
        for ((step, side), count) in &self.steps {
            let what = format!("died at a durable step: {step:?}, {side:?}");
            writeln!(f, "  {what:<44} {count:>12}")?;
        }
        let missed = self.steps_missed();
        if !missed.is_empty() {
            writeln!(f, "  no death at: {missed:?}")?;
        }
        Ok(())
    }
}
