//! How a learner gets the leader's history.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `LearnerHandler#syncFollower`, `#queueCommittedProposals`. Different on
//! purpose: Apache's servers get the tree where the table says TRUNC, because they reload snapshots
//! from behind the cut (rule M5); servers of ours are cut wherever their log leaves the history.

use bytestring::ByteString;
use zk_proto::{Bytes, Zxid};

use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{
    ApplyAction, ControlAction, DropReason, LinkId, LogEntry, NetAction, RangeToken, SyncPlan,
    Transition,
};
use crate::wire::quorum::{LeaderPacket, LearnerKind};
use crate::zab::history::{Committed, History, is_boundary};

use super::Leader;
use super::follower_link::LinkState;
use super::held::Run;

/// How to synchronise a learner, as far as memory tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Send all behind this.
    Diff(Zxid),
    /// Have the log cut behind this, then send all behind it.
    Trunc(Zxid),
    /// Send the tree.
    Snap,
    /// See whether the log goes back that far.
    ReadLog,
}

/// Decides how to synchronise a learner whose log ends at `last`.
pub(super) fn decide(last: Zxid, is_ours: bool, history: &History) -> Decision {
    let ours = history.last();
    if last < Zxid::ZERO {
        // It asks for the tree.
        return Decision::Snap;
    }
    if last == ours {
        return Decision::Diff(last);
    }
    if last < history.base() {
        return if last == Zxid::ZERO || is_boundary(last) {
            Decision::Snap
        } else {
            Decision::ReadLog
        };
    }
    if history.knows(last) {
        return Decision::Diff(last);
    }
    if is_boundary(last) {
        // All before the epoch and nothing of it. Of an epoch beyond, nobody can tell.
        return if last < ours {
            Decision::Diff(last)
        } else {
            Decision::Snap
        };
    }
    // It has what nobody else has: an epoch's transactions are logged in order behind the epoch's
    // initial history, so that what comes before in this history is in its log too.
    match history.before(last) {
        Some(target) if is_ours => Decision::Trunc(target),
        Some(_) | None => Decision::Snap,
    }
}

impl Leader {
    /// Brings a learner whose log ends at `last` to this server's history, as of now, and lets it
    /// take part in all that follows.
    pub(super) fn start_sync(
        &mut self,
        id: LinkId,
        last: Zxid,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let is_outstanding = last > shared.local.handed() && last <= shared.local.logged();
        if is_outstanding && link.state != LinkState::AwaitingCommit(last) {
            // It was here a moment ago, and soon nothing will be there to be cut.
            link.state = LinkState::AwaitingCommit(last);
            link.heard = turn.now.time;
            return;
        }
        let history = shared.local.history();
        let decision = if shared.member.force_snapshot {
            Decision::Snap
        } else {
            decide(last, link.is_ours, history)
        };
        match decision {
            Decision::Diff(from) => {
                let op = LeaderPacket::Diff {
                    committed: history.last(),
                };
                self.note_sync(id, last, SyncPlan::Diff, turn);
                send(turn, id, op);
                self.forward(id, from, shared, turn);
            }
            Decision::Trunc(target) => {
                self.note_sync(id, last, SyncPlan::Trunc(target), turn);
                send(turn, id, LeaderPacket::Trunc { target });
                self.forward(id, target, shared, turn);
            }
            Decision::Snap => self.send_tree(id, last, shared, turn),
            Decision::ReadLog => {
                let token = shared.next_range();
                link.state = LinkState::ReadingLog(token, last);
                let upto = shared.local.handed().min(shared.local.durable());
                turn.control(ControlAction::ReadLog {
                    token,
                    // The last one of the learner is to be in it.
                    after: Zxid::new(last.get() - 1),
                    upto,
                    bytes_max: shared.member.log_sync_bytes_max,
                });
            }
        }
    }

    /// A part of the log was read, for a learner that lacks more than memory has.
    pub(crate) fn handle_range(
        &mut self,
        token: RangeToken,
        entries: Vec<LogEntry>,
        is_complete: bool,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        let asked = self.links.iter().find_map(|(&id, link)| {
            if let LinkState::ReadingLog(asked, last) = link.state {
                (asked == token).then_some((id, last))
            } else {
                None
            }
        });
        let Some((id, last)) = asked else {
            // The learner is gone.
            return;
        };
        // Usable if it begins with what the learner has, and goes on into what memory has.
        let begins = entries.first().is_some_and(|first| first.zxid == last);
        let end = entries.last().map_or(Zxid::ZERO, |last| last.zxid);
        let history = shared.local.history();
        if !is_complete || !begins || end < history.base() || end > history.last() {
            self.send_tree(id, last, shared, turn);
            return;
        }
        let op = LeaderPacket::Diff {
            committed: history.last(),
        };
        self.note_sync(id, last, SyncPlan::Diff, turn);
        send(turn, id, op);
        for LogEntry { zxid, bytes } in entries.into_iter().skip(1) {
            send_committed(turn, id, zxid, &bytes);
        }
        self.forward(id, end, shared, turn);
    }

    /// Sends the tree as it is now: captured behind everything committed so far.
    fn send_tree(&mut self, id: LinkId, last: Zxid, shared: &mut Shared, turn: &mut Turn<'_>) {
        let zxid = shared.local.handed();
        self.note_sync(id, last, SyncPlan::Snap(zxid), turn);
        turn.out.apply.push(ApplyAction::Capture { link: id });
        turn.net(NetAction::StreamSnapshot { link: id, zxid });
        if let Some(link) = self.links.get_mut(&id) {
            link.is_streaming = true;
        }
        self.forward(id, zxid, shared, turn);
    }

