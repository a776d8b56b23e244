//! An ensemble that runs.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tempfile::TempDir;
use tokio::time::Instant;

use super::error::{EnsembleError, LaunchError};
use super::four_letter;
use super::server::{self, Server};

/// How long a server may take to answer a four-letter word.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A running ensemble.
///
/// Servers are named by their index: voters first, then observers; the server id is one more. Drop
/// kills what still runs; [`shutdown`](Self::shutdown) ends it gracefully.
///
/// # Panics
/// Methods that take an index panic when there is no such server.
#[derive(Debug)]
pub struct Ensemble {
    /// Dropped before the directory they write to.
    servers: Vec<Server>,
    temp_dir: Option<TempDir>,
}

impl Ensemble {
    pub(super) fn new(servers: Vec<Server>, temp_dir: Option<TempDir>) -> Self {
        Self { servers, temp_dir }
    }

    pub(super) async fn start_all(&self, within: Duration) -> Result<(), LaunchError> {
        let deadline = Instant::now() + within;
        try_join_all(self.servers.iter().map(Server::launch)).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        try_join_all(self.servers.iter().map(|server| server.serving(left))).await?;
        Ok(())
    }

    /// The plain client addresses of all servers, as clients take them: `127.0.0.1:port,…`.
    pub fn connect_string(&self) -> String {
        let addrs: Vec<String> = self
            .servers
            .iter()
            .map(|server| server.client_addr().to_string())
            .collect();
        addrs.join(",")
    }

    /// All servers, running or not.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server with index `i`.
    ///
    /// # Panics
    /// When there is no such server.
    pub fn server(&self, i: usize) -> &Server {
        let count = self.servers.len();
        self.servers
            .get(i)
            .unwrap_or_else(|| panic!("no server {i} in an ensemble of {count}"))
    }

