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
        let Some(voters) = self.voters_in_force() else {
            self.coverage.note("siege left out: members change");
            return Ok(());
        };
        let minority = self.minority(siege, &voters);
        if minority.is_empty() {
            return Ok(());
        }
        let held = self.held(siege.holds, &minority, &voters);
        for client in &mut self.clients {
            client.heal();
        }
        self.stay_until_served(&held, &voters)?;
        let end = self.schedule.now() + siege.span;
        while self.schedule.now() < end {
            self.stay(&held)?;
        }
        for client in &mut self.clients {
            client.heal();
        }
        self.stay_until_served(&held, &voters)?;
        say!(self, "siege is over");
        self.heal_cuts();
        for client in &mut self.clients {
            client.heal();
        }
        Ok(())
    }

    /// The places of those who vote; none while that may be about to change.
    fn voters_in_force(&self) -> Option<Vec<u8>> {
        let laws = &self.laws;
        let (pasts, committed) = (&laws.pasts, laws.committed.past());
        if laws.reconfig.open(pasts, committed).next().is_some() {
            return None;
        }
        let in_force = laws.reconfig.in_force(pasts, committed);
        Some(in_force.voters().filter_map(|id| self.place(id)).collect())
    }

    /// Whom to cut off, as it is drawn and as things are. Who is dead for good is of the minority anyway.
    fn minority(&self, siege: &Siege, voters: &[u8]) -> Vec<u8> {
        let is_there = |place: &u8| voters.contains(place) && !self.peek(*place).is_buried;
        let drawn = siege.order.iter().copied();
        let others = voters.iter().copied();
        let others = others.filter(|place| !siege.order.contains(place));
        let mut order: Vec<u8> = drawn.chain(others).filter(is_there).collect();
        let leads = |place: &u8| self.peek(*place).leads.is_some();
        let leader = order.iter().copied().find(leads);
        if let Some(leader) = leader.filter(|_| siege.takes_leader) {
            order.retain(|place| *place != leader);
            order.insert(0, leader);
        }
        let dead = voters.len() - order.len();
        let most = (voters.len().saturating_sub(1) / 2).saturating_sub(dead);
        order.truncate(siege.count.min(most));
        order
    }

    fn stay_until_served(&mut self, held: &[Held], voters: &[u8]) -> Verdict {
        let start = self.schedule.now();
        loop {
            self.stay(held)?;
            let missing = self.missing_in_siege(voters);
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

    /// What does not pass.
    ///
    /// Some of the others may be able to follow a leader of the minority where the rest cannot. Of an odd
    /// number of voters these or those are a quorum. Of an even number, or where some are dead, neither
    /// may be, and then they pass over each other's leader in turns for long (seed
    /// 804421829586027430): there the minority is not heard at all.
    fn held(&mut self, holds: Holds, minority: &[u8], of: &[u8]) -> Vec<Held> {
        let alive = of.iter().filter(|place| !self.peek(**place).is_buried);
        let quorum = of.len() / 2 + 1;
        let is_even = alive.count() + 1 < 2 * quorum;
        let holds = if is_even && holds != Holds::FromMinority {
            Holds::All
        } else {
            holds
        };
        say!(self, "siege of {minority:?}: {holds:?}");
        self.coverage.note(match holds {
            Holds::All => "siege: nothing passes",
            Holds::FromMinority => "siege: a minority is not heard",
            Holds::ToMinority => "siege: a minority does not hear",
            Holds::Links => "siege: votes pass, links do not",
            Holds::Some => "siege: some things pass",
        });
        let mut held = Vec::new();
        for inside in (0..self.plan.count()).filter(|place| !minority.contains(place)) {
            for &outside in minority {
                for (from, to) in [(outside, inside), (inside, outside)] {
                    let (holds, votes) = match holds {
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
    fn missing_in_siege(&self, voters: &[u8]) -> Vec<String> {
        let seen: Vec<_> = voters
            .iter()
            .map(|place| self.peek(*place))
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
            serves && followers + 1 > voters.len() / 2
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
