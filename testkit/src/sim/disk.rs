//! The disk of a member at the level of records: what was written, what would outlast a crash.

use std::sync::Arc;

use zk_core::ensemble::EnsembleConfig;
use zk_core::tree::{Tree, TreeLoader, TreeOptions};
use zk_core::wire::snapshot::SnapshotDecoder;
use zk_core::wire::txn::TxnEntry;
use zk_proto::{Bytes, Epoch, Zxid};

use super::rng::Rng;
use crate::check::{Past, Pasts};

/// A transaction in a log.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its place in history.
    pub zxid: Zxid,
    /// The history up to it, as the member had it when it appended it.
    pub past: Past,
    /// The entry.
    pub bytes: Bytes,
}

/// The whole tree at one point of history.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name: the last zxid applied.
    pub zxid: Zxid,
    /// The history that made the tree.
    pub past: Past,
    /// The stream.
    pub bytes: Bytes,
}

/// Logs, snapshots and epoch files of a member.
///
/// Invariants: zxids in the log ascend; `synced` is not above its length.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    log: Vec<Record>,
    /// Records that outlast a crash.
    synced: usize,
    snapshots: Vec<Snapshot>,
    /// The accepted epoch, durable.
    pub accepted: Epoch,
    /// The current epoch, durable.
    pub current: Epoch,
    /// The file that tells who the members are, durable; none if they are those of the start.
    members: Option<Arc<EnsembleConfig>>,
    /// The same before it was written last.
    members_before: Option<Arc<EnsembleConfig>>,
}

/// What a member finds on its disk when it starts.
#[derive(Debug)]
pub struct Recovered {
    /// The tree: newest snapshot and the log behind it.
    pub tree: Tree,
    /// The history that made it.
    pub past: Past,
}

/// What a disk holds that no disk should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub String);

impl Disk {
    /// Writes a record behind the others; it does not last yet.
    ///
    /// # Errors
    /// [`Damage`] if it is not above the last one.
    pub fn append(&mut self, record: Record) -> Result<(), Damage> {
        if let Some(last) = self.log.last().filter(|last| last.zxid >= record.zxid) {
            return Err(Damage(format!(
                "{} is appended behind {}",
                record.zxid, last.zxid
            )));
        }
        self.log.push(record);
        Ok(())
    }

    /// The members that the file tells.
    pub fn members(&self) -> Option<&Arc<EnsembleConfig>> {
        self.members.as_ref()
    }

    /// Keeps the members that are in force.
    pub fn keep_members(&mut self, config: Arc<EnsembleConfig>) {
        let is_same = |known: &Arc<EnsembleConfig>| known.version() == config.version();
        if !self.members.as_ref().is_some_and(is_same) {
            self.members_before = self.members.replace(config);
        }
    }

    /// Has the file tell what it told before it was written last, once.
    pub fn forget_members(&mut self) {
        self.members = self.members_before.take();
    }

    /// Makes all records last.
    pub fn sync(&mut self) {
        self.synced = self.log.len();
    }

    /// Makes so many more records last.
    pub fn sync_some(&mut self, count: usize) {
        self.synced = self.log.len().min(self.synced + count);
    }

    /// Records that do not last yet.
    pub fn unsynced(&self) -> usize {
        self.log.len() - self.synced
    }

    /// Everything in the log.
    pub fn log(&self) -> &[Record] {
        &self.log
    }

    /// Everything that would be there after a crash, if the crash took all it can.
    pub fn durable(&self) -> Past {
        let snapshot = self.newest();
        let record = self.log.get(..self.synced).and_then(<[Record]>::last);
        match (snapshot, record) {
            (Some(snapshot), Some(record)) if record.zxid > snapshot.zxid => record.past,
            (Some(snapshot), _) => snapshot.past,
            (None, Some(record)) => record.past,
            (None, None) => Past::EMPTY,
        }
    }

    /// Loses what was not synced, or a part of it. If that is nothing, it is only the process that has
    /// died: what it wrote is there, and does not last yet.
    pub fn crash(&mut self, rng: &mut Rng) -> usize {
        let lost = rng.index(self.unsynced() + 1);
        if lost > 0 {
            self.log.truncate(self.log.len() - lost);
            self.synced = self.log.len();
        }
        lost
    }

    /// Adds a snapshot that the member took of its own tree, and forgets the oldest.
    pub fn keep(&mut self, snapshot: Snapshot, most: usize) {
        self.snapshots.retain(|old| old.zxid != snapshot.zxid);
        self.snapshots.push(snapshot);
        self.snapshots.sort_by_key(|old| old.zxid);
        let excess = self.snapshots.len().saturating_sub(most);
        self.snapshots.drain(..excess);
        // Without the first snapshot the log must reach back to the one that is the first now.
        if excess > 0 {
            let first = self
                .snapshots
                .first()
                .map_or(Zxid::ZERO, |first| first.zxid);
            let old = self.log.iter().take_while(|record| record.zxid <= first);
            let old = old.count().min(self.synced);
            self.log.drain(..old);
            self.synced -= old;
        }
    }

    /// Takes a snapshot from a leader in the place of everything.
    pub fn replace(&mut self, snapshot: Snapshot) {
        if planted!(SnapshotNotWritten) {
            return;
        }
        if planted!(LogOutlivesSnapshot) {
            self.replace_half(snapshot);
            return;
        }
        self.log.clear();
        self.synced = 0;
        self.snapshots = vec![snapshot];
    }

