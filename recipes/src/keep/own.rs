//! Whose a znode is that was found, and for how long to stand back from who writes it, too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zk_client::{Node, SessionId, Stat, Version, Zxid};

use super::node::KeepMode;
use crate::kernel::clock::now;
use crate::kernel::retry::Backoff;

/// By what the znode is known to be one's own.
#[derive(Debug)]
pub(super) struct Own {
    mode: KeepMode,
    /// Sessions in which it was created, the last one last.
    sessions: VecDeque<SessionId>,
    /// The transaction that created it.
    created: Option<Zxid>,
    /// Whatever was written behind this was written by somebody else. `None` before the first look,
    /// which may take over what there is.
    written: Option<Zxid>,
    /// What is being written, or was, without an answer. No more than one write is in doubt: the next
    /// look, behind a sync, tells what became of it.
    doubt: Option<Bytes>,
}

/// To whom a znode that was found belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Own,
    /// Of one's own, but of an earlier session.
    LeftOver,
    /// There at the start.
    Nobodys,
    Others,
}

impl Own {
    pub(super) fn new(mode: KeepMode) -> Self {
        Self {
            mode,
            sessions: VecDeque::new(),
            created: None,
            written: None,
            doubt: None,
        }
    }

    /// Begins to create it in a session.
    pub(super) fn begin_in(&mut self, session: SessionId, data: &Bytes) {
        if self.sessions.back() != Some(&session) {
            self.sessions.push_back(session);
            if self.sessions.len() > SESSIONS_MAX {
                self.sessions.pop_front();
            }
        }
        self.begin(data);
    }

    /// Begins to write it.
    pub(super) fn begin(&mut self, data: &Bytes) {
        self.doubt = Some(data.clone());
    }

    /// What was begun has not been done.
    pub(super) fn give_up(&mut self) {
        self.doubt = None;
    }

    /// Whether it is not known what became of a write.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The znode is own, and was like this.
    pub(super) fn note(&mut self, stat: &Stat) {
        // What a transaction answers as the stat may be void on older servers (ZOOKEEPER-4026): it stays
        // in doubt.
        if stat.czxid > Zxid::ZERO {
            self.created = Some(stat.czxid);
            self.written = Some(stat.mzxid);
            self.doubt = None;
        }
    }

    /// It is not there, or somebody else's: so is what comes from now on.
    pub(super) fn look(&mut self) {
        self.written.get_or_insert(Zxid::ZERO);
        self.doubt = None;
    }

    /// Whether this has created it, or written it last if it is persistent.
    pub(super) fn is_own(&self, node: &Node) -> bool {
        let owner = node.stat.ephemeral_owner;
        let is_doubt = self.doubt.as_ref().is_some_and(|doubt| *doubt == node.data);
        if self.mode == KeepMode::Persistent {
            let is_last = self
                .written
                .is_some_and(|written| node.stat.mzxid <= written);
            return owner == SessionId::NONE && (is_last || is_doubt);
        }
        // Somebody may have written it since.
        let is_doubt = is_doubt || (self.doubt.is_some() && node.stat.version != Version::from(0));
        let is_made = self.created == Some(node.stat.czxid);
        is_made || (is_doubt && self.sessions.contains(&owner))
    }

    pub(super) fn whose(&self, session: SessionId, node: &Node) -> Whose {
        let home = if self.mode == KeepMode::Persistent {
            SessionId::NONE
        } else {
            session
        };
        let is_home = node.stat.ephemeral_owner == home;
        if self.is_own(node) {
            if is_home { Whose::Own } else { Whose::LeftOver }
        } else if is_home && self.written.is_none() {
            Whose::Nobodys
        } else {
            Whose::Others
        }
    }

    /// Whether somebody else has written it since.
    pub(super) fn is_disturbed(&self, node: &Node) -> bool {
        self.doubt.is_none()
            && self
                .written
                .is_some_and(|written| written < node.stat.mzxid)
    }
}

/// Own sessions that are remembered, to know what they have left behind.
const SESSIONS_MAX: usize = 16;

/// Pauses before somebody is written over who writes, too.
#[derive(Debug, Default)]
pub(super) struct Contest {
    last: Option<(Backoff, Instant)>,
    has_paused: bool,
}

/// After so long without a contest the next one begins with no pause: far longer than the pauses are.
const QUIET: Duration = Duration::from_mins(1);

impl Contest {
    /// Whether a pause is due: one is if there was a contest lately, but for who has paused.
    pub(super) fn begin(&mut self) -> bool {
        let now = now();
        match &mut self.last {
            Some((_, last)) if now.saturating_duration_since(*last) < QUIET => {
                *last = now;
                !std::mem::take(&mut self.has_paused)
            }
            last => {
                *last = Some((Backoff::new(), now));
                false
            }
        }
    }

    /// Waits a little, and longer the next time. After it one write is due.
    pub(super) async fn pause(&mut self) {
        if let Some((backoff, _)) = &mut self.last {
            backoff.pause().await;
        }
        self.has_paused = true;
    }
}
