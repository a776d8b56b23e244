//! What clients ask for, here and through learners.

use zk_proto::jute::Reader;
use zk_proto::request::{CreateSessionRequest, DeleteContainerRequest, Request};
use zk_proto::{Bytes, ErrorCode, OpCode, SessionId, Xid};

use crate::conn::ConnId;
use crate::conn::auth::{Identities, Identity};
use crate::conn::handshake::SessionKind;
use crate::mutation::mutated;
use crate::peer::local_sessions::may_be_local;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{
    Asker, Barrier, ControlAction, DropReason, LinkId, NetAction, Note, Origin, Submission,
};
use crate::prep::Requester;
use crate::session::{Owner, SessionFault, SessionTimeout};
use crate::wire::quorum::{ForwardedRequest, LeaderPacket, LearnerKind};

use super::Leader;
use super::syncs::SyncAsker;

impl Leader {
    /// A client of this server asks for something that is decided here.
    pub(crate) fn submit(
        &mut self,
        submission: Submission,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if !self.is_proposing() {
            // The connection is closed when this server stops to serve, or was before.
            return Ok(());
        }
        let Submission {
            origin,
            session,
            identities,
            write,
        } = submission;
        let standing = self.standing(session, Owner::SELF, shared);
        if let Request::Sync(sync) = write.request() {
            let outcome = match standing {
                Ok(_) => Ok(sync.path.clone()),
                Err(fault) => Err(session_error(fault, shared)),
            };
            self.push_sync(SyncAsker::Here(Barrier { origin, outcome }), shared, turn);
            return Ok(());
        }
        if matches!(write.request(), Request::CloseSession) && standing.is_ok() {
            self.set_closing(session);
        }
        let requester = Requester {
            session,
            cxid: origin.xid,
            identities,
            standing,
        };
        let asker = asker(origin, write.op());
        self.propose(&requester, write.request(), asker, shared, turn)
    }

