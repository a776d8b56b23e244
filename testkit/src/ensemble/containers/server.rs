//! One server: its container.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::{HostConfig, PortBinding};
use testcontainers::bollard::query_parameters::{KillContainerOptions, LogsOptionsBuilder};
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _};
use tokio::time::Instant;

use super::super::{four_letter, running, server};
use super::config::{CLIENT_PORT, DATA_DIR, Plan};
use super::engine::Ground;
use super::error::{ContainerError, failed};

/// How long a server may take to end by itself, in seconds, before it is killed.
const STOP_GRACE: i32 = 15;

/// How long the engine may take to see that a killed server has ended.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// How much of a log is shown, in lines.
const LOG_LINES: &str = "60";

/// A server in its container, running or not.
#[derive(Debug)]
pub(super) struct Server {
    index: usize,
    docker: Docker,
    container: ContainerAsync<GenericImage>,
    /// Critical sections only look or replace; none waits.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// Where clients reach it; none while it is known not to run.
    pub(super) address: Option<SocketAddr>,
    pub(super) is_paused: bool,
    /// Whether it is off the network between the servers.
    pub(super) is_isolated: bool,
}

impl Server {
    /// Makes and starts the container of a server; does not wait until it serves.
    pub(super) async fn start(
        ground: &Ground,
        plan: &Plan,
        index: usize,
        (image, is_published): (GenericImage, bool),
    ) -> Result<Self, ContainerError> {
        let host = plan.hosts.get(index).map_or("", String::as_str);
        let mut request = image
            .with_container_name(host)
            .with_hostname(host)
            .with_network(&ground.name)
            .with_labels(ground.labels())
            .with_host_config_modifier(publish_on_loopback);
        if is_published {
            for (name, value) in plan.variables(index)? {
                request = request.with_env_var(name, value);
            }
        } else {
            request = with_files(request, plan, index);
        }
        let container = request.start().await;
        let server = Self {
            index,
            docker: ground.docker.clone(),
            container: container.map_err(failed("starting a container"))?,
            state: Mutex::default(),
        };
        ground.open_to_clients(server.id()).await?;
        server.note_address().await?;
        Ok(server)
    }

