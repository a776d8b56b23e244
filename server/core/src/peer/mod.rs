//! One server among its peers: the machine that decides what is proposed, when it is committed, and
//! which sessions live.
//!
//! ```text
//!   Submitted ──► prep ──► Append ═══ log lane ═══► LogDurable ──► commit ──► Apply ═══ apply lane ═══► Applied
//!   SessionRequested ─┘                                  sync ──► Barrier ─┘
//!   deadline ──► closeSession, deleteContainer ──► prep
//! ```
//!
//! A server on its own is a leader with a quorum of one: a proposal is committed when it is durable
//! here. There is no shorter way for it.
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
//! - [`Fatal`] means that the server must stop, without another word to anybody.

mod action;
mod event;
mod ids;
mod proposals;
mod sessions;
mod status;
mod transition;

#[cfg(test)]
mod tests;

pub use action::{
    Actions, ApplyAction, Asker, Barrier, ControlAction, LogAction, NetAction, Note, Proposal,
};
pub use event::{EpochKind, Event, LogEntry, Origin, Submission};
pub use ids::{Attempt, LinkId, RangeToken, SnapshotId};
pub use status::{PeerStatus, Phase, Role};
pub use transition::{DropReason, LeaveReason, SyncPlan, Transition};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use zk_proto::jute::Encode as _;
use zk_proto::request::{DeleteContainerRequest, Request};
use zk_proto::{Bytes, Epoch, ErrorCode, ServerId, SessionId, Xid, Zxid};

use crate::conn::auth::Identities;
use crate::conn::handshake::{ServingMode, SessionKind};
use crate::prep::{EpochExhausted, Prep, PrepOptions, Prepared, Requester};
use crate::session::{IdStart, Owner, ServerIdError, SessionFault, SessionIds, SessionTracker};
use crate::time::{Now, Time};
use crate::tree::Tree;
use crate::wire::txn::Txn;

use proposals::Proposals;

/// What a server is told once.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// Its id; 1 for one on its own.
    pub server: ServerId,
    /// Width of the ticks in which sessions expire.
    pub tick: Duration,
    /// Random bits for the first session id.
    pub session_salt: u16,
    /// How requests are judged.
    pub prep: PrepOptions,
    /// Time between looks for containers and TTL znodes whose time is over.
    pub reap_interval: Duration,
    /// Most of them deleted at a time.
    pub reap_max: usize,
}

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
    /// No more transactions can be numbered.
    #[error(transparent)]
    EpochExhausted(#[from] EpochExhausted),
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// Sessions may have run out.
    SessionExpiry,
    /// Containers and TTL znodes may have to go.
    Reap,
}

/// The machine; see the module.
///
/// # Invariants
/// - `applied ≤ committed ≤ durable ≤ proposed`: nothing is applied before it is committed, and alone
///   nothing is committed before it is durable here.
/// - The tracker has every session of the tree whose end is not outstanding.
#[derive(Debug)]
pub struct Peer {
    options: PeerOptions,
    prep: Prep,
    ids: SessionIds,
    tracker: SessionTracker,
    proposals: Proposals,
    applied: Zxid,
    /// Sessions whose end is proposed and not applied, by the transaction that ends them.
    ending: BTreeMap<Zxid, SessionId>,
    next_reap: Time,
}

impl Peer {
    /// A server on its own, with the tree that was recovered. All its sessions get their full
    /// timeout.
    ///
    /// # Errors
    /// [`ServerIdError`] if session ids cannot carry the server's id.
    pub fn new(options: PeerOptions, now: Now, tree: &Tree) -> Result<Self, ServerIdError> {
        let last = tree.applied();
        let server = options.server.get();
        let is_ours = |id: &SessionId| i64::from(id.get().to_be_bytes()[0]) == server;
        let start = IdStart {
            wall: now.wall,
            salt: options.session_salt,
            highest_known: tree.sessions().map(|(id, _)| id).filter(is_ours).max(),
            extended_types: tree.options().owners.extended_types,
        };
        let mut tracker = SessionTracker::new(options.tick);
        sessions::track_all(&mut tracker, now.time, tree);
        Ok(Self {
            ids: SessionIds::new(options.server, start)?,
            prep: Prep::new(options.prep.clone(), last),
            tracker,
            proposals: Proposals::new(last),
            applied: last,
            ending: BTreeMap::new(),
            next_reap: now.time + options.reap_interval,
            options,
        })
    }

    /// Begins to serve.
    pub fn start(&mut self, out: &mut Actions) {
        out.control.push(ControlAction::Serve(ServingMode::Full));
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
        match event {
            Event::Submitted(submission) => self.submit(now, *submission, tree, out)?,
            Event::SessionRequested { conn, timeout } => {
                self.open_session(now, conn, timeout, tree, out)?;
            }
            Event::SessionClaimed {
                conn,
                session,
                timeout,
            } => self.claim_session(now, conn, session, timeout, out),
            Event::SessionHeard {
                session,
                timeout,
                at,
            } => {
                // One that is gone or closing: its connection hears of it by itself.
                let _is_alive = self.tracker.touch(at, session, timeout);
            }
            Event::LogDurable(zxid) => self.proposals.set_durable(zxid, out)?,
            Event::Applied(zxid) => self.set_applied(zxid)?,
            // Nobody else is there.
            Event::PeerUnreachable(_)
            | Event::LearnerUp { .. }
            | Event::LearnerPacket { .. }
            | Event::SnapshotSent { .. }
            | Event::LearnerDown { .. }
            | Event::LeaderUp { .. }
            | Event::LeaderPacket { .. }
            | Event::LeaderSnapshot { .. }
            | Event::LeaderDown { .. }
            | Event::EpochSaved { .. }
            | Event::Truncated { .. }
            | Event::Installed { .. }
            | Event::SnapshotSaved { .. }
            | Event::LogRange { .. } => {}
            Event::ShutdownRequested => out.control.push(ControlAction::Stopped),
        }
        Ok(())
    }

