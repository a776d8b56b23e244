//! Makes a failing plan small: leaves out faults, clients and requests while the same law is broken.

use super::plan::Plan;
use super::run::run;

/// Runs that shrinking may take.
const RUNS_MAX: usize = 600;

/// A smaller plan that breaks the same law, and how many runs it took to find.
pub fn shrink(plan: &Plan, law: &str) -> (Plan, usize) {
    let mut search = Search {
        best: plan.clone(),
        law: law.to_owned(),
        runs: 0,
    };
    loop {
        let before = search.best.clone();
        search.drop_faults();
        search.drop_clients();
        search.drop_requests();
        search.drop_knobs();
        if search.best == before || search.runs >= RUNS_MAX {
            return (search.best, search.runs);
        }
    }
}

struct Search {
    best: Plan,
    law: String,
    runs: usize,
}

impl Search {
    /// Takes a plan if it breaks the law too.
    fn attempt(&mut self, plan: Plan) -> bool {
        if plan == self.best || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let violation = run(&plan, false).violation;
        let breaks = violation.is_some_and(|violation| violation.law == self.law);
        if breaks {
            self.best = plan;
        }
        breaks
    }

    /// Leaves out faults: large pieces first, then smaller ones.
    fn drop_faults(&mut self) {
        let mut size = self.best.faults.len();
        while size > 0 {
            let mut at = 0;
            while at < self.best.faults.len() {
                let mut plan = self.best.clone();
                let end = plan.faults.len().min(at + size);
                plan.faults.drain(at..end);
                if !self.attempt(plan) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    /// Lets clients do nothing; their places stay, so that the others draw what they drew.
    fn drop_clients(&mut self) {
        for place in 0..self.best.clients.len() {
            let mut plan = self.best.clone();
            if let Some(client) = plan.clients.get_mut(place) {
                client.requests = 0;
            }
            self.attempt(plan);
        }
    }

    fn drop_requests(&mut self) {
        for place in 0..self.best.clients.len() {
            while let Some(requests) = self.best.clients.get(place).map(|client| client.requests)
                && requests > 1
            {
                let mut plan = self.best.clone();
                if let Some(client) = plan.clients.get_mut(place) {
                    client.requests = requests / 2;
                }
                if !self.attempt(plan) {
                    break;
                }
            }
        }
    }

    /// Makes the surroundings tame.
    fn drop_knobs(&mut self) {
        let changes: [fn(&mut Plan); 10] = [
            |plan| plan.siege = None,
            |plan| plan.net.tail_per_mille = 0,
            |plan| plan.net.reset_per_mille = 0,
            |plan| plan.net.stale_per_mille = 0,
            |plan| plan.disk.tail_per_mille = 0,
            |plan| plan.members.drift = 0,
            |plan| plan.members.skew_ms = 0,
            |plan| plan.members.snapshot_every = 1_000_000,
            |plan| plan.net.accept = (50, 500),
            |plan| plan.disk.apply = (1, 20),
        ];
        for change in changes {
            let mut plan = self.best.clone();
            change(&mut plan);
            self.attempt(plan);
        }
    }
}
