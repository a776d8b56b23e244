//! Members in one thread, whose logs, trees and links do at once and in order what they are told.
//!
//! No faults but those that a test asks for: whoever looks for more has the simulator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use zk_proto::header::RequestHeader;
use zk_proto::jute::Encode as _;
use zk_proto::request::{CreateFlags, CreateRequest, ReconfigRequest, Request};
use zk_proto::{Acl, Bytes, Epoch, Id, Perms, ServerId, SessionId, Xid, Zxid};

use crate::conn::ConnId;
use crate::conn::auth::{Access, Identities, Schemes};
use crate::conn::handshake::ServingMode;
use crate::conn::pipeline::{Pipeline, PipelineLimits};
use crate::conn::request::{Class, Incoming};
use crate::ensemble::{Configs, EnsembleConfig};
use crate::peer::reconfig::config_in;
use crate::peer::*;
use crate::prep::PrepOptions;
use crate::session::SessionTimeout;
use crate::time::{Now, Time, WallTime};
use crate::tree::{CONFIG_PATH, DigestCheck, Tree, TreeLoader, TreeOptions, TxnResult};
use crate::wire::quorum::{LeaderPacket, LearnerPacket};
use crate::wire::snapshot::{SnapshotDecoder, Trailer};
use crate::wire::txn::{Txn, TxnEntry};

