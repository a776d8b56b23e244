use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use zk_client::{Client, Error, ErrorKind, host};

use super::LATCH;
use crate::kernel::line::in_order;
use crate::kernel::parents::join;
use crate::kernel::retry::{Backoff, settled};
use crate::lock::{Contender, LockFormat};

/// Follows who leads at a path, without taking part: of a [`crate::LeaderLatch`] or an
/// [`crate::Election`], of Curator's `LeaderLatch` or `LeaderSelector`, of kazoo's `Election`.
///
/// What it tells is what its server knows: the leader may have lost its leadership a moment ago.
#[derive(Debug)]
pub struct LeaderObserver {
    current: watch::Receiver<Option<Contender>>,
    _task: AbortOnDropHandle<()>,
}

impl LeaderObserver {
    /// Begins to follow, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        let (sender, current) = watch::channel(None);
        let task = host::spawn(observe(client.clone(), path.into(), sender));
        Self {
            current,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Who leads: the latest value, and a way to wait for the next. `None` if nobody does.
    ///
    /// Of a leader whose znode may not be read no more is known than its path and number. Without permission
    /// to list the directory nothing is told, and that is tried on. The end of the client is the end of the
    /// values.
    pub fn current(&self) -> watch::Receiver<Option<Contender>> {
        self.current.clone()
    }
}

async fn observe(client: Client, path: String, sender: watch::Sender<Option<Contender>>) {
    let mut backoff = Backoff::new();
    while !client.is_closed() {
        match follow(&client, &path, &sender).await {
            Ok(()) => backoff = Backoff::new(),
            Err(error) => {
                tracing::debug!(%path, err = %error, "cannot see who leads");
                backoff.pause().await;
            }
        }
    }
}

/// Looks who leads and waits until that may have changed.
async fn follow(
    client: &Client,
    path: &str,
    sender: &watch::Sender<Option<Contender>>,
) -> Result<(), Error> {
    let mut markers = vec![LATCH];
    markers.extend(LockFormat::exclusive_blockers());
    let tell = |leader: Option<Contender>| {
        sender.send_if_modified(|current| {
            let is_new = *current != leader;
            *current = leader;
            is_new
        });
    };
    let names = settled(|| client.children(path)).await?.unwrap_or_default();
    if let Some((sequence, name)) = in_order(&names, &markers).into_iter().next() {
        let (directory, path) = (path, join(path, &name));
        let (identity, stat, watch) = match settled(|| client.get(&path).watch()).await {
            Ok((node, watch)) => (node.data, node.stat, watch),
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
            // Its end is told to nobody who may not read it: it shows by its absence in the list.
            Err(error) if error.kind() == ErrorKind::NoAuth => {
                let (names, watch) = settled(|| client.children(directory).watch()).await?;
                if !names.contains(&name) {
                    return Ok(());
                }
                // Whose it is, servers before 3.8.4 tell anybody.
                let stat = match settled(|| client.exists(&path)).await {
                    Ok(stat) => stat,
                    Err(error) if error.kind() == ErrorKind::NoAuth => None,
                    Err(error) => return Err(error),
                };
                (Bytes::new(), stat.unwrap_or_default(), watch)
            }
            Err(error) => return Err(error),
        };
        tell(Some(Contender {
            path,
            sequence: sequence.get(),
            identity,
            session: stat.ephemeral_owner,
            czxid: stat.czxid,
        }));
        // Nobody gets in front of the first: it is enough to watch that one.
        watch.await;
        return Ok(());
    }
    let watch = match settled(|| client.children(path).watch()).await {
        Ok((names, watch)) => {
            if !in_order(&names, &markers).is_empty() {
                return Ok(());
            }
            watch
        }
        Err(error) if error.kind() == ErrorKind::NoNode => {
            match settled(|| client.exists(path).watch()).await? {
                (None, watch) => watch,
                (Some(_), _) => return Ok(()),
            }
        }
        Err(error) => return Err(error),
    };
    tell(None);
    watch.await;
    Ok(())
}
