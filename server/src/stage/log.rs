//! The log thread: one write and one sync for all that came while the last one ran.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zk_core::ensemble::Configs;
use zk_core::peer::{EpochKind, Event};
use zk_proto::{Bytes, Epoch, Zxid};

use super::apply::ApplyItem;
use super::core::CoreItem;
use super::fail_stop::StopCause;
use super::intake::Intake;
use super::mailbox::{Mailbox, Taken};
use crate::config::DynamicFiles;
use crate::metrics::{Basic, Metrics};
use crate::storage::{Disk, Epochs, FileLog, LogEntry, Name, RecoverOptions, recover};

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
    /// Do something that must not share a batch with appends.
    Alone(LogTask),
}

/// What the log thread does besides appending.
#[derive(Debug, Clone)]
pub(crate) enum LogTask {
    /// Go on in another file, so that this one can be purged with the snapshot being taken.
    Roll,
    /// Write an epoch file.
    SaveEpoch(EpochKind, Epoch),
    /// Cut the log behind this transaction, if what is left leads there, and load the state from disk
    /// again. Nobody has a capture of the tree.
    Truncate(Zxid),
    /// Write the files that tell who the members are.
    Configure(Box<Configs>),
    /// Go on behind this snapshot, which has just been written.
    Restart(Name),
}

/// The log thread's own.
pub(crate) struct LogStage<D: Disk> {
    pub(crate) disk: D,
    pub(crate) log: FileLog<D>,
    /// Those of a member.
    pub(crate) epochs: Option<Epochs>,
    /// Where a member keeps who the members are, if they change.
    pub(crate) dynamic: Option<DynamicFiles>,
    /// How the state is loaded again.
    pub(crate) recover: RecoverOptions,
    pub(crate) apply: Arc<Mailbox<ApplyItem>>,
    pub(crate) mailbox: Arc<Mailbox<LogItem>>,
    pub(crate) core: Arc<Mailbox<CoreItem>>,
    /// Told of all that is durable.
    pub(crate) intake: Arc<Intake>,
    /// Does what was left to the core.
    pub(crate) help: Box<dyn Fn() + Send>,
    /// Duration of a sync above which it is worth a warning.
    pub(crate) slow: Duration,
    /// How long the first of a batch waits for more (`flushDelay`), if it does.
    pub(crate) delay: Duration,
    /// How long it waits without any coming (`maxWriteQueuePollTime`).
    pub(crate) poll: Duration,
    /// As many are waited for (`maxBatchSize`).
    pub(crate) batch_max: usize,
    pub(crate) patience: Patience,
    pub(crate) metrics: Arc<Metrics>,
}

