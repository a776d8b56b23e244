//! An ensemble for tests, and what can be done to it.
//!
//! ```text
//!            clients of the test
//!         ┌────────┼────────┐            every line is a proxy
//!      server 0  server 1  server 2      that can be cut, stalled, slowed
//!         └───◄──────►──────┘
//! ```

mod backend;
mod builder;
mod error;
mod expire;
mod links;
mod member;
mod run;
mod standing;
mod wait;

pub use self::backend::Backend;
pub use self::builder::Builder;
pub use self::error::Error;
pub use self::links::Way;
pub use self::run::with_client;

use std::io;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use zk_client::{Client, ConnState, SessionId};
use zk_server::faults::Faults;

use self::backend::Servers;
use self::links::Links;
use self::standing::Standing;
use crate::fault::Proxy;

/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(2);

/// How long a server may take to end a session before another one is asked.
const EXPIRE_TRY: Duration = Duration::from_secs(2);

/// An ensemble for tests: real servers, on ports that the system chose, in a directory that goes
/// with it.
///
/// Servers are named by their index; the server id is one more. Everything ends when it is dropped.
///
/// # Panics
/// Methods that take an index panic when there is no such server.
///
/// # Examples
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), zk_testkit::Error> {
/// let ensemble = zk_testkit::Ensemble::start(3).await?;
/// let zk = ensemble.client().await?;
/// zk.create("/greeting", "hello").await?;
///
/// ensemble.kill(ensemble.leader().await?).await?;
/// zk.set("/greeting", "still here").idempotent().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ensemble {
    servers: Servers,
    links: Links,
    /// Whether the servers reach each other by the links.
    has_links: bool,
    _directory: TempDir,
}

impl Ensemble {
    /// Starts this many servers in this process; they serve when this returns.
    ///
    /// # Errors
    /// [`Error`]; nothing runs then.
    ///
    /// # Cancel safety
    /// What was started is stopped.
    pub async fn start(servers: usize) -> Result<Self, Error> {
        Self::builder().servers(servers).start().await
    }

    /// Describes an ensemble to start; three servers in this process unless told otherwise.
    pub fn builder() -> Builder {
        Builder::new()
    }

    // --- clients --------------------------------------------------------------------------------

    /// Where clients connect, as they take it: `127.0.0.1:port,…`.
    pub fn connect_string(&self) -> String {
        self.connect_string_of(0..self.servers.count())
    }

    /// The same with some of the servers only.
    pub fn connect_string_of(&self, servers: impl IntoIterator<Item = usize>) -> String {
        let addresses = servers
            .into_iter()
            .map(|index| self.links.client(index).addr().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// A client of all servers, connected.
    ///
    /// # Errors
    /// [`Error::Client`] if none takes it.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn client(&self) -> Result<Client, Error> {
        Ok(Client::connect(&self.connect_string()).await?)
    }

    /// A client of one server, connected.
    ///
    /// # Errors
    /// [`Error::Client`] if it does not take it.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn client_of(&self, server: usize) -> Result<Client, Error> {
        Ok(Client::connect(&self.connect_string_of([server])).await?)
    }

    /// Moves a client to a server, where it stays until [`Self::free_client`].
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not get there.
    ///
    /// # Cancel safety
    /// The client may be on its way, and has only the one server.
    pub async fn move_client(&self, client: &Client, server: usize) -> Result<(), Error> {
        client.set_servers(&self.connect_string_of([server]))?;
        let port = self.links.client(server).addr().port();
        let mut state = client.state();
        let is_there = |state: &ConnState| matches!(state, ConnState::Connected { server, .. } if server.port() == port);
        let within = self.servers.patience();
        let moved = timeout(within, state.wait_for(is_there)).await;
        if !matches!(moved, Ok(Ok(_))) {
            return Err(self.timeout("the client's move", within).await);
        }
        Ok(())
    }

    /// Lets a client that was moved use all servers again; it may move at once.
    ///
    /// # Errors
    /// None that can come.
    pub fn free_client(&self, client: &Client) -> Result<(), Error> {
        Ok(client.set_servers(&self.connect_string())?)
    }

    /// Ends a session as if it had run out: its ephemeral znodes are gone when this returns, and its
    /// client hears of it when it connects again.
    ///
    /// # Errors
    /// [`Error::Expire`] if no server lets it be ended.
    ///
    /// # Cancel safety
    /// The session may be over or not.
    pub async fn expire(&self, session: SessionId) -> Result<(), Error> {
        let deadline = Instant::now() + self.servers.patience();
        loop {
            let mut last = io::Error::from(io::ErrorKind::NotConnected);
            for index in 0..self.servers.count() {
                let Some(address) = self.servers.client_addr(index).await else {
                    continue;
                };
                match timeout(EXPIRE_TRY, expire::close(address, session)).await {
                    Ok(Ok(true)) => return Ok(()),
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => last = error,
                    Err(late) => last = late.into(),
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::Expire {
                    session,
                    source: last,
                });
            }
            sleep(POLL).await;
        }
    }