    /// The index of the server that leads now; a standalone server leads itself.
    ///
    /// When an old leader has not noticed yet that there is a new one, the new one is returned.
    ///
    /// # Errors
    /// [`EnsembleError::NoLeader`] when no server says that it leads.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn leader(&self) -> Result<usize, EnsembleError> {
        let roles = self.roles().await;
        let leaders = roles.iter().enumerate().filter(|(_, role)| role.leads());
        leaders
            .max_by_key(|(_, role)| role.zxid)
            .map(|(index, _)| index)
            .ok_or_else(|| {
                let modes: Vec<String> = (self.servers.iter().zip(&roles))
                    .map(|(server, role)| format!("{}: {}", server.id(), role.mode))
                    .collect();
                EnsembleError::NoLeader {
                    modes: modes.join(", "),
                }
            })
    }

    /// The indexes of the servers that follow now; neither observers nor servers in between.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn followers(&self) -> Vec<usize> {
        let roles = self.roles().await.into_iter().enumerate();
        roles
            .filter(|(_, role)| role.mode == "follower")
            .map(|(index, _)| index)
            .collect()
    }

    /// Ends server `i` with SIGTERM and waits until it is gone; SIGKILL follows after 15 s.
    ///
    /// # Errors
    /// [`EnsembleError::NotRunning`], or an error of the signal.
    ///
    /// # Cancel safety
    /// The signal stays sent.
    pub async fn stop(&self, i: usize) -> Result<(), EnsembleError> {
        self.server(i).stop().await
    }

    /// Ends server `i` with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// [`EnsembleError::NotRunning`], or an error of the signal.
    ///
    /// # Cancel safety
    /// The signal stays sent.
    pub async fn kill(&self, i: usize) -> Result<(), EnsembleError> {
        self.server(i).kill().await
    }

    /// Stops server `i` in its tracks with SIGSTOP; returns when it stands still.
    ///
    /// Its connections stay open and the kernel goes on to accept new ones, but nobody answers.
    ///
    /// # Errors
    /// [`EnsembleError::NotRunning`], or an error of the signal.
    ///
    /// # Cancel safety
    /// The signal stays sent.
    pub async fn pause(&self, i: usize) -> Result<(), EnsembleError> {
        self.server(i).pause().await
    }

    /// Lets server `i` go on after [`pause`](Self::pause); no error if it was not paused.
    ///
    /// # Errors
    /// [`EnsembleError::NotRunning`], or an error of the signal.
    ///
    /// # Cancel safety
    /// The signal stays sent.
    pub async fn resume(&self, i: usize) -> Result<(), EnsembleError> {
        self.server(i).resume().await
    }

    /// Lets no file of server `i` grow beyond `bytes` until it is started again: what it writes
    /// behind that fails, or is written in part, as on a full disk.
    ///
    /// # Errors
    /// [`EnsembleError::NotRunning`]; [`EnsembleError::Limit`].
    pub fn limit_files(&self, i: usize, bytes: u64) -> Result<(), EnsembleError> {
        self.server(i).limit_files(bytes)
    }

    /// Ends server `i` if it runs and starts it again, on the same ports and directory; returns
    /// when it serves, which takes a quorum.
    ///
    /// # Errors
    /// An error of the signal or of the start.
    ///
    /// # Cancel safety
    /// The server may be left stopped or starting.
    pub async fn restart(&self, i: usize) -> Result<(), EnsembleError> {
        match self.stop(i).await {
            Ok(()) | Err(EnsembleError::NotRunning { .. }) => {}
            Err(err) => return Err(err),
        }
        self.start_server(i).await?;
        self.wait_serving(i, Duration::from_mins(1)).await
    }

    /// Starts server `i`, which must not run, on its ports and directory; does not wait until it
    /// serves.
    ///
    /// # Errors
    /// [`LaunchError::AlreadyRunning`], or an error of the start.
    ///
    /// # Cancel safety
    /// The server may be left stopped or starting.
    pub async fn start_server(&self, i: usize) -> Result<(), EnsembleError> {
        Ok(self.server(i).launch().await?)
    }

    /// Waits until server `i` serves clients.
    ///
    /// # Errors
    /// [`LaunchError::Exited`] or [`LaunchError::NotServing`], with the end of its log.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn wait_serving(&self, i: usize, within: Duration) -> Result<(), EnsembleError> {
        Ok(self.server(i).serving(within).await?)
    }

    /// Waits until some server leads, and returns its index.
    ///
    /// # Errors
    /// [`EnsembleError::NoLeader`] with what each server said last.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn wait_for_leader(&self, within: Duration) -> Result<usize, EnsembleError> {
        let deadline = Instant::now() + within;
        let mut poll = server::poll();
        loop {
            poll.tick().await;
            match self.leader().await {
                Err(EnsembleError::NoLeader { .. }) if Instant::now() < deadline => {}
                other => return other,
            }
        }
    }

    /// The last lines of what server `i` wrote to its standard output and error.
    pub fn logs(&self, i: usize) -> String {
        self.server(i).log()
    }

    /// Asks server `i` a four-letter word.
    ///
    /// # Errors
    /// [`EnsembleError::FourLetterWord`] when it does not answer within 5 s.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn four_letter(&self, i: usize, word: &str) -> Result<String, EnsembleError> {
        let addr = self.server(i).client_addr();
        four_letter::ask(addr, word, ANSWER_WITHIN)
            .await
            .map_err(|source| EnsembleError::FourLetterWord {
                word: word.to_owned(),
                addr,
                source,
            })
    }

    /// Ends all servers gracefully and removes the temporary directory.
    ///
    /// # Cancel safety
    /// What still runs is killed.
    pub async fn shutdown(self) {
        for (server, result) in self
            .servers
            .iter()
            .zip(join_all(self.servers.iter().map(Server::stop)).await)
        {
            match result {
                Ok(()) | Err(EnsembleError::NotRunning { .. }) => {}
                Err(err) => tracing::warn!(sid = server.id(), err = %err, "server did not stop"),
            }
        }
    }

    /// What each server says that it is, by index: `leader`, `follower`, `observer`, `standalone`, or
    /// in parentheses why it says nothing; with the zxid of its last transaction, 0 if unknown.
    ///
    /// # Cancel safety
    /// Safe: it only asks.
    pub async fn modes(&self) -> Vec<(String, u64)> {
        let roles = self.roles().await.into_iter();
        roles.map(|role| (role.mode, role.zxid)).collect()
    }

    /// What all servers say about themselves, asked at the same time.
    async fn roles(&self) -> Vec<Role> {
        join_all(self.servers.iter().map(Role::of)).await
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        // All at once; then each is waited for as it is dropped.
        self.servers.iter().for_each(Server::condemn);
        if let Some(dir) = &self.temp_dir {
            tracing::debug!(path = %dir.path().display(), "ensemble dropped");
        }
    }
}

/// What a server says about itself.
#[derive(Debug)]
struct Role {
    /// `leader`, `follower` and so on; in parentheses why it says nothing.
    mode: String,
    zxid: u64,
}

impl Role {
    async fn of(server: &Server) -> Self {
        let silent = |why: &str| Self {
            mode: format!("({why})"),
            zxid: 0,
        };
        if server.pid().is_none() {
            return silent("not running");
        }
        if server.is_paused() {
            return silent("paused");
        }
        let (mode, zxid) = ask_mode(server.client_addr()).await;
        Self { mode, zxid }
    }

    fn leads(&self) -> bool {
        matches!(self.mode.as_str(), "leader" | "standalone")
    }
}

/// What the server at an address says that it is, or in parentheses why it says nothing; with the
/// zxid of its last transaction.
pub(super) async fn ask_mode(address: SocketAddr) -> (String, u64) {
    let reply = match four_letter::ask(address, "srvr", ANSWER_WITHIN).await {
        Ok(reply) => reply,
        Err(err) => return (format!("({err})"), 0),
    };
    let Some(mode) = four_letter::field(&reply, "Mode") else {
        return ("(not serving)".to_owned(), 0);
    };
    let zxid = four_letter::field(&reply, "Zxid")
        .and_then(|zxid| u64::from_str_radix(zxid.trim_start_matches("0x"), 16).ok());
    (mode.to_owned(), zxid.unwrap_or_default())
}