    /// Adds a snapshot from a leader without removing anything, as a crash on the way may leave it.
    pub fn replace_half(&mut self, snapshot: Snapshot) {
        self.snapshots.retain(|old| old.zxid != snapshot.zxid);
        self.snapshots.push(snapshot);
        self.snapshots.sort_by_key(|old| old.zxid);
    }

    /// Cuts the log behind a transaction, and takes away the snapshots above it.
    pub fn truncate(&mut self, zxid: Zxid) {
        if !planted!(SnapshotsOutliveTruncation) {
            self.snapshots.retain(|old| old.zxid <= zxid);
        }
        let kept = self.log.iter().take_while(|record| record.zxid <= zxid);
        let kept = kept.count() + usize::from(planted!(TruncationKeepsOne));
        let kept = kept.min(self.log.len());
        self.log.truncate(kept);
        self.synced = kept;
    }

    /// Whether the log can be cut there: what is left begins at a snapshot or at the beginning.
    pub fn can_truncate(&self, zxid: Zxid, pasts: &Pasts) -> bool {
        let has_snapshot = self.snapshots.iter().any(|old| old.zxid <= zxid);
        let from_start = |record: &Record| pasts.before(record.past) == Past::EMPTY;
        has_snapshot || self.log.first().is_some_and(from_start) || self.log.is_empty()
    }

    fn newest(&self) -> Option<&Snapshot> {
        self.snapshots.last()
    }

    /// The snapshots, oldest first.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// Loads the newest snapshot and replays the log behind it.
    ///
    /// # Errors
    /// [`Damage`] if the log does not go on where the snapshot ends, or something does not decode.
    pub fn recover(&self, options: TreeOptions, pasts: &mut Pasts) -> Result<Recovered, Damage> {
        self.recover_from(self.newest(), options, pasts)
    }

    /// Loads a snapshot, or none, and replays the log behind it.
    ///
    /// # Errors
    /// As [`Self::recover`].
    pub fn recover_from(
        &self,
        snapshot: Option<&Snapshot>,
        options: TreeOptions,
        pasts: &mut Pasts,
    ) -> Result<Recovered, Damage> {
        let (mut tree, mut past) = match snapshot {
            Some(snapshot) => (
                load(&snapshot.bytes, snapshot.zxid, options)?,
                snapshot.past,
            ),
            None => (Tree::new(options), Past::EMPTY),
        };
        let base = tree.applied();
        for record in self.log.iter().filter(|record| record.zxid > base) {
            let entry = TxnEntry::decode(&record.bytes)
                .map_err(|error| Damage(format!("{}: {error}", record.zxid)))?;
            past = pasts.then(past, record.zxid, mark(&record.bytes));
            if past != record.past {
                return Err(Damage(format!(
                    "the log has {} behind {}, and was written behind {}",
                    record.zxid,
                    pasts.show(pasts.before(past), 5),
                    pasts.show(pasts.before(record.past), 5),
                )));
            }
            tree.apply(&entry.header, &entry.txn);
        }
        Ok(Recovered { tree, past })
    }
}

/// Stands for the bytes of a transaction.
pub fn mark(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in chunks.by_ref() {
        let number = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = (hash.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    for &byte in chunks.remainder() {
        hash = (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    hash
}

/// Builds a tree from the stream of a snapshot.
///
/// # Errors
/// [`Damage`] if it does not decode.
pub fn load(bytes: &Bytes, zxid: Zxid, options: TreeOptions) -> Result<Tree, Damage> {
    let damage = |error: &dyn std::fmt::Display| Damage(format!("snapshot {zxid}: {error}"));
    let mut decoder = SnapshotDecoder::default();
    let mut loader = TreeLoader::new(options);
    decoder.feed(bytes.clone());
    while let Some(item) = decoder.next_item().map_err(|error| damage(&error))? {
        loader.add(&item).map_err(|error| damage(&error))?;
    }
    let trailer = decoder.finish().map_err(|error| damage(&error))?;
    let (tree, check) = loader
        .finish(zxid, &trailer)
        .map_err(|error| damage(&error))?;
    if let zk_core::tree::DigestCheck::Different(theirs, ours) = check {
        return Err(Damage(format!(
            "snapshot {zxid} has digest {theirs:#x}, its tree {ours:#x}"
        )));
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(zxid: i64) -> Record {
        Record {
            zxid: Zxid::new(zxid),
            past: Past::EMPTY,
            bytes: Bytes::new(),
        }
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let mut kept = [0; 4];
        for seed in 0..200 {
            let mut disk = Disk::default();
            disk.append(record(1)).unwrap();
            disk.sync();
            for zxid in 2..5 {
                disk.append(record(zxid)).unwrap();
            }
            let lost = disk.crash(&mut Rng::new(seed, 0));
            kept[disk.log().len() - 1] += 1;
            assert_eq!(disk.log().len(), 4 - lost);
            assert_eq!(disk.unsynced(), if lost == 0 { 3 } else { 0 });
        }
        assert!(kept.iter().all(|&count| count > 20), "{kept:?}");
    }

    #[test]
    fn records_are_appended_in_order() {
        let mut disk = Disk::default();
        disk.append(record(2)).unwrap();
        assert!(disk.append(record(2)).is_err());
        disk.truncate(Zxid::new(1));
        disk.append(record(2)).unwrap();
    }
}
