//! An ensemble in containers that runs.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::builder::Builder;
use super::engine::{Ground, run_apart};
use super::error::ContainerError;
use super::image::Image;
use super::server::Server;

/// A running ensemble in containers.
///
/// Servers are named by their index: voters first, then observers; the server id is one more.
/// Containers and networks go when it is dropped; a test that panics is shown the ends of their logs.
///
/// # Panics
/// Methods that take an index panic when there is no such server.
#[derive(Debug)]
pub struct Containers {
    servers: Vec<Server>,
    /// Dropped behind the containers.
    ground: Ground,
}

impl Containers {
    /// Describes an ensemble of containers of this image; one server unless told otherwise.
    pub fn builder(image: Image) -> Builder {
        Builder::new(image)
    }

    pub(super) fn new(ground: Ground, servers: Vec<Server>) -> Self {
        Self { servers, ground }
    }

    /// Name of the ensemble and of the network between its servers; those of its containers are the
    /// same with `-1`, `-2` and so on behind.
    pub fn name(&self) -> &str {
        &self.ground.name
    }

    /// Number of servers, running or not.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    fn server(&self, server: usize) -> &Server {
        let count = self.servers.len();
        self.servers
            .get(server)
            .unwrap_or_else(|| panic!("no server {server} in an ensemble of {count}"))
    }

    /// Where clients reach a server, if it runs; another port each time that it is started.
    pub fn client_addr(&self, server: usize) -> Option<SocketAddr> {
        self.server(server).state().address
    }

    /// The client addresses of all servers that run, as clients take them: `127.0.0.1:port,…`.
    pub fn connect_string(&self) -> String {
        let addresses = self
            .servers
            .iter()
            .filter_map(|server| server.state().address);
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        addresses.join(",")
    }

    /// What each server says that it is, by index: `leader`, `follower`, `observer`, `standalone`, or
    /// in parentheses why it says nothing; with the zxid of its last transaction, 0 if unknown.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn modes(&self) -> Vec<(String, u64)> {
        join_all(self.servers.iter().map(Server::mode)).await
    }

    /// Ends a server without warning, as kill -9 does. Its container stays, with what is on its disk.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`]; [`ContainerError::Engine`].
    ///
    /// # Cancel safety
    /// The server may be left running or not.
    pub async fn kill(&self, server: usize) -> Result<(), ContainerError> {
        self.server(server).kill().await
    }

    /// Ends a server with SIGTERM and waits until it is gone; SIGKILL follows after 15 s.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`]; [`ContainerError::Engine`].
    ///
    /// # Cancel safety
    /// The signal stays sent.
    pub async fn stop(&self, server: usize) -> Result<(), ContainerError> {
        self.server(server).stop().await
    }

    /// Starts a server that was stopped or killed, in its container; does not wait until it serves.
    ///
    /// # Errors
    /// [`ContainerError::Running`]; [`ContainerError::Engine`].
    ///
    /// # Cancel safety
    /// The server may be left stopped or running.
    pub async fn launch(&self, server: usize) -> Result<(), ContainerError> {
        self.server(server).launch().await
    }

    /// Stops all threads of a server; its connections stay open, and nobody answers.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`]; [`ContainerError::Engine`].
    ///
    /// # Cancel safety
    /// The server may be left running or paused.
    pub async fn pause(&self, server: usize) -> Result<(), ContainerError> {
        self.server(server).pause().await
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`]; [`ContainerError::Engine`], also if it was not paused.
    ///
    /// # Cancel safety
    /// The server may be left running or paused.
    pub async fn resume(&self, server: usize) -> Result<(), ContainerError> {
        self.server(server).resume().await
    }

    /// Takes a server off the network between the servers: a partition, of which neither side is told.
    /// Its clients still reach it. Returns when it is done, and holds its thread up until then.
    ///
    /// # Errors
    /// [`ContainerError::Engine`].
    pub fn isolate(&self, server: usize) -> Result<(), ContainerError> {
        let server = self.server(server);
        if server.state().is_isolated {
            return Ok(());
        }
        run_apart(self.ground.close_to_peers(server.id()))?;
        server.state().is_isolated = true;
        Ok(())
    }

    /// Brings all servers back that were isolated. Returns when it is done, and holds its thread up
    /// until then.
    ///
    /// # Errors
    /// [`ContainerError::Engine`].
    pub fn heal(&self) -> Result<(), ContainerError> {
        for server in &self.servers {
            if server.state().is_isolated {
                run_apart(self.ground.open_to_peers(server.id()))?;
                server.state().is_isolated = false;
            }
        }
        Ok(())
    }

    /// Waits until a server serves clients.
    ///
    /// # Errors
    /// [`ContainerError::Ended`] or [`ContainerError::NotServing`], with the end of its log.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn wait_serving(
        &self,
        server: usize,
        within: Duration,
    ) -> Result<(), ContainerError> {
        self.server(server).serving(within).await
    }

    pub(super) async fn wait_all_serving(&self, within: Duration) -> Result<(), ContainerError> {
        try_join_all(self.servers.iter().map(|server| server.serving(within))).await?;
        Ok(())
    }

    /// The last lines of what a server wrote to its standard output and error.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn logs(&self, server: usize) -> String {
        self.server(server).log().await
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let servers = std::mem::take(&mut self.servers);
        let is_failing = std::thread::panicking();
        let logs = run_apart(async {
            let logs = if is_failing {
                join_all(servers.iter().map(Server::log)).await
            } else {
                Vec::new()
            };
            for removed in join_all(servers.into_iter().map(Server::remove)).await {
                if let Err(error) = removed {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(err = error, "container not removed at once");
                }
            }
            logs
        });
        // Here, where the output is that of the test.
        for (index, log) in logs.iter().enumerate() {
            eprintln!("--- end of the log of server {index}\n{log}");
        }
    }
}