    pub(super) fn id(&self) -> &str {
        self.container.id()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine publishes the port anew at each start.
    async fn note_address(&self) -> Result<(), ContainerError> {
        let port = self.container.get_host_port_ipv4(CLIENT_PORT.tcp()).await;
        match port {
            Ok(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                self.state().address = Some(address);
                Ok(())
            }
            // What ended at once has no port any more; who waits for it is told more.
            Err(_) if !self.is_running().await? => Ok(()),
            Err(error) => Err(failed("publishing a port")(error)),
        }
    }

    /// Starts it again, in the same container.
    pub(super) async fn launch(&self) -> Result<(), ContainerError> {
        let index = self.index;
        if self.is_running().await? {
            return Err(ContainerError::Running { index });
        }
        let started = self.container.start().await;
        started.map_err(failed("starting a container"))?;
        self.note_address().await
    }

    /// SIGTERM, then SIGKILL if that does not help.
    pub(super) async fn stop(&self) -> Result<(), ContainerError> {
        self.need_running().await?;
        let stopped = self.container.stop_with_timeout(Some(STOP_GRACE)).await;
        stopped.map_err(failed("stopping a container"))?;
        self.note_end();
        Ok(())
    }

    /// SIGKILL; returns when nothing of it runs any more.
    pub(super) async fn kill(&self) -> Result<(), ContainerError> {
        self.need_running().await?;
        let killed = self
            .docker
            .kill_container(self.id(), None::<KillContainerOptions>);
        killed.await.map_err(failed("killing a container"))?;
        let deadline = Instant::now() + KILL_GRACE;
        let mut poll = server::poll();
        while self.is_running().await? {
            if Instant::now() >= deadline {
                let late = format!("it still runs after {KILL_GRACE:?}");
                return Err(failed("killing a container")(late));
            }
            poll.tick().await;
        }
        self.note_end();
        Ok(())
    }

    pub(super) async fn pause(&self) -> Result<(), ContainerError> {
        self.need_running().await?;
        let paused = self.container.pause().await;
        paused.map_err(failed("pausing a container"))?;
        self.state().is_paused = true;
        Ok(())
    }

    pub(super) async fn resume(&self) -> Result<(), ContainerError> {
        self.need_running().await?;
        let resumed = self.container.unpause().await;
        resumed.map_err(failed("resuming a container"))?;
        self.state().is_paused = false;
        Ok(())
    }

    fn note_end(&self) {
        let mut state = self.state();
        (state.address, state.is_paused) = (None, false);
    }

    async fn is_running(&self) -> Result<bool, ContainerError> {
        let running = self.container.is_running().await;
        running.map_err(failed("looking at a container"))
    }

    async fn need_running(&self) -> Result<(), ContainerError> {
        let index = self.index;
        if self.is_running().await? {
            Ok(())
        } else {
            Err(ContainerError::NotRunning { index })
        }
    }

    /// Waits until `srvr` tells a mode.
    pub(super) async fn serving(&self, within: Duration) -> Result<(), ContainerError> {
        let index = self.index;
        let deadline = Instant::now() + within;
        let mut patience = server::PROBE.0;
        let mut poll = server::poll();
        let mut answer = String::from("none");
        while Instant::now() < deadline {
            poll.tick().await;
            let Some(address) = self.state().address else {
                break;
            };
            match four_letter::ask(address, "srvr", patience).await {
                Ok(reply) if four_letter::field(&reply, "Mode").is_some() => return Ok(()),
                Ok(reply) => reply.trim().clone_into(&mut answer),
                Err(error) => {
                    if error.kind() == std::io::ErrorKind::TimedOut {
                        patience = (patience * 2).min(server::PROBE.1);
                    }
                    answer = error.to_string();
                }
            }
            if !self.is_running().await? {
                break;
            }
        }
        if !self.is_running().await? {
            let log = self.log().await;
            return Err(ContainerError::Ended { index, log });
        }
        Err(ContainerError::NotServing {
            index,
            waited: within,
            answer,
            log: self.log().await,
        })
    }

    /// What it says that it is, or in parentheses why it says nothing; with its last zxid.
    pub(super) async fn mode(&self) -> (String, u64) {
        let state = *self.state();
        let silent = |why: &str| (format!("({why})"), 0);
        let Some(address) = state.address else {
            return silent("not running");
        };
        if state.is_paused {
            return silent("paused");
        }
        let (mode, zxid) = running::ask_mode(address).await;
        if mode.starts_with('(') && matches!(self.is_running().await, Ok(false)) {
            return silent("not running");
        }
        (mode, zxid)
    }

    /// The last lines of what it wrote to its standard output and error, over all its starts.
    pub(super) async fn log(&self) -> String {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true);
        let lines = self
            .docker
            .logs(self.id(), Some(options.tail(LOG_LINES).build()));
        let lines: Result<Vec<_>, _> = lines.map_ok(|line| line.to_string()).try_collect().await;
        lines.map_or_else(
            |error| format!("(log not readable: {error})"),
            |lines| lines.concat(),
        )
    }

    /// Removes the container.
    pub(super) async fn remove(self) -> Result<(), ContainerError> {
        let removed = self.container.rm().await;
        removed.map_err(failed("removing a container"))
    }
}

/// Publishes the client port, and no other, where this machine alone reaches it.
fn publish_on_loopback(config: &mut HostConfig) {
    let binding = PortBinding {
        host_ip: Some(Ipv4Addr::LOCALHOST.to_string()),
        host_port: None,
    };
    config.publish_all_ports = Some(false);
    config.port_bindings = Some([(format!("{CLIENT_PORT}/tcp"), Some(vec![binding]))].into());
    // The name of a server that is cut off is unknown. That is to be said soon.
    config.dns_options = Some(vec!["timeout:1".to_owned(), "attempts:1".to_owned()]);
}

/// What a binary of ours finds beside itself.
fn with_files(
    request: ContainerRequest<GenericImage>,
    plan: &Plan,
    index: usize,
) -> ContainerRequest<GenericImage> {
    let id = format!("{}\n", index + 1);
    request
        .with_copy_to("/conf/zoo.cfg", plan.zoo_cfg().into_bytes())
        .with_copy_to(format!("{DATA_DIR}/myid"), id.into_bytes())
}
