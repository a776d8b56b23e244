//! Connections between members: for votes, where only the latest counts, and between learners and
//! leaders, where everything arrives in order or not at all.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use zk_core::peer::{Attempt, Event, LinkId, NetAction, SnapshotId};
use zk_core::wire::election::Notification;
use zk_core::wire::quorum::{LeaderPacket, LearnerKind, LearnerPacket};
use zk_proto::{Bytes, Epoch, ServerId, Zxid};

use super::disk::load;
use super::event::Happening;
use super::member::{Received, Stream};
use super::pipe::Pipe;
use super::schedule::Micros;
use super::trace::say;
use super::world::{World, damaged};
use crate::check::{Past, Verdict, acks, epochs};

/// Votes on their way from one member to another.
#[derive(Debug, Default)]
pub struct Election {
    /// The latest one that is not there yet.
    waiting: Option<Notification>,
    /// Whether its arrival is scheduled.
    is_due: bool,
    /// The last one that was sent: it is sent again on a new connection.
    last: Option<Notification>,
}

/// A connection between a learner and a leader.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Link {
    pub(crate) id: LinkId,
    pub(crate) attempt: Attempt,
    pub(crate) learner: u8,
    learner_life: u32,
    pub(crate) leader: u8,
    leader_life: u32,
    down: Pipe<Down>,
    up: Pipe<Up>,
    /// Whether each side has it open.
    learner_open: bool,
    leader_open: bool,
    /// A tree that is being sent, and what waits behind it.
    stream: Option<Zxid>,
    behind: VecDeque<Down>,
    /// The epoch that the learner was told.
    epoch: Epoch,
    /// The leader's tree when the sync began, and with what was committed in the stream since.
    base: Past,
    /// What the learner must have when it acknowledges NEWLEADER.
    promised: Option<(Epoch, Past)>,
    has_acked_new_leader: bool,
    /// Whether the learner reads a tree.
    awaits_tree: bool,
    /// Whether the learner said that it follows, with a vote or without.
    is_follower: bool,
}

/// To the learner.
#[derive(Debug)]
enum Down {
    Packet(LeaderPacket),
    Tree(Stream),
    Close,
}

/// To the leader.
#[derive(Debug)]
enum Up {
    Packet(LearnerPacket),
    Close,
}

impl World {
    /// Until when messages are held up, if they are.
    fn cut(&self, from: u8, to: u8) -> Option<Micros> {
        let place = usize::from(from) * self.members.len() + usize::from(to);
        let until = *self.cuts.get(place)?;
        (until > self.schedule.now()).then_some(until)
    }

    /// The same for what passes between learners and leaders.
    fn link_cut(&self, from: u8, to: u8) -> Option<Micros> {
        let place = usize::from(from) * self.members.len() + usize::from(to);
        let until = *self.link_cuts.get(place)?;
        let until = (until > self.schedule.now()).then_some(until);
        until.max(self.cut(from, to))
    }

    /// Holds up what passes between learners and leaders, until that is over.
    pub(crate) fn set_link_cut(&mut self, from: u8, to: u8, until: Micros) {
        let place = usize::from(from) * self.members.len() + usize::from(to);
        if let Some(cut) = self.link_cuts.get_mut(place) {
            *cut = until;
        }
    }

    /// Holds messages up from now on.
    pub(crate) fn set_cut(&mut self, from: u8, to: u8, until: Micros) {
        let place = usize::from(from) * self.members.len() + usize::from(to);
        if let Some(cut) = self.cuts.get_mut(place) {
            *cut = until.max(*cut);
        }
    }

    /// Lets everything through.
    pub(crate) fn heal_cuts(&mut self) {
        self.cuts.fill(0);
        self.link_cuts.fill(0);
    }

    pub(crate) fn latency(&mut self) -> Micros {
        let knobs = self.plan.net;
        let mut latency = self.net_rng.between(knobs.latency);
        if !self.is_healed && self.net_rng.per_mille(knobs.tail_per_mille) {
            latency += self.net_rng.between(knobs.tail);
        }
        latency
    }

