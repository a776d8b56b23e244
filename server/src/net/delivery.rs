//! Delivering what was put into outboxes, by the thread that put it there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::connections::Conn;
use super::tally::Tally;

/// Connections that are seen to at once: as many as take less time than to sync what they will ask next.
const AT_ONCE_MAX: usize = 64;
/// Connections of a task, beyond.
const CHUNK: usize = 512;
/// Connections after which a task lets others come.
const TURN: usize = 16;

/// Delivers to connections.
#[derive(Clone)]
pub(crate) struct Delivery {
    pub(crate) tally: Tally,
    /// Where tasks run that deliver to many.
    pub(crate) runtime: Handle,
    pub(crate) tasks: TaskTracker,
}

/// Reused from connection to connection.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// How long writes took that are answered.
    pub(super) took: Vec<Duration>,
    /// What is written.
    pub(super) pieces: Vec<Bytes>,
}

impl Delivery {
    /// Delivers to these; if they are many, tasks do it.
    pub(crate) fn deliver(&self, mut conns: Vec<Arc<Conn>>, scratch: &mut Scratch) {
        while conns.len() > AT_ONCE_MAX {
            let chunk = conns.split_off(conns.len().saturating_sub(CHUNK));
            let tally = self.tally.clone();
            let delivered = async move {
                let mut scratch = Scratch::default();
                for some in chunk.chunks(TURN) {
                    for conn in some {
                        deliver(conn, &tally, &mut scratch);
                    }
                    tokio::task::yield_now().await;
                }
            };
            self.tasks.spawn_on(delivered, &self.runtime);
        }
        for conn in &conns {
            deliver(conn, &self.tally, scratch);
        }
    }
}

fn deliver(conn: &Conn, tally: &Tally, scratch: &mut Scratch) {
    conn.outbox.send_or_ring(scratch);
    tally.wrote(conn, &scratch.took);
    scratch.took.clear();
}
