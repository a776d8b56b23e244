//! Servers in the process of the test: real server code on real sockets.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use zk_proto::ServerId;
use zk_server::faults::Faults;
use zk_server::{MemberSockets, Phase, Role, Server};

use super::error::Error;
use super::links::Links;
use super::standing::Standing;

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
        if running
            .as_ref()
            .is_some_and(|running| !running.has_stopped())
        {
            return Err(Error::Running { index });
        }
        if let Some(stopped) = running.take() {
            links.gone(index);
            // Why it stopped is for those to hear who end it; what it holds must be free.
            stopped.server.shutdown().await.ok();
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
        let server = builder.start().await.map_err(|source| {
            links.gone(index);
            Error::Start {
                index,
                source: Box::new(source),
            }
        })?;
        links.client_moved(index, server.client_address());
        *running = Some(Running { server, faults });
        Ok(())
    }

    /// Ends the server in order.
    pub(super) async fn stop(&self, links: &Links) -> Result<(), Error> {
        let index = self.seat.index;
        let running = self.running.lock().await.take();
        let running = running.ok_or(Error::NotRunning { index })?;
        // Before its ports are free, which another ensemble may get.
        links.gone(index);
        running.faults.resume();
        let stopped = running.server.shutdown().await;
        stopped.map_err(|source| Error::Stopped { index, source })
    }

    /// Ends the server as kill -9 would.
    pub(super) async fn kill(&self, links: &Links) -> Result<(), Error> {
        let index = self.seat.index;
        let running = self.running.lock().await.take();
        let running = running.ok_or(Error::NotRunning { index })?;
        links.gone(index);
        running.faults.kill();
        // It hands nothing over. A panic on the way was reported by the thread that had it.
        spawn_blocking(move || drop(running.server)).await.ok();
        Ok(())
    }

    /// Handle on the faults of the server as it runs now.
    pub(super) async fn faults(&self) -> Result<Faults, Error> {
        let running = self.running.lock().await;
        let index = self.seat.index;
        let running = running.as_ref().filter(|running| !running.has_stopped());
        let running = running.ok_or(Error::NotRunning { index })?;
        Ok(running.faults.clone())
    }

    /// What the server is to the others.
    pub(super) async fn standing(&self) -> Standing {
        let running = self.running.lock().await;
        let running = running.as_ref().filter(|running| !running.has_stopped());
        let Some(running) = running else {
            return Standing::none("not running");
        };
        if running.faults.is_paused() {
            return Standing::none("paused");
        }
        let status = running.server.status();
        let word = match (status.phase, status.role) {
            (Phase::Broadcast, Role::Alone) => "standalone",
            (Phase::Broadcast, Role::Leading) => "leader",
            (Phase::Broadcast, Role::Following) => "follower",
            (Phase::Broadcast, Role::Observing) => "observer",
            (phase, role) => return Standing::none(&format!("{role:?}, {phase:?}")),
        };
        let zxid = status.applied.get().cast_unsigned();
        Standing::new(
            word,
            zxid,
            u64::from(status.current_epoch.get().cast_unsigned()),
        )
    }

    /// Where the server listens for clients, if it runs and is not paused.
    pub(super) async fn client_addr(&self) -> Option<SocketAddr> {
        let running = self.running.lock().await;
        let answers = |running: &&Running| !running.has_stopped() && !running.faults.is_paused();
        let running = running.as_ref().filter(answers)?;
        Some(running.server.client_address())
    }
}

impl Running {
    /// Whether it has stopped by itself.
    fn has_stopped(&self) -> bool {
        self.server.stopped().now_or_never().is_some()
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
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, sleep, timeout};
    use zk_client::Client;
    use zk_core::wire::election::{InitialMessage, Reading};

    use crate::{Ensemble, Error, Way};

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

    #[tokio::test(flavor = "multi_thread")]
    async fn the_link_to_a_server_that_is_gone_leads_nowhere() {
        let ensemble = Ensemble::start(1).await.expect("started");
        for is_kill in [true, false] {
            let address = ensemble.servers.client_addr(0).await.expect("it runs");
            if is_kill {
                ensemble.kill(0).await.expect("killed");
            } else {
                ensemble.stop(0).await.expect("stopped");
            }
            // Somebody else gets the port; what the server left of its connections goes first.
            let bind = async {
                loop {
                    match TcpListener::bind(address).await {
                        Ok(listener) => return listener,
                        Err(_) => sleep(Duration::from_millis(2)).await,
                    }
                }
            };
            let listener = timeout(Duration::from_mins(1), bind).await.expect("free");
            let link = ensemble.client_link(0).addr();
            let dial = async {
                let mut socket = TcpStream::connect(link).await?;
                socket.read_u8().await
            };
            tokio::select! {
                biased;
                _ = listener.accept() => panic!("the link leads to who has the port"),
                read = dial => assert!(read.is_err(), "nobody is there to say anything"),
            }
            drop(listener);
            ensemble.restart(0).await.expect("back");
        }
    }

    /// A leader that hands over waits two seconds for those that do not answer.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_leader_waits_for_nobody() {
        // It bears the silence of the others for a while.
        let builder = Ensemble::builder().config("syncLimit", 50);
        let ensemble = builder.start().await.expect("started");
        let mut is_quick = false;
        // A slow machine has several tries.
        for _ in 0..10 {
            let leader = ensemble.leader().await.expect("one");
            let zk = ensemble.client_of(leader).await.expect("connected");
            for other in (0..3).filter(|&one| one != leader) {
                ensemble.cut(leader, other, Way::Both).expect("cut");
            }
            let pending = zk.create("/pending", "").send();
            let member = ensemble.servers.member(leader, "looking").expect("here");
            let is_logged = async || {
                let running = member.running.lock().await;
                let status = running.as_ref().expect("running").server.status();
                status.durable > status.committed
            };
            let logged = ensemble.wait_until("the log", Duration::from_secs(30), is_logged);
            logged.await.expect("logged");
            let start = Instant::now();
            ensemble.kill(leader).await.expect("killed");
            is_quick = start.elapsed() < Duration::from_secs(1);
            let answer = timeout(Duration::from_secs(30), pending).await;
            assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
            if is_quick {
                break;
            }
            ensemble.heal();
            ensemble.restart(leader).await.expect("back");
        }
        assert!(is_quick, "it waited for the others");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_one_or_two_servers_none_takes_the_place_of_the_leader() {
        for count in [1, 2] {
            let ensemble = Ensemble::start(count).await.expect("started");
            let forced = ensemble.force_election_within(Duration::from_millis(50));
            let error = forced.await.expect_err("nobody else");
            assert!(matches!(error, Error::Timeout { .. }), "{error}");
            let zk = ensemble.client().await.expect("it is started again");
            zk.create("/a", "").await.expect("created");
        }
    }
}
