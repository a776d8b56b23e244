//! Members in one thread, whose logs, trees and links do at once and in order what they are told.
//!
//! No faults but those that a test asks for: whoever looks for more has the simulator.

mod clients;
mod links;
mod member;

pub(super) use clients::{create, create_ephemeral};
pub(super) use member::Member;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use zk_proto::{Epoch, ServerId, Zxid};

use crate::conn::ConnId;
use crate::conn::auth::{Access, Schemes};
use crate::conn::handshake::ServingMode;
use crate::conn::pipeline::{Pipeline, PipelineLimits};
use crate::ensemble::EnsembleConfig;
use crate::peer::reconfig::config_in;
use crate::peer::*;
use crate::prep::PrepOptions;
use crate::time::{Now, Time, WallTime};

pub(super) const CONN: ConnId = ConnId::new(7);
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Members, what is on its way between them, and the time.
pub(super) struct World {
    pub(super) now: u64,
    pub(super) members: BTreeMap<i64, Member>,
    pub(super) config: Arc<EnsembleConfig>,
    /// What happens next, in order.
    queue: VecDeque<(i64, Event)>,
    /// Pairs of members between which nothing passes.
    pub(super) cut: BTreeSet<(i64, i64)>,
    /// Members whose packets to and from others get lost, while votes pass.
    pub(super) stalled: BTreeSet<i64>,
    links: u64,
    pub(super) adjust: fn(&mut MemberOptions),
    pub(super) adjust_prep: fn(&mut PrepOptions),
    tickets: Pipeline<()>,
    /// In which order things happen: as they came, or at random, of each lane and link in order.
    pub(super) random: Option<u64>,
}

impl World {
    /// Members with these ids, all stopped; the ids above `voters` observe.
    pub(super) fn new(voters: i64, observers: i64) -> Self {
        let line = |id: i64| {
            let role = if id <= voters {
                "participant"
            } else {
                "observer"
            };
            member_line(id, role)
        };
        let lines: String = (1..=voters + observers).map(line).collect();
        let config = EnsembleConfig::parse(&format!("{lines}version=0")).unwrap();
        let mut world = Self {
            now: 1000,
            members: BTreeMap::new(),
            config: Arc::new(config),
            queue: VecDeque::new(),
            cut: BTreeSet::new(),
            stalled: BTreeSet::new(),
            links: 0,
            adjust: |_| (),
            adjust_prep: |_| (),
            tickets: Pipeline::new(&PipelineLimits {
                waiting_max: 100_000,
                waiting_bytes_max: 1000,
                outgoing_max: 1000,
                outgoing_bytes_max: 1000,
            }),
            random: None,
        };
        for id in 1..=voters + observers {
            world.members.insert(id, Member::new());
        }
        world
    }

    pub(super) fn started(voters: i64, observers: i64) -> Self {
        let mut world = Self::new(voters, observers);
        for id in 1..=voters + observers {
            world.start(id);
        }
        world
    }

    /// The same, whose members may be changed, by anybody.
    pub(super) fn changeable(voters: i64, observers: i64) -> Self {
        let mut world = Self::new(voters, observers);
        world.adjust_prep = |options| {
            options.reconfig_enabled = true;
            options.access.is_skipped = true;
        };
        for id in 1..=voters + observers {
            world.start(id);
        }
        world
    }

    /// Adds a server that is no member yet, and starts it: it knows the members, and itself.
    pub(super) fn add_stranger(&mut self, id: i64) {
        let text = self.config.text().to_string();
        let text = format!("{}{text}", member_line(id, "participant"));
        let mut member = Member::new();
        member.config = Some(Arc::new(EnsembleConfig::parse(&text).unwrap()));
        self.members.insert(id, member);
        self.start(id);
    }

    /// Has a stopped member find the files about its members as they were before they were written
    /// last; unless its log shows that more was logged since.
    pub(super) fn forget_config(&mut self, id: i64) {
        let member = self.members.get_mut(&id).unwrap();
        let Some(config) = &member.config else {
            return;
        };
        let logged = config_in(&member.reload());
        if logged.is_none_or(|logged| logged.version() <= config.version())
            && let Some(before) = member.config_before.pop()
        {
            member.config = before;
        }
    }

    fn now(&self) -> Now {
        Now {
            time: Time::from_millis(self.now),
            wall: WallTime::from_millis(1_700_000_000_000 + self.now.cast_signed()),
        }
    }