    /// Carries out what a member wants sent.
    pub(crate) fn to_net(&mut self, place: u8, action: NetAction) -> Verdict {
        match action {
            NetAction::SendElection { to, notification } => {
                self.send_vote(place, to, notification);
                Ok(())
            }
            NetAction::Configure(configs) => self.configure(place, configs),
            NetAction::Listen(listens) => {
                self.member(place).listens = listens;
                Ok(())
            }
            NetAction::SendLearner { link, packet } => {
                self.send_down(place, link, Down::Packet(packet))
            }
            NetAction::SendCommits { link, first, last } => {
                let mut zxids = (first.get()..=last.get()).map(Zxid::new);
                zxids.try_for_each(|zxid| {
                    let packet = LeaderPacket::Commit { zxid };
                    self.send_down(place, link, Down::Packet(packet))
                })
            }
            NetAction::StreamSnapshot { link, zxid } => self.begin_stream(place, link, zxid),
            NetAction::DropLearner { link } => {
                self.drop_learner(place, link);
                Ok(())
            }
            NetAction::ConnectLeader { attempt, leader } => {
                self.dial(place, attempt, leader);
                Ok(())
            }
            NetAction::SendLeader { attempt, packet } => self.send_up(place, attempt, packet),
            NetAction::DropLeader { attempt } => {
                self.drop_leader(place, attempt);
                Ok(())
            }
        }
    }

    // Votes.

    fn election(&mut self, from: u8, to: u8) -> &mut Election {
        let place = usize::from(from) * self.members.len() + usize::from(to);
        self.elections
            .get_mut(place)
            .expect("there is one for each pair of members")
    }

    fn send_vote(&mut self, from: u8, to: ServerId, notification: Notification) {
        let Some(to) = self.place(to) else { return };
        if self.trace.has_text() {
            say!(self, "{from} → {to}: {notification:?}");
        }
        let latency = self.latency();
        let election = self.election(from, to);
        election.last = Some(notification.clone());
        if election.waiting.replace(notification).is_some() {
            self.coverage.note("vote replaced by a later one");
        }
        let election = self.election(from, to);
        if !election.is_due {
            election.is_due = true;
            self.schedule.after(latency, Happening::Vote { from, to });
        }
        let chance = self.plan.net.stale_per_mille;
        if !self.is_healed && self.net_rng.per_mille(chance) {
            let delay = self.net_rng.between((1_000, 1_000_000));
            self.schedule
                .after(delay, Happening::StaleVote { from, to });
        }
    }

    pub(crate) fn vote_arrives(&mut self, from: u8, to: u8) -> Verdict {
        if let Some(until) = self.cut(from, to) {
            let latency = self.latency();
            self.schedule
                .at(until + latency, Happening::Vote { from, to });
            return Ok(());
        }
        let is_up = self.peek(to).is_up();
        let election = self.election(from, to);
        election.is_due = false;
        let Some(notification) = election.waiting.take() else {
            return Ok(());
        };
        let sender = self.peek(from).id;
        if !is_up {
            if self.net_rng.one_in(2) && self.peek(from).is_up() {
                let latency = self.latency();
                let id = self.peek(to).id;
                self.tell_after(latency, from, Event::PeerUnreachable(id));
            }
            return Ok(());
        }
        let event = Event::Election {
            from: sender,
            notification,
        };
        self.tell(to, event)
    }

    pub(crate) fn stale_vote_arrives(&mut self, from: u8, to: u8) -> Verdict {
        if self.cut(from, to).is_some() || !self.peek(to).is_up() || !self.peek(from).is_up() {
            return Ok(());
        }
        let sender = self.peek(from).id;
        let Some(notification) = self.election(from, to).last.clone() else {
            return Ok(());
        };
        self.coverage.note("stale vote");
        let event = Event::Election {
            from: sender,
            notification,
        };
        self.tell(to, event)
    }

