//! Decides what an ensemble in containers looks like and starts it.

use std::fmt::Display;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::config::Plan;
use super::engine::{Ground, run_here};
use super::error::{ContainerError, failed};
use super::image::Image;
use super::running::Containers;
use super::server::Server;

/// Collects what an ensemble in containers shall look like.
///
/// The defaults are those of processes: a tick of 200 ms, and all that makes a test quick.
#[derive(Debug, Clone)]
pub struct Builder {
    image: Image,
    voters: usize,
    observers: usize,
    settings: Vec<(String, String)>,
    name: Option<String>,
    start_within: Duration,
}

impl Builder {
    pub(super) fn new(image: Image) -> Self {
        Self {
            image,
            voters: 1,
            observers: 0,
            settings: Vec::new(),
            name: None,
            start_within: Duration::from_mins(1),
        }
    }

    /// Number of servers that vote; 1 unless told otherwise, and at least that.
    #[must_use]
    pub fn servers(mut self, voters: usize) -> Self {
        self.voters = voters.max(1);
        self
    }

    /// Number of observers; none unless told otherwise.
    #[must_use]
    pub fn observers(mut self, observers: usize) -> Self {
        self.observers = observers;
        self
    }

    /// Sets a key of every server's `zoo.cfg`.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Name of the ensemble, by which the engine lists it: one that no other has at the time. It is
    /// drawn unless told otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long the servers may take, once their containers run, until all serve; 60 s unless told
    /// otherwise.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = limit;
        self
    }

    /// Starts the ensemble; returns when every server serves clients.
    ///
    /// # Errors
    /// [`ContainerError`]. Nothing is left behind.
    ///
    /// # Cancel safety
    /// What was made is removed. Dropping the future takes as long as the engine needs for that.
    pub async fn start(self) -> Result<Containers, ContainerError> {
        // The engine makes a container though nobody waits for it any more. So somebody does.
        let (mut answer, started) = oneshot::channel();
        let thread = thread::Builder::new().name("containers".to_owned());
        let thread = thread.spawn(move || {
            run_here(async move {
                let served = async {
                    let within = self.start_within;
                    let containers = self.make().await?;
                    tokio::select! {
                        served = containers.wait_all_serving(within) => served?,
                        () = answer.closed() => {}
                    }
                    Ok(containers)
                };
                let served = served.await;
                // If the start was given up, they are removed here.
                answer.send(served).ok();
            });
        });
        let _joined = Joined(thread.map_err(failed("starting a thread")).map(Some)?);
        let started = started.await.map_err(failed("making containers"));
        started.flatten()
    }

    async fn make(self) -> Result<Containers, ContainerError> {
        let ground = Ground::lay(self.name).await?;
        let image = (self.image.prepare().await?, self.image.is_published());
        let count = self.voters + self.observers;
        let hosts = (1..=count).map(|id| format!("{}-{id}", ground.name));
        let plan = Plan {
            hosts: hosts.collect(),
            voters: self.voters,
            settings: self.settings,
        };
        let start = |index| Server::start(&ground, &plan, index, image.clone());
        // All of them to the end, whatever becomes of one.
        let servers = join_all((0..count).map(start)).await;
        let servers: Result<_, _> = servers.into_iter().collect();
        Ok(Containers::new(ground, servers?))
    }
}

/// A thread that is waited for.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Whoever waits for its answer learns of a panic.
            thread.join().ok();
        }
    }
}
