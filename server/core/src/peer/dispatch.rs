//! Which part of the machine takes an event.
//!
//! What belongs to a role that this server does not have is passed over: it is stale.

use crate::session::SessionTimeout;
use crate::time::Time;
use crate::zab::leader::Leader;
use crate::zab::learner::Learner;

use zk_proto::SessionId;

use super::action::NetAction;
use super::event::{EpochKind, Event, Submission};
use super::ids::Attempt;
use super::shared::{Halt, Shared, Turn};
use super::{Current, LeaveReason, Peer, Phase, local_sessions};
use crate::conn::ConnId;

impl Peer {
    pub(super) fn take(&mut self, event: Event, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let now = turn.now.time;
        match event {
            Event::Submitted(submission) => return self.take_submission(*submission, turn),
            Event::SessionRequested { conn, timeout } => {
                return self.take_request_of_session(conn, timeout, turn);
            }
            Event::SessionClaimed {
                conn,
                session,
                timeout,
            } => self.take_claim(conn, session, timeout, turn),
            Event::SessionHeard {
                session,
                timeout,
                at,
            } => self.take_sign_of_life(session, timeout, at),

            Event::LogDurable(zxid) => {
                self.shared.local.set_durable(zxid)?;
                return self.take_durable(turn);
            }
            Event::Applied(zxid) => {
                self.shared.local.set_applied(zxid)?;
                return self.take_applied(turn);
            }
            Event::EpochSaved { kind, epoch } => {
                self.shared.local.set_saved(kind, epoch)?;
                self.take_epoch_saved(kind, turn);
            }
            Event::Truncated { applied } => {
                self.shared.local.set_truncated(applied)?;
                return self.take_replaced(turn);
            }
            Event::Installed { snapshot, zxid } => {
                self.shared.local.set_installed(snapshot, zxid, turn.out)?;
            }
            Event::SnapshotSaved { zxid } => {
                self.shared.local.set_snapshot_saved(zxid)?;
                return self.take_replaced(turn);
            }

            Event::Election { from, notification } => {
                let wanted = &mut self.wanted;
                self.election.handle(now, from, &notification, wanted);
                let is_awaited = match &self.role {
                    Current::Leading(leader) => match leader.phase() {
                        Phase::Discovery | Phase::Synchronization => true,
                        Phase::Draining | Phase::Election | Phase::Broadcast | Phase::Stopping => {
                            false
                        }
                    },
                    Current::Learning(_)
                    | Current::Looking(_)
                    | Current::Draining
                    | Current::Stopped => false,
                };
                if is_awaited && !self.election.has_support() {
                    return Err(LeaveReason::SupportLost.into());
                }
            }
            Event::PeerReachable(id) => self.election.set_reachable(id, &mut self.wanted),
            Event::PeerUnreachable(id) => {
                self.election.set_unreachable(now, id, &mut self.wanted);
            }

            Event::LearnerUp { link } => match self.leading() {
                Some((leader, _)) => leader.handle_up(link, turn),
                None => turn.net(NetAction::DropLearner { link }),
            },
            Event::LearnerPacket { link, packet } => {
                if let Some((leader, shared)) = self.leading() {
                    return leader.handle_packet(link, packet, shared, turn);
                }
            }
            Event::SnapshotSent { link } => {
                if let Some((leader, _)) = self.leading() {
                    leader.handle_snapshot_sent(link, turn);
                }
            }
            Event::LearnerDown { link } => {
                if let Some((leader, shared)) = self.leading() {
                    return leader.handle_down(link, shared, turn);
                }
            }
            Event::LogRange {
                token,
                entries,
                is_complete,
            } => {
                if let Some((leader, shared)) = self.leading() {
                    leader.handle_range(token, entries, is_complete, shared, turn);
                }
            }

            Event::LeaderUp { attempt } => {
                if let Some((learner, shared)) = self.learning(attempt) {
                    learner.handle_up(shared, turn);
                }
            }
            Event::LeaderPacket { attempt, packet } => {
                if let Some((learner, shared)) = self.learning(attempt) {
                    return learner.handle_packet(packet, shared, turn);
                }
            }
            Event::LeaderSnapshot { attempt, snapshot } => {
                if let Some((learner, shared)) = self.learning(attempt) {
                    return learner.handle_tree(snapshot, shared, turn);
                }
            }
            Event::LeaderDown { attempt } => {
                if let Some((learner, _)) = self.learning(attempt) {
                    return learner.handle_down(turn);
                }
            }

            Event::ShutdownRequested => return self.shut_down(),
        }
        Ok(())
    }

