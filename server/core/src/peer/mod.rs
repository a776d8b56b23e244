//! One server among its peers: the machine that decides what is proposed, when it is committed, and
//! which sessions live.
//!
//! ```text
//!        ┌──────────────────────── Draining ◄───────────────────────┐
//!        ▼       log and tree agree                                 │ leader lost, quorum lost, …
//!     Looking ──── elected ───► Leading, Following, Observing ──────┘
//!
//!   Leading:
//!   Submitted ──► prep ──► Append ═══ log lane ═══► LogDurable ──► commit ──► Apply ═══ apply lane ═══► Applied
//!   SessionRequested ─┘      PROPOSAL ══ learners ══► ACK ─────────┘
//!   deadline ──► closeSession, deleteContainer ──► prep     sync ──► Barrier
//! ```
//!
//! A server on its own is a leader with a quorum of one that needs no election: a proposal is
//! committed when it is durable here. There is no shorter way for it.
//!
//! The roles are in the module `zab`; here is what outlives them: what is in log and tree, what was
//! promised, and the rule that no server votes before both agree (ZOOKEEPER-2845).
//!
//! # Contract
//!
//! The driver feeds [`Event`]s one by one and carries out the [`Actions`] that pile up, at the latest
//! after a batch of events.
//!
//! - Actions of one lane take effect in order. Between lanes nothing is promised: what must wait for
//!   another lane waits for the event that reports it.
//! - Every append is reported by [`Event::LogDurable`] once it is durable, every application by
//!   [`Event::Applied`]; one report may stand for many.
//! - The tree that is lent may lag behind what was reported as applied by nothing, and may be ahead
//!   of it: it is some state between the last report and the last action.
//! - [`Peer::handle_deadlines`] is called when [`Peer::next_deadline`] has come, or at any other time.
//! - [`LogAction::Truncate`], [`ApplyAction::Install`] and [`ApplyAction::SaveSnapshot`] come when
//!   everything given to log and tree before was reported, and nothing is given to them until their
//!   report came.
//! - A driver gives up a connection on which nothing can be sent, and one on which the stream behind
//!   a SNAP packet comes to a halt; all other limits of time are kept here.
//! - Trees received for a connection that is gone are not asked for any more.
//! - [`Fatal`] means that the server must stop, without another word to anybody.

mod action;
mod dispatch;
mod draining;
mod event;
mod ids;
pub(crate) mod local;
pub(crate) mod local_sessions;
mod options;
pub(crate) mod reconfig;
pub(crate) mod shared;
mod status;
mod transition;

#[cfg(test)]
mod tests;

pub use action::{
    Actions, ApplyAction, Asker, Barrier, ControlAction, LogAction, Mismatch, NetAction, Note,
    Proposal,
};
pub use event::{EpochKind, Event, LogEntry, Origin, Submission};
pub use ids::{Attempt, LinkId, RangeToken, SnapshotId};
pub use options::{MemberOptions, PeerOptions, RecoveredEpochs};
pub use status::{PeerStatus, Phase, ProposalSizes, Role};
pub use transition::{DropReason, LeaveReason, SyncPlan, Transition};

use std::collections::BTreeMap;
use std::sync::Arc;

use zk_proto::{Epoch, ServerId, SessionId, Zxid};

use crate::conn::handshake::ServingMode;
use crate::election::{Election, ElectionOptions, ElectionOut, Vote};
use crate::ensemble::{self, Configs, EnsembleConfig};
use crate::mutation::mutated;
use crate::session::{IdStart, ServerIdError, SessionIds, SessionTracker};
use crate::time::{Now, Time};
use crate::tree::Tree;
use crate::wire::election::PeerState;
use crate::wire::quorum::LearnerKind;
use crate::zab::history::History;
use crate::zab::leader::Leader;
use crate::zab::learner::Learner;

use local::Local;
use shared::{Halt, Shared, Turn};

/// Votes that a server sends while a leader waits for it, at least.
const ASKS_MIN: u32 = 5;
/// Time without a leader after which a member serves reads, if it is told to; at least a tick.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `QuorumPeer#run`, case `LOOKING`.
const READ_ONLY_AFTER_MS: u64 = 2000;

