//! The log thread: one write and one sync for all that came while the last one ran.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zk_core::peer::Event;
use zk_proto::{Bytes, Zxid};

use super::core::CoreItem;
use super::fail_stop::StopCause;
use super::mailbox::{Mailbox, Taken};
use crate::storage::{Disk, FileLog, LogEntry};

/// Bytes that go into one write, unless a single entry is longer.
const BATCH_BYTES: usize = 8 << 20;

/// Something asked of the log thread.
#[derive(Debug)]
pub(crate) enum LogItem {
    /// Append a transaction.
    Append {
        /// Its place in history.
        zxid: Zxid,
        /// The entry.
        bytes: Bytes,
    },
    /// Go on in another file, so that this one can be purged with the snapshot being taken.
    Roll,
}

/// The log thread's own.
pub(crate) struct LogStage<D: Disk> {
    pub(crate) log: FileLog<D>,
    pub(crate) mailbox: Arc<Mailbox<LogItem>>,
    pub(crate) core: Arc<Mailbox<CoreItem>>,
    /// Duration of a sync above which it is worth a warning.
    pub(crate) slow: Duration,
}

impl<D: Disk> LogStage<D> {
    /// Runs until the mailbox is closed, and everything asked before is durable.
    pub(crate) fn run(mut self) -> Result<(), StopCause> {
        let mut items = Vec::new();
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        while self.mailbox.take(None, &mut items) != Taken::Closed {
            for item in items.drain(..) {
                match item {
                    LogItem::Append { zxid, bytes } => {
                        if batch_bytes + bytes.len() > BATCH_BYTES {
                            self.append(&mut batch)?;
                            batch_bytes = 0;
                        }
                        batch_bytes += bytes.len();
                        batch.push(LogEntry { zxid, bytes });
                    }
                    LogItem::Roll => {
                        self.append(&mut batch)?;
                        batch_bytes = 0;
                        self.log.roll();
                    }
                }
            }
            self.append(&mut batch)?;
            batch_bytes = 0;
        }
        Ok(())
    }

    fn append(&mut self, batch: &mut Vec<LogEntry>) -> Result<(), StopCause> {
        if batch.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let last = self.log.append(batch)?;
        let elapsed = start.elapsed();
        if elapsed > self.slow {
            let count = batch.len();
            let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            tracing::warn!(elapsed_us, count, "slow sync of the transaction log");
        }
        batch.clear();
        self.core.send([CoreItem::Event(Event::LogDurable(last))]);
        Ok(())
    }
}
