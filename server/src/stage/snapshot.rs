//! The snapshot thread: writes what a capture holds, while the tree goes on, and purges old files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use zk_core::tree::Capture;
use zk_core::wire::file_name::Compression;
use zk_proto::Zxid;

use super::apply::ApplyItem;
use super::clock::wall;
use super::fail_stop::StopCause;
use super::log::{LogItem, LogTask};
use super::mailbox::{Mailbox, Taken};
use crate::metrics::{Basic, Counter, Metrics};
use crate::shared_tree::SharedTree;
use crate::storage::{
    Area, Disk, DiskFile, Name, SnapshotWriter, purge, remove_unfinished_snapshots,
};

/// Bytes encoded under one guard of the tree: enough to be worth it, few enough that the apply thread
/// hardly notices.
const CHUNK_BYTES: usize = 32 << 10;
/// Pause behind a chunk.
const PAUSE: Duration = Duration::from_micros(100);

/// Something asked of the snapshot thread.
pub(crate) struct SnapshotItem {
    /// What to write.
    pub(crate) capture: Capture,
    pub(crate) purpose: SnapshotPurpose,
    /// Who waits for it.
    pub(crate) order: Option<SnapshotOrder>,
}

/// An operator who waits for a snapshot.
pub(crate) struct SnapshotOrder {
    /// Dropped if there is none after all.
    pub(crate) reply_to: oneshot::Sender<SnapshotWritten>,
    /// Given back when it is written, whether the operator has waited or not.
    pub(crate) place: OwnedSemaphorePermit,
}

/// A snapshot that is on disk.
pub(crate) struct SnapshotWritten {
    pub(crate) zxid: Zxid,
    pub(crate) bytes: u64,
    /// Opened, so that no purge takes it away.
    pub(crate) file: Box<dyn DiskFile>,
}

/// What a capture is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotPurpose {
    /// A snapshot from time to time.
    Periodic,
    /// The state came from a leader: the log is to go on behind it.
    Restart,
    /// An operator wants one.
    Ordered,
    /// Not for this thread: it is sent to a learner.
    Learner,
}

/// The snapshot thread's own.
pub(crate) struct SnapshotStage<D> {
    pub(crate) disk: D,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) mailbox: Arc<Mailbox<SnapshotItem>>,
    pub(crate) log: Arc<Mailbox<LogItem>>,
    /// Set while the tree is to be replaced: a snapshot of the old one is of no use.
    pub(crate) is_obsolete: Arc<AtomicBool>,
    pub(crate) apply: Arc<Mailbox<ApplyItem>>,
    pub(crate) compression: Compression,
    /// How often old files are purged, and how many snapshots stay.
    pub(crate) purge: Option<(Duration, usize)>,
    /// Bytes of files above which fewer snapshots stay (`autopurge.maxBytes`).
    pub(crate) purge_bytes_max: Option<u64>,
    /// Whether the last zxid stands in snapshots (`serializeLastProcessedZxid.enabled`).
    pub(crate) has_last_zxid: bool,
    pub(crate) metrics: Arc<Metrics>,
}

