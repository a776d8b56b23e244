//! The container engine, and how what is ours in it is told from what is not.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use futures_util::future::join_all;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{
    EndpointSettings, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest,
};
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;

use super::error::{ContainerError, failed};

/// Label of containers and networks: the ensemble that they are of.
const ENSEMBLE: &str = "zk-testkit.ensemble";

/// Label of containers and networks: the process that they are of.
const OWNER: &str = "zk-testkit.owner";

/// The network that every engine has, by which ports are published.
const CLIENTS: &str = "bridge";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// The engine.
///
/// # Errors
/// [`ContainerError::NoEngine`].
async fn engine() -> Result<Docker, ContainerError> {
    let docker = docker_client_instance().await;
    let docker = docker.map_err(|source| ContainerError::NoEngine(source.into()))?;
    let answer = docker.ping().await;
    answer.map_err(|source| ContainerError::NoEngine(source.into()))?;
    Ok(docker)
}

/// Names of the containers and networks that the engine has of an ensemble.
///
/// # Errors
/// [`ContainerError::NoEngine`]; [`ContainerError::Engine`].
///
/// # Cancel safety
/// Safe: it only asks.
pub async fn parts_of(ensemble: &str) -> Result<Vec<String>, ContainerError> {
    let docker = engine().await?;
    let parts = Parts::find(&docker, &format!("{ENSEMBLE}={ensemble}")).await?;
    Ok(parts.names)
}

/// What is of one ensemble in the engine: its name, and the network between its servers.
///
/// Removes whatever is left of both when it is dropped.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) docker: Docker,
    /// Of the ensemble and of its network; containers begin with it.
    pub(super) name: String,
}

impl Ground {
    /// Makes the network, and removes what processes left that are no more.
    pub(super) async fn lay(name: Option<String>) -> Result<Self, ContainerError> {
        let docker = engine().await?;
        sweep(&docker).await?;
        let name = name.unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let drawn = RandomState::new().hash_one((std::process::id(), number));
            format!("zk-{drawn:016x}")
        });
        let ground = Self { docker, name };
        let network = NetworkCreateRequest {
            name: ground.name.clone(),
            internal: Some(true),
            labels: Some(ground.labels().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        let created = ground.docker.create_network(network).await;
        created.map_err(failed("making a network"))?;
        Ok(ground)
    }

    /// Labels of all that is of this ensemble.
    pub(super) fn labels(&self) -> [(String, String); 2] {
        [
            (ENSEMBLE.to_owned(), self.name.clone()),
            (OWNER.to_owned(), Owner::this().to_string()),
        ]
    }

    /// Lets clients reach a container.
    pub(super) async fn open_to_clients(&self, id: &str) -> Result<(), ContainerError> {
        self.connect(CLIENTS, id).await
    }

    /// Lets the others reach a container.
    pub(super) async fn open_to_peers(&self, id: &str) -> Result<(), ContainerError> {
        self.connect(&self.name, id).await
    }

    async fn connect(&self, network: &str, id: &str) -> Result<(), ContainerError> {
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(EndpointSettings::default()),
        };
        let connected = self.docker.connect_network(network, request).await;
        connected.map_err(failed("connecting a container to a network"))
    }

    /// Keeps a container and the others apart.
    pub(super) async fn close_to_peers(&self, id: &str) -> Result<(), ContainerError> {
        let request = NetworkDisconnectRequest {
            container: id.to_owned(),
            force: Some(true),
        };
        let disconnected = self.docker.disconnect_network(&self.name, request).await;
        disconnected.map_err(failed("disconnecting a container from a network"))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let label = format!("{ENSEMBLE}={}", self.name);
        let cleared = run_apart(async {
            let parts = Parts::find(&self.docker, &label).await?;
            parts.remove(&self.docker).await
        });
        if let Err(error) = cleared {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                ensemble = self.name,
                err = error,
                "containers are left behind"
            );
        }
    }
}

/// Runs a future to its end on a thread of its own: where nobody can wait, as in a drop, with or
/// without a runtime.
pub(super) fn run_apart<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || run_here(future);
    thread::scope(|scope| scope.spawn(run).join()).expect("talking to the engine does not panic")
}

/// Runs a future to its end on a thread that has no runtime.
pub(super) fn run_here<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime of one thread").block_on(future)
}

