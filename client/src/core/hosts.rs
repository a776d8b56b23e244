use std::time::Duration;

use super::Time;
use crate::connect_string::Server;

/// Pause before the first attempt after a full pass over all servers has failed.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Part of the session timeout that a pause may take, whatever has failed before: servers that come
/// back in time must find the client asking in time.
const BACKOFF_PART: u32 = 3;

/// Which server to try next, and when.
///
/// The list is shuffled once, then walked round and round. A full pass is made without a pause;
/// after that the pause before each attempt is drawn from a window that doubles with each pass, so
/// that many clients that lost their server at once do not come back at once.
#[derive(Debug)]
pub(super) struct Hosts {
    servers: Vec<Server>,
    /// Position of the server to try next.
    next: usize,
    /// Attempts since one last succeeded.
    failures: u32,
    rng: fastrand::Rng,
}

impl Hosts {
    /// Shuffles the servers.
    ///
    /// # Panics
    /// If there is none: a connect string has at least one.
    pub(super) fn new(mut servers: Vec<Server>, seed: u64) -> Self {
        assert!(
            !servers.is_empty(),
            "a connect string names at least one server"
        );
        let mut rng = fastrand::Rng::with_seed(seed);
        rng.shuffle(&mut servers);
        Self {
            servers,
            next: 0,
            failures: 0,
            rng,
        }
    }

    /// Number of servers.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Takes the server to try now.
    pub(super) fn take_next(&mut self) -> Server {
        let index = self.next % self.servers.len();
        self.next = (index + 1) % self.servers.len();
        self.servers
            .get(index)
            .cloned()
            .expect("the index was reduced to the length above")
    }

    /// Makes `server` the next to be tried.
    pub(super) fn prefer(&mut self, server: &Server) {
        if let Some(index) = self.servers.iter().position(|known| known == server) {
            self.next = index;
        }
    }

    /// A session was established: the next loss starts a fresh pass.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed. Returns when the next may start.
    pub(super) fn failed(&mut self, now: Time, session_timeout: Duration) -> Time {
        self.failures = self.failures.saturating_add(1);
        let passes = self.failures / u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        now + self.pause(passes, session_timeout)
    }

    /// Draws a pause for somebody who has failed that often: none at first, and never more than a
    /// third of the session timeout.
    pub(super) fn pause(&mut self, times: u32, session_timeout: Duration) -> Duration {
        if times == 0 || mutated!(NoBackOff) {
            return Duration::ZERO;
        }
        let longest = if mutated!(BackOffOutlastsSession) {
            BACKOFF_MAX
        } else {
            // A server may grant a session of no time at all.
            (session_timeout / BACKOFF_PART).clamp(BACKOFF_MIN, BACKOFF_MAX)
        };
        let window = BACKOFF_MIN.saturating_mul(1 << (times - 1).min(16));
        window.min(longest).mul_f64(self.rng.f64())
    }

    /// Whether all servers but one have failed since one last succeeded.
    pub(super) fn is_last_resort(&self) -> bool {
        usize::try_from(self.failures).unwrap_or(usize::MAX) + 1 >= self.servers.len()
    }

    /// Whether every server has failed since one last succeeded.
    pub(super) fn passed(&self) -> bool {
        usize::try_from(self.failures).unwrap_or(usize::MAX) >= self.servers.len()
    }

    /// Replaces the list. Returns whether a client of `current` should move to another server: always
    /// if it is gone from the list; else with the probability that evens out the load when every
    /// client does the same.
    ///
    /// # Source
    /// The rule, not the code, of Apache `ZooKeeper` 3.9, `StaticHostProvider#updateServerList`.
    pub(super) fn replace(&mut self, mut servers: Vec<Server>, current: Option<&Server>) -> bool {
        let (old, new) = (self.servers.len(), servers.len());
        self.rng.shuffle(&mut servers);
        // What is new comes first for those who move: that is where the load is missing.
        let first_new = servers
            .iter()
            .position(|server| !self.servers.contains(server));
        self.servers = servers;
        self.next = 0;
        self.failures = 0;
        let Some(current) = current else { return false };
        if !self.servers.contains(current) {
            return true;
        }
        // Only a list that grew leaves the servers that stay with more than their share.
        let moves = new > old && {
            #[expect(clippy::cast_precision_loss, reason = "lists of servers are short")]
            let stay = old as f64 / new as f64;
            self.rng.f64() >= stay
        };
        if moves && let Some(index) = first_new {
            self.next = index;
        }
        moves
    }

