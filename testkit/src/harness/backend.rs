//! What the servers of an ensemble are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;
use tempfile::TempDir;

use super::builder::Builder;
use super::error::Error;
use super::links::Links;
use super::member::{Member, Seat};
use crate::ensemble;
use crate::ensemble::process::ZkServer;
use crate::ensemble::reference::Reference;

/// What the servers of an ensemble are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Backend {
    /// Servers of ours in the process of the test.
    #[default]
    InProcess,
    /// Processes of this `zkserver` binary: `env!("CARGO_BIN_EXE_zkserver")` in tests of its package.
    Processes(PathBuf),
    /// Apache `ZooKeeper`, from Debian's `zookeeper` package.
    Apache,
}

/// The servers themselves.
#[derive(Debug)]
pub(super) enum Servers {
    InProcess(Vec<Member>),
    Processes(ensemble::Ensemble),
}

/// Milliseconds of a tick: short, so that what takes ticks does not take long.
const TICK_MS: u64 = 200;

impl Servers {
    /// Starts all servers; they may not serve yet.
    pub(super) async fn start(
        builder: &Builder,
        links: &Links,
        directory: &TempDir,
    ) -> Result<Self, Error> {
        let (voters, observers) = (builder.servers, builder.observers);
        match &builder.backend {
            Backend::InProcess => {
                let roles = (0..voters).map(|_| "participant");
                let roles = roles.chain((0..observers).map(|_| "observer"));
                let roles: Vec<_> = roles.collect();
                let is_alone = roles.len() == 1;
                let members: Vec<Member> = (0..roles.len())
                    .map(|index| {
                        let mut settings = vec![("tickTime".to_owned(), TICK_MS.to_string())];
                        if roles.get(index) == Some(&"observer") {
                            settings.push(("peerType".to_owned(), "observer".to_owned()));
                        }
                        settings.extend(builder.settings.iter().cloned());
                        Member::new(Seat {
                            index,
                            settings,
                            data_dir: directory.path().join(format!("server-{}", index + 1)),
                            roles: if is_alone { Vec::new() } else { roles.clone() },
                        })
                    })
                    .collect();
                try_join_all(members.iter().map(|member| member.start(links))).await?;
                Ok(Self::InProcess(members))
            }
            Backend::Processes(binary) => {
                let mut launch = ZkServer::builder(binary)
                    .servers(voters)
                    .observers(observers);
                for (key, value) in &builder.settings {
                    launch = launch.config(key, value);
                }
                // A member tells the others where it listens, and who has the larger id dials back there:
                // of the votes of processes some pass by the links. Transactions never do.
                let all = voters + observers;
                for (from, to) in (0..all).flat_map(|from| (0..all).map(move |to| (from, to))) {
                    if let Some(ports) = links.ports(from, to) {
                        launch = launch.dial(from, to, ports);
                    }
                }
                if let Some(directory) = &builder.directory {
                    launch = launch.data_dir(directory);
                }
                let look = |ensemble: &ensemble::Ensemble| {
                    for (index, server) in ensemble.servers().iter().enumerate() {
                        links.peers_moved(index, server.peer_addrs());
                    }
                };
                Ok(Self::processes(launch.start_as(look).await?, links))
            }
            Backend::Apache => {
                let mut launch = Reference::builder().servers(voters).observers(observers);
                for (key, value) in &builder.settings {
                    launch = launch.config(key, value);
                }
                Ok(Self::processes(launch.start().await?, links))
            }
        }
    }

    fn processes(ensemble: ensemble::Ensemble, links: &Links) -> Self {
        for (index, server) in ensemble.servers().iter().enumerate() {
            links.client_moved(index, server.client_addr());
        }
        Self::Processes(ensemble)
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::InProcess(members) => members.len(),
            Self::Processes(ensemble) => ensemble.servers().len(),
        }
    }

    /// The processes, if that is what the servers are.
    pub(super) fn as_processes(&self) -> Option<&ensemble::Ensemble> {
        match self {
            Self::InProcess(_) => None,
            Self::Processes(ensemble) => Some(ensemble),
        }
    }

    /// The server with an index, if it is in this process.
    pub(super) fn member(&self, index: usize, verb: &'static str) -> Result<&Member, Error> {
        let count = self.count();
        match self {
            Self::InProcess(members) => Ok(members
                .get(index)
                .unwrap_or_else(|| panic!("no server {index} in an ensemble of {count}"))),
            Self::Processes(_) => Err(Error::Unsupported { verb }),
        }
    }

    /// Where a server really listens for clients, if it runs.
    pub(super) async fn client_addr(&self, index: usize) -> Option<SocketAddr> {
        match self {
            Self::InProcess(members) => members.get(index)?.client_addr().await,
            Self::Processes(ensemble) => {
                let server = ensemble.servers().get(index)?;
                server.pid().map(|_| server.client_addr())
            }
        }
    }

    /// What each server is to the others, in words: `leader`, `follower`, `observer`, `standalone`,
    /// or why it is none of them; with the zxid of its last transaction.
    pub(super) async fn roles(&self) -> Vec<(String, u64)> {
        match self {
            Self::InProcess(members) => {
                let mut roles = Vec::with_capacity(members.len());
                for member in members {
                    roles.push(member.role().await);
                }
                roles
            }
            Self::Processes(ensemble) => ensemble.modes().await,
        }
    }

    pub(super) async fn launch(&self, index: usize, links: &Links) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => self.member(index, "start")?.start(links).await,
            Self::Processes(ensemble) => Ok(ensemble.start_server(index).await?),
        }
    }

    pub(super) async fn stop(&self, index: usize) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => self.member(index, "stop")?.stop().await,
            Self::Processes(ensemble) => Ok(ensemble.stop(index).await?),
        }
    }

    pub(super) async fn kill(&self, index: usize) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => self.member(index, "kill")?.kill().await,
            Self::Processes(ensemble) => Ok(ensemble.kill(index).await?),
        }
    }

    pub(super) async fn pause(&self, index: usize) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => {
                self.member(index, "pause")?.faults().await?.pause();
                Ok(())
            }
            Self::Processes(ensemble) => Ok(ensemble.pause(index).await?),
        }
    }

    pub(super) async fn resume(&self, index: usize) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => {
                self.member(index, "resume")?.faults().await?.resume();
                Ok(())
            }
            Self::Processes(ensemble) => Ok(ensemble.resume(index).await?),
        }
    }

    /// How long a server may take to come to serve.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::InProcess(_) => Duration::from_secs(30),
            Self::Processes(_) => Duration::from_mins(1),
        }
    }
}