impl<D: Disk + Clone> LogStage<D> {
    /// Runs until the mailbox is closed, and everything asked before is durable.
    pub(crate) fn run(mut self) -> Result<(), StopCause> {
        let mut items = Vec::new();
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        while self.mailbox.take(None, &mut items) != Taken::Closed {
            if self.delay.is_zero() {
                self.wait_for_returning(&mut items);
            } else {
                self.gather(&mut items);
            }
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
                    LogItem::Alone(task) => {
                        self.append(&mut batch)?;
                        batch_bytes = 0;
                        self.perform(task)?;
                    }
                }
            }
            self.append(&mut batch)?;
            batch_bytes = 0;
        }
        self.log.roll();
        Ok(())
    }

    /// Waits a moment for those who were just answered: see [`Patience`].
    fn wait_for_returning(&mut self, items: &mut Vec<LogItem>) {
        let Some((count, span)) = self.patience.worth(items.len()) else {
            return;
        };
        let have_come = self.mailbox.wait_for(count, Instant::now() + span);
        self.patience.waited(have_come);
        let mut more = Vec::new();
        if self.mailbox.take_now(&mut more) {
            items.append(&mut more);
        }
    }

    fn perform(&mut self, task: LogTask) -> Result<(), StopCause> {
        let event = match task {
            LogTask::Roll => {
                self.log.roll();
                return Ok(());
            }
            LogTask::SaveEpoch(kind, epoch) => {
                let epochs = self.epochs.as_mut().ok_or(StopCause::NoEpochs)?;
                match kind {
                    EpochKind::Accepted => epochs.accept(&self.disk, epoch)?,
                    EpochKind::Current => epochs.establish(&self.disk, epoch)?,
                }
                Event::EpochSaved { kind, epoch }
            }
            LogTask::Configure(configs) => {
                if let Some(dynamic) = &mut self.dynamic {
                    dynamic.keep(&configs);
                }
                return Ok(());
            }
            LogTask::Truncate(to) => {
                if !self.log.truncate(to)? {
                    // The core sees by what is in the tree then, and asks for that of the leader.
                    tracing::warn!(%to, "the log cannot be cut there, and stays as it is");
                }
                let recovered = recover(&self.disk, &self.recover).map_err(Box::new)?;
                let tree = Box::new(recovered.tree);
                self.apply.send([ApplyItem::Reloaded(tree)]);
                return Ok(());
            }
            LogTask::Restart(snapshot) => {
                self.log.restart(snapshot)?;
                Event::SnapshotSaved {
                    zxid: self.log.last(),
                }
            }
        };
        self.core.send([CoreItem::Event(event)]);
        Ok(())
    }

    /// Waits for more that can be synced together.
    fn gather(&self, items: &mut Vec<LogItem>) {
        let until = Instant::now() + self.delay;
        let mut more = Vec::new();
        while items.len() < self.batch_max {
            let deadline = until.min(Instant::now() + self.poll);
            if self.mailbox.take(Some(deadline), &mut more) != Taken::Items {
                return;
            }
            items.append(&mut more);
        }
    }

    fn append(&mut self, batch: &mut Vec<LogEntry>) -> Result<(), StopCause> {
        if batch.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let last = self.log.append(batch)?;
        let elapsed = start.elapsed();
        // Before those who wait for it are answered, and ask for more.
        self.patience
            .synced(elapsed, batch.len() + self.mailbox.len());
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.metrics.add(Basic::Fsynctime, millis);
        let entries = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        self.metrics.add(Basic::SyncProcessorBatchSize, entries);
        if elapsed > self.slow {
            self.metrics.sync_was_slow();
            let count = batch.len();
            let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            tracing::warn!(elapsed_us, count, "slow sync of the transaction log");
        }
        self.intake
            .done(batch.iter().map(|one| one.bytes.len()).sum());
        batch.clear();
        self.core.leave([CoreItem::Event(Event::LogDurable(last))]);
        (self.help)();
        Ok(())
    }
}

/// How long a batch is held back for writes that are about to come.
///
/// Clients that send one write at a time come back as soon as they are answered. The first of them
/// would be synced alone, and the others, which come during that sync, be answered with the next: two
/// syncs for what one could do. So as many are waited for as were answered or waited at the end of the
/// last sync; for no longer than a sync takes, half of that each time that they did not come, and not
/// at all where syncs take no longer than to be woken.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// What a sync takes, smoothed.
    sync: Duration,
    expected: usize,
    /// Times that the span is halved.
    doubts: u32,
    /// Syncs since `doubts` changed.
    syncs: u32,
}

/// Spans below are not worth it.
const PATIENCE_MIN: Duration = Duration::from_micros(150);
const DOUBTS_MAX: u32 = 6;
/// Syncs after which there is a doubt less.
const FORGOTTEN_AFTER: u32 = 32;

impl Patience {
    /// A sync is over that took so long; `expected` writes wait or are about to be answered.
    fn synced(&mut self, took: Duration, expected: usize) {
        self.sync = (self.sync * 7 + took) / 8;
        self.expected = expected;
        self.syncs += 1;
        if self.syncs >= FORGOTTEN_AFTER {
            self.doubt_less();
        }
    }

    /// How many more to wait for, and how long, if so many are there.
    fn worth(&self, here: usize) -> Option<(usize, Duration)> {
        let missing = self.expected.checked_sub(here).filter(|&it| it > 0)?;
        let span = self.sync / (1 << self.doubts);
        (span >= PATIENCE_MIN).then_some((missing, span))
    }

