//! The wires of an ensemble: every connection passes a proxy that can break it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::fault::{Direction, Proxy};

/// Which way of a link between servers a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the first server to the second.
    There,
    /// From the second server to the first.
    Back,
    /// Both ways.
    Both,
}

impl Way {
    /// What this means for a connection that the first server dialled.
    fn dialled_by_first(self) -> Direction {
        match self {
            Self::There => Direction::ToServer,
            Self::Back => Direction::ToClient,
            Self::Both => Direction::Both,
        }
    }

    fn reversed(self) -> Self {
        match self {
            Self::There => Self::Back,
            Self::Back => Self::There,
            Self::Both => Self::Both,
        }
    }
}

/// Where one server reaches another.
#[derive(Debug)]
struct Dial {
    quorum: Proxy,
    election: Proxy,
}

impl Dial {
    fn proxies(&self) -> [&Proxy; 2] {
        [&self.quorum, &self.election]
    }
}

/// Proxies in front of every port: one for the clients of each server, and one for each pair of
/// servers, direction of dialling and port.
///
/// Their own ports never change, so that a server may come back on other ones.
#[derive(Debug)]
pub(super) struct Links {
    clients: Vec<Proxy>,
    /// By who dials and who is dialled.
    dials: BTreeMap<(usize, usize), Dial>,
}

impl Links {
    /// Links of `count` servers, none of which listens yet.
    pub(super) async fn start(count: usize) -> io::Result<Self> {
        let nowhere = nowhere();
        let mut clients = Vec::with_capacity(count);
        let mut dials = BTreeMap::new();
        for from in 0..count {
            clients.push(Proxy::start(nowhere).await?);
            for to in (0..count).filter(|&to| to != from) {
                let dial = Dial {
                    quorum: Proxy::start(nowhere).await?,
                    election: Proxy::start(nowhere).await?,
                };
                dials.insert((from, to), dial);
            }
        }
        Ok(Self { clients, dials })
    }

    /// The proxy in front of a server's client port.
    pub(super) fn client(&self, server: usize) -> &Proxy {
        let count = self.clients.len();
        self.clients
            .get(server)
            .unwrap_or_else(|| panic!("no server {server} in an ensemble of {count}"))
    }

    /// Quorum and election port at which `from` reaches `to`.
    pub(super) fn ports(&self, from: usize, to: usize) -> Option<(u16, u16)> {
        let dial = self.dials.get(&(from, to))?;
        Some((dial.quorum.addr().port(), dial.election.addr().port()))
    }

    /// A server listens for clients here from now on.
    pub(super) fn client_moved(&self, server: usize, address: SocketAddr) {
        self.client(server).set_upstream(address);
    }

    /// A server listens for the others here from now on.
    pub(super) fn peers_moved(&self, server: usize, [quorum, election]: [SocketAddr; 2]) {
        for ((_, to), dial) in &self.dials {
            if *to == server {
                dial.quorum.set_upstream(quorum);
                dial.election.set_upstream(election);
            }
        }
    }

    /// A server listens nowhere from now on, and whoever gets its ports is not to be taken for it.
    pub(super) fn gone(&self, server: usize) {
        self.client_moved(server, nowhere());
        self.peers_moved(server, [nowhere(), nowhere()]);
    }

    /// A server stands still, or goes on: what its connections hold does not pass.
    pub(super) fn freeze(&self, server: usize, freeze: bool) {
        self.client(server).freeze(freeze);
    }

    /// Demands two servers that there are.
    pub(super) fn check_pair(&self, a: usize, b: usize) {
        self.client(a);
        self.client(b);
        assert_ne!(a, b, "server {a} has no link with itself");
    }

    /// Both proxies of both dialling directions between two servers, each with the direction that
    /// `way` means for it.
    fn between(&self, a: usize, b: usize, way: Way) -> impl Iterator<Item = (&Proxy, Direction)> {
        let ways = [((a, b), way), ((b, a), way.reversed())];
        ways.into_iter().flat_map(|(pair, way)| {
            let dial = self.dials.get(&pair);
            let proxies = dial.into_iter().flat_map(Dial::proxies);
            proxies.map(move |proxy| (proxy, way.dialled_by_first()))
        })
    }

    pub(super) fn stall(&self, a: usize, b: usize, way: Way, stall: bool) {
        for (proxy, direction) in self.between(a, b, way) {
            proxy.stall(direction, stall);
        }
    }

    pub(super) fn drop_bytes(&self, a: usize, b: usize, way: Way, drop: bool) {
        for (proxy, direction) in self.between(a, b, way) {
            proxy.drop_bytes(direction, drop);
        }
    }

    pub(super) fn delay(&self, a: usize, b: usize, way: Way, delay: Duration) {
        for (proxy, direction) in self.between(a, b, way) {
            proxy.delay(direction, delay);
        }
    }

    pub(super) fn throttle(&self, a: usize, b: usize, way: Way, bytes_per_second: Option<u64>) {
        for (proxy, direction) in self.between(a, b, way) {
            proxy.throttle(direction, bytes_per_second);
        }
    }

    /// Resets every connection between two servers; new ones are possible.
    pub(super) fn reset(&self, a: usize, b: usize) {
        for (proxy, _) in self.between(a, b, Way::Both) {
            proxy.cut_all();
        }
    }

    /// Has the first server find an address of the test where the second one takes votes, which
    /// cannot dial in turn.
    #[cfg(test)]
    pub(super) fn intercept_election(&self, from: usize, to: usize, there: SocketAddr) {
        if let (Some(dial), Some(back)) = (self.dials.get(&(from, to)), self.dials.get(&(to, from)))
        {
            back.election.refuse(true);
            dial.election.set_upstream(there);
        }
    }

    /// Stalls all links of a server with its leader or its learners; votes pass.
    #[cfg(test)]
    pub(super) fn stall_quorum_ports(&self, server: usize) {
        for ((from, to), dial) in &self.dials {
            if [*from, *to].contains(&server) {
                dial.quorum.stall(Direction::Both, true);
            }
        }
    }

    /// Everything passes again, everywhere but where a server stands still.
    pub(super) fn heal(&self) {
        self.clients.iter().for_each(Proxy::heal);
        let dials = self.dials.values().flat_map(Dial::proxies);
        dials.for_each(Proxy::heal);
    }
}

/// Where no server of a test listens.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}
