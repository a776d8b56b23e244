//! Fast leader election: who shall lead, by votes in rounds.
//!
//! ```text
//!            start                      quorum
//!  settled ────────► looking ───────────────────► finalizing ──► decided: settled again
//!     ▲  answers with   │  ▲   better vote, resend     │  all voters heard or unreachable,
//!     │  its vote       │  └──────────◄────────────────┘  or silence for the finalize wait
//!     └─────────────────┘
//!       leader and a quorum of its followers say so
//! ```
//!
//! It is safe whatever it decides: a leader has to win an epoch from a quorum afterwards. What is
//! at stake here is time.
//!
//! # Where it departs from the reference
//! - The wait for better votes ends as soon as none can come: every voter with weight has voted in
//!   this round, or is known to be unreachable. Among servers of ours it is short anyway.
//! - Votes of that wait are counted, not thrown away, and do not make it longer.
//! - Votes that come just before the start are kept for it: a server that notices the loss of the
//!   leader a moment later than the others needs no resend.
//! - Who has decided in this round counts as a vote of this round, whether or not the leader says so.
//! - A peer that has just become reachable is sent the present vote, and so is one that has just begun to look.
//! - A leader that could not be followed is not elected again at once, if there is a quorum without it.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `FastLeaderElection`.

mod distrust;
mod vote;

#[cfg(test)]
mod tests;

pub use distrust::Failed;
pub use vote::Vote;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use zk_proto::{Epoch, ServerId, Zxid};

use crate::ensemble::{Configs, EnsembleConfig};
use crate::mutation::mutated;
use crate::time::Time;
use crate::wire::election::{Notification, PeerState, Round};

use distrust::Distrusted;
use vote::{Cast, is_elected};

/// How old votes may be that came before the start: older ones may have been settled since.
const EARLY_MAX: Duration = Duration::from_secs(1);
/// Zxid of a database that is empty and may not vote.
const UNTRUSTED: Zxid = Zxid::new(-1);

/// What an election is told once.
#[derive(Clone, Debug)]
pub struct ElectionOptions {
    /// This server.
    pub me: ServerId,
    /// All members.
    pub config: Arc<EnsembleConfig>,
    /// How long a quorum waits for a better vote.
    pub finalize_wait: Duration,
    /// The same where all voters are known to be ours, which decide at the same time.
    pub finalize_wait_ours: Duration,
    /// Time until votes are sent again at first; it doubles each time.
    pub interval_min: Duration,
    /// The longest that this time becomes.
    pub interval_max: Duration,
    /// Whether it takes over younger configurations of others (`reconfigEnabled`).
    pub adopts_configs: bool,
}

impl ElectionOptions {
    /// The reference's times.
    pub fn new(me: ServerId, config: Arc<EnsembleConfig>) -> Self {
        Self {
            me,
            config,
            finalize_wait: Duration::from_millis(200),
            finalize_wait_ours: Duration::from_millis(50),
            interval_min: Duration::from_millis(200),
            interval_max: Duration::from_mins(1),
            adopts_configs: false,
        }
    }
}

/// What an election wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ElectionOut {
    /// Send a notification; only the latest to each server matters.
    Send {
        /// To whom.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// The election is over: this server shall lead, with the vote that won.
    Decided(Vote),
    /// Something an operator should know.
    Noted(ElectionNote),
    /// Another server has a younger configuration in force. It is to be taken over, and if its members
    /// are others, to be looked for a leader among those.
    YoungerConfig(Arc<EnsembleConfig>),
    /// Another server knows of one that is proposed: whoever votes there may be about to lead.
    ProposedConfig(Arc<EnsembleConfig>),
}

/// What an operator should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionNote {
    /// A member has another member list.
    ConfigDiffers {
        /// The member.
        member: ServerId,
        /// Version of its list.
        version: Zxid,
    },
    /// A member sends a member list that cannot be read.
    ConfigUnreadable {
        /// The member.
        member: ServerId,
    },
}