    /// Sends what is behind `from`, committed or not, then NEWLEADER; from here on the learner hears
    /// of everything. All in one turn, so that nothing is missed and nothing comes twice.
    fn forward(&mut self, id: LinkId, from: Zxid, shared: &mut Shared, turn: &mut Turn<'_>) {
        let announced = self.announced(shared).text().clone();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let now = turn.now.time;
        if mutated!(NewLeaderBeforeHistory) {
            send_new_leader(turn, id, self.epoch, &announced);
        }
        let skipped = usize::from(mutated!(GapAccepted));
        for Committed { zxid, bytes } in shared.local.history().after(from).skip(skipped) {
            send_committed(turn, id, *zxid, bytes);
        }
        if link.kind == LearnerKind::Follower && !mutated!(OutstandingNotForwarded) {
            for proposal in shared.local.unhanded() {
                let zxid = proposal.entry.header.zxid;
                let entry = proposal.bytes.clone();
                send(turn, id, LeaderPacket::Proposal { zxid, entry });
                link.proposed(zxid, now);
            }
        }
        if !mutated!(NewLeaderBeforeHistory) {
            send_new_leader(turn, id, self.epoch, &announced);
        }
        link.state = LinkState::AwaitingHistoryAck;
        link.heard = now;
        if let Some(server) = link.server
            && !mutated!(AcksOutliveSync)
        {
            // What it acknowledged and is not committed may just have been cut away.
            self.acks.remove(&server);
        }
    }

    /// All of the tree was sent: now it is the learner's turn.
    pub(crate) fn handle_snapshot_sent(&mut self, id: LinkId, turn: &Turn<'_>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_streaming = false;
            link.heard = turn.now.time;
        }
    }

    /// Synchronises those whose last transaction is committed by now, and those that waited too long
    /// for it: a quorum may need them.
    pub(super) fn sync_waiting(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        let handed = shared.local.handed();
        let patience = shared.options.tick / 2;
        let now = turn.now.time;
        let due: Vec<(LinkId, Zxid)> = self
            .links
            .iter()
            .filter_map(|(&id, link)| match link.state {
                LinkState::AwaitingCommit(last) => {
                    let is_due = last <= handed || now.since(link.heard) >= patience;
                    is_due.then_some((id, last))
                }
                LinkState::AwaitingInfo
                | LinkState::AwaitingEpoch
                | LinkState::AwaitingEpochAck
                | LinkState::AwaitingEpochQuorum(_)
                | LinkState::ReadingLog(..)
                | LinkState::AwaitingHistoryAck
                | LinkState::AwaitingEstablished
                | LinkState::Synced => None,
            })
            .collect();
        for (id, last) in due {
            self.start_sync(id, last, shared, turn);
        }
    }

    fn note_sync(&self, id: LinkId, from: Zxid, plan: SyncPlan, turn: &mut Turn<'_>) {
        let server = self.links.get(&id).and_then(|link| link.server);
        turn.note(Transition::SyncStarted {
            link: id,
            server,
            from,
            plan,
        });
    }

    /// A learner acknowledges: the initial history, or a proposal.
    pub(super) fn handle_ack(
        &mut self,
        id: LinkId,
        zxid: Zxid,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        link.is_streaming = false;
        if !is_boundary(zxid) {
            // Old learners acknowledge proposals before the initial history (rule M2).
            return self.handle_proposal_ack(id, zxid, shared, turn);
        }
        if link.state != LinkState::AwaitingHistoryAck {
            // It says so twice.
            return Ok(());
        }
        if zxid != Zxid::from_parts(self.epoch, 0) {
            let reason = DropReason::BadPacket("ACK of another epoch");
            self.drop_link(id, reason, turn);
            return Ok(());
        }
        link.state = LinkState::AwaitingEstablished;
        let votes = |server| shared.configs.is_voter(server);
        if link.kind == LearnerKind::Follower
            && let Some(server) = link.server.filter(|server| votes(*server))
        {
            self.history_acks.insert(server);
        }
        if self.is_established() {
            self.admit(id, turn);
        } else {
            self.establish(shared, turn);
        }
        Ok(())
    }

    /// Lets a learner that has the initial history follow.
    pub(super) fn admit(&mut self, id: LinkId, turn: &mut Turn<'_>) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.state = LinkState::Synced;
        link.heard = turn.now.time;
        let held = link.held.take();
        let server = link.server;
        send(turn, id, LeaderPacket::UpToDate);
        for run in held {
            match run {
                Run::Commits { first, last } => {
                    let link = id;
                    turn.net(NetAction::SendCommits { link, first, last });
                }
                Run::Activation { zxid, leader } => {
                    send(turn, id, LeaderPacket::CommitAndActivate { zxid, leader });
                }
            }
        }
        turn.note(Transition::LearnerSynced { link: id, server });
        self.ask_newcomer(id, turn);
    }
}

fn send(turn: &mut Turn<'_>, link: LinkId, packet: LeaderPacket) {
    turn.net(NetAction::SendLearner { link, packet });
}

fn send_committed(turn: &mut Turn<'_>, link: LinkId, zxid: Zxid, bytes: &Bytes) {
    let entry = bytes.clone();
    send(turn, link, LeaderPacket::Proposal { zxid, entry });
    send(turn, link, LeaderPacket::Commit { zxid });
}

fn send_new_leader(turn: &mut Turn<'_>, link: LinkId, epoch: zk_proto::Epoch, text: &ByteString) {
    let config = Some(text.as_bytes().clone());
    send(turn, link, LeaderPacket::NewLeader { epoch, config });
}
