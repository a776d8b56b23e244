//! Decides what an ensemble under test looks like.

use std::fmt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::Ensemble;
use super::backend::{Backend, Servers};
use super::error::Error;
use super::links::Links;

/// Voters at most: more only make elections slower.
const SERVERS_MAX: usize = 9;
/// Of processes.
const PROCESSES_MAX: usize = crate::ensemble::VOTERS_MAX;
/// Observers at most.
const OBSERVERS_MAX: usize = 16;

/// Decides what an ensemble under test looks like.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) servers: usize,
    pub(super) observers: usize,
    pub(super) settings: Vec<(String, String)>,
    pub(super) backend: Backend,
    pub(super) directory: Option<PathBuf>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            servers: 3,
            observers: 0,
            settings: Vec::new(),
            backend: Backend::default(),
            directory: None,
        }
    }

    /// Number of voters, 1 to 9, of processes (Apache's are some) 1 to 5; 3 unless told otherwise. One
    /// alone stands without an ensemble.
    #[must_use]
    pub fn servers(mut self, servers: usize) -> Self {
        self.servers = servers;
        self
    }

    /// Number of observers, which come behind the voters; none unless told otherwise.
    #[must_use]
    pub fn observers(mut self, observers: usize) -> Self {
        self.observers = observers;
        self
    }

    /// Sets a key of every server's `zoo.cfg`.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// What the servers are; of this process unless told otherwise.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Keeps what processes of ours write in this directory, and leaves it there; what is found there
    /// is used. Other servers have a directory that goes with the ensemble.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts all servers; they serve when this returns.
    ///
    /// # Errors
    /// [`Error`]; nothing runs then.
    ///
    /// # Cancel safety
    /// What was started is stopped.
    pub async fn start(self) -> Result<Ensemble, Error> {
        let Self {
            servers, observers, ..
        } = self;
        let servers_max = match self.backend {
            Backend::Processes(_) | Backend::Apache => PROCESSES_MAX,
            Backend::InProcess => SERVERS_MAX,
            #[cfg(feature = "containers")]
            Backend::Containers(_) => SERVERS_MAX,
        };
        let is_possible = (1..=servers_max).contains(&servers)
            && observers <= OBSERVERS_MAX
            && (servers > 1 || observers == 0 || self.backend != Backend::InProcess);
        if !is_possible {
            return Err(Error::Shape { servers, observers });
        }
        let directory = TempDir::with_prefix("zk-ensemble-").map_err(Error::Setup)?;
        let links = Links::start(servers + observers)
            .await
            .map_err(Error::Setup)?;
        let servers = Servers::start(&self, &links, &directory).await?;
        let ensemble = Ensemble {
            servers,
            links,
            has_links: matches!(self.backend, Backend::InProcess | Backend::Processes(_)),
            _directory: directory,
        };
        ensemble.wait_until_serving().await?;
        Ok(ensemble)
    }
}