/// The machine; see the module.
///
/// # Invariants
/// - `received` has votes of voters in `round`, its own among them while it runs.
/// - `finalize_at` is set while a quorum is for `proposal`, and nobody was heard to be better.
#[derive(Debug)]
pub struct Election {
    options: ElectionOptions,
    /// Who has a vote, and will have one.
    configs: Configs,
    state: PeerState,
    /// Between the start and the decision.
    is_running: bool,
    round: Round,
    /// For itself, whether or not it may vote.
    claim: Vote,
    initial: Vote,
    proposal: Vote,
    /// What is told to who asks; none before the first start.
    current: Option<Vote>,
    received: BTreeMap<ServerId, Cast>,
    /// Votes of servers that are not looking.
    outside: BTreeMap<ServerId, Cast>,
    /// Who voted for this server, when it was elected, and has not begun to look for another.
    supporters: BTreeSet<ServerId>,
    /// Votes that came while no election ran.
    early: BTreeMap<ServerId, (Time, Notification)>,
    unreachable: BTreeSet<ServerId>,
    /// Whom this server could not follow.
    distrusted: Distrusted,
    /// Servers known to be ours.
    ours: BTreeSet<ServerId>,
    /// Members of whose list an operator was told.
    noted: BTreeSet<ServerId>,
    /// When servers were told last of members that they do not know.
    told: BTreeMap<ServerId, Time>,
    /// When all were told last of the present vote, and how long from then on until they are again.
    told_at: Time,
    interval: Duration,
    finalize_at: Option<Time>,
}

impl Election {
    /// A server that has not started to look.
    pub fn new(options: ElectionOptions) -> Self {
        Self {
            state: PeerState::Looking,
            is_running: false,
            round: Round::ZERO,
            claim: Vote::NOBODY,
            initial: Vote::NOBODY,
            proposal: Vote::NOBODY,
            current: None,
            received: BTreeMap::new(),
            outside: BTreeMap::new(),
            supporters: BTreeSet::new(),
            early: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            distrusted: Distrusted::default(),
            ours: BTreeSet::new(),
            noted: BTreeSet::new(),
            told: BTreeMap::new(),
            told_at: Time::ZERO,
            interval: options.interval_min,
            finalize_at: None,
            configs: Configs::new(Arc::clone(&options.config)),
            options,
        }
    }

    /// Who has a vote from now on.
    pub fn set_configs(&mut self, configs: &Configs) {
        if self.configs.generation() != configs.generation() {
            self.configs = configs.clone();
        }
    }

    /// Decides without an election: the last leader said who is to lead.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `QuorumPeer#updateVote`.
    pub fn follow(&mut self, leader: ServerId, zxid: Zxid, out: &mut Vec<ElectionOut>) {
        let vote = Vote {
            leader,
            zxid,
            round: Round::NONE,
            peer_epoch: -1,
        };
        self.decide(vote, out);
        if leader == self.options.me {
            self.supporters = self.configs.voters().collect();
        }
    }

    /// Starts to look for a leader, with this server's own claim: its last logged transaction and
    /// current epoch. Ends a running election.
    pub fn start(&mut self, now: Time, claim: Vote, out: &mut Vec<ElectionOut>) {
        // Who is about to get a vote has one already. It may know what none of the others does, and is
        // committed.
        let may_vote = self.counts();
        self.state = PeerState::Looking;
        self.is_running = true;
        self.round = self.round.next();
        self.claim = claim;
        self.initial = if may_vote { claim } else { Vote::NOBODY };
        self.proposal = self.initial;
        self.current.get_or_insert(Vote {
            round: Round::NONE,
            ..claim
        });
        self.received.clear();
        self.outside.clear();
        self.unreachable.clear();
        self.interval = self.options.interval_min;
        self.broadcast(now, out);
        self.settle(now, out);
        for (from, (at, notification)) in std::mem::take(&mut self.early) {
            if now.since(at) <= EARLY_MAX {
                self.receive(now, from, &notification, out);
            }
        }
    }

    /// Takes a notification, in any state.
    pub fn handle(
        &mut self,
        now: Time,
        from: ServerId,
        notification: &Notification,
        out: &mut Vec<ElectionOut>,
    ) {
        self.unreachable.remove(&from);
        if let Some(config) = self.younger_config(notification) {
            let is_other = !config.has_same_members(self.configs.current());
            out.push(ElectionOut::YoungerConfig(config));
            if is_other {
                // There will be another election.
                return;
            }
        }
        if let Some(config) = self.proposed_config(notification)
            && self.configs.hear(Arc::clone(&config))
        {
            out.push(ElectionOut::ProposedConfig(config));
            self.claim_if_counted(now, out);
        }
        if !self.is_voter(from) {
            // Whatever it says: it only wants to know. But one of the reference that observes would
            // answer a vote, and so on without end.
            let would_answer = notification.state == Some(PeerState::Observing);
            if !(self.is_running && would_answer || self.is_up_to_date(notification)) {
                self.answer(from, out);
            }
            return;
        }
        if notification.is_ours {
            self.ours.insert(from);
        } else {
            self.ours.remove(&from);
        }
        self.compare_config(from, notification, out);
        self.receive(now, from, notification, out);
    }