    /// A number in 0.9 to 1.1 to spread timers with.
    pub(super) fn jitter(&mut self) -> f64 {
        0.9 + 0.2 * self.rng.f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session timeout that limits no pause.
    const CALM: Duration = Duration::from_mins(1);

    fn servers(count: u16) -> Vec<Server> {
        (1..=count).map(|port| Server::new("zk", port)).collect()
    }

    #[test]
    fn every_server_is_tried_once_before_the_first_pause() {
        let mut hosts = Hosts::new(servers(3), 7);
        let mut tried = Vec::new();
        for attempt in 1..=3 {
            tried.push(hosts.take_next().port());
            let at = hosts.failed(Time::default(), CALM);
            assert_eq!(at == Time::default(), attempt < 3, "attempt {attempt}");
        }
        tried.sort_unstable();
        assert_eq!(tried, [1, 2, 3]);
        assert!(hosts.passed());
    }

    #[test]
    fn pauses_grow_and_stay_below_the_limit() {
        let mut hosts = Hosts::new(servers(1), 7);
        let mut longest = Duration::ZERO;
        for _ in 0..1_000 {
            longest = longest.max(hosts.failed(Time::default(), CALM) - Time::default());
        }
        assert!(
            longest > Duration::from_secs(4) && longest <= BACKOFF_MAX,
            "{longest:?}"
        );
    }

    #[test]
    fn pauses_leave_two_thirds_of_any_session() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let session = Duration::from_millis(rng.u64(300..40_000));
            let mut hosts = Hosts::new(servers(rng.u16(1..8)), seed);
            let mut longest = Duration::ZERO;
            for _ in 0..400 {
                longest = longest.max(hosts.failed(Time::default(), session) - Time::default());
                longest = longest.max(hosts.pause(rng.u32(..), session));
            }
            let cap = BACKOFF_MAX.min(session / 3);
            assert!(
                longest <= cap && longest > cap * 3 / 4,
                "seed {seed}: {longest:?} of a session of {session:?}"
            );
        }
    }

    #[test]
    fn session_of_no_time_at_all_is_not_asked_for_without_pauses() {
        let mut hosts = Hosts::new(servers(1), 7);
        let pauses: Duration = (0..100).map(|_| hosts.pause(9, Duration::ZERO)).sum();
        assert!(pauses > Duration::from_secs(2), "{pauses:?}");
    }

    #[test]
    fn a_server_that_left_the_list_is_left() {
        let mut hosts = Hosts::new(servers(3), 7);
        assert!(hosts.replace(servers(2), Some(&Server::new("zk", 3))));
        assert!(!hosts.replace(servers(2), Some(&Server::new("zk", 1))));
    }

    #[test]
    fn who_moves_to_a_longer_list_moves_to_what_is_new() {
        for seed in 0..1_000 {
            let mut hosts = Hosts::new(servers(3), seed);
            if hosts.replace(servers(4), Some(&Server::new("zk", 1))) {
                assert_eq!(hosts.take_next().port(), 4, "seed {seed}");
            }
        }
    }

    #[test]
    fn growing_list_moves_the_share_of_clients_that_evens_out_load() {
        let moved = (0..10_000).filter(|seed| {
            let mut hosts = Hosts::new(servers(3), *seed);
            hosts.replace(servers(4), Some(&Server::new("zk", 1)))
        });
        let count = moved.count();
        assert!(
            (2_200..2_800).contains(&count),
            "{count} of 10000 moved, 2500 would be even"
        );
    }
}
