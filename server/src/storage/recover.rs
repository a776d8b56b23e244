//! From a data directory to the state a server starts with.
//!
//! ```text
//!  remove unfinished ─► newest whole snapshot ─► replay the log ─► [epochs] ─► [orphans] ─► [snapshot]
//!                        none: empty tree          each record once   member     alone       when the
//!                        logs but none: refuse     gap: refuse                               log needs it
//! ```
//!
//! Nothing of the state is served before all of it is there, and nothing is guessed: what a crash
//! can leave behind is put right, anything else is refused with the file and the reason.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use bytes::BytesMut;
use zk_core::tree::{DigestCheck, LoadError, PreparedTxn, Preparer, Tree, TreeLoader, TreeOptions};
use zk_core::wire::file_name::{Compression, FileName};
use zk_core::wire::recovery::{self, Refusal};
use zk_core::wire::snapshot::ITEM_MAX;
use zk_core::wire::txn::TxnEntry;
use zk_proto::Zxid;
use zk_proto::jute::DecodeError;

use super::disk::Disk;
use super::epoch_file::{EpochError, Epochs};
use super::file_log::{Landmarks, LogError, LogTail, finish_restart, read_log, sync_tail};
use super::file_snapshot::{
    SnapshotReadError, SnapshotWriter, load_newest_snapshot, remove_unfinished_snapshots,
};
use super::layout::{Area, Name, Role};

/// Bytes of a snapshot encoded at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Transactions that are decoded at a time, about as many as are read at a time: two threads that count
/// the uses of one buffer wait for each other. And such batches before the first is taken, at most.
const BATCH: usize = 1024;
const BATCHES_AHEAD: usize = 2;

/// Whether a server has to ask others what is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads alone: its log is the history. It has no epoch files.
    Alone,
    /// It is a member of an ensemble, which may yet take back the end of its log.
    Member,
}

/// How to read a data directory.
#[derive(Clone, Copy, Debug)]
pub struct RecoverOptions {
    /// Options of the tree.
    pub tree: TreeOptions,
    /// Whether an empty tree may precede logs (`snapshot.trust.empty`).
    pub trust_empty: bool,
    /// Longest log entry; longer ones are damage.
    pub entry_bytes_max: usize,
    /// Alone or with others.
    pub standing: Standing,
    /// Compression of a snapshot that has to be written.
    pub compression: Compression,
}

/// The state of a server, as its disk has it.
#[derive(Debug)]
pub struct Recovered {
    /// The tree, with the sessions in it; its `applied` is the last transaction.
    pub tree: Tree,
    /// The epochs of a member.
    pub epochs: Option<Epochs>,
    /// What happened on the way.
    pub report: RecoverReport,
}

/// What happened while a data directory was read.
#[derive(Debug)]
pub struct RecoverReport {
    /// The snapshot that was loaded; none if there was none, or it was written just now.
    pub snapshot: Option<Name>,
    /// Newer snapshots that looked whole and are not.
    pub skipped: Vec<SnapshotReadError>,
    /// Transactions replayed.
    pub replayed: u64,
    /// Where the log ended.
    pub tail: LogTail,
    /// The first digest that did not agree, if any. The reference only reports it, and its own logs
    /// are known to have some.
    pub mismatch: Option<DigestMismatch>,
    /// Ephemeral znodes deleted because nobody knows their session.
    pub orphans: usize,
    /// The snapshot that had to be written, with its length.
    pub written: Option<(Name, u64)>,
}

/// A tree that is not what the writer of a log or snapshot had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestMismatch {
    /// After this transaction.
    pub zxid: Zxid,
    /// Digest on disk.
    pub recorded: u64,
    /// Digest of the tree.
    pub computed: u64,
}

