//! Members among crashes and cuts, in random order: what was acknowledged stays, and all end equal.
//!
//! A first sieve, for runs of a second. The simulator has more laws, more faults, and real clients.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::{Epoch, SessionId};

use super::world::{World, create};
use crate::conn::handshake::ServingMode;
use crate::peer::*;
use crate::tree::TxnResult;

/// What clients did and were told.
#[derive(Default)]
pub(super) struct Clients {
    sessions: BTreeMap<i64, SessionId>,
    /// Who asked for something last, and where.
    pub(super) last: Option<(i64, SessionId)>,
    /// Paths asked for, by the number of the request.
    asked: BTreeMap<i32, String>,
    pub(super) acknowledged: BTreeSet<String>,
}

fn run(seed: u64, voters: i64, observers: i64, steps: usize) {
    let mut world = World::new(voters, observers);
    world.random = Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    world.adjust = |options| {
        options.history_count_max = 3;
        options.init_limit = 4;
        options.sync_limit = 3;
    };
    let all: Vec<i64> = (1..=voters + observers).collect();
    for &id in &all {
        world.start(id);
    }
    let mut clients = Clients::default();
    let mut established = BTreeMap::new();
    for _ in 0..steps {
        let id = all[world.random() % all.len()];
        match world.random() % 100 {
            0..2 if world.members[&id].peer.is_some() => world.kill(id),
            2..8 if world.members[&id].peer.is_none() => world.start(id),
            8..9 => world.isolate(id),
            9..12 => world.cut.clear(),
            12..13 => {
                let other = all[world.random() % all.len()];
                world.disconnect(id, other);
            }
            13..30 => clients.ask(&mut world, id),
            30..34 => {
                let millis = world.random() % 400;
                world.pass_unsettled(u64::try_from(millis).unwrap());
            }
            _ => {
                for _ in 0..world.random() % 12 {
                    world.step();
                }
            }
        }
        clients.hear(&mut world);
        check_leaders(&world, &mut established);
    }
    world.cut.clear();
    for &id in &all {
        if world.members[&id].peer.is_none() {
            world.start(id);
        }
    }
    world.pass(200_000);
    clients.hear(&mut world);
    check_leaders(&world, &mut established);
    world.leader();
    for &id in &all {
        assert_eq!(
            world.status(id).phase,
            Phase::Broadcast,
            "seed {seed}: {id}"
        );
        for path in &clients.acknowledged {
            let is_there = world.members[&id].tree.get(path).is_some();
            assert!(is_there, "seed {seed}: {id} has lost {path}");
        }
    }
    world.assert_equal();
}

/// One leader per epoch.
pub(super) fn check_leaders(world: &World, established: &mut BTreeMap<Epoch, i64>) {
    for (&id, member) in &world.members {
        for transition in &member.transitions {
            if let Transition::Established(epoch) = transition {
                let leader = *established.entry(*epoch).or_insert(id);
                assert_eq!(leader, id, "two leaders in epoch {epoch}");
            }
        }
    }
}

impl Clients {
    pub(super) fn ask(&mut self, world: &mut World, id: i64) {
        let member = &world.members[&id];
        if member.peer.is_none() || member.mode != ServingMode::Full {
            return;
        }
        let is_alive = |session: &SessionId| member.tree.sessions().any(|(id, _)| id == *session);
        match self.sessions.get(&id).copied().filter(is_alive) {
            None => {
                world.request_session(id);
                let here = |session: &SessionId| i64::from(session.get().to_be_bytes()[0]) == id;
                let sessions = world.members[&id].tree.sessions();
                let session = sessions.map(|(id, _)| id).filter(here).max();
                if let Some(session) = session {
                    self.sessions.insert(id, session);
                }
            }
            Some(session) => {
                self.last = Some((id, session));
                let number = i32::try_from(self.asked.len()).unwrap() + 1;
                let path = format!("/{number}");
                self.asked.insert(number, path.clone());
                world.ask(id, session, number, &create(path));
            }
        }
    }

    /// Takes the answers.
    pub(super) fn hear(&mut self, world: &mut World) {
        for member in world.members.values_mut() {
            for (asker, result) in member.answers.drain(..) {
                if let Asker::Client { origin, .. } = asker
                    && !matches!(result, TxnResult::Failed(_))
                    && member.peer.is_some()
                {
                    // Others are changes of the members.
                    if let Some(path) = self.asked.get(&origin.xid.get()) {
                        self.acknowledged.insert(path.clone());
                    }
                }
            }
        }
    }
}

#[test]
fn three_members_lose_nothing_that_was_acknowledged() {
    for seed in 1..60 {
        run(seed, 3, 0, 1500);
    }
}

#[test]
fn five_members_and_two_observers_lose_nothing_that_was_acknowledged() {
    for seed in 1..15 {
        run(seed, 5, 2, 1500);
    }
}