    /// Does what is due: decides, or sends votes again.
    pub fn handle_deadline(&mut self, now: Time, out: &mut Vec<ElectionOut>) {
        if !self.is_running {
            return;
        }
        if self.finalize_at.is_some_and(|at| now >= at) {
            self.decide(self.proposed(), out);
        } else if now >= self.told_at + self.interval {
            self.interval = (self.interval * 2).min(self.options.interval_max);
            self.trust_again(now, out);
            if mutated!(VotesNotRepeated) {
                self.told_at = now;
                return;
            }
            if self.is_running {
                self.broadcast(now, out);
            }
        }
    }

    /// When [`Self::handle_deadline`] has something to do next.
    pub fn next_deadline(&self) -> Option<Time> {
        let again_at = self.told_at + self.interval;
        let at = self.finalize_at.map_or(again_at, |at| at.min(again_at));
        self.is_running.then_some(at)
    }

    /// A server cannot be reached: nobody needs to wait for its vote.
    pub fn set_unreachable(&mut self, now: Time, id: ServerId, out: &mut Vec<ElectionOut>) {
        if self.is_voter(id) && self.is_running {
            self.unreachable.insert(id);
            self.settle(now, out);
        }
    }

    /// A server can be reached anew: it is told what the vote is by now.
    pub fn set_reachable(&mut self, id: ServerId, out: &mut Vec<ElectionOut>) {
        self.unreachable.remove(&id);
        if self.is_running && id != self.options.me && self.is_voter(id) {
            self.send(id, self.proposed(), PeerState::Looking, out);
        }
    }

    /// The leader that was decided on could not be followed. Until `until` it is not voted for, if there
    /// is a quorum without it; one that was silent is not joined before `join_from` either.
    pub fn leader_failed(&mut self, failed: Failed, join_from: Time, until: Time) {
        if let Some(vote) = self.current.filter(|_| !mutated!(StalledLeaderTrusted)) {
            self.distrusted.add(vote.leader, failed, join_from, until);
        }
    }

    /// There is a leader that is followed: what was learned of others before is old.
    pub fn trust_all(&mut self) {
        self.distrusted.clear();
    }

    /// Tells others from now on that this server does something else than what was decided.
    ///
    /// A server that has given up its role is looking, though it may not be ready to start.
    pub fn set_state(&mut self, state: PeerState) {
        self.state = state;
        self.is_running &= state == PeerState::Looking;
    }

    /// Tells others from now on which epoch this server's role has.
    pub fn set_synced_epoch(&mut self, epoch: Epoch) {
        if let Some(current) = &mut self.current {
            current.peer_epoch = i64::from(epoch.get());
        }
    }

    /// What this server tells others that it does.
    pub fn state(&self) -> PeerState {
        self.state
    }

    /// Number of the running election, or of the last.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Whether an election is running.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// What was decided last; its own claim before anything was.
    pub fn vote(&self) -> Option<Vote> {
        self.current
    }

    /// Whether this server, which was elected, can still hope to lead: as long as those that voted
    /// for it and have not begun to look for another are a quorum.
    ///
    /// Only a leader that no quorum follows yet needs to ask: instead of waiting for learners that
    /// will not come, while those wait for it to look as they do.
    pub fn has_support(&self) -> bool {
        self.configs.is_quorum(&self.supporters)
    }

    /// Takes a notification of a voter.
    fn receive(
        &mut self,
        now: Time,
        from: ServerId,
        notification: &Notification,
        out: &mut Vec<ElectionOut>,
    ) {
        let Some(state) = notification.state else {
            return;
        };
        let is_looking = state == PeerState::Looking;
        if self.is_running {
            if is_looking && notification.round < self.round && self.counts() {
                self.send(from, self.proposed(), PeerState::Looking, out);
            }
            self.elect(now, from, Cast::new(notification, state), out);
            return;
        }
        let is_asked = self.state != PeerState::Looking && is_looking;
        if is_asked && !self.counts() && self.is_to_hear(now, from, notification) {
            self.answer(from, out);
        }
        if is_asked && self.counts() {
            self.answer(from, out);
            // One of the same round was sent before the decision, unless it is for somebody better: who
            // came so late that this server had not heard of it.
            let vote = Cast::new(notification, state).vote;
            let has_turned = |current: Vote| {
                current.round != vote.round || vote.is_better(&current, &self.configs)
            };
            if self.current.is_some_and(has_turned) {
                self.supporters.remove(&from);
            }
        }
        if self.state == PeerState::Looking || is_looking {
            let notification = Notification {
                config: None,
                proposed: None,
                ..notification.clone()
            };
            self.early.insert(from, (now, notification));
        } else {
            self.early.remove(&from);
        }
    }