    /// Starts a member from what is on its disk.
    pub(super) fn start(&mut self, id: i64) {
        let now = self.now();
        let member = self.members.get_mut(&id).unwrap();
        let config = member.config.as_ref().unwrap_or(&self.config);
        let mut member_options = MemberOptions::new(Arc::clone(config));
        (self.adjust)(&mut member_options);
        member.tree = member.reload();
        let mut options = options(id);
        (self.adjust_prep)(&mut options.prep);
        let peer = Peer::member(options, member_options, member.epochs, now, &member.tree);
        member.peer = Some(peer.unwrap());
        member.mode = ServingMode::NotServing;
        member.is_stopped = false;
        member.is_listening = false;
        let mut out = Actions::default();
        member
            .peer
            .as_mut()
            .unwrap()
            .start(now, &member.tree, &mut out);
        self.perform(id, out);
    }

    /// Takes a member away, with all that is not on its disk: some of what its log was told last may
    /// be there, in order.
    pub(super) fn kill(&mut self, id: i64) {
        let survives = self.random();
        let member = self.members.get_mut(&id).unwrap();
        let pending = std::mem::take(&mut member.pending);
        let count = survives % (pending.len() + 1);
        for action in pending.into_iter().take(count) {
            member.store(action);
        }
        member.peer = None;
        member.held.clear();
        self.queue.retain(|(to, _)| *to != id);
        for other in self.ids() {
            self.disconnect(id, other);
            if other != id {
                let gone = Event::PeerUnreachable(ServerId::new(id));
                self.queue.push_back((other, gone));
            }
        }
        let member = self.members.get_mut(&id).unwrap();
        member.learners.clear();
        member.leader = None;
    }

    fn ids(&self) -> Vec<i64> {
        self.members.keys().copied().collect()
    }

    pub(super) fn feed(&mut self, id: i64, event: Event) {
        let now = self.now();
        let member = self.members.get_mut(&id).unwrap();
        if member.peer.is_none() {
            return;
        }
        let event = member.complete(event);
        let Some(peer) = &mut member.peer else {
            return;
        };
        let mut out = Actions::default();
        peer.handle(now, event, &member.tree, &mut out).unwrap();
        self.perform(id, out);
    }

    /// Some number.
    pub(super) fn random(&mut self) -> usize {
        let Some(state) = &mut self.random else {
            return 0;
        };
        // Xorshift: any spread will do.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap()
    }

    /// Takes what happens next.
    fn next(&mut self) -> Option<(i64, Event)> {
        if self.random.is_none() || self.queue.is_empty() {
            return self.queue.pop_front();
        }
        let any = self.random() % self.queue.len();
        let lane = lane(&self.queue[any]);
        let first = self.queue.iter().position(|one| self::lane(one) == lane);
        self.queue.remove(first.unwrap())
    }