/// Containers and networks, in the engine's words.
#[derive(Debug, Default)]
struct Parts {
    containers: Vec<String>,
    networks: Vec<String>,
    names: Vec<String>,
    owners: Vec<String>,
}

impl Parts {
    /// All with a label: a key, or a key with its value.
    async fn find(docker: &Docker, label: &str) -> Result<Self, ContainerError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters);
        let containers = docker.list_containers(Some(options.build())).await;
        let options = ListNetworksOptionsBuilder::new().filters(&filters);
        let networks = docker.list_networks(Some(options.build())).await;
        let mut parts = Self::default();
        for container in containers.map_err(failed("listing containers"))? {
            parts.containers.extend(container.id);
            parts.names.extend(container.names.unwrap_or_default());
            let labels = container.labels.unwrap_or_default();
            parts.owners.extend(labels.get(OWNER).cloned());
        }
        for network in networks.map_err(failed("listing networks"))? {
            parts.networks.extend(network.id);
            parts.names.extend(network.name);
            let labels = network.labels.unwrap_or_default();
            parts.owners.extend(labels.get(OWNER).cloned());
        }
        Ok(parts)
    }

    /// Removes them, containers first. Somebody else may do so at the same time.
    async fn remove(&self, docker: &Docker) -> Result<(), ContainerError> {
        let all = self.containers.iter().map(|id| {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
            docker.remove_container(id, Some(options.build()))
        });
        for removed in join_all(all).await {
            if let Err(error) = removed.or_else(already_going) {
                return Err(failed("removing a container")(error));
            }
        }
        for id in &self.networks {
            if let Err(error) = docker.remove_network(id).await.or_else(already_going) {
                return Err(failed("removing a network")(error));
            }
        }
        Ok(())
    }
}

/// No error for what is gone (404) or being removed (409).
fn already_going(error: DockerError) -> Result<(), DockerError> {
    let is_going = matches!(
        error,
        DockerError::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }
    );
    if is_going { Ok(()) } else { Err(error) }
}

/// Removes what processes of this machine left that were killed.
async fn sweep(docker: &Docker) -> Result<(), ContainerError> {
    let owners = Parts::find(docker, OWNER).await?.owners;
    for owner in owners {
        if Owner::parse(&owner).is_some_and(|owner| owner.is_gone()) {
            tracing::info!(owner, "removing what a killed process left");
            let parts = Parts::find(docker, &format!("{OWNER}={owner}")).await?;
            parts.remove(docker).await?;
        }
    }
    Ok(())
}

/// A process, such that no other is ever taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    /// Boot of the machine, and the processes among which the id means something.
    place: String,
    pid: u32,
    /// When it started, in clock ticks since the boot.
    start: u64,
}

impl Owner {
    fn this() -> Self {
        let pid = std::process::id();
        Self {
            place: Self::here(),
            pid,
            start: Self::start_of(pid).unwrap_or_default(),
        }
    }

    fn here() -> String {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let digits = space.display().to_string();
        let digits = digits.chars().filter(char::is_ascii_digit);
        format!("{}.{}", boot.trim(), digits.collect::<String>())
    }

    /// Field 22 of `stat`; the second one, in parentheses, may hold anything.
    fn start_of(pid: u32) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(19)?.parse().ok()
    }

    fn parse(label: &str) -> Option<Self> {
        let mut parts = label.split('/');
        Some(Self {
            place: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
        })
    }

    /// Whether it ran here and does no more. Of processes elsewhere nothing is known.
    fn is_gone(&self) -> bool {
        self.place == Self::here() && Self::start_of(self.pid) != Some(self.start)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.place, self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_its_id_means_another_or_none() {
        let this = Owner::this();
        assert_eq!(Owner::parse(&this.to_string()), Some(this.clone()));
        assert!(this.start > 0 && !this.is_gone());
        let former = Owner {
            start: this.start - 1,
            ..this.clone()
        };
        assert!(former.is_gone());
        let elsewhere = Owner {
            place: "elsewhere".to_owned(),
            ..former
        };
        assert!(!elsewhere.is_gone());
        assert_eq!(Owner::parse("who knows"), None);
    }

    #[tokio::test]
    async fn a_future_runs_to_its_end_where_nobody_can_wait() {
        let value = 7;
        let doubled = run_apart(async {
            tokio::task::yield_now().await;
            &value
        });
        assert_eq!(*doubled, 7);
    }
}