/// Why a server must stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The log reports what it was not given, or takes something back.
    #[error("the log reports {reported} as durable after {durable}, with {proposed} proposed")]
    Durable {
        /// What it reports.
        reported: Zxid,
        /// What it reported before.
        durable: Zxid,
        /// The last that it was given.
        proposed: Zxid,
    },
    /// The tree reports what it was not given, or takes something back.
    #[error("the tree reports {reported} as applied after {applied}, with {committed} committed")]
    Applied {
        /// What it reports.
        reported: Zxid,
        /// What it reported before.
        applied: Zxid,
        /// The last that it was given.
        committed: Zxid,
    },
    /// Something else is reported as done that was not asked for.
    #[error("the driver reports {0}")]
    Report(&'static str),
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// Sessions may have run out.
    SessionExpiry,
    /// Containers and TTL znodes may have to go.
    Reap,
    /// Votes are to be sent again, or counted.
    Election,
    /// Reads may be served without a leader.
    ReadOnly,
    /// A new leader has no quorum.
    Quorum,
    /// Learners are to be pinged, and looked after.
    Ping,
    /// A connection to the leader is to be tried again.
    Reconnect,
    /// A leader cannot be reached.
    Connect,
    /// A leader says nothing.
    LeaderSilent,
}

/// The machine; see the module.
///
/// # Invariants
/// - Nothing is applied before it is committed, except when a role is left: then all that is logged
///   is.
/// - Clients are served only by a leader that a quorum follows, and by learners in step with it, or
///   reads by a member that looks for one.
#[derive(Debug)]
pub struct Peer {
    shared: Shared,
    role: Current,
    election: Election,
    /// Scratch for what the election wants.
    wanted: Vec<ElectionOut>,
}

/// What a server is, with all that belongs to it.
#[derive(Debug)]
enum Current {
    Leading(Box<Leader>),
    Learning(Box<Learner>),
    Looking(Looking),
    Draining,
    Stopped,
}

/// The election is elsewhere; this is when reads are served meanwhile.
#[derive(Debug)]
struct Looking {
    read_only_at: Option<Time>,
}

impl Peer {
    /// A server on its own, with the tree that was recovered. All its sessions get their full
    /// timeout.
    ///
    /// # Errors
    /// [`ServerIdError`] if session ids cannot carry the server's id.
    pub fn new(options: PeerOptions, now: Now, tree: &Tree) -> Result<Self, ServerIdError> {
        let me = ensemble::Member {
            id: options.server,
            addresses: Vec::new(),
            role: ensemble::Role::Voter,
            client: None,
            secure_client: None,
        };
        let config = Arc::new(EnsembleConfig::new([me], None, Zxid::ZERO));
        let mut member = MemberOptions::new(config);
        // There are no learners to keep it for.
        (member.history_count_max, member.history_bytes_max) = (0, 0);
        let epochs = RecoveredEpochs::default();
        let mut peer = Self::with(options, member, epochs, now, tree)?;
        peer.shared.is_alone = true;
        let mut out = Actions::default();
        let mut turn = Turn {
            now,
            tree,
            out: &mut out,
        };
        let leader = Leader::alone(&mut peer.shared, &mut turn);
        peer.role = Current::Leading(Box::new(leader));
        Ok(peer)
    }

    /// A member of an ensemble, with the tree and the epochs that were recovered: all of its log is
    /// in the tree, though nobody knows how much of it is committed.
    ///
    /// # Errors
    /// [`ServerIdError`] if session ids cannot carry the server's id.
    pub fn member(
        options: PeerOptions,
        member: MemberOptions,
        recovered: RecoveredEpochs,
        now: Now,
        tree: &Tree,
    ) -> Result<Self, ServerIdError> {
        Self::with(options, member, recovered, now, tree)
    }