    // --- servers --------------------------------------------------------------------------------

    /// Number of servers, running or not.
    pub fn len(&self) -> usize {
        self.servers.count()
    }

    /// Whether there is none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends a server without warning, as kill -9 does: nothing of it reaches its disk any more.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    /// The server may be left running or not.
    pub async fn kill(&self, server: usize) -> Result<(), Error> {
        self.servers.kill(server, &self.links).await?;
        self.links.freeze(server, false);
        Ok(())
    }

    /// Ends a server in order, as SIGTERM does.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Stopped`] if it had stopped by itself.
    ///
    /// # Cancel safety
    /// The server is ending.
    pub async fn stop(&self, server: usize) -> Result<(), Error> {
        // It answers while it ends, as a process that is paused does after SIGTERM.
        self.links.freeze(server, false);
        self.servers.stop(server, &self.links).await
    }

    /// The processes, if that is what the servers are, for what can be done to processes only. Who
    /// stops one there starts it there, or here.
    pub fn processes(&self) -> Option<&crate::ensemble::Ensemble> {
        self.servers.as_processes()
    }

    /// The containers, if that is what the servers are: their logs, their names.
    #[cfg(feature = "containers")]
    pub fn containers(&self) -> Option<&crate::ensemble::containers::Containers> {
        self.servers.as_containers()
    }

    /// Starts a server that was stopped or killed, on its directory; does not wait until it serves.
    ///
    /// # Errors
    /// [`Error::Running`]; [`Error::Start`].
    ///
    /// # Cancel safety
    /// The server may be left stopped or running.
    pub async fn launch(&self, server: usize) -> Result<(), Error> {
        self.servers.launch(server, &self.links).await?;
        self.links.freeze(server, false);
        Ok(())
    }

    /// Stops a server if it runs, starts it again, and waits until it serves.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::launch`]; [`Error::Timeout`] if it does not come to serve.
    ///
    /// # Cancel safety
    /// The server may be left stopped or running.
    pub async fn restart(&self, server: usize) -> Result<(), Error> {
        match self.stop(server).await {
            Ok(()) | Err(Error::NotRunning { .. } | Error::Stopped { .. }) => {}
            Err(error) => return Err(error),
        }
        self.launch(server).await?;
        self.wait_for("a server that serves", |standings| {
            standings.get(server).is_some_and(Standing::serves)
        })
        .await
    }

    /// Stops a server in its tracks, as SIGSTOP does: its sockets stay open, and nobody answers.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    /// The server may be left running or paused.
    pub async fn pause(&self, server: usize) -> Result<(), Error> {
        self.servers.pause(server).await?;
        self.set_frozen(server, true);
        Ok(())
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    ///
    /// # Cancel safety
    /// The server may be left running or paused.
    pub async fn resume(&self, server: usize) -> Result<(), Error> {
        let resumed = self.servers.resume(server).await;
        self.set_frozen(server, false);
        resumed
    }

    /// A server whose threads stand still must not answer from its connections either.
    fn set_frozen(&self, server: usize, is_frozen: bool) {
        if matches!(self.servers, Servers::InProcess(_)) {
            self.links.freeze(server, is_frozen);
        }
    }

    /// Makes the leader give way, and waits for the next one: its index. The old leader is started
    /// again.
    ///
    /// Without it the others must be a quorum: of one or two servers none can take its place.
    ///
    /// # Errors
    /// As [`Self::restart`] and [`Self::leader`].
    ///
    /// # Cancel safety
    /// The old leader may be left stopped.
    pub async fn force_election(&self) -> Result<usize, Error> {
        self.force_election_within(self.servers.patience()).await
    }

    async fn force_election_within(&self, within: Duration) -> Result<usize, Error> {
        let before = self.leader().await?;
        self.stop(before).await?;
        match self.leader_within(within).await {
            Ok(after) => {
                self.restart(before).await?;
                Ok(after)
            }
            Err(error) => {
                self.launch(before).await?;
                Err(error)
            }
        }
    }

    // --- disks ----------------------------------------------------------------------------------

    /// Handle on the faults of a server in this process as it runs now: slow, full or broken disk.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Unsupported`] by other backends.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn faults(&self, server: usize) -> Result<Faults, Error> {
        self.servers
            .member(server, "hurting a disk")?
            .faults()
            .await
    }

