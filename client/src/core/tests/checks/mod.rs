//! The laws that every run is judged by: one file each.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a law hears of everything and cares for little of it"
)]

mod expiry;
mod fifo;
mod memory;
mod order;
mod outcome;
mod pinning;
mod residue;
mod resolution;
mod streams;
mod timing;
mod watch_sets;

use std::fmt;

use super::super::Time;
use super::world::Fact;

/// A law. It hears everything that happens.
trait Check {
    /// Takes in a fact; the error says how it breaks the law.
    fn see(&mut self, now: Time, fact: &Fact<'_>) -> Result<(), String>;
}

/// A law that was broken.
#[derive(Debug, Clone)]
pub(super) struct Violation {
    pub(super) law: &'static str,
    at: Time,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.since_start();
        write!(f, "{} at {at:?}: {}", self.law, self.message)
    }
}

pub(super) struct Checks {
    laws: Vec<(&'static str, Box<dyn Check>)>,
    violation: Option<Violation>,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self {
            laws: vec![
                ("fifo", Box::<fifo::Fifo>::default()),
                ("order", Box::<order::Order>::default()),
                ("streams", Box::<streams::Streams>::default()),
                ("resolution", Box::<resolution::Resolution>::default()),
                ("outcome", Box::<outcome::Outcomes>::default()),
                ("watch sets", Box::<watch_sets::WatchSets>::default()),
                ("memory", Box::<memory::Memory>::default()),
                ("pinning", Box::<pinning::Pinning>::default()),
                ("residue", Box::<residue::Residue>::default()),
                ("expiry", Box::<expiry::Expiry>::default()),
                ("timing", Box::<timing::Timing>::default()),
            ],
            violation: None,
        }
    }

    pub(super) fn see(&mut self, now: Time, fact: &Fact<'_>) {
        for (law, check) in &mut self.laws {
            if let Err(message) = check.see(now, fact)
                && self.violation.is_none()
            {
                self.violation = Some(Violation {
                    law,
                    at: now,
                    message,
                });
            }
        }
    }

    pub(super) fn fail(&mut self, law: &'static str, at: Time, message: String) {
        let violation = Violation { law, at, message };
        self.violation.get_or_insert(violation);
    }

    pub(super) fn has_violation(&self) -> bool {
        self.violation.is_some()
    }

    pub(super) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }
}