    /// What a dead member wanted to say and had not put on its way is never said.
    pub(crate) fn forget_votes_of(&mut self, place: u8) {
        for to in 0..self.plan.count() {
            let keeps = self.net_rng.one_in(2);
            let election = self.election(place, to);
            election.last = None;
            if !keeps {
                election.waiting = None;
            }
        }
    }

    // Links.

    fn dial(&mut self, learner: u8, attempt: Attempt, leader: ServerId) {
        let Some(leader) = self.place(leader) else {
            let latency = self.latency();
            self.tell_after(latency, learner, Event::LeaderDown { attempt });
            return;
        };
        let life = self.peek(learner).life;
        let delay = self.latency() + self.net_rng.between(self.plan.net.accept);
        let dial = Happening::Dial {
            learner,
            life,
            attempt,
            leader,
        };
        self.schedule.after(delay, dial);
    }

    pub(crate) fn dial_arrives(
        &mut self,
        learner: u8,
        life: u32,
        attempt: Attempt,
        leader: u8,
    ) -> Verdict {
        if self.peek(learner).life != life {
            return Ok(());
        }
        let to_leader = self.link_cut(learner, leader);
        let held = to_leader.max(self.link_cut(leader, learner));
        if let Some(until) = held {
            // Connection requests are repeated until one gets through.
            let latency = self.latency();
            let dial = Happening::Dial {
                learner,
                life,
                attempt,
                leader,
            };
            self.schedule.at(until + latency, dial);
            return Ok(());
        }
        let latency = self.latency();
        if !self.peek(leader).is_up() || !self.peek(leader).listens {
            self.tell_after(latency, learner, Event::LeaderDown { attempt });
            return Ok(());
        }
        let number = u64::try_from(self.links.len()).unwrap_or(u64::MAX);
        let number = NonZeroU64::MIN.saturating_add(number);
        let id = LinkId::new(number);
        self.links.push(Link {
            id,
            attempt,
            learner,
            learner_life: life,
            leader,
            leader_life: self.peek(leader).life,
            down: Pipe::default(),
            up: Pipe::default(),
            learner_open: true,
            leader_open: true,
            stream: None,
            behind: VecDeque::new(),
            epoch: Epoch::default(),
            base: Past::EMPTY,
            promised: None,
            has_acked_new_leader: false,
            awaits_tree: false,
            is_follower: false,
        });
        self.coverage.note("connection to a leader");
        self.tell_after(latency, learner, Event::LeaderUp { attempt });
        self.tell(leader, Event::LearnerUp { link: id })
    }

    fn link_place(id: LinkId) -> usize {
        usize::try_from(id.get()).unwrap_or(0).wrapping_sub(1)
    }

    /// The link of a leader's id, if the leader has it open.
    fn leader_link(&mut self, place: u8, id: LinkId) -> Option<usize> {
        let life = self.peek(place).life;
        let at = Self::link_place(id);
        let link = self.links.get(at)?;
        (link.leader == place && link.leader_life == life && link.leader_open).then_some(at)
    }

    /// The link of a learner's try, if the learner has it open.
    fn learner_link(&mut self, place: u8, attempt: Attempt) -> Option<usize> {
        let life = self.peek(place).life;
        self.links.iter().rposition(|link| {
            link.learner == place
                && link.learner_life == life
                && link.attempt == attempt
                && link.learner_open
        })
    }

    fn link(&mut self, at: usize) -> &mut Link {
        self.links
            .get_mut(at)
            .expect("places of links are those of links that were made")
    }

    fn push_down(&mut self, at: usize, piece: Down) {
        let when = self.schedule.now() + self.latency();
        let link = self.link(at);
        if link.stream.is_some() {
            link.behind.push_back(piece);
        } else if let Some(when) = link.down.send(when, piece) {
            self.schedule.at(when, Happening::Down(at));
        }
    }