    fn leading(&mut self) -> Option<(&mut Leader, &mut Shared)> {
        match &mut self.role {
            Current::Leading(leader) => Some((leader, &mut self.shared)),
            Current::Learning(_) | Current::Looking(_) | Current::Draining | Current::Stopped => {
                None
            }
        }
    }

    /// The learner, if an event of this try is about the connection that it has.
    fn learning(&mut self, attempt: Attempt) -> Option<(&mut Learner, &mut Shared)> {
        match &mut self.role {
            Current::Learning(learner) if learner.is_current(attempt) => {
                Some((learner, &mut self.shared))
            }
            Current::Learning(_)
            | Current::Leading(_)
            | Current::Looking(_)
            | Current::Draining
            | Current::Stopped => None,
        }
    }

    /// Who is in no role serves none: the connection is closed, or about to be.
    fn take_submission(&mut self, submission: Submission, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let shared = &mut self.shared;
        let upgraded = local_sessions::admit(&submission, shared, turn);
        match &mut self.role {
            Current::Leading(leader) => {
                if let Some((session, timeout)) = upgraded {
                    leader.upgrade_session(session, timeout, shared, turn)?;
                }
                leader.submit(submission, shared, turn)?;
            }
            Current::Learning(learner) => {
                if let Some((session, timeout)) = upgraded {
                    learner.upgrade_session(session, timeout, turn);
                }
                learner.submit(submission, shared, turn);
            }
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
        Ok(())
    }

    fn take_request_of_session(
        &mut self,
        conn: ConnId,
        timeout: SessionTimeout,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let shared = &mut self.shared;
        if shared.member.local_sessions {
            local_sessions::open(conn, timeout, shared, turn);
            return Ok(());
        }
        match &mut self.role {
            Current::Leading(leader) => leader.open_session(conn, timeout, shared, turn)?,
            Current::Learning(learner) => learner.open_session(conn, timeout, shared, turn),
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
        Ok(())
    }

    fn take_claim(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout: SessionTimeout,
        turn: &mut Turn<'_>,
    ) {
        let shared = &mut self.shared;
        if local_sessions::claim(conn, session, timeout, shared, turn) {
            return;
        }
        match &mut self.role {
            Current::Leading(leader) => leader.claim_session(conn, session, timeout, turn),
            Current::Learning(learner) => {
                learner.claim_session(conn, session, timeout, shared, turn);
            }
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
    }

    fn take_sign_of_life(&mut self, session: SessionId, timeout: SessionTimeout, at: Time) {
        if self.shared.local_sessions.touch(at, session, timeout) {
            return;
        }
        match &mut self.role {
            Current::Leading(leader) => leader.touch(session, timeout, at),
            Current::Learning(learner) => learner.touch(session, timeout),
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
    }

    fn take_durable(&mut self, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let shared = &mut self.shared;
        match &mut self.role {
            Current::Leading(leader) => leader.handle_durable(shared, turn)?,
            Current::Learning(learner) => learner.handle_durable(shared, turn),
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
        Ok(())
    }

    fn take_applied(&mut self, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let shared = &mut self.shared;
        match &mut self.role {
            Current::Leading(leader) => leader.handle_applied(shared, turn),
            Current::Learning(learner) => {
                learner.handle_applied(shared, turn);
                Ok(())
            }
            Current::Looking(_) | Current::Draining | Current::Stopped => Ok(()),
        }
    }

    fn take_epoch_saved(&mut self, kind: EpochKind, turn: &mut Turn<'_>) {
        let shared = &mut self.shared;
        match &mut self.role {
            Current::Leading(leader) => leader.handle_epoch_saved(kind, shared, turn),
            Current::Learning(learner) => learner.handle_epoch_saved(kind, shared, turn),
            Current::Looking(_) | Current::Draining | Current::Stopped => {}
        }
    }

    /// A tree took the place of the tree. Whoever asked for it may be gone.
    fn take_replaced(&mut self, turn: &mut Turn<'_>) -> Result<(), Halt> {
        self.shared.see_tree(turn);
        match &mut self.role {
            Current::Learning(learner) => learner.handle_replaced(&mut self.shared, turn),
            Current::Leading(_) | Current::Looking(_) | Current::Draining | Current::Stopped => {
                Ok(())
            }
        }
    }
}
