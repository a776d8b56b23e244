//! Servers in the process of the test: real server code on real sockets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use tokio::sync::Mutex;
use zk_proto::ServerId;
use zk_server::faults::Faults;
use zk_server::{MemberSockets, Phase, Role, Server};

use super::error::Error;
use super::links::Links;

/// What is the same each time a server starts.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) index: usize,
    /// Lines of `zoo.cfg` beyond those that every server needs.
    pub(super) settings: Vec<(String, String)>,
    pub(super) data_dir: PathBuf,
    /// Roles of all servers, by index; empty for a server that stands alone.
    pub(super) roles: Vec<&'static str>,
}

/// A server of the ensemble, running or not.
#[derive(Debug)]
pub(super) struct Member {
    seat: Seat,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    server: Server,
    faults: Faults,
}

impl Member {
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            seat,
            running: Mutex::new(None),
        }
    }

    /// Starts the server on ports that are free now, and tells the links.
    pub(super) async fn start(&self, links: &Links) -> Result<(), Error> {
        let index = self.seat.index;
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Err(Error::Running { index });
        }
        let faults = Faults::default();
        let mut builder = Server::builder()
            .data_dir(&self.seat.data_dir)
            .faults(&faults);
        for (key, value) in &self.seat.settings {
            builder = builder.set(key, value);
        }
        if !self.seat.roles.is_empty() {
            let sockets = Sockets::bind().map_err(Error::Setup)?;
            // Before it starts, so that the others find it at once.
            links.peers_moved(index, [sockets.quorum, sockets.election]);
            for (other, role) in self.seat.roles.iter().enumerate() {
                // It tells others where it is, and they would dial it there, past the links: all
                // addresses are none.
                let (host, (quorum, election)) = match links.ports(index, other) {
                    Some(ports) => ("127.0.0.1", ports),
                    None => ("0.0.0.0", (sockets.quorum.port(), sockets.election.port())),
                };
                let line = format!("{host}:{quorum}:{election}:{role}");
                builder = builder.set(&format!("server.{}", other + 1), line);
            }
            builder = builder.member(sid(index), sockets.listeners);
        }
        let server = builder.start().await.map_err(|source| Error::Start {
            index,
            source: Box::new(source),
        })?;
        links.client_moved(index, server.client_address());
        *running = Some(Running { server, faults });
        Ok(())
    }

    /// Ends the server in order.
    pub(super) async fn stop(&self) -> Result<(), Error> {
        let index = self.seat.index;
        let running = self.running.lock().await.take();
        let running = running.ok_or(Error::NotRunning { index })?;
        running.faults.resume();
        let stopped = running.server.shutdown().await;
        stopped.map_err(|source| Error::Stopped { index, source })
    }

    /// Ends the server as kill -9 would.
    pub(super) async fn kill(&self) -> Result<(), Error> {
        let index = self.seat.index;
        let running = self.running.lock().await.take();
        let running = running.ok_or(Error::NotRunning { index })?;
        running.faults.kill();
        // What it says about the disk that it lost is no news.
        running.server.shutdown().await.ok();
        Ok(())
    }

    /// Handle on the faults of the server as it runs now.
    pub(super) async fn faults(&self) -> Result<Faults, Error> {
        let running = self.running.lock().await;
        let index = self.seat.index;
        let running = running.as_ref().ok_or(Error::NotRunning { index })?;
        Ok(running.faults.clone())
    }

    /// What the server is to the others, in words, with the zxid of its last transaction.
    pub(super) async fn role(&self) -> (String, u64) {
        let running = self.running.lock().await;
        let Some(running) = running.as_ref() else {
            return ("(not running)".to_owned(), 0);
        };
        if running.faults.is_paused() {
            return ("(paused)".to_owned(), 0);
        }
        let status = running.server.status();
        let word = match (status.phase, status.role) {
            (Phase::Broadcast, Role::Alone) => "standalone",
            (Phase::Broadcast, Role::Leading) => "leader",
            (Phase::Broadcast, Role::Following) => "follower",
            (Phase::Broadcast, Role::Observing) => "observer",
            (phase, role) => return (format!("({role:?}, {phase:?})"), 0),
        };
        let zxid = status.applied.get().cast_unsigned();
        (word.to_owned(), zxid)
    }

    /// Where the server listens for clients, if it runs.
    pub(super) async fn client_addr(&self) -> Option<SocketAddr> {
        let running = self.running.lock().await;
        Some(running.as_ref()?.server.client_address())
    }
}

/// The id of a server is one more than its index.
fn sid(index: usize) -> ServerId {
    ServerId::new(i64::try_from(index).map_or(i64::MAX, |index| index + 1))
}

struct Sockets {
    quorum: SocketAddr,
    election: SocketAddr,
    listeners: MemberSockets,
}

impl Sockets {
    fn bind() -> std::io::Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (quorum, election) = (bind()?, bind()?);
        Ok(Self {
            quorum: quorum.local_addr()?,
            election: election.local_addr()?,
            listeners: MemberSockets { quorum, election },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use zk_client::Client;
    use zk_core::wire::election::{InitialMessage, Reading};

    use crate::Ensemble;

    /// The larger id of two keeps the connection for votes: a smaller one that dials is dialled back
    /// where it says that it is. If that is where it listens, the connection passes no proxy.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_member_tells_others_where_they_would_reach_it_past_the_links() {
        let ensemble = Ensemble::start(3).await.expect("started");
        ensemble.stop(0).await.expect("stopped");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let here = listener.local_addr().expect("bound");
        ensemble.links.intercept_election(0, 1, here);
        ensemble.launch(0).await.expect("launched");
        let told = async {
            let (mut socket, _) = listener.accept().await.expect("dialled");
            let mut bytes = Vec::new();
            loop {
                match InitialMessage::read(&bytes).expect("it says who it is") {
                    Reading::Done(message) => return message.addresses,
                    Reading::Need(_) => bytes.push(socket.read_u8().await.expect("more")),
                }
            }
        };
        let told = timeout(Duration::from_secs(30), told).await.expect("soon");
        let is_nowhere = |address: &String| address.starts_with("0.0.0.0:");
        assert!(!told.is_empty() && told.iter().all(is_nowhere), "{told:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_majority_serves_that_hears_the_votes_of_a_leader_it_cannot_reach() {
        let ensemble = Ensemble::start(3).await.expect("started");
        let leader = ensemble.leader().await.expect("one");
        ensemble.links.stall_quorum_ports(leader);
        let others = ensemble.connect_string_of((0..3).filter(|&one| one != leader));
        let zk = Client::builder(&others).start().expect("addresses");
        let written = async {
            while let Err(error) = zk.set("/", "").idempotent().await {
                assert!(error.is_retryable(), "{error}");
            }
        };
        let written = timeout(Duration::from_secs(30), written).await;
        written.expect("two of three serve");
        ensemble.heal();
        ensemble.wait_for_convergence().await.expect("converged");
    }
}
