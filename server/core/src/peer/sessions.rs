//! Sessions: their beginning, their resumption, their end for want of a sign of life.

use zk_proto::request::{CreateSessionRequest, Request};
use zk_proto::{SessionId, Xid};

use crate::conn::ConnId;
use crate::conn::auth::Identities;
use crate::conn::handshake::SessionKind;
use crate::prep::Requester;
use crate::session::{Owner, SessionFault, SessionTimeout, SessionTracker};
use crate::time::{Now, Time};
use crate::tree::Tree;

use super::action::{Actions, Asker, ControlAction, Note};
use super::{Fatal, Peer};

/// Tracks all sessions of a tree, each with its full timeout: who leads anew cannot know better.
pub(super) fn track_all(tracker: &mut SessionTracker, now: Time, tree: &Tree) {
    for (session, timeout_ms) in tree.sessions() {
        tracker.track(now, session, SessionTimeout::from_millis(timeout_ms));
    }
}

impl Peer {
    /// Gives a connection a new session, by a transaction.
    pub(super) fn open_session(
        &mut self,
        now: Now,
        conn: ConnId,
        timeout: SessionTimeout,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        let session = self.ids.allocate();
        self.tracker.track(now.time, session, timeout);
        let standing = self.tracker.set_owner(session, Owner::SELF);
        let request = Request::CreateSession(CreateSessionRequest {
            timeout_ms: timeout.as_millis(),
        });
        let from = requester(session, standing);
        self.propose(now, &from, &request, Asker::Handshake(conn), tree, out)
    }

    /// Lets a connection have a session, unless it is over.
    pub(super) fn claim_session(
        &mut self,
        now: Now,
        conn: ConnId,
        session: SessionId,
        timeout: SessionTimeout,
        out: &mut Actions,
    ) {
        let is_alive = self.tracker.set_owner(session, Owner::SELF).is_ok();
        if is_alive {
            self.tracker.touch(now.time, session, timeout);
        }
        out.control.push(ControlAction::SessionAnswered {
            conn,
            session,
            is_alive,
        });
    }

    /// Ends the sessions that have run out.
    pub(super) fn expire_sessions(
        &mut self,
        now: Now,
        tree: &Tree,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        let mut expired = Vec::new();
        self.tracker.expire(now.time, &mut expired);
        for session in expired {
            out.notes.push(Note::SessionExpired(session));
            let from = requester(session, Err(SessionFault::Closing));
            self.propose(now, &from, &Request::CloseSession, Asker::Server, tree, out)?;
        }
        Ok(())
    }
}

/// A server that asks for something on behalf of a session.
fn requester(session: SessionId, standing: Result<(), SessionFault>) -> Requester {
    Requester {
        session,
        cxid: Xid::new(0),
        identities: Identities::none(),
        standing: standing.map(|()| SessionKind::Global),
    }
}