    /// Claims to lead, if this server has just heard that it is about to get a vote. The others may need
    /// that vote, and may not be able to lead it: it may have followed a leader that they did not.
    fn claim_if_counted(&mut self, now: Time, out: &mut Vec<ElectionOut>) {
        if self.initial == self.claim || !self.counts() || mutated!(HeardVoteNotClaimed) {
            return;
        }
        self.initial = self.claim;
        if self.is_better(now, &self.claim) {
            self.proposal = self.claim;
        }
        self.finalize_at = None;
        self.broadcast(now, out);
    }

    /// Counts a vote in the running election.
    fn elect(&mut self, now: Time, from: ServerId, cast: Cast, out: &mut Vec<ElectionOut>) {
        // Who is about to get a vote is for nobody, until somebody who looks in its round tells better.
        let is_for_nobody =
            cast.vote.leader == Vote::NOBODY.leader && cast.state == PeerState::Looking;
        if !self.is_voter(cast.vote.leader) && !is_for_nobody {
            return;
        }
        match cast.state {
            PeerState::Looking => self.elect_looking(now, from, cast.vote, out),
            PeerState::Observing => {}
            PeerState::Following | PeerState::Leading => self.join(now, from, cast, out),
        }
    }

    /// Counts the vote of a server that is looking, too.
    fn elect_looking(&mut self, now: Time, from: ServerId, vote: Vote, out: &mut Vec<ElectionOut>) {
        if self.initial.zxid == UNTRUSTED || vote.zxid == UNTRUSTED || vote.round < self.round {
            return;
        }
        let is_later = vote.round > self.round && !mutated!(RoundNotRaised);
        if is_later {
            if self.finalize_at.is_some() && !self.is_better(now, &vote) {
                // It will find out that this round is decided, and join.
                return;
            }
            self.round = vote.round;
            self.received.clear();
            self.proposal = self.initial;
            // Who will be elected in it may wait for a short time only, and be known only if it is asked.
            self.interval = self.options.interval_min;
        }
        let is_better = self.is_better(now, &vote);
        if is_better {
            self.proposal = vote;
        }
        if is_later || is_better {
            self.finalize_at = None;
            self.broadcast(now, out);
        }
        let last = self.received.insert(from, Cast::looking(vote));
        // It has begun to look since all were told, and does not remember. Whom it could not follow it
        // would be for again, before it is told again, if it heard of nobody else.
        let is_new = last.is_none() && now >= self.told_at + self.options.interval_min;
        if is_new && !is_later && !is_better && vote.leader != self.proposal.leader {
            self.send(from, self.proposed(), PeerState::Looking, out);
        }
        self.settle(now, out);
    }

    /// Counts the vote of a server that is not looking: joins a leader that a quorum has.
    fn join(&mut self, now: Time, from: ServerId, cast: Cast, out: &mut Vec<ElectionOut>) {
        // What is only proposed has no say in who leads already: a server that has logged what nobody
        // else has could never follow again.
        let config = Configs::new(Arc::clone(self.configs.current()));
        let mut is_settled = false;
        if cast.vote.round == self.round {
            let counted = Cast {
                has_version: false,
                ..cast
            };
            self.received.insert(from, counted);
            is_settled = is_elected(&self.received, &cast, &config)
                && self.is_confirmed(&self.received, &cast.vote);
        }
        if !is_settled {
            self.outside.insert(from, cast);
            is_settled = is_elected(&self.outside, &cast, &config)
                && self.is_confirmed(&self.outside, &cast.vote);
        }
        if is_settled && self.distrusted.may_be_joined(now, cast.vote.leader) {
            self.round = cast.vote.round;
            self.decide(cast.vote, out);
        } else if cast.vote.round == self.round && self.initial.zxid != UNTRUSTED {
            // It decided on that in this round, and what it voted before may never come: only the latest
            // is sent. A leader may wait for this server, of which it has the vote.
            self.settle(now, out);
        }
    }

