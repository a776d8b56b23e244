//! Laws of votes, and elections among machines over links that delay.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn any_vote() -> impl Strategy<Value = Vote> {
    (1i64..6, 0i64..3, 0i64..3, 1i64..3).prop_map(|(leader, zxid, peer_epoch, round)| Vote {
        leader: sid(leader),
        zxid: Zxid::new(zxid),
        round: Round::new(round),
        peer_epoch,
    })
}

proptest! {
    #[test]
    fn of_two_votes_one_is_better_unless_they_are_for_the_same(a in any_vote(), b in any_vote(), c in any_vote()) {
        let config = Configs::new(voters(5));
        let is_equal = (a.leader, a.zxid, a.peer_epoch) == (b.leader, b.zxid, b.peer_epoch);
        let (ab, ba) = (a.is_better(&b, &config), b.is_better(&a, &config));
        prop_assert_eq!(is_equal, !ab && !ba);
        prop_assert!(!(ab && ba));
        if ab && b.is_better(&c, &config) {
            prop_assert!(a.is_better(&c, &config));
        }
    }

    #[test]
    fn more_votes_never_undo_a_choice(votes in proptest::collection::vec(any_vote(), 1..6), extra in 1i64..6) {
        let config = Configs::new(voters(5));
        let cast = Cast::looking(votes[0]);
        let mut set: BTreeMap<_, _> = (1..).map(sid).zip(votes.iter().copied().map(Cast::looking)).collect();
        let before = is_elected(&set, &cast, &config);
        let same = set.values().filter(|vote| vote.is_same(&cast)).count();
        prop_assert_eq!(before, same >= 3);
        set.insert(sid(extra), cast);
        prop_assert!(!before || is_elected(&set, &cast, &config));
    }

    /// With everybody there, in one round, all choose the one with the best claim. A vote that was
    /// replaced by a later one on its way may have to be sent again, twice at most.
    #[test]
    fn all_choose_the_best(
        seed: u64,
        count in 1i64..8,
        claims in proptest::collection::vec((0i64..4, 0i32..3), 8),
    ) {
        let mut net = Net::new(count, seed, 1, &claims);
        net.run();
        let claims = (1..=count).zip(&claims).map(|(id, (zxid, epoch))| (epoch, zxid, id));
        let best = claims.max().unwrap().2;
        prop_assert_eq!(net.leader(), Some(sid(best)));
        prop_assert!(net.now <= Time::from_millis(600), "nobody waits for long");
    }

    /// Whatever rounds they come from, they end up with one leader.
    #[test]
    fn rounds_meet(
        seed: u64,
        count in 1i64..8,
        claims in proptest::collection::vec((0i64..4, 0i32..3), 8),
    ) {
        let mut net = Net::new(count, seed, 4, &claims);
        net.run();
        let leader = net.leader().unwrap();
        prop_assert!(net.decided.values().all(|vote| vote.leader == leader));
    }
}

/// Machines over links that deliver in order, each at its own pace; only the latest to each waits.
struct Net {
    config: Arc<EnsembleConfig>,
    elections: BTreeMap<ServerId, Election>,
    claims: BTreeMap<ServerId, Vote>,
    links: BTreeMap<(ServerId, ServerId), VecDeque<Notification>>,
    now: Time,
    random: u64,
    decided: BTreeMap<ServerId, Vote>,
}

impl Net {
    /// Servers that have had up to so many elections before, with these zxids and epochs.
    fn new(count: i64, seed: u64, elections: u64, claims: &[(i64, i32)]) -> Self {
        let config = voters(count);
        let new = |id| {
            let options = ElectionOptions::new(sid(id), voters(count));
            (sid(id), Election::new(options))
        };
        let claim = |(id, &(zxid, epoch)): (i64, &(i64, i32))| {
            let vote = Vote::initial(sid(id), Zxid::new(zxid), Epoch::new(epoch));
            (sid(id), vote)
        };
        let mut net = Self {
            config,
            elections: (1..=count).map(new).collect(),
            claims: (1..=count).zip(claims).map(claim).collect(),
            links: BTreeMap::new(),
            now: Time::ZERO,
            random: seed | 1,
            decided: BTreeMap::new(),
        };
        for id in (1..=count).map(sid) {
            for _ in 0..net.draw(elections) {
                let election = net.elections.get_mut(&id).unwrap();
                election.start(net.now, net.claims[&id], &mut Vec::new());
            }
            net.start(id);
        }
        net
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn start(&mut self, id: ServerId) {
        let (mut out, now, claim) = (Vec::new(), self.now, self.claims[&id]);
        self.decided.remove(&id);
        self.elections
            .get_mut(&id)
            .unwrap()
            .start(now, claim, &mut out);
        self.carry_out(id, out);
    }

    fn carry_out(&mut self, from: ServerId, out: Vec<ElectionOut>) {
        for out in out {
            match out {
                ElectionOut::Send { to, notification } => {
                    let link = self.links.entry((from, to)).or_default();
                    // One is on its way, one waits.
                    link.truncate(1);
                    link.push_back(notification);
                }
                ElectionOut::Decided(vote) => {
                    self.decided.insert(from, vote);
                }
                ElectionOut::Noted(_)
                | ElectionOut::YoungerConfig(_)
                | ElectionOut::ProposedConfig(_) => panic!("{out:?}"),
            }
        }
    }

    /// The leader that a quorum has, itself among them.
    fn leader(&self) -> Option<ServerId> {
        let mut candidates = self.decided.values().map(|vote| vote.leader);
        candidates.find(|leader| {
            let followers = self
                .decided
                .iter()
                .filter(|(_, vote)| vote.leader == *leader);
            let followers: Vec<_> = followers.map(|(id, _)| *id).collect();
            followers.contains(leader) && self.config.is_quorum(&followers)
        })
    }

    /// Delivers messages, and lets time pass when there are none, until there is a leader and all
    /// follow it. Who decided in vain starts anew when nothing else happens.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let full = self.links.iter().filter(|(_, link)| !link.is_empty());
            let full: Vec<_> = full.map(|(key, _)| *key).collect();
            if full.is_empty() {
                let leader = self.leader();
                let is_vain = |vote: &Vote| Some(vote.leader) != leader;
                let vain = self.decided.iter().find(|(_, vote)| is_vain(vote));
                if let Some((&id, _)) = vain {
                    self.start(id);
                } else if self.decided.len() == self.elections.len() {
                    return;
                } else {
                    self.pass_time();
                }
                continue;
            }
            let at = self.draw(full.len() as u64);
            let (from, to) = full[usize::try_from(at).unwrap()];
            let link = self.links.get_mut(&(from, to)).unwrap();
            let (notification, mut out) = (link.pop_front().unwrap(), Vec::new());
            let election = self.elections.get_mut(&to).unwrap();
            election.handle(self.now, from, &notification, &mut out);
            self.carry_out(to, out);
        }
        panic!("no end: {:?} {:?}", self.claims, self.decided);
    }

    fn pass_time(&mut self) {
        let due = self.elections.values().filter_map(Election::next_deadline);
        self.now = due.min().unwrap_or(self.now).max(self.now);
        let ids: Vec<_> = self.elections.keys().copied().collect();
        for id in ids {
            let mut out = Vec::new();
            let election = self.elections.get_mut(&id).unwrap();
            if election.next_deadline().is_some_and(|due| due <= self.now) {
                election.handle_deadline(self.now, &mut out);
            }
            self.carry_out(id, out);
        }
    }
}