    fn with(
        options: PeerOptions,
        member: MemberOptions,
        recovered: RecoveredEpochs,
        now: Now,
        tree: &Tree,
    ) -> Result<Self, ServerIdError> {
        let last = tree.applied();
        let server = options.server.get();
        let is_ours = |id: &SessionId| i64::from(id.get().to_be_bytes()[0]) == server;
        let start = IdStart {
            wall: now.wall,
            salt: options.session_salt,
            highest_known: tree.sessions().map(|(id, _)| id).filter(is_ours).max(),
            extended_types: tree.options().owners.extended_types,
        };
        let mut configs = Configs::new(Arc::clone(&member.config));
        if options.prep.reconfig_enabled
            && let Some(config) = reconfig::config_in(tree)
        {
            configs.see(config);
        }
        let history = History::new(last, member.history_count_max, member.history_bytes_max);
        // Who is elected waits no longer than this, and some hear of it only when they ask.
        let patience = options.tick * member.init_limit.max(1);
        let election = Election::new(ElectionOptions {
            finalize_wait: member.finalize_wait,
            interval_min: member.notification_interval.0.min(patience / ASKS_MIN),
            interval_max: member.notification_interval.1,
            adopts_configs: options.prep.reconfig_enabled,
            ..ElectionOptions::new(options.server, Arc::clone(&member.config))
        });
        Ok(Self {
            shared: Shared {
                ids: SessionIds::new(options.server, start)?,
                configs,
                designated: None,
                local: Local::new(last, recovered.accepted, recovered.current, history),
                local_sessions: SessionTracker::new(options.tick),
                options,
                member,
                is_alone: false,
                mode: ServingMode::NotServing,
                wants_tree: false,
                epoch_floor: Epoch::default(),
                is_shutting_down: false,
                attempts: 0,
                ranges: 0,
            },
            role: Current::Draining,
            election,
            wanted: Vec::new(),
        })
    }

    /// Begins: a server on its own to serve, a member to look for a leader.
    pub fn start(&mut self, now: Now, tree: &Tree, out: &mut Actions) {
        if self.shared.is_alone {
            self.shared.serve(ServingMode::Full, out);
        } else if self.shared.configs.next().is_some() {
            // The tree knows of it, the files may not.
            out.net
                .push(NetAction::Configure(self.shared.configs.clone()));
        }
        self.settle(&mut Turn { now, tree, out });
    }