    fn send_down(&mut self, place: u8, id: LinkId, piece: Down) -> Verdict {
        let Some(at) = self.leader_link(place, id) else {
            return Ok(());
        };
        if let Down::Packet(packet) = &piece {
            self.leader_says(place, at, packet)?;
        }
        self.push_down(at, piece);
        let chance = self.plan.net.reset_per_mille;
        if !self.is_healed && self.net_rng.per_mille(chance) {
            self.reset_link(at);
        }
        Ok(())
    }

    /// What a learner was synchronised with, last.
    pub(crate) fn promised_to(&self, learner: u8) -> Past {
        let life = self.peek(learner).life;
        let is_its = |link: &&Link| {
            link.learner == learner && link.learner_life == life && link.learner_open
        };
        let link = self.links.iter().rev().find(is_its);
        let promised = link.and_then(|link| link.promised);
        promised.map_or(Past::EMPTY, |(_, past)| past)
    }

    /// Laws about what a leader says.
    fn leader_says(&mut self, place: u8, at: usize, packet: &LeaderPacket) -> Verdict {
        match packet {
            LeaderPacket::LeaderInfo { epoch } => {
                epochs::announced(place, *epoch, self.peek(place).stored())
            }
            LeaderPacket::NewLeader { epoch, .. } => {
                let link = self.link(at);
                link.promised = Some((*epoch, link.base));
                let leader = self.peek(place);
                let (own, history) = (leader.summary, leader.looked_with);
                let laws = &self.laws;
                laws.recency.announced(place, *epoch, own, |counts| {
                    let committed = laws.committed.past();
                    let counts = |id| self.place(id).is_some_and(counts);
                    laws.reconfig
                        .may_lead(&laws.pasts, committed, history, &counts)
                })
            }
            LeaderPacket::Commit { zxid }
            | LeaderPacket::CommitAndActivate { zxid, .. }
            | LeaderPacket::Inform { zxid, .. }
            | LeaderPacket::InformAndActivate { zxid, .. } => {
                // In the sync of a leader that is not established yet, it tells of its own history.
                if self.peek(place).leads.is_some() {
                    self.commit(place, *zxid)?;
                }
                let past = self.laws.proposals.past(*zxid).unwrap_or(Past::EMPTY);
                let base = self.link(at).base;
                if self.laws.pasts.has(past, base) {
                    self.link(at).base = past;
                }
                Ok(())
            }
            LeaderPacket::UpToDate => {
                let base = self.link(at).base;
                self.take(place, base)
            }
            LeaderPacket::Diff { .. }
            | LeaderPacket::Trunc { .. }
            | LeaderPacket::Snap { .. }
            | LeaderPacket::Proposal { .. }
            | LeaderPacket::Ping { .. }
            | LeaderPacket::Revalidate { .. }
            | LeaderPacket::Sync
            | LeaderPacket::Unknown { .. } => Ok(()),
        }
    }

    /// A leader begins to synchronise a learner.
    pub(crate) fn sync_started(&mut self, place: u8, id: LinkId) {
        let tree = self.peek(place).tree_past;
        if let Some(at) = self.leader_link(place, id) {
            self.link(at).base = tree;
        }
    }

    fn begin_stream(&mut self, place: u8, id: LinkId, zxid: Zxid) -> Verdict {
        let Some(at) = self.leader_link(place, id) else {
            return Ok(());
        };
        self.push_down(at, Down::Packet(LeaderPacket::Snap { zxid }));
        self.link(at).stream = Some(zxid);
        if self.peek(place).captures.contains_key(&id) {
            self.schedule.after(1, Happening::Stream(at));
        }
        Ok(())
    }

    /// A tree that is to be sent was captured.
    pub(crate) fn capture_ready(&mut self, id: LinkId) {
        let at = Self::link_place(id);
        if self.links.get(at).is_some_and(|link| link.stream.is_some()) {
            self.schedule.after(1, Happening::Stream(at));
        }
    }

