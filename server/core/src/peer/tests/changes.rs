//! Members that come and go among crashes and cuts, in random order: law S19, and all others that
//! [`chaos`](super::chaos) has.
//!
//! S19: from the proposal to the commit of a change both quorums are needed; nothing behind it is
//! committed by the old members alone; at most one change is under way.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use zk_proto::{ServerId, Zxid};

use super::chaos::{Clients, check_leaders};
use super::world::{World, member_line};
use crate::ensemble::{Configs, EnsembleConfig};
use crate::peer::reconfig::config_of;
use crate::peer::*;
use crate::wire::txn::TxnEntry;

/// Servers that there are; the first three are members at the start.
const SERVERS: i64 = 5;
/// Numbers of requests for changes begin here.
const CHANGES: i32 = 1 << 20;

/// What leaders had before the last step: what is committed, and under which members.
#[derive(Default)]
struct Watched(BTreeMap<i64, (Zxid, Configs)>);

impl Watched {
    /// Judges what leaders have committed since the last look, and looks.
    fn check(&mut self, world: &World) {
        for (&id, member) in &world.members {
            let Some(configs) = member.configs.clone() else {
                continue;
            };
            let is_leader = member.peer.is_some() && {
                let status = world.status(id);
                status.role == Role::Leading && status.phase == Phase::Broadcast
            };
            if !is_leader {
                self.0.remove(&id);
                continue;
            }
            let committed = world.status(id).committed;
            if let Some((before, old)) = self.0.get(&id) {
                let is_new = |zxid: &Zxid| zxid > before && *zxid <= committed;
                for zxid in member.log.iter().map(|entry| entry.zxid).filter(is_new) {
                    check_commit(world, id, zxid, old, configs.current());
                }
            }
            let tail = member.log.iter().filter(|entry| entry.zxid > committed);
            let is_change = |entry: &&LogEntry| {
                let entry = TxnEntry::decode(&entry.bytes).unwrap();
                config_of(&entry).unwrap().is_some()
            };
            let count = tail.filter(is_change).count();
            assert!(count <= 1, "S19: {count} changes under way at {id}");
            self.0.insert(id, (committed, configs));
        }
    }
}

/// A leader has committed this; it had `old` before, and has `new` in force.
fn check_commit(world: &World, leader: i64, zxid: Zxid, old: &Configs, new: &EnsembleConfig) {
    let has = |member: &super::world::Member| {
        let is_logged = member.log.iter().any(|entry| entry.zxid == zxid);
        is_logged || member.tree.applied() >= zxid
    };
    let holders = world.members.iter().filter(|(_, member)| has(member));
    let holders: Vec<_> = holders.map(|(id, _)| ServerId::new(*id)).collect();
    let is_decided = match old.next().map(|next| next.version()) {
        Some(change) if zxid > change => new.is_quorum(&holders),
        Some(_) | None => old.is_quorum_for(zxid, &holders),
    };
    assert!(
        is_decided,
        "S19: {leader} commits {zxid} that only {holders:?} have, under {old:?}"
    );
}

fn run(seed: u64, steps: usize) -> usize {
    let mut world = World::changeable(3, 0);
    world.random = Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    world.adjust = |options| {
        options.history_count_max = 3;
        options.init_limit = 4;
        options.sync_limit = 3;
    };
    for id in 4..=SERVERS {
        world.add_stranger(id);
    }
    let all: Vec<i64> = (1..=SERVERS).collect();
    let mut clients = Clients::default();
    let (mut established, mut watched) = (BTreeMap::new(), Watched::default());
    let mut change = CHANGES;
    for _ in 0..steps {
        let id = all[world.random() % all.len()];
        match world.random() % 100 {
            0..2 if world.members[&id].peer.is_some() => {
                world.kill(id);
                if world.random().is_multiple_of(4) {
                    world.forget_config(id);
                }
            }
            2..8 if world.members[&id].peer.is_none() => world.start(id),
            8..9 => world.isolate(id),
            9..13 => world.cut.clear(),
            13..26 => clients.ask(&mut world, id),
            26..34 => {
                let role = ["participant", "participant", "observer"][world.random() % 3];
                let joining = member_line(id, role);
                let (joining, leaving) = match world.random() % 3 {
                    0 => (String::new(), id.to_string()),
                    _ => (joining.trim().to_owned(), String::new()),
                };
                if let Some((at, session)) = clients.last
                    && world.members[&at].peer.is_some()
                {
                    change += 1;
                    world.ask_reconfig(at, session, change, &joining, &leaving);
                }
            }
            34..38 => {
                let millis = world.random() % 400;
                world.pass_unsettled(u64::try_from(millis).unwrap());
            }
            _ => {
                for _ in 0..world.random() % 12 {
                    world.step();
                    watched.check(&world);
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
    world.pass(300_000);
    clients.hear(&mut world);
    check_leaders(&world, &mut established);
    let leader = world.leader();
    let configs = world.members[&leader].configs.clone().unwrap();
    assert_eq!(configs.next(), None, "seed {seed}");
    for &id in &all {
        let status = world.status(id);
        assert_eq!(status.phase, Phase::Broadcast, "seed {seed}: {id}");
        let known = world.members[&id].configs.clone().unwrap();
        assert!(
            known.current().is_same(configs.current()),
            "seed {seed}: {id}"
        );
        for path in &clients.acknowledged {
            let is_there = world.members[&id].tree.get(path).is_some();
            assert!(is_there, "seed {seed}: {id} has lost {path}");
        }
    }
    world.assert_equal();
    let transitions = world.members.values().flat_map(|one| &one.transitions);
    transitions
        .filter(|one| matches!(one, Transition::Configured(version) if version.counter() > 0))
        .count()
}

#[test]
fn members_that_come_and_go_lose_nothing_that_was_acknowledged() {
    let changes: usize = (1..50)
        .map(|seed| {
            let run = AssertUnwindSafe(|| run(seed, 1500));
            let done = catch_unwind(run);
            done.unwrap_or_else(|_| panic!("seed {seed}"))
        })
        .sum();
    assert!(changes > 100, "{changes} changes are few");
}

/// Each checker catches what it is for.
#[cfg(feature = "mutants")]
#[test]
fn changes_that_are_decided_wrongly_are_noticed() {
    use crate::mutation::{Mutation, with};
    for bug in [Mutation::OldConfigDecides, Mutation::ReconfigsOverlap] {
        let fails = |seed: u64| {
            let run = || run(seed, 1500);
            with(Some(bug), || catch_unwind(run)).is_err()
        };
        assert!((1..80).any(fails), "{bug:?} goes unnoticed");
    }
}
