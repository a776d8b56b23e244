//! Pings, limits of time, and who is given up when.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `Leader#lead` (main loop), `LearnerHandler#ping`, `SyncLimitCheck`.

use zk_proto::Zxid;

use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{DropReason, LeaveReason, LinkId, NetAction, TimerKind};
use crate::time::Time;
use crate::wire::quorum::LeaderPacket;

use super::follower_link::LinkState;
use super::{Leader, LeaderPhase};

impl Leader {
    pub(crate) fn handle_deadlines(
        &mut self,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let now = turn.now.time;
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(LeaveReason::NoQuorumInTime.into());
        }
        self.leave_if_retired(shared, now)?;
        if !shared.is_alone && now >= self.next_ping {
            self.next_ping = now + shared.options.tick / 2;
            self.is_mid_tick = !self.is_mid_tick;
            self.drop_slow(shared, turn);
            self.sync_waiting(shared, turn);
            self.ping(turn);
            if self.is_mid_tick {
                self.check_followers(shared)?;
            }
        }
        if !self.is_proposing() {
            return Ok(());
        }
        self.expire_sessions(shared, turn)?;
        if now >= self.next_reap {
            self.next_reap = now + shared.options.reap_interval;
            self.reap(shared, turn)?;
        }
        Ok(())
    }

    pub(crate) fn next_deadline(&self, shared: &Shared) -> Option<(Time, TimerKind)> {
        let phase = [self.deadline, self.retires_at()]
            .into_iter()
            .flatten()
            .min();
        let phase = phase.map(|at| (at, TimerKind::Quorum));
        let ping = (!shared.is_alone).then_some((self.next_ping, TimerKind::Ping));
        let (expiry, reap) = if self.is_proposing() {
            let expiry = self.tracker.next_deadline();
            (
                expiry.map(|at| (at, TimerKind::SessionExpiry)),
                Some((self.next_reap, TimerKind::Reap)),
            )
        } else {
            (None, None)
        };
        [phase, ping, expiry, reap].into_iter().flatten().min()
    }

    /// Gives up learners that say nothing, or leave a proposal unacknowledged.
    fn drop_slow(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        let now = turn.now.time;
        let slow: Vec<(LinkId, DropReason)> = self
            .links
            .iter()
            .filter_map(|(&id, link)| {
                let limit = if link.state == LinkState::Synced {
                    shared.sync_time()
                } else {
                    shared.init_time()
                };
                let is_slow = link.state == LinkState::Synced
                    && link
                        .oldest_unacked()
                        .is_some_and(|since| now.since(since) >= shared.sync_time());
                if link.owes() && now.since(link.heard) >= limit {
                    Some((id, DropReason::Silent))
                } else if is_slow {
                    Some((id, DropReason::SlowAck))
                } else {
                    None
                }
            })
            .collect();
        for (id, reason) in slow {
            self.drop_link(id, reason, turn);
        }
    }

    /// Shows all who hear of everything that this server is alive.
    fn ping(&mut self, turn: &mut Turn<'_>) {
        let zxid = if self.is_established() {
            self.prep.last_zxid()
        } else {
            Zxid::from_parts(self.epoch, 0)
        };
        for (&link, learner) in &mut self.links {
            if learner.is_forwarding() && !mutated!(PingsNotSent) {
                learner.pings += u64::from(learner.state == LinkState::Synced);
                let packet = LeaderPacket::Ping { zxid };
                turn.net(NetAction::SendLearner { link, packet });
            }
        }
    }

    /// A leader that a quorum does not follow has nothing to say.
    fn check_followers(&self, shared: &Shared) -> Result<(), Halt> {
        let is_established = matches!(
            self.phase,
            LeaderPhase::Broadcasting | LeaderPhase::Stopping
        );
        if !is_established || self.retires_at().is_some() || mutated!(LeadsWithoutQuorum) {
            return Ok(());
        }
        if shared.configs.is_quorum(&self.in_step(shared)) {
            Ok(())
        } else {
            Err(LeaveReason::QuorumLost.into())
        }
    }
}