    /// Writes the next piece of a tree for a learner; the last piece lets it go.
    pub(crate) fn stream_piece(&mut self, at: usize) -> Verdict {
        let chunk = self.plan.disk.snapshot_chunk;
        let usual = self.plan.disk.snapshot;
        let link = self.link(at);
        let (place, id, life, is_open) = (link.leader, link.id, link.leader_life, link.leader_open);
        let Some(zxid) = link.stream else {
            return Ok(());
        };
        let member = self.member(place);
        if member.life != life {
            return Ok(());
        }
        let Some(captured) = member.captures.get_mut(&id) else {
            return Ok(());
        };
        let more = is_open
            && captured
                .capture
                .next_chunk(&member.tree, chunk, &mut captured.bytes);
        if more {
            member.tree.release_emitted(&captured.capture);
            let delay = self.disk_delay(place, usual);
            self.schedule.after(delay, Happening::Stream(at));
            return Ok(());
        }
        let Some(captured) = member.captures.remove(&id) else {
            return Ok(());
        };
        member.tree.end_capture(captured.capture);
        if !is_open {
            return Ok(());
        }
        self.coverage.note("tree sent to a learner");
        let stream = Stream {
            zxid,
            past: captured.past,
            bytes: captured.bytes.freeze(),
        };
        let link = self.link(at);
        link.stream = None;
        let behind = std::mem::take(&mut link.behind);
        self.push_down(at, Down::Tree(stream));
        for piece in behind {
            self.push_down(at, piece);
        }
        self.tell_after(1, place, Event::SnapshotSent { link: id });
        Ok(())
    }

    fn send_up(&mut self, place: u8, attempt: Attempt, packet: LearnerPacket) -> Verdict {
        let Some(at) = self.learner_link(place, attempt) else {
            return Ok(());
        };
        self.learner_says(place, at, &packet)?;
        self.push_up(at, Up::Packet(packet));
        let chance = self.plan.net.reset_per_mille;
        if !self.is_healed && self.net_rng.per_mille(chance) {
            self.reset_link(at);
        }
        Ok(())
    }

    fn push_up(&mut self, at: usize, piece: Up) {
        let when = self.schedule.now() + self.latency();
        if let Some(when) = self.link(at).up.send(when, piece) {
            self.schedule.at(when, Happening::Up(at));
        }
    }

    /// Laws about what a learner says.
    fn learner_says(&mut self, place: u8, at: usize, packet: &LearnerPacket) -> Verdict {
        let link = self.link(at);
        match packet {
            LearnerPacket::Info { kind, .. } => {
                link.is_follower = *kind == LearnerKind::Follower;
                Ok(())
            }
            LearnerPacket::AckEpoch { .. } => {
                let epoch = link.epoch;
                epochs::promised(place, epoch, self.peek(place).stored())
            }
            // What one that observes acknowledges counts for nothing.
            LearnerPacket::Ack { .. } if !link.is_follower => Ok(()),
            LearnerPacket::Ack { zxid } if zxid.counter() == 0 => {
                let Some((epoch, promised)) = link.promised else {
                    return Ok(());
                };
                if std::mem::replace(&mut link.has_acked_new_leader, true) {
                    return Ok(());
                }
                let member = self.peek(place);
                let (durable, current) = (member.disk.durable(), member.disk.current);
                let pasts = &self.laws.pasts;
                acks::acked_new_leader(pasts, place, epoch, promised, durable, current)?;
                self.acked(place, promised);
                Ok(())
            }
            LearnerPacket::Ack { zxid } => {
                let past = self.laws.proposals.past(*zxid);
                let durable = self.peek(place).disk.durable();
                acks::acked(&self.laws.pasts, place, *zxid, past, durable)?;
                self.acked(place, past.unwrap_or(Past::EMPTY));
                Ok(())
            }
            LearnerPacket::Ping { .. }
            | LearnerPacket::Request(_)
            | LearnerPacket::Revalidate { .. }
            | LearnerPacket::Unknown { .. } => Ok(()),
        }
    }