    /// Whether a vote is to be taken over.
    fn is_better(&self, now: Time, vote: &Vote) -> bool {
        vote.is_better(&self.proposal, &self.configs) && self.distrusted.may_lead(now, vote.leader)
    }

    /// Votes for whoever is best again if there is no quorum without those that are distrusted.
    fn trust_again(&mut self, now: Time, out: &mut Vec<ElectionOut>) {
        let heard: BTreeSet<ServerId> = [&self.received, &self.outside]
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        let config = &self.configs;
        let are_quorum =
            |trusted: &dyn Fn(&&ServerId) -> bool| config.is_quorum(heard.iter().filter(trusted));
        if !self.distrusted.forget_unless(now, are_quorum) {
            return;
        }
        for (from, cast) in self.received.clone() {
            if self.is_running && cast.state == PeerState::Looking {
                self.elect_looking(now, from, cast.vote, out);
            }
        }
    }

    /// Whether the leader of a vote says itself that it leads; this server would know.
    fn is_confirmed(&self, votes: &BTreeMap<ServerId, Cast>, vote: &Vote) -> bool {
        if vote.leader == self.options.me {
            return vote.round == self.round;
        }
        let leader = votes.get(&vote.leader);
        leader.is_some_and(|cast| cast.state == PeerState::Leading)
    }

    /// Looks whether a quorum is for the proposal, and whether anything better can still come.
    fn settle(&mut self, now: Time, out: &mut Vec<ElectionOut>) {
        let config = &self.configs;
        let proposed = self.proposed();
        if !is_elected(&self.received, &Cast::looking(proposed), config) {
            self.finalize_at = None;
            return;
        }
        let is_awaited = |id: ServerId| {
            let is_heard = self.received.contains_key(&id) || self.unreachable.contains(&id);
            !is_heard && config.weight(id) > 0
        };
        // Who is only heard of may have the best claim, too.
        if !config.all_voters().any(is_awaited) {
            self.decide(proposed, out);
            return;
        }
        let me = self.options.me;
        let are_ours = config
            .all_voters()
            .all(|id| id == me || self.ours.contains(&id));
        let wait = if are_ours {
            self.options.finalize_wait_ours
        } else {
            self.options.finalize_wait
        };
        self.finalize_at.get_or_insert(now + wait);
    }

    fn decide(&mut self, vote: Vote, out: &mut Vec<ElectionOut>) {
        let me = self.options.me;
        self.state = if vote.leader == me {
            PeerState::Leading
        } else if self.configs.observes(me) {
            PeerState::Observing
        } else {
            // Who is no member follows, too, and may get a vote while it does.
            PeerState::Following
        };
        self.supporters = if vote.leader == me {
            let votes = self.outside.iter().chain(&self.received);
            let mine = votes.filter(|(_, cast)| cast.vote.leader == me);
            mine.map(|(id, _)| *id).chain([me]).collect()
        } else {
            BTreeSet::new()
        };
        self.is_running = false;
        self.finalize_at = None;
        self.current = Some(vote);
        self.early.clear();
        out.push(ElectionOut::Decided(vote));
    }

    /// Sends the proposal to all voters, and those that may be, and counts it as this server's own vote.
    fn broadcast(&mut self, now: Time, out: &mut Vec<ElectionOut>) {
        self.told_at = now;
        let (me, proposed) = (self.options.me, self.proposed());
        let config = self.configs.clone();
        for id in config.all_voters() {
            if id == me {
                self.received.insert(me, Cast::looking(proposed));
            } else {
                self.send(id, proposed, PeerState::Looking, out);
            }
        }
    }

    /// Whether anybody counts what this server says. Nobody is to be bothered with it otherwise: a
    /// voter would answer, and so on without end.
    fn counts(&self) -> bool {
        self.is_voter(self.options.me)
    }

    /// Tells a server what was decided last.
    fn answer(&self, to: ServerId, out: &mut Vec<ElectionOut>) {
        let Some(current) = self.current.filter(|_| !mutated!(DecidedDoNotAnswer)) else {
            return;
        };
        // To those without a vote the round is that of the clock, to voters that of the decision.
        let vote = if self.is_voter(to) {
            current
        } else {
            Vote {
                round: self.round,
                ..current
            }
        };
        self.send(to, vote, self.state, out);
    }