    /// Whether a session lives, and of which kind it is, for whoever asks on its behalf.
    fn standing(
        &mut self,
        session: SessionId,
        owner: Owner,
        shared: &Shared,
    ) -> Result<SessionKind, SessionFault> {
        match self.tracker.check(session, owner) {
            Ok(()) => Ok(SessionKind::Global),
            Err(SessionFault::Unknown) if may_be_local(session, owner, shared) => {
                Ok(SessionKind::Local)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Makes a session that only this server knows one that all know.
    pub(crate) fn upgrade_session(
        &mut self,
        session: SessionId,
        timeout: SessionTimeout,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if !self.is_proposing() {
            return Ok(());
        }
        self.tracker.track(turn.now.time, session, timeout);
        let standing = self.tracker.set_owner(session, Owner::SELF);
        let request = Request::CreateSession(CreateSessionRequest {
            timeout_ms: timeout.as_millis(),
        });
        let from = requester(session, standing);
        self.propose(&from, &request, Asker::Server, shared, turn)
    }

    /// A client of a learner asks for something.
    pub(super) fn handle_forwarded(
        &mut self,
        id: LinkId,
        request: &ForwardedRequest,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if !self.is_proposing() {
            return Ok(());
        }
        let ForwardedRequest {
            session,
            cxid,
            op,
            body,
            identities,
        } = request;
        let Some(op) = OpCode::from_code(*op) else {
            let reason = DropReason::BadPacket("REQUEST of an unknown kind");
            self.drop_link(id, reason, turn);
            return Ok(());
        };
        if op == OpCode::Sync {
            self.push_sync(SyncAsker::Learner(id), shared, turn);
            return Ok(());
        }
        let decoded = Request::decode(op, &mut Reader::shared(body));
        let owner = owner(id);
        if let Ok(Request::CreateSession(create)) = &decoded {
            let timeout = SessionTimeout::from_millis(create.timeout_ms);
            self.tracker.track(turn.now.time, *session, timeout);
            // One that is closing: prep tells.
            self.tracker.set_owner(*session, owner).ok();
        }
        let standing = self.standing(*session, owner, shared);
        if matches!(decoded, Ok(Request::CloseSession)) && standing.is_ok() {
            self.set_closing(*session);
        }
        let named = identities.iter().flatten().filter_map(|id| {
            let (scheme, id) = (id.scheme.clone()?, id.id.clone()?);
            Some(Identity::new(scheme, id))
        });
        let requester = Requester {
            session: *session,
            cxid: *cxid,
            identities: Identities::collected(named),
            standing,
        };
        if let Ok(request) = decoded {
            return self.propose(&requester, &request, Asker::Server, shared, turn);
        }
        let code = ErrorCode::MarshallingError;
        let refused = self.prep.refuse(turn.now.wall, &requester, code, turn.tree);
        self.send_proposal(refused, Asker::Server, shared, turn)
    }

    /// Gives a connection here a new session, by a transaction.
    pub(crate) fn open_session(
        &mut self,
        conn: ConnId,
        timeout: SessionTimeout,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if !self.is_proposing() {
            return Ok(());
        }
        let session = shared.ids.allocate();
        self.tracker.track(turn.now.time, session, timeout);
        let standing = self.tracker.set_owner(session, Owner::SELF);
        let request = Request::CreateSession(CreateSessionRequest {
            timeout_ms: timeout.as_millis(),
        });
        let from = requester(session, standing);
        self.propose(&from, &request, Asker::Handshake(conn), shared, turn)
    }

    /// Lets a connection here have a session, unless it is over.
    pub(crate) fn claim_session(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout: SessionTimeout,
        turn: &mut Turn<'_>,
    ) {
        if !self.is_established() {
            return;
        }
        let is_alive = self.claim(session, timeout, Owner::SELF, turn);
        turn.control(ControlAction::SessionAnswered {
            conn,
            session,
            is_alive,
        });
    }

    /// Tells a learner whether its client may have a session, behind all that the session asked for
    /// elsewhere: a learner takes what comes later for what its own client asked for.
    ///
    /// Followers have been told when it is proposed, observers are when it is committed.
    pub(super) fn revalidate(
        &mut self,
        id: LinkId,
        session: SessionId,
        timeout: SessionTimeout,
        shared: &Shared,
        turn: &mut Turn<'_>,
    ) {
        let is_valid = self.claim(session, timeout, owner(id), turn);
        let packet = LeaderPacket::Revalidate { session, is_valid };
        let last = shared.local.logged();
        if let Some(link) = self.links.get_mut(&id)
            && link.kind == LearnerKind::Observer
            && last > shared.local.handed()
        {
            link.answers.push_back((last, packet));
        } else {
            turn.net(NetAction::SendLearner { link: id, packet });
        }
    }

    /// Sends the answers that waited for what is committed now.
    pub(super) fn finish_answers(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        let handed = shared.local.handed();
        for (&link, learner) in &mut self.links {
            while let Some((_, packet)) = learner.answers.pop_front_if(|(last, _)| *last <= handed)
            {
                turn.net(NetAction::SendLearner { link, packet });
            }
        }
    }

    fn claim(
        &mut self,
        session: SessionId,
        timeout: SessionTimeout,
        owner: Owner,
        turn: &Turn<'_>,
    ) -> bool {
        let is_alive = self.tracker.is_alive(session);
        if is_alive {
            if !mutated!(OwnerNotMoved) {
                self.tracker.set_owner(session, owner).ok();
            }
            self.tracker.touch(turn.now.time, session, timeout);
        }
        is_alive || mutated!(DeadSessionsRevalidated)
    }

    /// A client of this server was heard of.
    pub(crate) fn touch(
        &mut self,
        session: SessionId,
        timeout: SessionTimeout,
        at: crate::time::Time,
    ) {
        // One that is gone or closing: its connection hears of it by itself.
        let _is_alive = self.tracker.touch(at, session, timeout);
    }

    /// Clients of a learner were heard of.
    pub(super) fn handle_touches(
        &mut self,
        touches: &[(SessionId, SessionTimeout)],
        turn: &Turn<'_>,
    ) {
        if mutated!(TouchesIgnored) {
            return;
        }
        for &(session, timeout) in touches {
            let _is_alive = self.tracker.touch(turn.now.time, session, timeout);
        }
    }

    /// Ends the sessions that have run out.
    pub(super) fn expire_sessions(
        &mut self,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if !self.is_proposing() {
            return Ok(());
        }
        let mut expired = Vec::new();
        self.tracker.expire(turn.now.time, &mut expired);
        for session in expired {
            turn.out.notes.push(Note::SessionExpired(session));
            let from = requester(session, Err(SessionFault::Closing));
            self.propose(&from, &Request::CloseSession, Asker::Server, shared, turn)?;
            if !self.is_proposing() {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the deletion of containers and TTL znodes whose time is over.
    pub(super) fn reap(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let never_used = shared.options.prep.never_used_ms;
        let paths = turn
            .tree
            .timed_out(turn.now.wall, never_used, shared.options.reap_max);
        for path in paths {
            if !self.is_proposing() {
                break;
            }
            let path = Some(Bytes::from(String::from(path)));
            let request = Request::DeleteContainer(DeleteContainerRequest { path });
            let server = requester(SessionId::NONE, Ok(()));
            self.propose(&server, &request, Asker::Server, shared, turn)?;
        }
        Ok(())
    }
}

fn owner(link: LinkId) -> Owner {
    Owner::link(link.get())
}

fn asker(origin: Origin, op: OpCode) -> Asker {
    Asker::Client { origin, op }
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

/// What a client is told about its session.
fn session_error(fault: SessionFault, shared: &Shared) -> ErrorCode {
    match fault {
        SessionFault::Unknown if shared.is_alone => ErrorCode::UnknownSession,
        SessionFault::Unknown | SessionFault::Closing => ErrorCode::SessionExpired,
        SessionFault::Moved => ErrorCode::SessionMoved,
    }
}
