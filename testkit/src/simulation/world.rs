//! What the body of a simulated run has in its hands.

use std::sync::Arc;
use std::time::Duration;

use zk_client::Client;

use super::engine::Shared;
use super::history::History;
use super::process::{Process, Running};

/// A simulated run: an ensemble, processes, a clock, a history.
#[derive(Debug, Clone)]
pub struct World {
    shared: Arc<Shared>,
}

impl World {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Starts a process; await it to have what it comes to. It goes wrong with it what the seed says.
    pub fn process<F>(
        &self,
        name: impl Into<String>,
        body: impl FnOnce(Process) -> F,
    ) -> Running<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let own = self.shared.process(name.into());
        Process::new(Arc::clone(&self.shared), own).start(body)
    }

    /// The process of the body itself: it never stands still, and is never cut off.
    pub fn own(&self) -> Process {
        Process::new(Arc::clone(&self.shared), Arc::clone(&self.shared.world))
    }

    /// A client of the body itself: see [`World::own`].
    ///
    /// # Errors
    /// As [`zk_client::Builder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up.
    pub async fn client(&self) -> Result<Client, zk_client::Error> {
        self.own().client().await
    }

    /// Where to tell what is done, for the laws.
    pub fn history(&self) -> History {
        History::new(Arc::clone(&self.shared))
    }

    /// Something that must hold at any moment. It is looked at whenever something happened in the
    /// ensemble or on a connection; the error says what is wrong.
    pub fn always(
        &self,
        law: &'static str,
        holds: impl FnMut() -> Result<(), String> + Send + 'static,
    ) {
        self.shared.always((law, Box::new(holds)));
    }

    /// Sets the clock on the wall of a server, the first of which is 1, by so many milliseconds: an
    /// operator, or a time service, may do so at any time. Among the faults of a seed are such, too.
    ///
    /// # Panics
    /// If there is no such server.
    pub fn set_clock(&self, server: u8, by_ms: i64) {
        let is_one = (1..=self.shared.servers).contains(&server);
        assert!(is_one, "there is no server {server}");
        self.shared.enter().sim.set_clock(server - 1, by_ms);
        self.shared
            .say(&format!("clock of server {server}: {by_ms:+} ms"));
    }

    /// Waits until nothing goes wrong any more.
    ///
    /// # Cancel safety
    /// Any number may wait; dropping the future has no effect.
    pub async fn healed(&self) {
        let mut healed = self.shared.healed.subscribe();
        // The sender lives as long as this.
        healed.wait_for(|healed| *healed).await.ok();
    }

    /// The session timeout that clients of processes ask for: drawn, and granted.
    pub fn session_timeout(&self) -> Duration {
        self.shared.timeout
    }

    /// Virtual time since the run began.
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.shared.now())
    }
}
