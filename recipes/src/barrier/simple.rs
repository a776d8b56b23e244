use std::time::Duration;

use zk_client::{Client, Error, ErrorKind};

use super::{BarrierError, by};
use crate::kernel::options::{Options, options};
use crate::kernel::parents::{make_parents, parent};
use crate::kernel::retry::{is_session_over, settled};

/// Holds up whoever waits, while its znode is there.
///
/// # Layout
/// The znode at the path, persistent: the barrier is up while it exists. Its data does not matter.
///
/// # Source
/// Apache Curator 5, `DistributedBarrier`; kazoo 2, `Barrier`. Both miss a barrier that was lifted and set
/// again while they were not looking; this one knows it by the transaction that created the znode.
#[derive(Debug, Clone)]
pub struct Barrier {
    path: String,
    options: Options,
}

/// How a wait for a barrier ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifted {
    /// It was not up.
    WasDown,
    /// It was lifted while waiting. It may be up again.
    Now,
}

impl Barrier {
    /// A barrier at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
        }
    }

    options!(options);

    /// Sets it. One that is up stays so.
    ///
    /// # Errors
    /// [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// It may be set or not.
    pub async fn set(&self) -> Result<(), BarrierError> {
        let client = &self.options.client;
        loop {
            let create = self.settle(|| {
                let create = client.create(&self.path, self.options.identity.clone());
                match &self.options.acl {
                    Some(acl) => create.acl(acl.clone()).if_absent(),
                    None => create.if_absent(),
                }
            });
            match create.await {
                Err(BarrierError::Client { ref source, .. })
                    if source.kind() == ErrorKind::NoNode
                        && self.options.parents != crate::Parents::MustExist => {}
                result => return result.map(drop),
            }
            let error = |error| BarrierError::client(&self.path, error);
            let session = client.session().await.map_err(error)?;
            let acl = self.options.parent_acl.as_ref();
            match make_parents(&session, parent(&self.path), self.options.parents, acl).await {
                Err(error) if is_session_over(&error) && !client.is_closed() => {}
                result => result.map_err(error)?,
            }
        }
    }

    /// Lifts it: whoever waits goes on. One that is not up stays so.
    ///
    /// # Errors
    /// [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// It may be lifted or not.
    pub async fn lift(&self) -> Result<(), BarrierError> {
        self.settle(|| self.options.client.delete(&self.path).if_exists())
            .await
            .map(drop)
    }

    /// Whether it is up, as far as this client's server knows.
    ///
    /// # Errors
    /// [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn is_up(&self) -> Result<bool, BarrierError> {
        let stat = self
            .settle(|| self.options.client.exists(&self.path))
            .await?;
        Ok(stat.is_some())
    }

    /// Waits until it is lifted, or is not up. Goes on over lost connections and sessions.
    ///
    /// # Errors
    /// [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait(&self) -> Result<Lifted, BarrierError> {
        let mut seen = None;
        loop {
            let (stat, watch) = self
                .settle(|| self.options.client.exists(&self.path).watch())
                .await?;
            match (stat, seen) {
                (None, None) => return Ok(Lifted::WasDown),
                (None, Some(_)) => return Ok(Lifted::Now),
                // Another znode than the one waited for: that was lifted in between.
                (Some(stat), Some(czxid)) if stat.czxid != czxid => return Ok(Lifted::Now),
                (Some(stat), _) => seen = Some(stat.czxid),
            }
            // However it ended, the znode is to be looked at again; a closed client says so itself.
            watch.await;
        }
    }

    /// As [`Barrier::wait`], for so long.
    ///
    /// # Errors
    /// [`BarrierError::Timeout`]; [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_within(&self, within: Duration) -> Result<Lifted, BarrierError> {
        by(&self.path, within, self.wait()).await
    }

    /// Asks until there is an answer, over lost connections and sessions: everything that is asked of a
    /// barrier may be asked twice.
    async fn settle<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, BarrierError>
    where
        F: IntoFuture<Output = Result<T, Error>>,
    {
        loop {
            match settled(&mut ask).await {
                Err(error) if is_session_over(&error) && !self.options.client.is_closed() => {}
                result => return result.map_err(|error| BarrierError::client(&self.path, error)),
            }
        }
    }
}