    /// Lets everything happen that needs no time.
    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while let Some((id, event)) = self.next() {
            self.feed(id, event);
            steps += 1;
            assert!(steps < 100_000, "no end in sight: {:?}", self.queue);
        }
    }

    /// Lets one thing happen.
    pub(super) fn step(&mut self) {
        if let Some((id, event)) = self.next() {
            self.feed(id, event);
        }
    }

    /// Whether nothing happens by itself.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Has a leader believe that its epoch has no number left.
    pub(super) fn exhaust_epoch(&mut self, id: i64) {
        let member = self.members.get_mut(&id).unwrap();
        member.peer.as_mut().unwrap().exhaust_epoch();
    }

    /// Has a member ask the next leader for the whole tree.
    pub(super) fn want_tree(&mut self, id: i64) {
        let member = self.members.get_mut(&id).unwrap();
        member.peer.as_mut().unwrap().want_tree();
    }

    /// Lets time pass, deadline by deadline, and everything else in no time.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        self.settle();
        while self.wake_until(end) {
            self.settle();
        }
        self.now = end;
    }

    /// Lets time pass, while everything else takes longer.
    pub(super) fn pass_unsettled(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.wake_until(end) {}
        self.now = end;
    }

    /// Does what is due first, unless it is beyond `end`.
    fn wake_until(&mut self, end: u64) -> bool {
        let due = self
            .members
            .values()
            .filter_map(|member| member.peer.as_ref()?.next_deadline())
            .map(|(at, _)| at.as_micros().div_ceil(1000))
            .min();
        let Some(due) = due.filter(|due| *due <= end) else {
            return false;
        };
        self.now = self.now.max(due);
        let now = self.now();
        for id in self.ids() {
            let member = self.members.get_mut(&id).unwrap();
            let Some(peer) = &mut member.peer else {
                continue;
            };
            if peer.next_deadline().is_some_and(|(at, _)| at <= now.time) {
                let mut out = Actions::default();
                let done = peer.handle_deadlines(now, &member.tree, &mut out);
                done.unwrap();
                self.perform(id, out);
            }
        }
        true
    }

    fn perform(&mut self, id: i64, out: Actions) {
        let Actions {
            log,
            apply,
            net,
            control,
            notes,
        } = out;
        let member = self.members.get_mut(&id).unwrap();
        for note in notes {
            if let Note::Transition(transition) = note {
                member.transitions.push(transition);
            }
        }
        let mut events = Vec::new();
        for action in apply {
            member.apply(action, &mut events);
        }
        for action in log {
            let event = member.write(action);
            if member.is_disk_slow {
                member.held.push_back(event);
            } else {
                events.push(event);
            }
        }
        for action in control {
            member.control(action, &mut events);
        }
        self.queue
            .extend(events.into_iter().map(|event| (id, event)));
        for action in net {
            self.send(id, action);
        }
    }

    /// Has the log of a member report what it held back.
    pub(super) fn release_disk(&mut self, id: i64) {
        let member = self.members.get_mut(&id).unwrap();
        member.is_disk_slow = false;
        let held = std::mem::take(&mut member.held);
        self.queue.extend(held.into_iter().map(|event| (id, event)));
        self.settle();
    }

    pub(super) fn status(&self, id: i64) -> PeerStatus {
        self.members[&id].peer.as_ref().unwrap().status()
    }

    /// The one leader that is established.
    pub(super) fn leader(&self) -> i64 {
        let is_leader = |id: &i64| {
            self.members[id].peer.is_some() && {
                let status = self.status(*id);
                status.role == Role::Leading && status.phase == Phase::Broadcast
            }
        };
        let leaders: Vec<i64> = self.ids().into_iter().filter(is_leader).collect();
        assert_eq!(leaders.len(), 1, "leaders {leaders:?}");
        leaders[0]
    }

    /// Takes the disk of a member away.
    pub(super) fn wipe(&mut self, id: i64) {
        self.members.insert(id, Member::new());
    }

    /// All members that run have the same tree, to the last digest.
    pub(super) fn assert_equal(&self) {
        let running = self.members.values().filter(|member| member.peer.is_some());
        let states: BTreeSet<_> = running
            .map(|member| (member.tree.applied(), member.tree.digest()))
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
    }

    /// The last way in which a member was synchronised.
    pub(super) fn last_plan(&self, id: i64) -> SyncPlan {
        let plans = self.members[&id].transitions.iter().rev();
        let mut plans = plans.filter_map(|transition| {
            if let Transition::SyncReceived { plan, .. } = transition {
                Some(*plan)
            } else {
                None
            }
        });
        plans.next().unwrap()
    }
}

/// What comes in order: the reports of one lane, the packets of one link.
fn lane((id, event): &(i64, Event)) -> (i64, u8, u64) {
    let (kind, which) = match event {
        Event::LogDurable(_) | Event::EpochSaved { .. } | Event::Truncated { .. } => (0, 0),
        Event::Applied(_) | Event::Installed { .. } | Event::SnapshotSaved { .. } => (1, 0),
        Event::Election { from, .. }
        | Event::PeerUnreachable(from)
        | Event::PeerReachable(from) => (2, from.get().cast_unsigned()),
        Event::LearnerUp { link }
        | Event::LearnerPacket { link, .. }
        | Event::LearnerDown { link } => (3, link.get()),
        Event::LeaderUp { attempt }
        | Event::LeaderPacket { attempt, .. }
        | Event::LeaderSnapshot { attempt, .. }
        | Event::LeaderDown { attempt } => (4, attempt.get()),
        Event::SnapshotSent { link } => (5, link.get()),
        Event::LogRange { token, .. } => (6, token.get()),
        Event::Submitted(_)
        | Event::SessionRequested { .. }
        | Event::SessionClaimed { .. }
        | Event::SessionHeard { .. }
        | Event::ShutdownRequested => (7, 0),
    };
    (*id, kind, which)
}

pub(super) fn options(id: i64) -> PeerOptions {
    PeerOptions {
        server: ServerId::new(id),
        tick: TICK,
        session_salt: 3,
        prep: PrepOptions::new(Access::new(Schemes::standard())),
        reap_interval: Duration::from_mins(1),
        reap_max: 10,
    }
}

/// How a member is written, with a line feed.
pub(super) fn member_line(id: i64, role: &str) -> String {
    format!(
        "server.{id}=127.0.0.1:{}:{}:{role};{}\n",
        2000 + id,
        3000 + id,
        4000 + id
    )
}

pub(super) fn zxid(epoch: i32, counter: u32) -> Zxid {
    Zxid::from_parts(Epoch::new(epoch), counter)
}
