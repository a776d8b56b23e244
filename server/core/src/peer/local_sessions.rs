//! Sessions that only this server knows: no transaction begins them, and none ends them when they run
//! out. Members that cannot find a leader give only such.
//!
//! One that asks for an ephemeral znode becomes global first, if that is allowed: by a transaction in
//! front of the request.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `UpgradeableSessionTracker`, `QuorumZooKeeperServer#checkUpgradeSession`.
//! Different: the end that a client asks for is a transaction here too, which finds nothing to end.

use zk_proto::SessionId;
use zk_proto::request::Request;

use crate::conn::ConnId;
use crate::conn::handshake::ServingMode;
use crate::session::{Owner, SessionTimeout};

use super::action::ControlAction;
use super::event::Submission;
use super::shared::{Shared, Turn};

/// Gives a connection a session.
pub(super) fn open(
    conn: ConnId,
    timeout: SessionTimeout,
    shared: &mut Shared,
    turn: &mut Turn<'_>,
) {
    if shared.mode == ServingMode::NotServing {
        return;
    }
    let session = shared.ids.allocate();
    shared.local_sessions.track(turn.now.time, session, timeout);
    turn.control(ControlAction::SessionOpened { conn, session });
}

/// Lets a connection have a session that is local, or tells it that there is none where nobody else
/// can be asked. Whether that was all.
pub(super) fn claim(
    conn: ConnId,
    session: SessionId,
    timeout: SessionTimeout,
    shared: &mut Shared,
    turn: &mut Turn<'_>,
) -> bool {
    let is_alive = shared.local_sessions.touch(turn.now.time, session, timeout);
    let is_answered = is_alive || shared.mode == ServingMode::ReadOnly;
    if is_answered {
        turn.control(ControlAction::SessionAnswered {
            conn,
            session,
            is_alive,
        });
    }
    is_answered
}

/// Looks at a request on its way to be decided. The session that has to become global before it, if
/// it has to.
pub(super) fn admit(
    submission: &Submission,
    shared: &mut Shared,
    turn: &mut Turn<'_>,
) -> Option<(SessionId, SessionTimeout)> {
    let Submission { session, write, .. } = submission;
    let sessions = &mut shared.local_sessions;
    let timeout = sessions.timeout(*session)?;
    if matches!(write.request(), Request::CloseSession) {
        sessions.remove(*session);
        if shared.mode == ServingMode::ReadOnly {
            let session = *session;
            turn.control(ControlAction::SessionEnded { session });
        }
        return None;
    }
    let is_upgraded = write.needs_global_session() && shared.member.local_sessions_upgrading;
    is_upgraded.then(|| {
        sessions.remove(*session);
        (*session, timeout)
    })
}

/// Whether a session may be one that only another server knows, or is one of this server.
pub(crate) fn may_be_local(session: SessionId, owner: Owner, shared: &Shared) -> bool {
    if !shared.member.local_sessions {
        return false;
    }
    if owner == Owner::SELF {
        return shared.local_sessions.is_alive(session);
    }
    let creator = i64::from(session.get().to_be_bytes()[0]);
    creator != shared.me().get()
}

/// Ends those that have run out.
pub(super) fn expire(shared: &mut Shared, turn: &mut Turn<'_>) {
    let mut expired = Vec::new();
    shared.local_sessions.expire(turn.now.time, &mut expired);
    for session in expired {
        shared.local_sessions.remove(session);
        turn.control(ControlAction::SessionEnded { session });
    }
}
