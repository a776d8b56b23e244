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
use super::standing::Standing;
use crate::ensemble;
#[cfg(feature = "containers")]
use crate::ensemble::containers::{Containers, Image};
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
    /// Containers of this image: of a binary of ours, or a published one.
    #[cfg(feature = "containers")]
    Containers(Image),
}

/// The servers themselves.
#[derive(Debug)]
pub(super) enum Servers {
    InProcess(Vec<Member>),
    Processes(ensemble::Ensemble),
    #[cfg(feature = "containers")]
    Containers(Containers),
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
            #[cfg(feature = "containers")]
            Backend::Containers(image) => {
                let mut launch = Containers::builder(image.clone());
                launch = launch.servers(voters).observers(observers);
                for (key, value) in &builder.settings {
                    launch = launch.config(key, value);
                }
                let containers = launch.start().await?;
                for index in 0..containers.len() {
                    note_container(&containers, index, links);
                }
                Ok(Self::Containers(containers))
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
            #[cfg(feature = "containers")]
            Self::Containers(containers) => containers.len(),
        }
    }

    /// The processes, if that is what the servers are.
    pub(super) fn as_processes(&self) -> Option<&ensemble::Ensemble> {
        match self {
            Self::InProcess(_) => None,
            Self::Processes(ensemble) => Some(ensemble),
            #[cfg(feature = "containers")]
            Self::Containers(_) => None,
        }
    }

    /// The containers, if that is what the servers are.
    #[cfg(feature = "containers")]
    pub(super) fn as_containers(&self) -> Option<&Containers> {
        match self {
            Self::InProcess(_) | Self::Processes(_) => None,
            Self::Containers(containers) => Some(containers),
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
            #[cfg(feature = "containers")]
            Self::Containers(_) => Err(Error::Unsupported { verb }),
        }
    }

    /// Where a server really listens for clients, if it runs and is not known to be paused.
    pub(super) async fn client_addr(&self, index: usize) -> Option<SocketAddr> {
        match self {
            Self::InProcess(members) => members.get(index)?.client_addr().await,
            Self::Processes(ensemble) => {
                let server = ensemble.servers().get(index)?;
                let answers = server.pid().is_some() && !server.is_paused();
                answers.then(|| server.client_addr())
            }
            #[cfg(feature = "containers")]
            Self::Containers(containers) => containers.client_addr(index),
        }
    }

    /// What each server is to the others, by index.
    pub(super) async fn standings(&self) -> Vec<Standing> {
        let told = |modes: Vec<(String, u64)>| modes.into_iter().map(Standing::told).collect();
        match self {
            Self::InProcess(members) => {
                let mut standings = Vec::with_capacity(members.len());
                for member in members {
                    standings.push(member.standing().await);
                }
                standings
            }
            Self::Processes(ensemble) => told(ensemble.modes().await),
            #[cfg(feature = "containers")]
            Self::Containers(containers) => told(containers.modes().await),
        }
    }

    pub(super) async fn launch(&self, index: usize, links: &Links) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => self.member(index, "start")?.start(links).await,
            Self::Processes(ensemble) => Ok(ensemble.start_server(index).await?),
            #[cfg(feature = "containers")]
            Self::Containers(containers) => {
                containers.launch(index).await?;
                note_container(containers, index, links);
                Ok(())
            }
        }
    }

    pub(super) async fn stop(&self, index: usize, links: &Links) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => self.member(index, "stop")?.stop(links).await,
            Self::Processes(ensemble) => Ok(ensemble.stop(index).await?),
            #[cfg(feature = "containers")]
            Self::Containers(containers) => Ok(containers.stop(index).await?),
        }
    }

    pub(super) async fn kill(&self, index: usize, links: &Links) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => self.member(index, "kill")?.kill(links).await,
            Self::Processes(ensemble) => Ok(ensemble.kill(index).await?),
            #[cfg(feature = "containers")]
            Self::Containers(containers) => Ok(containers.kill(index).await?),
        }
    }

    pub(super) async fn pause(&self, index: usize) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => {
                self.member(index, "pause")?.faults().await?.pause();
                Ok(())
            }
            Self::Processes(ensemble) => Ok(ensemble.pause(index).await?),
            #[cfg(feature = "containers")]
            Self::Containers(containers) => Ok(containers.pause(index).await?),
        }
    }

    pub(super) async fn resume(&self, index: usize) -> Result<(), Error> {
        match self {
            Self::InProcess(_) => {
                self.member(index, "resume")?.faults().await?.resume();
                Ok(())
            }
            Self::Processes(ensemble) => Ok(ensemble.resume(index).await?),
            #[cfg(feature = "containers")]
            Self::Containers(containers) => Ok(containers.resume(index).await?),
        }
    }

    /// How long a server may take to come to serve.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::InProcess(_) => Duration::from_secs(30),
            Self::Processes(_) => Duration::from_mins(1),
            #[cfg(feature = "containers")]
            Self::Containers(_) => Duration::from_mins(1),
        }
    }
}

/// A container is published on another port each time that it starts.
#[cfg(feature = "containers")]
fn note_container(containers: &Containers, index: usize, links: &Links) {
    if let Some(address) = containers.client_addr(index) {
        links.client_moved(index, address);
    }
}
