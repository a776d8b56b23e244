use std::collections::BTreeMap;

use crate::connect_string::Server;

/// An SRV record: one of the servers behind a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceRecord {
    /// Servers with a smaller one are tried before all others.
    pub priority: u16,
    /// Share of the clients that begin with this server, among those of one priority.
    pub weight: u16,
    /// Host name of the server; `.` says that there is none.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl ServiceRecord {
    /// The server, unless the record says that there is none.
    pub(crate) fn server(&self) -> Option<Server> {
        // The dot that ends a full name stands alone where there is no server.
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        (!host.is_empty() && self.port != 0).then(|| Server::new(host, self.port))
    }
}

/// Servers in the order in which they are to be tried, one list for each priority.
///
/// # Source
/// RFC 2782, "Usage rules".
pub(super) fn by_priority(records: &[ServiceRecord], rng: &mut fastrand::Rng) -> Vec<Vec<Server>> {
    let mut groups = BTreeMap::<u16, Vec<&ServiceRecord>>::new();
    for record in records {
        if record.server().is_some() {
            groups.entry(record.priority).or_default().push(record);
        }
    }
    groups
        .into_values()
        .map(|group| by_weight(group, rng))
        .collect()
}

fn by_weight(mut group: Vec<&ServiceRecord>, rng: &mut fastrand::Rng) -> Vec<Server> {
    // Those without weight have their small chance by standing in front, in any order.
    rng.shuffle(&mut group);
    group.sort_by_key(|record| record.weight > 0);
    let mut servers = Vec::new();
    while !group.is_empty() {
        let total: u32 = group.iter().map(|record| u32::from(record.weight)).sum();
        let drawn = rng.u32(0..=total);
        let mut sum = 0;
        let index = group.iter().position(|record| {
            sum += u32::from(record.weight);
            sum >= drawn
        });
        let record = group.remove(index.unwrap_or_default());
        servers.extend(record.server());
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, host: &str) -> ServiceRecord {
        let host = host.to_owned();
        ServiceRecord {
            priority,
            weight,
            host,
            port: 2181,
        }
    }

    #[test]
    fn smaller_priorities_come_first_whatever_the_weights() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let records = [
                record(20, 9, "c"),
                record(10, 0, "a."),
                record(10, 5, "b"),
                record(0, 1, "."),
            ];
            let groups = by_priority(&records, &mut rng);
            assert_eq!(groups.len(), 2);
            let mut first: Vec<_> = groups[0].iter().map(Server::host).collect();
            first.sort_unstable();
            assert_eq!(first, ["a", "b"], "seed {seed}");
            assert_eq!(groups[1], [Server::new("c", 2181)]);
        }
    }

    #[test]
    fn servers_come_first_by_their_weight() {
        let records = [record(0, 60, "a"), record(0, 30, "b"), record(0, 10, "c")];
        let mut firsts = BTreeMap::<String, u32>::new();
        for seed in 0..10_000 {
            let groups = by_priority(&records, &mut fastrand::Rng::with_seed(seed));
            assert_eq!(groups[0].len(), 3);
            *firsts.entry(groups[0][0].host().to_owned()).or_default() += 1;
        }
        for (host, share) in [("a", 6_000), ("b", 3_000), ("c", 1_000)] {
            let count = firsts[host];
            assert!(count.abs_diff(share) < 300, "{host} is first {count} times");
        }
    }

    #[test]
    fn servers_without_weight_share_evenly_among_themselves() {
        let records = [record(0, 0, "a"), record(0, 0, "b"), record(0, 0, "c")];
        let mut firsts = BTreeMap::<String, u32>::new();
        for seed in 0..3_000 {
            let groups = by_priority(&records, &mut fastrand::Rng::with_seed(seed));
            *firsts.entry(groups[0][0].host().to_owned()).or_default() += 1;
        }
        for (host, count) in firsts {
            assert!(count.abs_diff(1_000) < 150, "{host} is first {count} times");
        }
    }
}
