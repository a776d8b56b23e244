//! A run from beginning to end: first faults and safety, then a majority against the rest, then healing
//! and liveness.

use std::panic::{AssertUnwindSafe, catch_unwind};

use zk_core::conn::handshake::ServingMode;
use zk_core::peer::{Phase, Role};

use super::client::{Client, KEYS};
use super::coverage::Coverage;
use super::plan::Plan;
use super::schedule::Micros;
use super::world::{World, damaged};
use crate::check::linearizability::{Operation, STATES_MAX, explains};
use crate::check::{Verdict, Violation, liveness, replicas};

/// Virtual time between two looks at whether all is well.
pub(crate) const LOOK: Micros = 250_000;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The law that was broken, if one was.
    pub violation: Option<Violation>,
    /// Equal for equal runs.
    pub trace: u64,
    /// What happened, if it was asked for.
    pub text: String,
    /// What the run covered.
    pub coverage: Coverage,
    /// Virtual time that passed.
    pub time: Micros,
    /// Things that happened.
    pub events: u64,
}

/// Runs a plan.
pub fn run(plan: &Plan, with_text: bool) -> Outcome {
    let mut world = match World::new(plan, with_text) {
        Ok(world) => world,
        Err(violation) => return Outcome::failed(violation),
    };
    // A panic in a core is a violation like any other; the world is only looked at afterwards.
    let done = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match done {
        Ok(done) => done.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(Violation {
                law: "no panic",
                what: text.unwrap_or_default(),
            })
        }
    };
    Outcome {
        violation,
        trace: world.trace.hash(),
        time: world.schedule.now(),
        events: world.events,
        coverage: world.coverage,
        text: world.trace.into_text(),
    }
}

impl Outcome {
    fn failed(violation: Violation) -> Self {
        Self {
            violation: Some(violation),
            trace: 0,
            text: String::new(),
            coverage: Coverage::default(),
            time: 0,
            events: 0,
        }
    }
}

impl World {
    fn run(&mut self) -> Verdict {
        self.run_until(self.plan.safety)?;
        self.bury();
        self.heal();
        if let Some(siege) = self.plan.siege.clone() {
            if self.plan.changes.is_some() {
                // Of whom a majority is one, is known when no change is under way any more.
                self.become_well()?;
            }
            self.besiege(&siege)?;
        }
        self.become_well()?;
        self.stay_quiet()?;
        self.judge()
    }

    /// Lets time pass until all is as it should be.
    fn become_well(&mut self) -> Verdict {
        let (healed, liveness) = (self.schedule.now(), self.plan.liveness);
        let mut at = healed;
        loop {
            at += LOOK;
            self.run_until(at)?;
            let missing = self.missing();
            if missing.is_empty() {
                break;
            }
            if at >= healed + liveness {
                return liveness::well(liveness / 1000, &missing);
            }
        }
        self.coverage
            .add("virtual ms until all was well", (at - healed) / 1000);
        Ok(())
    }

    /// Nobody asks for anything for longer than sessions last, but every client shows that it lives:
    /// then every session does.
    fn stay_quiet(&mut self) -> Verdict {
        if !self.plan.seed.is_multiple_of(4) {
            return Ok(());
        }
        let sessions: Vec<_> = self.clients.iter().map(Client::kept_session).collect();
        let longest = self
            .plan
            .clients
            .iter()
            .map(|client| client.timeout_ms)
            .max();
        let longest = u64::try_from(longest.unwrap_or(0)).unwrap_or(0) * 1000;
        self.run_until(self.schedule.now() + longest * 3 / 2)?;
        let after = self.clients.iter().map(Client::kept_session);
        liveness::sessions_last(&sessions, &after.collect::<Vec<_>>(), &self.laws.model)?;
        self.coverage.note("quiet time in which sessions last");
        Ok(())
    }

    /// What is not as it should be when all is healed.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut leaders = 0;
        let committed = self.laws.committed.past();
        for (place, member) in self.members.iter().enumerate() {
            if member.is_buried {
                continue;
            }
            let Some(peer) = &member.peer else {
                missing.push(format!("member {place} is down"));
                continue;
            };
            let status = peer.status();
            leaders += usize::from(matches!(status.role, Role::Leading | Role::Alone));
            let serves = member.mode == ServingMode::Full
                || (status.role == Role::Leading && !self.plan.members.leader_serves);
            if status.role == Role::Looking || status.phase != Phase::Broadcast || !serves {
                missing.push(format!(
                    "member {place} is {:?} in {:?}, serves {:?}",
                    status.role, status.phase, member.mode
                ));
            } else if member.tree_past != committed {
                missing.push(format!(
                    "member {place} has {}, committed is {}",
                    self.laws.pasts.show(member.tree_past, 3),
                    self.laws.pasts.show(committed, 3)
                ));
            }
        }
        if leaders != 1 {
            missing.push(format!("{leaders} leaders"));
        }
        missing.extend(self.members_missing());
        for client in &self.clients {
            if !client.is_quiet() || client.done_since_heal == 0 {
                missing.push(client.state());
            }
        }
        let mut live = self.laws.model.sessions().count();
        for client in &self.clients {
            if let Some(session) = client.session
                && self.laws.model.is_alive(session)
            {
                live -= 1;
            }
            for refused in &client.refused {
                if self.laws.model.is_alive(*refused) {
                    missing.push(format!("{refused} was refused and lives"));
                }
            }
        }
        if live > 0 {
            missing.push(format!("{live} sessions live without a client"));
        }
        missing
    }

    /// What can only be judged at the end.
    fn judge(&mut self) -> Verdict {
        let options = self.options();
        for place in 0..self.plan.count() {
            let Self { members, laws, .. } = self;
            let Some(member) = members.get(usize::from(place)) else {
                continue;
            };
            let counted = member.tree.recompute_digest();
            if Some(counted) != member.tree.digest() {
                return Err(Violation {
                    law: replicas::LAW,
                    what: format!("member {place} has lost count of its digest"),
                });
            }
            // What it would find on its disk is what it has.
            let recovered = member.disk.recover(options, &mut laws.pasts);
            let recovered = recovered.map_err(|damage| damaged(place, &damage))?;
            let sessions = replicas::sessions(&recovered.tree);
            let (past, tree) = (recovered.past, &recovered.tree);
            replicas::has(&mut laws.pasts, place, past, tree, sessions)?;
        }
        self.linearizable()?;
        self.coverage.add("transactions committed", {
            u64::from(self.laws.pasts.len(self.laws.committed.past()))
        });
        let changes = self.laws.reconfig.committed();
        self.coverage.add("change of members: committed", changes);
        self.coverage
            .add("epochs with a leader", self.laws.one_leader.epochs() as u64);
        Ok(())
    }

    fn linearizable(&mut self) -> Verdict {
        for (key, history) in &self.laws.history {
            let operations: Vec<Operation> = history.iter().flatten().copied().collect();
            let path = KEYS.get(*key).copied().unwrap_or_default();
            let is_found = explains(path, &operations, STATES_MAX)?;
            self.coverage.note(if is_found {
                "key found linearizable"
            } else {
                "key too entangled to search"
            });
        }
        Ok(())
    }
}
