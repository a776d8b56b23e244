//! Waiting for what an ensemble comes to.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::standing::Standing;
use super::{Ensemble, Error, POLL};

impl Ensemble {
    /// The index of the server that leads; one that stands alone leads itself.
    ///
    /// # Errors
    /// [`Error::Timeout`] if none comes to lead.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn leader(&self) -> Result<usize, Error> {
        self.leader_within(self.servers.patience()).await
    }

    pub(super) async fn leader_within(&self, within: Duration) -> Result<usize, Error> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(index) = Standing::leader(&self.servers.standings().await) {
                return Ok(index);
            }
            if Instant::now() >= deadline {
                return Err(self.timeout("a leader", within).await);
            }
            sleep(POLL).await;
        }
    }

    /// Waits until every server that runs, and is not paused, has the same last transaction, under
    /// one leader.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn wait_for_convergence(&self) -> Result<(), Error> {
        self.wait_for("convergence", Standing::have_converged).await
    }

    /// Waits until a condition of the test is met: looks at it again and again, with a short pause
    /// between, and gives it up when the time is over, also while it is being looked at.
    ///
    /// The error says what was waited for, and what the servers were doing.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    ///
    /// # Cancel safety
    /// The condition is dropped where it is.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), zk_testkit::Error> {
    /// let ensemble = zk_testkit::Ensemble::start(1).await?;
    /// let zk = ensemble.client().await?;
    /// let report = zk.create("/report", "").send();
    /// let is_there = async || matches!(zk.get("/report").await, Ok(Some(_)));
    /// let within = Duration::from_secs(10);
    /// ensemble.wait_until("the report", within, is_there).await?;
    /// # drop(report);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_until(
        &self,
        what: &'static str,
        within: Duration,
        mut is_met: impl AsyncFnMut() -> bool,
    ) -> Result<(), Error> {
        let looks = async {
            while !is_met().await {
                sleep(POLL).await;
            }
        };
        match timeout_at(Instant::now() + within, looks).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.timeout(what, within).await),
        }
    }

    pub(super) async fn wait_until_serving(&self) -> Result<(), Error> {
        self.wait_for("a quorum that serves", |standings| {
            standings.iter().all(Standing::serves)
        })
        .await
    }

    pub(super) async fn wait_for(
        &self,
        what: &'static str,
        is_met: impl Fn(&[Standing]) -> bool,
    ) -> Result<(), Error> {
        let within = self.servers.patience();
        let deadline = Instant::now() + within;
        while !is_met(&self.servers.standings().await) {
            if Instant::now() >= deadline {
                return Err(self.timeout(what, within).await);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) async fn timeout(&self, what: &'static str, within: Duration) -> Error {
        let standings = self.servers.standings().await.into_iter().enumerate();
        let state: Vec<_> = standings
            .map(|(index, standing)| format!("server {index} {standing}"))
            .collect();
        Error::Timeout {
            what,
            within,
            state: state.join(", "),
        }
    }
}
