//! A time in which a minority of the voters is cut off from the others, in whole or in part, and
//! nothing else goes wrong.

use zk_core::conn::handshake::ServingMode;
use zk_core::peer::{Phase, Role};

use super::plan::{Holds, Siege};
use super::run::LOOK;
use super::trace::say;
use super::world::World;
use crate::check::{Verdict, majority};

/// A direction in which something does not pass.
#[derive(Debug, Clone, Copy)]
struct Held {
    from: u8,
    to: u8,
    /// Whether votes do not pass either.
    votes: bool,
}

impl World {
    /// Cuts a minority off once all else is healed, until the others have served, and have gone on to
    /// do so; then lets everything pass.
    pub(crate) fn besiege(&mut self, siege: &Siege) -> Verdict {
        let held = self.held(siege);
        self.stay_until_served(&held)?;
        let end = self.schedule.now() + siege.span;
        while self.schedule.now() < end {
            self.stay(&held)?;
        }
        for client in &mut self.clients {
            client.heal();
        }
        self.stay_until_served(&held)?;
        say!(self, "siege is over");
        self.heal_cuts();
        for client in &mut self.clients {
            client.heal();
        }
        Ok(())
    }

    fn stay_until_served(&mut self, held: &[Held]) -> Verdict {
        let start = self.schedule.now();
        loop {
            self.stay(held)?;
            let missing = self.missing_in_siege();
            let time = self.schedule.now() - start;
            if missing.is_empty() {
                self.coverage.note("siege in which a majority served");
                self.coverage
                    .add("virtual ms until a majority served", time / 1000);
                return Ok(());
            }
            if time >= self.plan.liveness {
                return majority::serves(time / 1000, &missing);
            }
        }
    }

    /// Lets time pass. What is held up comes again each time, so that nothing waits for longer than
    /// this when the siege is over.
    fn stay(&mut self, held: &[Held]) -> Verdict {
        let until = self.schedule.now() + LOOK;
        for one in held {
            if one.votes {
                self.set_cut(one.from, one.to, until + 1);
            }
            self.set_link_cut(one.from, one.to, until + 1);
        }
        self.run_until(until)
    }

    /// What does not pass, as it is drawn and as things are.
    fn held(&mut self, siege: &Siege) -> Vec<Held> {
        let leads = |place: &u8| self.peek(*place).leads.is_some();
        let leader = siege.order.iter().copied().find(leads);
        let mut order = siege.order.clone();
        if let Some(leader) = leader.filter(|_| siege.takes_leader) {
            order.retain(|place| *place != leader);
            order.insert(0, leader);
        }
        order.truncate(siege.count);
        say!(self, "siege of {order:?}: {:?}", siege.holds);
        self.coverage.note(match siege.holds {
            Holds::All => "siege: nothing passes",
            Holds::FromMinority => "siege: a minority is not heard",
            Holds::ToMinority => "siege: a minority does not hear",
            Holds::Links => "siege: votes pass, links do not",
            Holds::Some => "siege: some things pass",
        });
        let mut held = Vec::new();
        for inside in (0..self.plan.count()).filter(|place| !order.contains(place)) {
            for &outside in &order {
                for (from, to) in [(outside, inside), (inside, outside)] {
                    let (holds, votes) = match siege.holds {
                        Holds::All => (true, true),
                        Holds::FromMinority => (from == outside, true),
                        Holds::ToMinority => (to == outside, true),
                        Holds::Links => (true, false),
                        Holds::Some => (self.fault_rng.one_in(2), self.fault_rng.one_in(2)),
                    };
                    if holds {
                        held.push(Held { from, to, votes });
                    }
                }
            }
        }
        held
    }

    /// What keeps voters from serving: a leader with a quorum in step, through which something was
    /// written.
    fn missing_in_siege(&self) -> Vec<String> {
        let voters = usize::from(self.plan.voters);
        let seen: Vec<_> = self
            .members
            .iter()
            .take(voters)
            .filter_map(|one| Some((one.id, one.mode, one.peer.as_ref()?.status())))
            .collect();
        let in_step = |role| {
            let seen = seen.iter();
            seen.filter(move |(.., status)| status.role == role && status.phase == Phase::Broadcast)
        };
        let is_served = in_step(Role::Leading).any(|(leader, mode, _)| {
            let followers = in_step(Role::Following)
                .filter(|(_, mode, status)| {
                    status.leader == Some(*leader) && *mode == ServingMode::Full
                })
                .count();
            let serves = *mode == ServingMode::Full || !self.plan.members.leader_serves;
            serves && followers + 1 > voters / 2
        });
        let is_written = self.clients.iter().any(|client| client.done_since_heal > 0);
        if is_served && is_written {
            return Vec::new();
        }
        let mut missing = vec![format!("written anything: {is_written}")];
        missing.extend(seen.iter().map(|(id, mode, status)| {
            let (role, phase, leader) = (status.role, status.phase, status.leader);
            format!("{id} is {role:?} in {phase:?} with {leader:?}, serves {mode:?}")
        }));
        missing
    }
}