    fn waited(&mut self, have_come: bool) {
        if have_come {
            self.doubt_less();
        } else {
            self.doubts = (self.doubts + 1).min(DOUBTS_MAX);
            self.syncs = 0;
        }
    }

    fn doubt_less(&mut self) {
        self.doubts = self.doubts.saturating_sub(1);
        self.syncs = 0;
    }
}

#[cfg(test)]
mod patience_tests {
    use super::*;

    fn after_syncs_of(took: Duration, expected: usize) -> Patience {
        let mut patience = Patience::default();
        (0..100).for_each(|_| patience.synced(took, expected));
        patience
    }

    #[test]
    fn a_single_client_and_a_fast_disk_are_never_waited_for() {
        let slow = Duration::from_millis(1);
        assert_eq!(after_syncs_of(slow, 1).worth(1), None);
        assert_eq!(after_syncs_of(PATIENCE_MIN / 2, 60).worth(1), None);
        let (missing, span) = after_syncs_of(slow, 60).worth(1).expect("worth it");
        assert_eq!(missing, 59);
        assert!(span <= slow);
    }

    #[test]
    fn who_does_not_come_is_waited_for_ever_shorter_and_tried_again_later() {
        let mut patience = after_syncs_of(Duration::from_millis(1), 60);
        let mut spans = Vec::new();
        while let Some((_, span)) = patience.worth(1) {
            spans.push(span);
            patience.waited(false);
        }
        assert!(spans.len() > 1 && spans.is_sorted_by(|one, next| one > next));
        (0..FORGOTTEN_AFTER).for_each(|_| patience.synced(Duration::from_millis(1), 60));
        assert!(patience.worth(1).is_some());
        patience.waited(true);
        patience.waited(true);
        assert!(
            patience
                .worth(1)
                .is_some_and(|(_, span)| Some(&span) >= spans.get(1))
        );
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::stage::fail_stop::FailStop;
    use crate::storage::{Fault, LogError, LogOptions, SimDisk, Standing, write_snapshot};
    use zk_core::time::WallTime;
    use zk_core::tree::{Tree, TreeOptions};
    use zk_core::wire::file_name::Compression;
    use zk_core::wire::txn::{CreateSessionTxn, Txn, TxnHeader};
    use zk_proto::{SessionId, Xid};

    fn append(zxid: i64) -> LogItem {
        LogItem::Append {
            zxid: Zxid::new(zxid),
            bytes: Bytes::from_static(&[1; 64]),
        }
    }

    fn stage(disk: &SimDisk) -> LogStage<SimDisk> {
        let log = FileLog::open(disk.clone(), LogOptions::default(), Zxid::ZERO);
        let core = Arc::new(Mailbox::new(10));
        let reported = Arc::clone(&core);
        LogStage {
            disk: disk.clone(),
            log: log.expect("opened"),
            epochs: Some(Epochs::load(disk, Zxid::ZERO).expect("written")),
            dynamic: None,
            recover: RecoverOptions {
                tree: TreeOptions::default(),
                trust_empty: false,
                entry_bytes_max: 1 << 20,
                standing: Standing::Member,
                compression: Compression::None,
            },
            apply: Arc::new(Mailbox::new(10)),
            mailbox: Arc::new(Mailbox::new(10)),
            core,
            intake: counted(),
            help: Box::new(move || reported.wake()),
            slow: Duration::MAX,
            delay: Duration::ZERO,
            poll: Duration::ZERO,
            batch_max: usize::MAX,
            patience: Patience::default(),
            metrics: Arc::default(),
        }
    }

    /// More than any test appends was counted.
    fn counted() -> Arc<Intake> {
        let intake = Intake::new(0);
        intake.add(1 << 20);
        Arc::new(intake)
    }

    #[test]
    fn all_that_waits_becomes_durable_with_one_sync() {
        let disk = SimDisk::new(1);
        let stage = stage(&disk);
        let (mailbox, core) = (Arc::clone(&stage.mailbox), Arc::clone(&stage.core));
        let intake = Arc::clone(&stage.intake);
        mailbox.send((1..=100).map(append));
        mailbox.close();
        stage.run().expect("a disk that works");
        let mut reports = Vec::new();
        assert_eq!(core.take(None, &mut reports), Taken::Items);
        assert_eq!(reports.len(), 1);
        let last = |item: &CoreItem| match item {
            CoreItem::Event(Event::LogDurable(zxid)) => Some(*zxid),
            CoreItem::Event(_) | CoreItem::Inspect(_) => None,
        };
        assert_eq!(reports.first().and_then(last), Some(Zxid::new(100)));
        assert_eq!(intake.bytes(), (1 << 20) - 100 * 64, "durable is done");
    }

    #[test]
    fn with_a_delay_what_comes_a_little_later_is_synced_with_the_rest() {
        let disk = SimDisk::new(1);
        let mut stage = stage(&disk);
        stage.delay = Duration::from_mins(1);
        stage.poll = stage.delay;
        stage.batch_max = 3;
        let (mailbox, core) = (Arc::clone(&stage.mailbox), Arc::clone(&stage.core));
        let thread = std::thread::spawn(move || stage.run());
        for zxid in 1..=3 {
            mailbox.send([append(zxid)]);
        }
        let mut reports = Vec::new();
        assert_eq!(core.take(None, &mut reports), Taken::Items);
        assert_eq!(reports.len(), 1, "one sync for all three");
        mailbox.close();
        thread.join().expect("no panic").expect("a disk that works");
    }

    #[test]
    fn l7_a_disk_that_fails_stops_the_server_and_reports_nothing() {
        for step in 1..4 {
            let disk = SimDisk::new(1);
            let stage = stage(&disk);
            disk.fail_at(disk.operations() + step, Fault::Io);
            let (mailbox, core) = (Arc::clone(&stage.mailbox), Arc::clone(&stage.core));
            mailbox.send([append(1)]);
            let fail_stop = Arc::new(FailStop::new());
            let thread = fail_stop
                .spawn("log", move || stage.run())
                .expect("spawned");
            thread.join().expect("no panic");
            assert!(fail_stop.stopping().is_cancelled());
            let cause = fail_stop.cause().expect("a cause");
            assert!(
                matches!(*cause, StopCause::Log(LogError::Disk { .. })),
                "{cause}"
            );
            core.close();
            assert_eq!(core.take(None, &mut Vec::new()), Taken::Closed);
        }
    }

    /// Only the tree is here that a leader gave before, and another one wants less of it.
    #[test]
    fn a_log_that_cannot_be_cut_gives_the_tree_as_it_is_and_goes_on() {
        let disk = SimDisk::new(1);
        let mut tree = Tree::new(TreeOptions::default());
        let header = TxnHeader {
            session: SessionId::new(1),
            cxid: Xid::new(0),
            zxid: Zxid::new(200),
            time: WallTime::from_millis(0),
        };
        let txn = Txn::CreateSession(CreateSessionTxn { timeout_ms: 9000 });
        tree.apply(&header, &txn);
        write_snapshot(&disk, &mut tree, Compression::None).expect("written");
        let mut stage = stage(&disk);
        stage.log =
            FileLog::open(disk.clone(), LogOptions::default(), Zxid::new(200)).expect("opened");
        let (mailbox, apply) = (Arc::clone(&stage.mailbox), Arc::clone(&stage.apply));
        mailbox.send([LogItem::Alone(LogTask::Truncate(Zxid::new(150)))]);
        mailbox.send([append(201)]);
        mailbox.close();
        stage.run().expect("a disk that works");
        let mut items = Vec::new();
        assert_eq!(apply.take(None, &mut items), Taken::Items);
        let Some(ApplyItem::Reloaded(tree)) = items.pop() else {
            panic!("no tree");
        };
        assert_eq!(tree.applied(), Zxid::new(200));
    }
}
