use std::time::Duration;

use super::Time;
use super::services::{self, ServiceRecord};
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
///
/// Where a name stands for the servers, the list is found anew before each attempt, in the order of
/// its records, and what is tried is the first server of it that has not failed since one last did
/// not.
#[derive(Debug)]
pub(super) struct Hosts {
    /// As last found, if a name stands for them; the name itself until then.
    servers: Vec<Server>,
    /// The name that stands for them.
    service: Option<Server>,
    /// Of the servers behind a name: those tried since one last succeeded, the one tried last, and
    /// the one to be tried next.
    tried: Vec<Server>,
    last: Option<Server>,
    preferred: Option<Server>,
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
            service: service(&servers),
            servers,
            tried: Vec::new(),
            last: None,
            preferred: None,
            next: 0,
            failures: 0,
            rng,
        }
    }

    /// Number of servers.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// What to try now: a server, or the name behind which to find it.
    pub(super) fn attempt(&mut self) -> Server {
        self.service.clone().unwrap_or_else(|| self.take_next())
    }

    /// These are the servers behind the name now. Returns the one to try, if there is any.
    pub(super) fn found(&mut self, records: &[ServiceRecord]) -> Option<Server> {
        let mut servers = Vec::new();
        for mut group in services::by_priority(records, &mut self.rng) {
            // Another that is as good comes before the one that was just left.
            group.sort_by_key(|server| Some(server) == self.last.as_ref());
            for server in group {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        if servers.iter().all(|server| self.tried.contains(server)) {
            self.tried.clear();
        }
        let preferred = self.preferred.take();
        let index = servers
            .iter()
            .position(|server| preferred.as_ref() == Some(server))
            .or_else(|| servers.iter().position(|it| !self.tried.contains(it)));
        let server = servers.get(index?).cloned()?;
        self.servers = servers;
        self.next = index? + 1;
        self.tried.push(server.clone());
        self.last = Some(server.clone());
        Some(server)
    }

    /// Takes a server: the next of the list.
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
        self.preferred = Some(server.clone());
        if let Some(index) = self.servers.iter().position(|known| known == server) {
            self.next = index;
        }
    }

    /// A session was established: the next loss starts a fresh pass.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.tried.clear();
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

    /// Whether what is being tried is among these servers, or was found behind the name that they are.
    pub(super) fn is_wanted(&self, tried: &Server, servers: &[Server]) -> bool {
        let name = service(servers);
        servers.contains(tried) || (name.is_some() && name == self.service)
    }

    /// Replaces the list. Returns whether a client of `current` should move to another server: always
    /// if it is gone from the list; else with the probability that evens out the load when every
    /// client does the same. Never if the list is a name: nobody knows yet what is behind it.
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
        self.service = service(&servers);
        self.servers = servers;
        self.next = 0;
        self.failures = 0;
        self.tried.clear();
        if self.service.is_some() {
            return false;
        }
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

/// The name that stands for the servers, if that is what the list is.
fn service(servers: &[Server]) -> Option<Server> {
    match servers {
        [only] if only.is_service() => Some(only.clone()),
        _ => None,
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

    fn record(priority: u16, port: u16) -> ServiceRecord {
        let host = "zk.".to_owned();
        ServiceRecord {
            priority,
            weight: 1,
            host,
            port,
        }
    }

    /// Ports of the servers tried, one after another, each of which fails.
    fn tried(hosts: &mut Hosts, records: &[ServiceRecord], attempts: usize) -> Vec<u16> {
        let mut ports = Vec::new();
        for _ in 0..attempts {
            assert!(hosts.attempt().is_service());
            ports.push(hosts.found(records).unwrap().port());
            hosts.failed(Time::default(), CALM);
        }
        ports
    }

    #[test]
    fn servers_behind_a_name_are_all_tried_by_priority_before_any_is_tried_again() {
        for seed in 0..50 {
            let mut hosts = Hosts::new(vec![Server::service("zk")], seed);
            let records = [record(2, 3), record(1, 1), record(1, 2)];
            for _ in 0..3 {
                let mut ports = tried(&mut hosts, &records, 3);
                assert_eq!(ports.pop(), Some(3), "seed {seed}");
                ports.sort_unstable();
                assert_eq!(ports, [1, 2], "seed {seed}");
            }
        }
    }

    #[test]
    fn after_a_success_the_first_priority_is_tried_again_and_the_server_that_was_left_last() {
        for seed in 0..50 {
            let mut hosts = Hosts::new(vec![Server::service("zk")], seed);
            let two = [record(2, 9), record(1, 1), record(1, 2)];
            let left = hosts.found(&two).unwrap().port();
            hosts.succeeded();
            assert_eq!(hosts.found(&two).unwrap().port(), 3 - left, "seed {seed}");
            hosts.succeeded();
            // Alone of its priority, it is better than what comes behind.
            let one = [record(1, 1), record(2, 9)];
            for _ in 0..3 {
                assert_eq!(hosts.found(&one).unwrap().port(), 1);
                hosts.succeeded();
            }
        }
    }

    #[test]
    fn look_ups_that_find_nobody_are_failures_with_pauses() {
        let mut hosts = Hosts::new(vec![Server::service("zk")], 7);
        assert_eq!(hosts.found(&[]), None);
        let at = hosts.failed(Time::default(), CALM);
        assert!(at > Time::default() && hosts.passed());
        assert_eq!(hosts.found(&[record(0, 5)]).unwrap().port(), 5);
        let server = Server::new("zk", 6);
        hosts.prefer(&server);
        let found = hosts.found(&[record(0, 5), record(1, 6)]);
        assert_eq!(found, Some(server));
    }

    #[test]
    fn name_and_list_replace_each_other() {
        let mut hosts = Hosts::new(servers(2), 7);
        let name = Server::service("zk");
        assert!(!hosts.replace(vec![name.clone()], Some(&Server::new("zk", 1))));
        assert_eq!(hosts.attempt(), name);
        hosts.found(&[record(0, 5)]);
        assert!(hosts.replace(servers(2), Some(&Server::new("zk", 5))));
        assert!(!hosts.attempt().is_service());
    }
}