    /// Does what is due: ends sessions that have run out, and znodes whose time is over.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn handle_deadlines(
        &mut self,
        now: Now,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        self.expire_sessions(now, tree, out)?;
        if now.time >= self.next_reap {
            self.next_reap = now.time + self.options.reap_interval;
            self.reap(now, tree, out)?;
        }
        Ok(())
    }

    /// When [`Self::handle_deadlines`] has something to do next, and what.
    pub fn next_deadline(&self) -> (Time, TimerKind) {
        let expiry = self.tracker.next_deadline();
        let expiry = expiry.map(|at| (at, TimerKind::SessionExpiry));
        let reap = (self.next_reap, TimerKind::Reap);
        expiry.map_or(reap, |expiry| expiry.min(reap))
    }

    /// The server at a glance.
    pub fn status(&self) -> PeerStatus {
        PeerStatus {
            role: Role::Alone,
            phase: Phase::Broadcast,
            mode: ServingMode::Full,
            leader: None,
            accepted_epoch: Epoch::default(),
            current_epoch: Epoch::default(),
            proposed: self.prep.last_zxid(),
            logged: self.prep.last_zxid(),
            durable: self.proposals.durable(),
            committed: self.proposals.committed(),
            applied: self.applied,
            outstanding: self.proposals.len(),
            sessions: self.tracker.len(),
            followers: 0,
            synced_followers: 0,
            synced_non_voting: 0,
            observers: 0,
            synced_observers: 0,
            pending_syncs: 0,
        }
    }

    /// All sessions with the time of their expiry, by id; closing ones have none.
    pub fn sessions(&self) -> BTreeMap<SessionId, Option<Time>> {
        self.tracker.sessions()
    }

    /// Makes a proposal of a write, or lets a sync wait for those before it.
    fn submit(
        &mut self,
        now: Now,
        submission: Submission,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        let Submission {
            origin,
            session,
            identities,
            write,
        } = submission;
        let standing = self.tracker.check(session, Owner::SELF);
        if let Request::Sync(sync) = write.request() {
            let outcome = match standing {
                Ok(()) => Ok(sync.path.clone()),
                Err(fault) => Err(self.session_error(fault)),
            };
            self.proposals
                .push_barrier(Barrier { origin, outcome }, out);
            return Ok(());
        }
        if matches!(write.request(), Request::CloseSession) && standing.is_ok() {
            self.tracker.set_closing(session);
        }
        let requester = Requester {
            session,
            cxid: origin.xid,
            identities,
            standing: standing.map(|()| SessionKind::Global),
        };
        let op = write.op();
        let asker = Asker::Client { origin, op };
        self.propose(now, &requester, write.request(), asker, tree, out)
    }

    /// Prepares a request, logs what comes of it and waits for it to be durable.
    fn propose(
        &mut self,
        now: Now,
        from: &Requester,
        request: &Request,
        asker: Asker,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        let Prepared { entry, warnings } = self.prep.prepare(now.wall, from, request, tree)?;
        out.notes.extend(warnings.into_iter().map(Note::Quota));
        let zxid = entry.header.zxid;
        if matches!(entry.txn, Txn::CloseSession(_)) {
            self.ending.insert(zxid, entry.header.session);
        }
        let bytes = entry.to_bytes();
        out.log.push(LogAction::Append {
            zxid,
            bytes: bytes.clone(),
        });
        self.proposals.push(Arc::new(Proposal {
            entry,
            bytes,
            asker,
            is_fuzzy: false,
        }));
        Ok(())
    }

    fn set_applied(&mut self, zxid: Zxid) -> Result<(), Fatal> {
        let committed = self.proposals.committed();
        if zxid < self.applied || zxid > committed {
            return Err(Fatal::Applied {
                reported: zxid,
                applied: self.applied,
                committed,
            });
        }
        self.applied = zxid;
        self.prep.release(zxid);
        while let Some(entry) = self
            .ending
            .first_entry()
            .filter(|entry| *entry.key() <= zxid)
        {
            self.tracker.remove(entry.remove());
        }
        Ok(())
    }

    /// Asks for the deletion of containers and TTL znodes whose time is over.
    fn reap(&mut self, now: Now, tree: &Tree, out: &mut Actions) -> Result<(), Fatal> {
        let never_used = self.options.prep.never_used_ms;
        for path in tree.timed_out(now.wall, never_used, self.options.reap_max) {
            let path = Some(Bytes::from(String::from(path)));
            let request = Request::DeleteContainer(DeleteContainerRequest { path });
            let server = Requester {
                session: SessionId::NONE,
                cxid: Xid::new(0),
                identities: Identities::none(),
                standing: Ok(SessionKind::Global),
            };
            self.propose(now, &server, &request, Asker::Server, tree, out)?;
        }
        Ok(())
    }

    /// What a client is told about its session.
    fn session_error(&self, fault: SessionFault) -> ErrorCode {
        match fault {
            SessionFault::Unknown if self.options.prep.is_standalone => ErrorCode::UnknownSession,
            SessionFault::Unknown | SessionFault::Closing => ErrorCode::SessionExpired,
            SessionFault::Moved => ErrorCode::SessionMoved,
        }
    }
}