    fn acked(&mut self, place: u8, past: Past) {
        let acked = self.peek(place).acked;
        if self.laws.pasts.has(past, acked) {
            self.member(place).acked = past;
        }
    }

    pub(crate) fn down_arrives(&mut self, at: usize) -> Verdict {
        let link = self.link(at);
        let (learner, leader, life, attempt) =
            (link.learner, link.leader, link.learner_life, link.attempt);
        if let Some(until) = self.link_cut(leader, learner) {
            let latency = self.latency();
            self.schedule.at(until + latency, Happening::Down(at));
            return Ok(());
        }
        let link = self.link(at);
        let Some((piece, next)) = link.down.arrive() else {
            return Ok(());
        };
        let is_open = link.learner_open;
        if let Some(next) = next {
            self.schedule.at(next, Happening::Down(at));
        }
        if !is_open || self.peek(learner).life != life {
            return Ok(());
        }
        match piece {
            Down::Packet(packet) => {
                if let LeaderPacket::LeaderInfo { epoch } = packet {
                    self.link(at).epoch = epoch;
                }
                if let LeaderPacket::Snap { .. } = packet {
                    self.link(at).awaits_tree = true;
                    let patience = self.patience();
                    self.schedule.after(patience, Happening::Stalled(at));
                }
                self.tell(learner, Event::LeaderPacket { attempt, packet })
            }
            Down::Tree(stream) => self.tree_arrives(at, stream),
            Down::Close => {
                self.link(at).learner_open = false;
                self.tell(learner, Event::LeaderDown { attempt })
            }
        }
    }

    /// How long a reader of a tree waits for bytes.
    fn patience(&self) -> Micros {
        let knobs = &self.plan.members;
        knobs.tick_ms * u64::from(knobs.init_limit) * 1000
    }

    /// A learner that reads a tree looks whether bytes still come, as its driver does for it.
    pub(crate) fn stalled(&mut self, at: usize) -> Verdict {
        let link = self.link(at);
        let (learner, life, attempt) = (link.learner, link.learner_life, link.attempt);
        let (leader, leader_life) = (link.leader, link.leader_life);
        if !link.awaits_tree || !link.learner_open {
            return Ok(());
        }
        let flows = link.stream.is_some() || !link.down.is_empty();
        if self.peek(learner).life != life {
            return Ok(());
        }
        let sender = self.peek(leader);
        if flows
            && sender.life == leader_life
            && !sender.is_paused
            && self.link_cut(leader, learner).is_none()
        {
            let patience = self.patience();
            self.schedule.after(patience, Happening::Stalled(at));
            return Ok(());
        }
        self.coverage.note("tree that stopped on its way");
        self.link(at).learner_open = false;
        self.push_up(at, Up::Close);
        self.tell(learner, Event::LeaderDown { attempt })
    }

    fn tree_arrives(&mut self, at: usize, stream: Stream) -> Verdict {
        let link = self.link(at);
        link.awaits_tree = false;
        let (learner, attempt) = (link.learner, link.attempt);
        let Stream { zxid, past, bytes } = stream;
        let tree =
            load(&bytes, zxid, self.options()).map_err(|damage| damaged(learner, &damage))?;
        let number = u64::try_from(self.links.len()).unwrap_or(0) * 1_000_000 + self.events;
        let snapshot = SnapshotId::new(number);
        let received = Received { tree, past, zxid };
        self.member(learner).received.insert(snapshot, received);
        self.tell(learner, Event::LeaderSnapshot { attempt, snapshot })
    }