    /// Takes what happened. Total over states and events.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn handle(
        &mut self,
        now: Now,
        event: Event,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        let mut turn = Turn { now, tree, out };
        let done = self.take(event, &mut turn);
        self.obey(done, &mut turn)?;
        self.settle(&mut turn);
        Ok(())
    }

    /// Does what is due.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn handle_deadlines(
        &mut self,
        now: Now,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        let mut turn = Turn { now, tree, out };
        let shared = &mut self.shared;
        local_sessions::expire(shared, &mut turn);
        let done = match &mut self.role {
            Current::Leading(leader) => leader.handle_deadlines(shared, &mut turn),
            Current::Learning(learner) => learner.handle_deadlines(shared, &mut turn),
            Current::Looking(looking) => {
                if looking.read_only_at.is_some_and(|at| now.time >= at) {
                    looking.read_only_at = None;
                    shared.serve(ServingMode::ReadOnly, turn.out);
                }
                self.election.handle_deadline(now.time, &mut self.wanted);
                Ok(())
            }
            Current::Draining | Current::Stopped => Ok(()),
        };
        self.obey(done, &mut turn)?;
        self.settle(&mut turn);
        Ok(())
    }

    /// When [`Self::handle_deadlines`] has something to do next, and what.
    pub fn next_deadline(&self) -> Option<(Time, TimerKind)> {
        let of_role = match &self.role {
            Current::Leading(leader) => leader.next_deadline(&self.shared),
            Current::Learning(learner) => learner.next_deadline(&self.shared),
            Current::Looking(looking) => {
                let election = self.election.next_deadline();
                let election = election.map(|at| (at, TimerKind::Election));
                let read_only = looking.read_only_at.map(|at| (at, TimerKind::ReadOnly));
                [election, read_only].into_iter().flatten().min()
            }
            Current::Draining | Current::Stopped => None,
        };
        let expiry = self.shared.local_sessions.next_deadline();
        let expiry = expiry.map(|at| (at, TimerKind::SessionExpiry));
        [of_role, expiry].into_iter().flatten().min()
    }

    /// The server at a glance.
    pub fn status(&self) -> PeerStatus {
        let Shared { local, mode, .. } = &self.shared;
        let (role, phase) = match &self.role {
            Current::Leading(_) if self.shared.is_alone => (Role::Alone, Phase::Broadcast),
            Current::Leading(leader) => (Role::Leading, leader.phase()),
            Current::Learning(learner) => {
                let role = match self.shared.learner_kind() {
                    LearnerKind::Follower => Role::Following,
                    LearnerKind::Observer => Role::Observing,
                };
                (role, learner.phase())
            }
            Current::Looking(_) => (Role::Looking, Phase::Election),
            Current::Draining => (Role::Looking, Phase::Draining),
            Current::Stopped => (Role::Stopped, Phase::Stopping),
        };
        let mut status = PeerStatus {
            role,
            phase,
            mode: *mode,
            leader: None,
            accepted_epoch: local.accepted(),
            current_epoch: local.current(),
            proposed: local.logged(),
            logged: local.logged(),
            durable: local.durable(),
            committed: local.handed(),
            applied: local.applied(),
            outstanding: 0,
            sessions: 0,
            followers: 0,
            synced_followers: 0,
            synced_non_voting: 0,
            observers: 0,
            synced_observers: 0,
            pending_syncs: 0,
            leading_since: None,
            proposal_sizes: None,
        };
        match &self.role {
            Current::Leading(leader) => leader.fill(&self.shared, &mut status),
            Current::Learning(learner) => learner.fill(&mut status),
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
        status
    }

    /// Whether packets of the leader are kept until something of this server is on disk. Who bounds what
    /// it takes in counts them until then; nothing that is kept has to be read for that.
    pub fn keeps_packets(&self) -> bool {
        match &self.role {
            Current::Learning(learner) => learner.keeps_packets(&self.shared),
            Current::Leading(_) | Current::Looking(_) | Current::Draining | Current::Stopped => {
                false
            }
        }
    }

    /// Sessions that are counted here, with the time of their expiry, by id; closing ones have none.
    /// Those of an ensemble are counted by its leader.
    pub fn sessions(&self) -> BTreeMap<SessionId, Option<Time>> {
        match &self.role {
            Current::Leading(leader) => leader.sessions(),
            Current::Learning(_) | Current::Looking(_) | Current::Draining | Current::Stopped => {
                BTreeMap::new()
            }
        }
    }

    /// Sessions that only this server knows, with the time of their expiry, by id.
    pub fn local_sessions(&self) -> BTreeMap<SessionId, Option<Time>> {
        self.shared.local_sessions.sessions()
    }

    fn shut_down(&mut self) -> Result<(), Halt> {
        self.shared.is_shutting_down = true;
        match &mut self.role {
            Current::Leading(leader) => leader.stop(LeaveReason::Shutdown, &self.shared),
            Current::Learning(_) | Current::Looking(_) => Err(LeaveReason::Shutdown.into()),
            Current::Draining | Current::Stopped => Ok(()),
        }
    }

    /// Leaves the role if it says so.
    fn obey(&mut self, done: Result<(), Halt>, turn: &mut Turn<'_>) -> Result<(), Fatal> {
        match done {
            Ok(()) => Ok(()),
            Err(Halt::Fatal(fatal)) => Err(fatal),
            Err(Halt::Leave(reason)) => {
                self.leave(reason, turn);
                Ok(())
            }
        }
    }

    /// Leaves the role: serves nobody, hears nobody, and brings log and tree into line.
    fn leave(&mut self, reason: LeaveReason, turn: &mut Turn<'_>) {
        turn.note(Transition::Left(reason));
        self.shared.serve(ServingMode::NotServing, turn.out);
        match &mut self.role {
            Current::Leading(leader) => leader.close(&self.shared, turn),
            Current::Learning(learner) => {
                let now = turn.now.time;
                if let Some(failed) = learner.failed(reason, now) {
                    let shared = &self.shared;
                    // Those who lost it as this one did have found out by then.
                    let join_from = now + shared.options.tick;
                    // As long as a leader waits for a quorum, and a learner for such a leader.
                    let until = now + 2 * shared.init_time() + shared.connect_time();
                    let until = until + shared.sync_time();
                    self.election.leader_failed(failed, join_from, until);
                }
                learner.close(turn);
            }
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
        self.election.set_state(PeerState::Looking);
        self.role = Current::Draining;
    }

    /// Takes the steps that follow by themselves, until something has to be waited for.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        loop {
            self.election.set_configs(&self.shared.configs);
            let is_drained = match &mut self.role {
                Current::Draining => draining::advance(&mut self.shared, turn),
                Current::Leading(_)
                | Current::Learning(_)
                | Current::Looking(_)
                | Current::Stopped => false,
            };
            if is_drained {
                self.look_or_stop(turn);
            }
            let Some(wanted) = self.next_wanted() else {
                if is_drained {
                    continue;
                }
                self.tell_synced_epoch();
                return;
            };
            match wanted {
                ElectionOut::Send { to, notification } => {
                    turn.net(NetAction::SendElection { to, notification });
                }
                ElectionOut::Noted(note) => turn.out.notes.push(Note::Election(note)),
                ElectionOut::Decided(vote) => self.follow_decision(vote, turn),
                ElectionOut::YoungerConfig(config) => self.adopt(config, turn),
                ElectionOut::ProposedConfig(config) => self.shared.hear(config, turn),
            }
        }
    }

    /// Has the election tell the epoch of this server's role, once it is in step.
    fn tell_synced_epoch(&mut self) {
        let epoch = match &self.role {
            Current::Leading(leader) => leader.synced_epoch(),
            Current::Learning(learner) => learner.synced_epoch(),
            Current::Looking(_) | Current::Draining | Current::Stopped => None,
        };
        if let Some(epoch) = epoch {
            self.election.set_synced_epoch(epoch);
            self.election.trust_all();
        }
    }

    /// The oldest thing that the election wants.
    fn next_wanted(&mut self) -> Option<ElectionOut> {
        (!self.wanted.is_empty()).then(|| self.wanted.remove(0))
    }

    /// Log and tree agree.
    fn look_or_stop(&mut self, turn: &mut Turn<'_>) {
        if self.shared.is_shutting_down {
            turn.control(ControlAction::Stopped);
            self.role = Current::Stopped;
            return;
        }
        let local = &self.shared.local;
        let (logged, epoch) = (local.logged(), local.current());
        turn.note(Transition::Looking { epoch, logged });
        let now = turn.now.time;
        let after = Time::from_millis(READ_ONLY_AFTER_MS) - Time::ZERO;
        let after = after.max(self.shared.options.tick);
        self.role = Current::Looking(Looking {
            read_only_at: self.shared.member.read_only.then_some(now + after),
        });
        // What a leader proposed and this server did not log is not known to be proposed by anybody.
        self.shared.forget_heard(turn);
        if !mutated!(UnloggedChangeKept) {
            self.shared.see_tree(turn);
        }
        self.election.set_configs(&self.shared.configs);
        let designated = self.shared.designated.take();
        let votes = |leader: &ServerId| self.shared.configs.current().is_voter(*leader);
        if let Some(leader) = designated.filter(votes) {
            self.election.follow(leader, logged, &mut self.wanted);
            return;
        }
        let initial = Vote::initial(self.shared.me(), logged, epoch);
        self.election.start(now, initial, &mut self.wanted);
    }

    /// Another server knows of a younger configuration that is in force.
    fn adopt(&mut self, config: Arc<EnsembleConfig>, turn: &mut Turn<'_>) {
        let Current::Looking(_) = &self.role else {
            return;
        };
        if self.shared.activate(config, turn).is_none() {
            return;
        }
        self.election.set_configs(&self.shared.configs);
        let local = &self.shared.local;
        let initial = Vote::initial(self.shared.me(), local.logged(), local.current());
        self.election
            .start(turn.now.time, initial, &mut self.wanted);
    }

    /// The election is over.
    fn follow_decision(&mut self, vote: Vote, turn: &mut Turn<'_>) {
        let Current::Looking(_) = &self.role else {
            return;
        };
        let me = self.shared.me();
        let kind = self.shared.learner_kind();
        let leader = vote.leader;
        // Readers of an old state are not readers of a new one.
        self.shared.serve(ServingMode::NotServing, turn.out);
        let role = match kind {
            _ if leader == me => Role::Leading,
            LearnerKind::Follower => Role::Following,
            LearnerKind::Observer => Role::Observing,
        };
        turn.note(Transition::Elected { leader, role });
        if role == Role::Leading {
            let mut leader = Leader::elected(&mut self.shared, turn);
            leader.begin(&mut self.shared, turn);
            self.role = Current::Leading(Box::new(leader));
        } else {
            let learner = Learner::new(leader, kind, &mut self.shared, turn);
            self.role = Current::Learning(Box::new(learner));
        }
    }

    /// Has it ask the next leader for the whole tree.
    #[cfg(test)]
    pub(crate) fn want_tree(&mut self) {
        self.shared.wants_tree = true;
    }

    /// Has a leader believe that its epoch has no number left.
    #[cfg(test)]
    pub(crate) fn exhaust_epoch(&mut self) {
        if let Current::Leading(leader) = &mut self.role {
            leader.exhaust_epoch();
        }
    }
}