    // --- links ----------------------------------------------------------------------------------

    /// The proxy between clients and a server: cut, stall, delay, throttle, drop.
    pub fn client_link(&self, server: usize) -> &Proxy {
        self.links.client(server)
    }

    /// Cuts the link between two servers: connections stay open, and nothing passes, as if a cable
    /// were pulled.
    ///
    /// Some of the votes of processes get through: who has the larger id dials back where the other says
    /// that it listens, and that is past the links. Transactions never do. The same holds for the other
    /// verbs on links.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the servers reach each other past the links: Apache's, and containers.
    ///
    /// # Panics
    /// If there is no such server, or both are the same.
    pub fn cut(&self, a: usize, b: usize, way: Way) -> Result<(), Error> {
        self.need_link("cutting a link", a, b)?;
        self.links.stall(a, b, way, true);
        Ok(())
    }

    /// Mends what [`Self::cut`] cut.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the servers reach each other past the links: Apache's, and containers.
    ///
    /// # Panics
    /// If there is no such server, or both are the same.
    pub fn mend(&self, a: usize, b: usize, way: Way) -> Result<(), Error> {
        self.need_link("mending a link", a, b)?;
        self.links.stall(a, b, way, false);
        Ok(())
    }

    /// Cuts all links between a server and the others, as [`Self::cut`] does. Its clients still reach it.
    ///
    /// A container is taken off the network that the servers share, which holds the thread up until
    /// it is done.
    ///
    /// # Errors
    /// [`Error::Unsupported`] by [`Backend::Apache`]; what the engine says of a container.
    pub fn isolate(&self, server: usize) -> Result<(), Error> {
        #[cfg(feature = "containers")]
        if let Some(containers) = self.containers() {
            return Ok(containers.isolate(server)?);
        }
        self.need_links("isolating a server")?;
        self.links.client(server);
        for other in (0..self.len()).filter(|&other| other != server) {
            self.links.stall(server, other, Way::Both, true);
        }
        Ok(())
    }

    /// Loses what is sent between two servers, bytes and ends of connections.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the servers reach each other past the links: Apache's, and containers.
    ///
    /// # Panics
    /// If there is no such server, or both are the same.
    pub fn drop_bytes(&self, a: usize, b: usize, way: Way, drop: bool) -> Result<(), Error> {
        self.need_link("dropping bytes", a, b)?;
        self.links.drop_bytes(a, b, way, drop);
        Ok(())
    }

    /// Lets what is sent between two servers arrive later.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the servers reach each other past the links: Apache's, and containers.
    ///
    /// # Panics
    /// If there is no such server, or both are the same.
    pub fn delay(&self, a: usize, b: usize, way: Way, delay: Duration) -> Result<(), Error> {
        self.need_link("delaying a link", a, b)?;
        self.links.delay(a, b, way, delay);
        Ok(())
    }

    /// Limits the bytes per second between two servers, on each connection.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the servers reach each other past the links: Apache's, and containers.
    ///
    /// # Panics
    /// If there is no such server, or both are the same.
    pub fn throttle(&self, a: usize, b: usize, way: Way, rate: Option<u64>) -> Result<(), Error> {
        self.need_link("throttling a link", a, b)?;
        self.links.throttle(a, b, way, rate);
        Ok(())
    }

    /// Resets every connection between two servers; they may connect again.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the servers reach each other past the links: Apache's, and containers.
    ///
    /// # Panics
    /// If there is no such server, or both are the same.
    pub fn reset(&self, a: usize, b: usize) -> Result<(), Error> {
        self.need_link("resetting a link", a, b)?;
        self.links.reset(a, b);
        Ok(())
    }

    /// Mends all links, those to clients included, and brings containers back to the network.
    ///
    /// # Panics
    /// If the engine does not connect a container.
    pub fn heal(&self) {
        #[cfg(feature = "containers")]
        if let Some(containers) = self.containers() {
            let healed = containers.heal();
            healed.expect("an engine that disconnects a container connects it again");
        }
        self.links.heal();
    }

    fn need_links(&self, verb: &'static str) -> Result<(), Error> {
        if self.has_links {
            Ok(())
        } else {
            Err(Error::Unsupported { verb })
        }
    }

    /// As [`Self::need_links`], for the link between two servers.
    fn need_link(&self, verb: &'static str, a: usize, b: usize) -> Result<(), Error> {
        self.need_links(verb)?;
        self.links.check_pair(a, b);
        Ok(())
    }
}