    fn send(&self, to: ServerId, vote: Vote, state: PeerState, out: &mut Vec<ElectionOut>) {
        let notification = Notification {
            state: Some(state),
            leader: vote.leader,
            zxid: vote.zxid,
            round: vote.round,
            peer_epoch: vote.peer_epoch,
            version: Notification::VERSION,
            config: Some(self.configs.current().text().clone()),
            is_ours: true,
            // Handed on, too: else who votes for one that is heard of would be alone with that.
            proposed: self
                .configs
                .youngest_proposed()
                .map(|one| one.text().clone()),
        };
        out.push(ElectionOut::Send { to, notification });
    }

    /// The proposal, in the present round.
    fn proposed(&self) -> Vote {
        Vote {
            round: self.round,
            ..self.proposal
        }
    }

    /// The configuration that a notification tells of, if it is to be taken over.
    fn younger_config(&self, notification: &Notification) -> Option<Arc<EnsembleConfig>> {
        let mine = self.configs.current();
        let theirs = notification.config.as_ref()?;
        if !self.options.adopts_configs || !self.is_running || theirs == mine.text() {
            return None;
        }
        let theirs = EnsembleConfig::parse(theirs).ok()?;
        (theirs.version() > mine.version()).then(|| Arc::new(theirs))
    }

    /// The configuration that a notification tells is proposed, if that is news.
    fn proposed_config(&self, notification: &Notification) -> Option<Arc<EnsembleConfig>> {
        let theirs = notification.proposed.as_ref()?;
        let hears = self.options.adopts_configs && !mutated!(ProposedNotHeard);
        if !hears || !self.is_running || self.configs.has_text(theirs) {
            return None;
        }
        EnsembleConfig::parse(theirs).ok().map(Arc::new)
    }

    /// Where servers may think differently of who has a vote: whether there is nothing to tell one that
    /// has none. It does not look for a leader; or this server looks, too, and the other knows the members
    /// as well. One that thinks the same of this server would answer, and so on without end.
    fn is_up_to_date(&self, notification: &Notification) -> bool {
        if !self.options.adopts_configs {
            return false;
        }
        if notification.state != Some(PeerState::Looking) {
            return true;
        }
        if self.state != PeerState::Looking {
            return false;
        }
        let mine = self.configs.current();
        let theirs = notification.config.as_ref();
        theirs.is_some_and(|theirs| {
            let parsed = || EnsembleConfig::parse(theirs);
            theirs == mine.text() || parsed().is_ok_and(|it| it.version() >= mine.version())
        })
    }

    /// Whether one that looks is to hear of the members from this server, whose word does not count: all
    /// that it knows may be such. It says no more than now and then, so that two servers that never come
    /// to think the same do not answer each other without end.
    fn is_to_hear(&mut self, now: Time, from: ServerId, notification: &Notification) -> bool {
        let mine = self.configs.current().version();
        let theirs = notification
            .config
            .as_ref()
            .filter(|_| self.options.adopts_configs);
        let theirs = theirs.and_then(|theirs| EnsembleConfig::parse(theirs).ok());
        let is_behind = theirs.is_some_and(|theirs| theirs.version() < mine);
        let pause = self.options.interval_min / 2;
        let told = self.told.get(&from);
        let is_due = told.is_none_or(|told| now.since(*told) >= pause);
        if is_behind && is_due {
            self.told.insert(from, now);
        }
        is_behind && is_due
    }

    /// Tells an operator, once, of a member with another member list.
    fn compare_config(
        &mut self,
        from: ServerId,
        notification: &Notification,
        out: &mut Vec<ElectionOut>,
    ) {
        let mine = self.configs.current();
        let Some(theirs) = &notification.config else {
            return;
        };
        if theirs == mine.text() || self.noted.contains(&from) {
            return;
        }
        let note = match EnsembleConfig::parse(theirs) {
            Ok(theirs) if theirs.has_same_members(mine) => return,
            Ok(theirs) => ElectionNote::ConfigDiffers {
                member: from,
                version: theirs.version(),
            },
            Err(_) => ElectionNote::ConfigUnreadable { member: from },
        };
        self.noted.insert(from);
        out.push(ElectionOut::Noted(note));
    }

    fn is_voter(&self, id: ServerId) -> bool {
        self.configs.may_vote(id)
    }
}
