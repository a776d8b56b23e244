use std::ops::Deref;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_client::host;

use crate::error::Lost;
use crate::kernel::hold::Hold;

/// A leadership: a [`Hold`], to be cloned at will. It ends when it is lost or given up, not when the
/// last clone is dropped.
#[derive(Debug, Clone)]
pub struct Leadership {
    hold: Arc<Hold>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Leadership {
    pub(crate) fn new(hold: Arc<Hold>) -> Self {
        let stopping = hold.cancellation();
        Self {
            hold,
            stopping,
            tasks: TaskTracker::new(),
        }
    }

    /// Cancelled when it is time to stop: with the leadership, or some time before if an election was
    /// given a grace ([`crate::Election::grace`]) or was interrupted.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Spawns a task that is dropped when the leadership is lost: it never runs on beyond that, as long
    /// as it does not block its thread. An election goes on only when all of its tasks have ended.
    ///
    /// The result is [`Lost`] if it was dropped.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<Result<F::Output, Lost>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let hold = Arc::clone(&self.hold);
        host::spawn(
            self.tasks
                .track_future(async move { hold.run(future).await }),
        )
    }

    /// Waits until every task that was spawned has ended.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn end(&self) {
        self.hold.end();
    }
}

impl Deref for Leadership {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}