impl<D: Disk<File: 'static> + Clone> SnapshotStage<D> {
    /// Runs until the mailbox is closed. A snapshot that is being written then is given up.
    pub(crate) fn run(self, is_stopping: impl Fn() -> bool) -> Result<(), StopCause> {
        let mut captures = Vec::new();
        let mut next_purge = self.purge.map(|_| Instant::now());
        loop {
            match self.mailbox.take(next_purge, &mut captures) {
                Taken::Closed => return Ok(()),
                Taken::Items => {}
                Taken::Deadline => {
                    if let Some((interval, retain)) = self.purge {
                        self.purge(retain);
                        next_purge = Instant::now().checked_add(interval);
                    }
                }
            }
            for item in captures.drain(..) {
                let SnapshotItem {
                    mut capture,
                    purpose,
                    order,
                } = item;
                let zxid = capture.zxid();
                // A leader's state is written at once: until then this member has no vote.
                let is_urgent = purpose == SnapshotPurpose::Restart;
                let written = self.write(&mut capture, is_urgent, &is_stopping);
                self.apply.send([ApplyItem::Captured { capture, purpose }]);
                if written.is_err() {
                    self.metrics.count(Counter::SnapshotErrorCount, 1);
                }
                if let Some(order) = order {
                    self.fulfil(order, zxid, written);
                    continue;
                }
                let written = written.map_err(StopCause::Snapshot)?;
                if let Some((name, _)) = written.filter(|_| is_urgent) {
                    self.log.send([LogItem::Alone(LogTask::Restart(name))]);
                }
            }
        }
    }

    /// Tells who waits for a snapshot. A disk that has no room for one more than the server itself
    /// needs is no reason to stop.
    fn fulfil(&self, order: SnapshotOrder, zxid: Zxid, written: io::Result<Option<(Name, u64)>>) {
        let opened = written.and_then(|written| {
            let Some((name, bytes)) = written else {
                return Ok(None);
            };
            let file: Box<dyn DiskFile> = Box::new(self.disk.open(name)?);
            Ok(Some(SnapshotWritten { zxid, bytes, file }))
        });
        drop(order.place);
        match opened {
            // Whoever has not waited finds it in the data directory.
            Ok(Some(written)) => drop(order.reply_to.send(written)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%zxid, err = %error, "snapshot that was asked for is not written");
                if let Err(error) = remove_unfinished_snapshots(&self.disk) {
                    tracing::warn!(err = %error, "cannot remove what there is of a snapshot");
                }
            }
        }
    }

    /// Removes what recovery does not need. What cannot be removed stays for the next time.
    fn purge(&self, retain: usize) {
        let mut retain = retain;
        loop {
            match purge(&self.disk, retain) {
                Ok(report) => {
                    for (name, error) in &report.failed {
                        tracing::warn!(%name, err = %error, "cannot remove an old file");
                    }
                    tracing::info!(count = report.removed.len(), retain, "old files purged");
                }
                Err(error) => {
                    tracing::warn!(err = %error, "cannot purge old files");
                    return;
                }
            }
            let is_over = self.purge_bytes_max.is_some_and(|max| self.bytes() > max);
            if !is_over || retain <= 1 {
                return;
            }
            retain -= 1;
        }
    }

    /// Bytes of all files; what cannot be read does not count.
    fn bytes(&self) -> u64 {
        let areas = [Area::Data, Area::Log].into_iter();
        let names = areas.flat_map(|area| self.disk.list(area).unwrap_or_default());
        names
            .filter_map(|name| self.disk.open(name).ok()?.len().ok())
            .sum()
    }

    /// Writes a snapshot; none if it was given up. One that is not urgent rests behind each chunk:
    /// whoever wants the processor, the tree or the disk meanwhile gets it then.
    fn write(
        &self,
        capture: &mut Capture,
        is_urgent: bool,
        is_stopping: &impl Fn() -> bool,
    ) -> io::Result<Option<(Name, u64)>> {
        let start = Instant::now();
        let zxid = capture.zxid();
        capture.limit_trailer(true, self.has_last_zxid);
        let mut writer = SnapshotWriter::create(self.disk.clone(), zxid, self.compression)?;
        let mut chunk = BytesMut::new();
        loop {
            if is_stopping() || self.is_obsolete.load(Ordering::Acquire) {
                return Ok(None);
            }
            let is_more = capture.next_chunk(&self.tree.read(), CHUNK_BYTES, &mut chunk);
            writer.write(&chunk)?;
            chunk.clear();
            if !is_more {
                break;
            }
            if !is_urgent {
                std::thread::sleep(PAUSE);
            }
        }
        let (name, bytes) = writer.finish()?;
        let elapsed_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.metrics.add(Basic::Snapshottime, elapsed_us / 1000);
        self.metrics.snapshot_written(zxid, wall().as_millis());
        tracing::info!(%name, bytes, elapsed_us, "snapshot written");
        Ok(Some((name, bytes)))
    }
}
