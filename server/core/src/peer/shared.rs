//! What outlives roles, and what a turn of the machine has at hand.

use std::time::Duration;

use zk_proto::{Epoch, ServerId};

use crate::conn::handshake::ServingMode;
use crate::ensemble::Configs;
use crate::prep::EpochExhausted;
use crate::session::{SessionIds, SessionTracker};
use crate::time::Now;
use crate::tree::Tree;

use super::Fatal;
use super::action::{Actions, ControlAction, NetAction, Note};
use super::ids::{Attempt, RangeToken};
use super::local::Local;
use super::options::{MemberOptions, PeerOptions};
use super::transition::{LeaveReason, Transition};

/// What outlives roles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: PeerOptions,
    pub(crate) member: MemberOptions,
    /// Who the members are, and who they are about to be.
    pub(crate) configs: Configs,
    /// Who leads next, as the last leader said when it put a configuration in force.
    pub(crate) designated: Option<ServerId>,
    /// Whether there is no ensemble: nobody connects, and nobody is asked.
    pub(crate) is_alone: bool,
    pub(crate) local: Local,
    pub(crate) ids: SessionIds,
    /// Sessions that only this server knows.
    pub(crate) local_sessions: SessionTracker,
    pub(crate) mode: ServingMode,
    /// Whether the next leader is to be asked for the whole tree, because what the last one sent
    /// could not be used.
    pub(crate) wants_tree: bool,
    /// The highest epoch that a learner was heard to have promised: a new one has to be above, or that
    /// one could not follow.
    pub(crate) epoch_floor: Epoch,
    /// Whether it was told to stop: then it looks for no leader any more.
    pub(crate) is_shutting_down: bool,
    pub(crate) attempts: u64,
    pub(crate) ranges: u64,
}

/// What a turn has at hand.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) tree: &'a Tree,
    pub(crate) out: &'a mut Actions,
}

/// Why a role cannot go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It is to be left.
    Leave(LeaveReason),
    /// The server must stop.
    Fatal(Fatal),
}

impl From<Fatal> for Halt {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<LeaveReason> for Halt {
    fn from(reason: LeaveReason) -> Self {
        Self::Leave(reason)
    }
}

impl From<EpochExhausted> for Halt {
    fn from(_: EpochExhausted) -> Self {
        Self::Leave(LeaveReason::EpochExhausted)
    }
}

impl Shared {
    pub(crate) fn me(&self) -> ServerId {
        self.options.server
    }

    /// Time to connect and synchronise, and to get a quorum.
    pub(crate) fn init_time(&self) -> Duration {
        self.options.tick * self.member.init_limit.max(1)
    }

    /// Silence after which who says nothing is given up.
    pub(crate) fn sync_time(&self) -> Duration {
        self.options.tick * self.member.sync_limit.max(1)
    }

    /// Time to connect.
    pub(crate) fn connect_time(&self) -> Duration {
        match self.member.connect_limit {
            0 => self.init_time(),
            ticks => self.options.tick * ticks,
        }
    }

    /// Lets clients do this from now on.
    pub(crate) fn serve(&mut self, mode: ServingMode, out: &mut Actions) {
        if self.mode != mode {
            self.mode = mode;
            out.control.push(ControlAction::Serve(mode));
        }
    }

    pub(crate) fn next_attempt(&mut self) -> Attempt {
        self.attempts += 1;
        Attempt::new(self.attempts)
    }

    pub(crate) fn next_range(&mut self) -> RangeToken {
        self.ranges += 1;
        RangeToken::new(self.ranges)
    }
}

impl Turn<'_> {
    pub(crate) fn note(&mut self, transition: Transition) {
        self.out.notes.push(Note::Transition(transition));
    }

    pub(crate) fn net(&mut self, action: NetAction) {
        self.out.net.push(action);
    }

    pub(crate) fn control(&mut self, action: ControlAction) {
        self.out.control.push(action);
    }
}
