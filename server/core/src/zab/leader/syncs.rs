//! Syncs: everything committed before one is in the tree of whoever asked, when it is answered.
//!
//! For that it is not enough that nothing is outstanding here: this server may have been replaced
//! without knowing it. So a quorum has to show, by the answer to a ping that was sent after the sync
//! came, that it follows still. One round of pings at a time serves all syncs that came before it.
//!
//! A quorum that acknowledges a proposal made after the sync shows the same. So a sync is always
//! answered before anything proposed behind it is committed, and clients that send both get both in
//! order.
//!
//! # Source
//! Stronger than Apache `ZooKeeper` 3.9 (`Leader#processSync`), which answers at once when nothing is
//! outstanding (ZOOKEEPER-1675).

use std::collections::BTreeSet;

use zk_proto::{ServerId, Zxid};

use crate::mutation::mutated;
use crate::peer::shared::{Shared, Turn};
use crate::peer::{ApplyAction, Barrier, LinkId, NetAction};
use crate::wire::quorum::{LeaderPacket, LearnerKind};

use super::Leader;
use super::follower_link::LinkState;

/// A sync that is not answered yet.
#[derive(Debug)]
pub(super) struct Syncing {
    asker: SyncAsker,
    /// The last proposal before it.
    after: Zxid,
    /// The round of pings that tells whether a quorum follows still.
    round: u64,
}

/// Who waits for a sync.
#[derive(Debug)]
pub(super) enum SyncAsker {
    /// A client of this server.
    Here(Barrier),
    /// A client of a learner.
    Learner(LinkId),
}

/// Rounds of pings for syncs.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last one begun.
    begun: u64,
    /// The last one that a quorum answered: that one, or the one before.
    confirmed: u64,
}

impl Leader {
    /// Lets a sync wait for everything proposed before it, and for a quorum.
    pub(super) fn push_sync(&mut self, asker: SyncAsker, shared: &Shared, turn: &mut Turn<'_>) {
        if mutated!(SyncAtOnce) {
            return finish(asker, turn);
        }
        self.syncs.push_back(Syncing {
            asker,
            after: shared.local.logged(),
            // The one under way began before.
            round: self.rounds.begun + 1,
        });
        self.begin_round(shared, turn);
        self.finish_syncs(shared, turn);
    }

    /// Begins a round if one is wanted and none is under way.
    fn begin_round(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        let Rounds { begun, confirmed } = self.rounds;
        let is_wanted = self.syncs.back().is_some_and(|last| last.round > begun);
        if begun > confirmed || !is_wanted {
            return;
        }
        self.rounds.begun += 1;
        if self.is_round_over(shared, |_| false) || mutated!(SyncWithoutQuorum) {
            // Alone, or the only one who counts.
            self.rounds.confirmed = self.rounds.begun;
            return;
        }
        for (&link, learner) in &mut self.links {
            if learner.state == LinkState::Synced && learner.kind == LearnerKind::Follower {
                learner.pings += 1;
                learner.mark = learner.pings;
                let zxid = self.prep.last_zxid();
                let packet = LeaderPacket::Ping { zxid };
                turn.net(NetAction::SendLearner { link, packet });
            }
        }
    }

    /// A learner that begins to follow can tell so in the round under way.
    pub(super) fn ask_newcomer(&mut self, id: LinkId, turn: &mut Turn<'_>) {
        let Rounds { begun, confirmed } = self.rounds;
        let zxid = self.prep.last_zxid();
        if let Some(link) = self.links.get_mut(&id)
            && begun > confirmed
        {
            link.pings += 1;
            link.mark = link.pings;
            let packet = LeaderPacket::Ping { zxid };
            turn.net(NetAction::SendLearner { link: id, packet });
        }
    }

    /// A learner answered a ping.
    pub(super) fn handle_pong(&mut self, id: LinkId, shared: &Shared, turn: &mut Turn<'_>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.pongs += 1;
        }
        let Rounds { begun, confirmed } = self.rounds;
        if begun == confirmed || !self.is_round_over(shared, |mark| mark > 0) {
            return;
        }
        self.rounds.confirmed = begun;
        for link in self.links.values_mut() {
            link.mark = 0;
        }
        self.begin_round(shared, turn);
        self.finish_syncs(shared, turn);
    }

    /// Whether a quorum follows still: this server, and who has answered a ping of this round.
    fn is_round_over(&self, shared: &Shared, is_asked: impl Fn(u64) -> bool) -> bool {
        let answered = self.links.values().filter(|link| {
            link.state == LinkState::Synced
                && link.kind == LearnerKind::Follower
                && is_asked(link.mark)
                && link.pongs >= link.mark
        });
        let answered = answered.filter_map(|link| link.server);
        let all: BTreeSet<ServerId> = answered.chain([shared.me()]).collect();
        shared.configs.is_quorum(&all)
    }

    /// A quorum has a proposal that was made behind these syncs: they are answered before it is
    /// committed.
    pub(super) fn confirm_before(&mut self, zxid: Zxid, shared: &Shared, turn: &mut Turn<'_>) {
        let handed = shared.local.handed();
        let is_before = |sync: &mut Syncing| sync.after < zxid && sync.after <= handed;
        while let Some(sync) = self.syncs.pop_front_if(is_before) {
            finish(sync.asker, turn);
        }
    }

    /// Answers the syncs that have nothing to wait for any more.
    pub(super) fn finish_syncs(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        let handed = shared.local.handed();
        let confirmed = self.rounds.confirmed;
        let is_done = |sync: &mut Syncing| sync.after <= handed && sync.round <= confirmed;
        while let Some(sync) = self.syncs.pop_front_if(is_done) {
            finish(sync.asker, turn);
        }
    }
}

fn finish(asker: SyncAsker, turn: &mut Turn<'_>) {
    match asker {
        SyncAsker::Here(barrier) => turn.out.apply.push(ApplyAction::Barrier(barrier)),
        SyncAsker::Learner(link) => turn.net(NetAction::SendLearner {
            link,
            packet: LeaderPacket::Sync,
        }),
    }
}