pub(super) const CONN: ConnId = ConnId::new(7);
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Members, what is on its way between them, and the time.
pub(super) struct World {
    pub(super) now: u64,
    pub(super) members: BTreeMap<i64, Member>,
    config: Arc<EnsembleConfig>,
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

/// A member, with what a crash leaves of it.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own")]
pub(super) struct Member {
    pub(super) peer: Option<Peer>,
    pub(super) tree: Tree,
    /// The log on disk: from `base` on.
    pub(super) log: Vec<LogEntry>,
    /// The snapshot on disk, and its zxid.
    snapshot: Option<(Zxid, Bytes)>,
    pub(super) epochs: RecoveredEpochs,
    pub(super) mode: ServingMode,
    pub(super) is_listening: bool,
    pub(super) answers: Vec<(Asker, TxnResult)>,
    /// The last transaction that somebody here asked for.
    pub(super) asked: Option<Txn>,
    pub(super) synced: Vec<Barrier>,
    pub(super) claims: Vec<(SessionId, bool)>,
    /// Local sessions that began, and that ended.
    pub(super) opened: Vec<SessionId>,
    pub(super) ended: Vec<SessionId>,
    pub(super) transitions: Vec<Transition>,
    pub(super) is_stopped: bool,
    /// Trees captured for links, and received for attempts.
    captured: BTreeMap<LinkId, (Zxid, Bytes)>,
    pub(super) received: BTreeMap<SnapshotId, (Zxid, Bytes)>,
    /// As leader: who is at the other end.
    learners: BTreeMap<LinkId, (i64, Attempt)>,
    /// As learner: the leader, and the link there.
    leader: Option<(i64, Attempt, LinkId)>,
    /// Whether the log holds its reports back.
    pub(super) is_disk_slow: bool,
    held: VecDeque<Event>,
    /// What the log was told and has not reported.
    pending: VecDeque<LogAction>,
    /// Whether transactions are those of a history that the tree has.
    pub(super) checks_digests: bool,
    /// The configuration on disk, if not that of the world.
    pub(super) config: Option<Arc<EnsembleConfig>>,
    /// What was there before, if that was anything else.
    config_before: Vec<Option<Arc<EnsembleConfig>>>,
    /// What it was told last of the members.
    pub(super) configs: Option<Configs>,
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
            tickets: Pipeline::new(PipelineLimits {
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

    /// Asks for other members, and lets it happen.
    pub(super) fn reconfig(&mut self, id: i64, session: SessionId, joining: &str, leaving: &str) {
        self.ask_reconfig(id, session, 9, joining, leaving);
        self.settle();
    }

    /// Asks for other members; nothing happens yet.
    pub(super) fn ask_reconfig(
        &mut self,
        id: i64,
        session: SessionId,
        xid: i32,
        joining: &str,
        leaving: &str,
    ) {
        let some = |text: &str| Some(text.into()).filter(|_| !text.is_empty());
        let request = Request::Reconfig(ReconfigRequest {
            joining_servers: some(joining),
            leaving_servers: some(leaving),
            new_members: None,
            cur_config_id: -1,
        });
        self.ask(id, session, xid, &request);
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

    /// Breaks what connects two members on quorum ports.
    pub(super) fn disconnect(&mut self, a: i64, b: i64) {
        for (leader, learner) in [(a, b), (b, a)] {
            let member = self.members.get_mut(&leader).unwrap();
            let links: Vec<LinkId> = member
                .learners
                .iter()
                .filter(|(_, (other, _))| *other == learner)
                .map(|(&link, _)| link)
                .collect();
            for link in links {
                self.close(leader, link);
            }
        }
    }

    /// Cuts a member off from another, or from all.
    pub(super) fn isolate(&mut self, id: i64) {
        for other in self.ids() {
            if other != id {
                self.cut.insert((id, other));
                self.cut.insert((other, id));
                self.disconnect(id, other);
            }
        }
    }

    fn is_stalled(&self, a: i64, b: i64) -> bool {
        self.stalled.contains(&a) || self.stalled.contains(&b)
    }

    fn close(&mut self, leader: i64, link: LinkId) {
        let member = self.members.get_mut(&leader).unwrap();
        let Some((learner, attempt)) = member.learners.remove(&link) else {
            return;
        };
        self.queue.push_back((leader, Event::LearnerDown { link }));
        let member = self.members.get_mut(&learner).unwrap();
        if member.leader.is_some_and(|(.., other)| other == link) {
            member.leader = None;
        }
        self.queue
            .push_back((learner, Event::LeaderDown { attempt }));
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

    fn send(&mut self, id: i64, action: NetAction) {
        match action {
            NetAction::SendElection { to, notification } => {
                let to = to.get();
                let is_there = self.members[&to].peer.is_some();
                if !is_there {
                    let gone = Event::PeerUnreachable(ServerId::new(to));
                    self.queue.push_back((id, gone));
                } else if !self.cut.contains(&(id, to)) {
                    let from = ServerId::new(id);
                    self.queue
                        .push_back((to, Event::Election { from, notification }));
                }
            }
            NetAction::Configure(configs) => {
                let member = self.members.get_mut(&id).unwrap();
                member.configure(configs);
            }
            NetAction::Listen(is_listening) => {
                self.members.get_mut(&id).unwrap().is_listening = is_listening;
            }
            NetAction::SendLearner { link, packet } => {
                let learner = self.members[&id].learners.get(&link).copied();
                if let Some((to, attempt)) = learner.filter(|(to, _)| !self.is_stalled(id, *to)) {
                    let packet = packet.to_wire();
                    let packet = LeaderPacket::from_wire(packet).unwrap();
                    self.queue
                        .push_back((to, Event::LeaderPacket { attempt, packet }));
                }
            }
            NetAction::StreamSnapshot { link, zxid } => {
                let member = self.members.get_mut(&id).unwrap();
                let captured = member.captured.remove(&link).unwrap();
                assert_eq!(captured.0, zxid);
                if let Some(&(to, attempt)) = member.learners.get(&link) {
                    self.links += 1;
                    let snapshot = SnapshotId::new(self.links);
                    let other = self.members.get_mut(&to).unwrap();
                    other.received.insert(snapshot, captured);
                    let packet = LeaderPacket::Snap { zxid };
                    self.queue
                        .push_back((to, Event::LeaderPacket { attempt, packet }));
                    self.queue
                        .push_back((to, Event::LeaderSnapshot { attempt, snapshot }));
                    self.queue.push_back((id, Event::SnapshotSent { link }));
                }
            }
            NetAction::DropLearner { link } => self.close(id, link),
            NetAction::ConnectLeader { attempt, leader } => {
                let leader = leader.get();
                let other = &self.members[&leader];
                let is_there =
                    other.peer.is_some() && other.is_listening && !self.cut.contains(&(id, leader));
                if !is_there {
                    self.queue.push_back((id, Event::LeaderDown { attempt }));
                    return;
                }
                self.links += 1;
                let link = LinkId::new(NonZeroU64::new(self.links).unwrap());
                let other = self.members.get_mut(&leader).unwrap();
                other.learners.insert(link, (id, attempt));
                self.queue.push_back((leader, Event::LearnerUp { link }));
                self.members.get_mut(&id).unwrap().leader = Some((leader, attempt, link));
                self.queue.push_back((id, Event::LeaderUp { attempt }));
            }
            NetAction::SendLeader { attempt, packet } => {
                if let Some((leader, current, link)) = self.members[&id].leader
                    && current == attempt
                    && !self.is_stalled(id, leader)
                {
                    let packet = LearnerPacket::from_wire(packet.to_wire()).unwrap();
                    self.queue
                        .push_back((leader, Event::LearnerPacket { link, packet }));
                }
            }
            NetAction::DropLeader { attempt } => {
                if let Some((leader, current, link)) = self.members[&id].leader
                    && current == attempt
                {
                    self.close(leader, link);
                }
            }
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

    pub(super) fn open(&mut self, id: i64) -> SessionId {
        let timeout = SessionTimeout::from_millis(4000);
        let conn = CONN;
        self.feed(id, Event::SessionRequested { conn, timeout });
        self.settle();
        let member = self.members.get_mut(&id).unwrap();
        let answer = member.answers.pop().unwrap();
        assert_eq!(answer.1, TxnResult::SessionCreated);
        assert_eq!(answer.0, Asker::Handshake(CONN));
        let is_here = |id_: &SessionId| i64::from(id_.get().to_be_bytes()[0]) == id;
        let sessions = member.tree.sessions().map(|(id, _)| id);
        sessions.filter(is_here).max().unwrap()
    }

    /// Asks for a session at a member; nothing happens yet.
    pub(super) fn request_session(&mut self, id: i64) {
        let (conn, timeout) = (CONN, SessionTimeout::from_millis(4000));
        self.feed(id, Event::SessionRequested { conn, timeout });
    }

    /// Asks on behalf of a client of a member; nothing happens yet.
    pub(super) fn ask(&mut self, id: i64, session: SessionId, xid: i32, request: &Request) {
        let mut wire = BytesMut::new();
        RequestHeader::new(Xid::new(xid), request.op()).encode(&mut wire);
        request.encode(&mut wire);
        let Class::Write(write) = Incoming::decode(&wire.freeze()).unwrap().class else {
            panic!("{request:?} is no write");
        };
        let submission = Submission {
            origin: Origin {
                conn: CONN,
                ticket: self.tickets.admit_write(0).unwrap(),
                xid: Xid::new(xid),
            },
            session,
            identities: Identities::none(),
            write,
        };
        self.feed(id, Event::Submitted(Box::new(submission)));
    }

    /// Creates a znode through a member.
    pub(super) fn create(&mut self, id: i64, session: SessionId, path: &'static str) {
        self.ask(id, session, 5, &create(path));
        self.settle();
    }

    /// Whether a member that was cut off has logged more than it has committed.
    pub(super) fn open_at_isolated(&mut self, id: i64) -> bool {
        let (conn, timeout) = (CONN, SessionTimeout::from_millis(4000));
        self.feed(id, Event::SessionRequested { conn, timeout });
        self.settle();
        let status = self.status(id);
        status.logged > status.committed
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

impl Member {
    pub(super) fn new() -> Self {
        Self {
            peer: None,
            tree: Tree::new(TreeOptions::default()),
            log: Vec::new(),
            snapshot: None,
            epochs: RecoveredEpochs::default(),
            mode: ServingMode::NotServing,
            is_listening: false,
            answers: Vec::new(),
            asked: None,
            synced: Vec::new(),
            claims: Vec::new(),
            opened: Vec::new(),
            ended: Vec::new(),
            transitions: Vec::new(),
            is_stopped: false,
            captured: BTreeMap::new(),
            received: BTreeMap::new(),
            learners: BTreeMap::new(),
            leader: None,
            is_disk_slow: false,
            held: VecDeque::new(),
            pending: VecDeque::new(),
            checks_digests: true,
            config: None,
            config_before: Vec::new(),
            configs: None,
        }
    }

    /// The tree as the disk has it.
    pub(super) fn reload(&self) -> Tree {
        let mut tree = match &self.snapshot {
            Some((zxid, stream)) => load(*zxid, stream),
            None => Tree::new(TreeOptions::default()),
        };
        for entry in &self.log {
            if entry.zxid > tree.applied() {
                let entry = TxnEntry::decode(&entry.bytes).unwrap();
                tree.apply(&entry.header, &entry.txn);
            }
        }
        tree
    }

    /// Takes what the log is told; it is done when its report is heard.
    pub(super) fn write(&mut self, action: LogAction) -> Event {
        let report = match &action {
            LogAction::Append { zxid, .. } => Event::LogDurable(*zxid),
            LogAction::SaveAcceptedEpoch(epoch) => Event::EpochSaved {
                kind: EpochKind::Accepted,
                epoch: *epoch,
            },
            LogAction::SaveCurrentEpoch(epoch) => Event::EpochSaved {
                kind: EpochKind::Current,
                epoch: *epoch,
            },
            LogAction::Truncate(target) => Event::Truncated { applied: *target },
        };
        self.pending.push_back(action);
        report
    }

    /// Does what the log was told first, before its report is heard.
    pub(super) fn complete(&mut self, report: Event) -> Event {
        let is_of_log = matches!(
            report,
            Event::LogDurable(_) | Event::EpochSaved { .. } | Event::Truncated { .. }
        );
        if !is_of_log {
            return report;
        }
        let Some(action) = self.pending.pop_front() else {
            return report;
        };
        let is_cut = matches!(action, LogAction::Truncate(_));
        self.store(action);
        if is_cut {
            self.tree = self.reload();
            let applied = self.tree.applied();
            return Event::Truncated { applied };
        }
        report
    }

    /// Has all on disk that the log was told, and reports none of it.
    pub(super) fn store_pending(&mut self) {
        for action in std::mem::take(&mut self.pending) {
            self.store(action);
        }
    }

    /// Keeps the configuration that is in force, and shows it to clients.
    fn configure(&mut self, configs: Configs) {
        let current = configs.current();
        let shown = self.tree.get(CONFIG_PATH).unwrap().stat().mzxid;
        if shown < current.version() {
            let now = WallTime::from_millis(1);
            let text = current.text().as_bytes();
            self.tree.set_config(text, current.version(), now);
        }
        if self.config.as_ref().map(|config| config.version()) != Some(current.version()) {
            self.config_before = vec![self.config.replace(Arc::clone(current))];
        }
        self.configs = Some(configs);
    }

    fn store(&mut self, action: LogAction) {
        match action {
            LogAction::Append { zxid, bytes } => {
                let last = self.log.last().map_or(Zxid::ZERO, |last| last.zxid);
                assert!(zxid > last);
                self.log.push(LogEntry { zxid, bytes });
            }
            LogAction::SaveAcceptedEpoch(epoch) => {
                assert!(epoch > self.epochs.accepted);
                self.epochs.accepted = epoch;
            }
            LogAction::SaveCurrentEpoch(epoch) => {
                assert!(epoch > self.epochs.current && epoch <= self.epochs.accepted);
                self.epochs.current = epoch;
            }
            LogAction::Truncate(target) => {
                self.log.retain(|entry| entry.zxid <= target);
                self.snapshot.take_if(|(zxid, _)| *zxid > target);
            }
        }
    }

    pub(super) fn apply(&mut self, action: ApplyAction, events: &mut Vec<Event>) {
        match action {
            ApplyAction::Apply(proposal) => {
                let Proposal { entry, asker, .. } = &*proposal;
                let applied = self.tree.apply(&entry.header, &entry.txn);
                let digest = entry.digest.as_ref();
                let check = self.tree.check_digest(entry.header.zxid, digest);
                let is_bad = self.checks_digests && matches!(check, DigestCheck::Different(..));
                assert!(!is_bad, "{check:?}");
                if *asker != Asker::Server {
                    self.asked = Some(entry.txn.clone());
                    self.answers.push((*asker, applied.result));
                }
                events.push(Event::Applied(entry.header.zxid));
            }
            ApplyAction::Barrier(barrier) => self.synced.push(barrier),
            ApplyAction::Capture { link } => {
                self.captured
                    .insert(link, (self.tree.applied(), capture(&mut self.tree)));
            }
            ApplyAction::Install { snapshot } => {
                let (zxid, stream) = self.received.remove(&snapshot).unwrap();
                self.tree = load(zxid, &stream);
                events.push(Event::Installed { snapshot, zxid });
            }
            ApplyAction::SaveSnapshot => {
                let zxid = self.tree.applied();
                self.snapshot = Some((zxid, capture(&mut self.tree)));
                self.log.clear();
                events.push(Event::SnapshotSaved { zxid });
            }
        }
    }

    pub(super) fn control(&mut self, action: ControlAction, events: &mut Vec<Event>) {
        match action {
            ControlAction::Serve(mode) => self.mode = mode,
            ControlAction::SessionAnswered {
                session, is_alive, ..
            } => self.claims.push((session, is_alive)),
            ControlAction::ReadLog {
                token,
                after,
                upto,
                bytes_max,
            } => {
                let all = self.log.iter();
                let wanted = all.filter(|entry| entry.zxid > after && entry.zxid <= upto);
                let entries: Vec<LogEntry> = wanted.cloned().collect();
                let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
                let is_complete = bytes <= bytes_max;
                events.push(Event::LogRange {
                    token,
                    entries,
                    is_complete,
                });
            }
            ControlAction::Stopped => self.is_stopped = true,
            ControlAction::SessionOpened { session, .. } => self.opened.push(session),
            ControlAction::SessionEnded { session } => self.ended.push(session),
        }
    }
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

fn capture(tree: &mut Tree) -> Bytes {
    let mut stream = BytesMut::new();
    let mut capture = tree.capture();
    while capture.next_chunk(tree, 1 << 20, &mut stream) {}
    tree.end_capture(capture);
    stream.freeze()
}

fn load(zxid: Zxid, stream: &Bytes) -> Tree {
    let mut decoder = if stream.starts_with(b"ZKSN") {
        SnapshotDecoder::default()
    } else {
        SnapshotDecoder::of_wire(1 << 20)
    };
    let mut loader = TreeLoader::new(TreeOptions::default());
    decoder.feed(stream.clone());
    while let Some(item) = decoder.next_item().unwrap() {
        loader.add(&item).unwrap();
    }
    let (tree, _) = loader.finish(zxid, &Trailer::default()).unwrap();
    tree
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

/// Creates an ephemeral znode.
pub(super) fn create_ephemeral(path: impl Into<ByteString>) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::Ephemeral.code(),
    })
}

pub(super) fn create(path: impl Into<ByteString>) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::Persistent.code(),
    })
}

pub(super) fn zxid(epoch: i32, counter: u32) -> Zxid {
    Zxid::from_parts(Epoch::new(epoch), counter)
}