    pub(crate) fn up_arrives(&mut self, at: usize) -> Verdict {
        let link = self.link(at);
        let (learner, leader, life, id) = (link.learner, link.leader, link.leader_life, link.id);
        if let Some(until) = self.link_cut(learner, leader) {
            let latency = self.latency();
            self.schedule.at(until + latency, Happening::Up(at));
            return Ok(());
        }
        let link = self.link(at);
        let Some((piece, next)) = link.up.arrive() else {
            return Ok(());
        };
        let (is_open, epoch, is_follower) = (link.leader_open, link.epoch, link.is_follower);
        if let Some(next) = next {
            self.schedule.at(next, Happening::Up(at));
        }
        if !is_open || self.peek(leader).life != life {
            return Ok(());
        }
        match piece {
            Up::Packet(packet) => {
                if let LearnerPacket::AckEpoch {
                    zxid,
                    current: Some(current),
                    ..
                } = packet
                    && is_follower
                {
                    let summary = (current, zxid);
                    self.laws.recency.told(leader, epoch, learner, summary);
                }
                self.tell(leader, Event::LearnerPacket { link: id, packet })
            }
            Up::Close => {
                self.link(at).leader_open = false;
                self.end_stream(at);
                self.tell(leader, Event::LearnerDown { link: id })
            }
        }
    }

    /// Nobody will read the tree that is being sent.
    fn end_stream(&mut self, at: usize) {
        let link = self.link(at);
        let (place, life, id) = (link.leader, link.leader_life, link.id);
        link.stream = None;
        link.behind.clear();
        let member = self.member(place);
        if member.life == life
            && let Some(captured) = member.captures.remove(&id)
        {
            member.tree.end_capture(captured.capture);
        }
    }

    /// A leader closes a link, behind what it sent or with its loss.
    fn drop_learner(&mut self, place: u8, id: LinkId) {
        let Some(at) = self.leader_link(place, id) else {
            // A capture may be there for a link that is gone.
            let member = self.member(place);
            if let Some(captured) = member.captures.remove(&id) {
                member.tree.end_capture(captured.capture);
            }
            return;
        };
        self.end_stream(at);
        let link = self.link(at);
        link.leader_open = false;
        if self.net_rng.one_in(2) {
            self.link(at).down.clear();
        }
        self.push_down(at, Down::Close);
        self.tell_after(1, place, Event::LearnerDown { link: id });
    }

    /// A learner closes a link, or gives up to make one.
    fn drop_leader(&mut self, place: u8, attempt: Attempt) {
        let Some(at) = self.learner_link(place, attempt) else {
            return;
        };
        self.link(at).learner_open = false;
        if self.net_rng.one_in(2) {
            self.link(at).up.clear();
        }
        self.push_up(at, Up::Close);
    }

    /// Both sides lose a link, and what was on its way.
    pub(crate) fn reset_link(&mut self, at: usize) {
        self.coverage.note("connection reset");
        let link = self.link(at);
        link.down.clear();
        link.up.clear();
        let (is_down, is_up) = (link.learner_open, link.leader_open);
        self.end_stream(at);
        if is_down {
            self.push_down(at, Down::Close);
        }
        if is_up {
            self.push_up(at, Up::Close);
        }
    }

    /// All links of a member are reset.
    pub(crate) fn reset_links_of(&mut self, place: u8) {
        for at in 0..self.links.len() {
            let link = self.link(at);
            if (link.learner == place || link.leader == place)
                && (link.learner_open || link.leader_open)
            {
                self.reset_link(at);
            }
        }
    }

    /// A process ends, and its links with it. When the whole machine dies, the others may not hear
    /// of it.
    pub(crate) fn close_links_of(&mut self, place: u8, is_death: bool) {
        let is_silent = is_death && self.net_rng.one_in(4);
        if is_silent {
            self.coverage
                .note("death that leaves half-open connections");
        }
        for at in 0..self.links.len() {
            let link = self.link(at);
            if link.learner == place && link.learner_open {
                link.learner_open = false;
                if !is_silent {
                    self.push_up(at, Up::Close);
                }
            } else if link.leader == place && link.leader_open {
                self.end_stream(at);
                let link = self.link(at);
                link.leader_open = false;
                if !is_silent {
                    self.push_down(at, Down::Close);
                }
            }
        }
    }
}

/// Bytes of a stream are shared, not copied.
const _: fn(&Stream) -> &Bytes = |stream| &stream.bytes;