/// Why a server must not start on a data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The directory could not be read or written.
    #[error("cannot {attempt} in the data directory")]
    Disk {
        /// What was attempted.
        attempt: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No snapshot is usable.
    #[error(transparent)]
    Snapshot(#[from] SnapshotReadError),
    /// The snapshot is whole and holds no tree.
    #[error("{name} holds no tree")]
    NoTree {
        /// The file.
        name: Name,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The files that are there do not make up a state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A snapshot cannot be read, and the log does not lead from the one before it to where it was
    /// taken: the state would be an older one, or one that never was.
    #[error("{name} cannot be read, and the log does not lead there from snapshot.{:x}", base.get())]
    NotReached {
        /// The file.
        name: Name,
        /// The newest snapshot that can be read.
        base: Zxid,
        /// What is wrong with it, if that does not show at its end.
        #[source]
        source: Option<Box<SnapshotReadError>>,
    },
    /// The log is unusable.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A log entry with the right checksum is no transaction: written by a newer version, or by a
    /// faulty one.
    #[error("transaction {zxid} in the log does not decode")]
    Undecodable {
        /// The transaction.
        zxid: Zxid,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// Znodes use access control lists that neither the snapshot nor the log has. To serve them
    /// would be to open or close them to everybody.
    #[error("{count} znodes have access control lists that are in neither snapshot nor log")]
    UnknownAcls {
        /// Number of znodes.
        count: usize,
    },
    /// The epoch files are unusable.
    #[error(transparent)]
    Epochs(#[from] EpochError),
}

/// Reads a data directory, and leaves it such that the log can be appended to.
///
/// A server on its own gets a snapshot of an empty tree at its first start, before there is a log:
/// logs without any snapshot are refused.
///
/// # Errors
///
/// [`RecoverError`], in the order of what is read: snapshots, log, epochs. Nothing is removed but
/// unfinished snapshots, and what a log that was begun anew leaves behind.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `FileTxnSnapLog#restore`, `ZooKeeperServer#loadData`. That one takes a
/// snapshot at every standalone start; here it is taken where recovery did what the log does not
/// tell: made an empty tree, or deleted orphans.
pub fn recover<D: Disk + Clone>(
    disk: &D,
    options: &RecoverOptions,
) -> Result<Recovered, RecoverError> {
    remove_unfinished_snapshots(disk).map_err(failed("remove unfinished snapshots"))?;
    finish_restart(disk)?;
    let mut mismatches = Mismatches::default();
    let preparer = Preparer::new(options.tree);
    // No transaction is longer than an entry of the log, so that no path or data is.
    let item_max = options.entry_bytes_max.saturating_mul(2).max(ITEM_MAX);
    let loaded = load_newest_snapshot(
        disk,
        item_max,
        || TreeLoader::new(options.tree),
        |item| preparer.item(item),
        |loader, items| Ok(loader.add_prepared(&items)?),
    )?;
    let listing = listing(disk)?;
    let whole = loaded.as_ref().map(|loaded| loaded.zxid);
    recovery::start(&listing, whole, options.trust_empty)?;
    let (mut tree, snapshot, skipped) = match loaded {
        Some(loaded) => {
            let (name, base) = (loaded.name, loaded.zxid);
            let finished = loaded.value.finish_for_replay(base, &loaded.trailer);
            let (tree, check) = finished.map_err(|source| RecoverError::NoTree { name, source })?;
            mismatches.note(base, check);
            (tree, Some(name), loaded.skipped)
        }
        None => (Tree::new(options.tree), None, Vec::new()),
    };

    let base = tree.applied();
    let mut landmarks = Landmarks::between(disk, base, Zxid::new(i64::MAX))?;
    let (tail, replayed) = replay(disk, &mut tree, options.entry_bytes_max, |zxid, check| {
        landmarks.pass(zxid);
        mismatches.note(zxid, check);
    })?;
    if let Some(name) = landmarks.missed() {
        let source = skipped
            .into_iter()
            .find(|skipped| skipped.name() == Some(name));
        return Err(RecoverError::NotReached {
            name,
            base,
            source: source.map(Box::new),
        });
    }
    tree.replayed();
    // Before anything is concluded from it: an epoch, a vote, an answer.
    sync_tail(disk, &tail)?;
    match tree.unresolved_acls() {
        0 => {}
        count => return Err(RecoverError::UnknownAcls { count }),
    }

    let (epochs, orphans) = match options.standing {
        Standing::Alone => (None, tree.delete_orphans()),
        Standing::Member => (Some(Epochs::load(disk, tree.applied())?), 0),
    };
    let written = if snapshot.is_none() || orphans > 0 {
        let written = write_snapshot(disk, &mut tree, options.compression);
        Some(written.map_err(failed("write a snapshot"))?)
    } else {
        None
    };
    Ok(Recovered {
        tree,
        epochs,
        report: RecoverReport {
            snapshot,
            skipped,
            replayed,
            tail,
            mismatch: mismatches.first,
            orphans,
            written,
        },
    })
}

/// Applies the log behind the tree. It is read, decoded and prepared by a thread of its own, as to
/// apply it takes as long again; `each` hears of every transaction. Says where the log ended, and how
/// many transactions were applied.
fn replay<D: Disk + Clone>(
    disk: &D,
    tree: &mut Tree,
    entry_bytes_max: usize,
    mut each: impl FnMut(Zxid, DigestCheck),
) -> Result<(LogTail, u64), RecoverError> {
    let base = tree.applied();
    let preparer = Preparer::new(tree.options());
    let disk = disk.clone();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
        let reading = thread::Builder::new()
            .name("zk-log-replay".into())
            .spawn_scoped(scope, move || {
                decode_log(&disk, base, entry_bytes_max, preparer, &sender)
            })
            .map_err(failed("begin to read the log"))?;
        let mut replayed = 0;
        for batch in &receiver {
            tree.prefetch(&batch);
            for prepared in batch {
                let entry = prepared.entry();
                let zxid = entry.header.zxid;
                tree.apply_prepared(&prepared);
                each(zxid, tree.check_digest(zxid, entry.digest.as_ref()));
                replayed += 1;
            }
        }
        match reading.join() {
            Ok(tail) => Ok((tail?, replayed)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Hands out the transactions behind `base`, some at a time.
fn decode_log<D: Disk>(
    disk: &D,
    base: Zxid,
    entry_bytes_max: usize,
    preparer: Preparer,
    entries: &SyncSender<Vec<PreparedTxn>>,
) -> Result<LogTail, RecoverError> {
    let mut undecodable = None;
    let mut batch = Vec::new();
    // Whoever takes them takes all: nothing refuses a transaction of the log.
    let hand_out = |batch: &mut Vec<PreparedTxn>| {
        entries.send(std::mem::take(batch)).ok();
    };
    let tail = read_log(disk, base, entry_bytes_max, |logged| {
        // What does not decode must not be passed over; the rest is not looked at.
        if undecodable.is_some() {
            return Ok(());
        }
        match TxnEntry::decode(&logged.bytes) {
            Ok(entry) => batch.push(preparer.txn(entry)),
            Err(source) => {
                let zxid = logged.zxid;
                undecodable = Some(RecoverError::Undecodable { zxid, source });
            }
        }
        if batch.len() >= BATCH {
            hand_out(&mut batch);
        }
        Ok(())
    })?;
    hand_out(&mut batch);
    match undecodable {
        Some(error) => Err(error),
        None => Ok(tail),
    }
}

/// Writes a snapshot of a tree that nobody changes meanwhile. Returns the name and length.
///
/// # Errors
///
/// If the disk fails.
pub fn write_snapshot<D: Disk + Clone>(
    disk: &D,
    tree: &mut Tree,
    compression: Compression,
) -> io::Result<(Name, u64)> {
    let mut capture = tree.capture();
    let mut chunk = BytesMut::new();
    let mut write = || {
        let mut writer = SnapshotWriter::create(disk.clone(), capture.zxid(), compression)?;
        loop {
            let is_more = capture.next_chunk(tree, CHUNK_BYTES, &mut chunk);
            writer.write(&chunk)?;
            chunk.clear();
            if !is_more {
                return writer.finish();
            }
        }
    };
    let written = write();
    tree.end_capture(capture);
    written
}

/// Remembers the first digest that differs.
#[derive(Debug, Default)]
struct Mismatches {
    first: Option<DigestMismatch>,
}

impl Mismatches {
    fn note(&mut self, zxid: Zxid, check: DigestCheck) {
        if let DigestCheck::Different(recorded, computed) = check {
            self.first.get_or_insert(DigestMismatch {
                zxid,
                recorded,
                computed,
            });
        }
    }
}

/// Logs and snapshots that count.
fn listing<D: Disk>(disk: &D) -> Result<Vec<FileName>, RecoverError> {
    let mut listing = Vec::new();
    for area in [Area::Data, Area::Log] {
        for name in disk.list(area).map_err(failed("list files"))? {
            match name {
                Name::Final(Role::Log(first)) => listing.push(FileName::Log(first)),
                Name::Final(Role::Snapshot(zxid, compression)) => {
                    listing.push(FileName::Snapshot(zxid, compression));
                }
                Name::Final(Role::AcceptedEpoch | Role::CurrentEpoch) | Name::Temporary(_) => {}
            }
        }
    }
    Ok(listing)
}

fn failed(attempt: &'static str) -> impl FnOnce(io::Error) -> RecoverError {
    move |source| RecoverError::Disk { attempt, source }
}
