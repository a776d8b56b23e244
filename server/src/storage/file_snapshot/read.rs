//! Reading snapshots, newest first.

use std::error::Error;
use std::io::{self, Read as _};
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use bytes::Bytes;
use flate2::read::GzDecoder;
use zk_core::wire::file_name::Compression;
use zk_core::wire::snapshot::{
    self, Item, SnapshotDecoder, SnapshotError, SnapshotReason, Trailer,
};
use zk_proto::Zxid;

use super::snappy::SnappyDecoder;
use crate::storage::disk::{Disk, DiskFile, fill};
use crate::storage::layout::{Area, Name, Role};

/// Bytes read at a time.
const READ_BYTES: usize = 128 << 10;
/// Chunks that are decoded before the first of them is taken, at most.
const CHUNKS_AHEAD: usize = 3;
/// Snapshots tried before giving up, as in the reference.
const TRIED_MAX: usize = 100;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotReadError {
    /// The directory could not be read.
    #[error("cannot list the data directory")]
    Directory(#[source] io::Error),
    /// The file could not be read, or does not decompress.
    #[error("cannot read {name}")]
    Disk {
        /// The file.
        name: Name,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{name} is damaged")]
    Damaged {
        /// The file.
        name: Name,
        /// What is wrong.
        #[source]
        source: SnapshotError,
    },
    /// It has an entry that is longer than what is read: the limit is lower than when it was written.
    #[error(
        "{name} has an entry of at least {len} bytes, at most {max} are read: jute.maxbuffer must be \
         as high as when it was written"
    )]
    TooLong {
        /// The file.
        name: Name,
        /// Bytes of the entry, as far as they are known.
        len: usize,
        /// Most bytes that are read.
        max: usize,
    },
    /// The file is whole, and what it says makes no tree.
    #[error("{name} makes no sense")]
    Senseless {
        /// The file.
        name: Name,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// There are snapshots, and none is whole.
    #[error("none of {} snapshots can be read, the newest is {newest}", tried.len().max(1))]
    NoneWhole {
        /// Newest of them.
        newest: Name,
        /// What is wrong with those that looked whole.
        tried: Vec<Self>,
    },
}

impl SnapshotReadError {
    /// The file that it is about, if it is about one.
    pub const fn name(&self) -> Option<Name> {
        match self {
            Self::Directory(_) => None,
            Self::Disk { name, .. }
            | Self::Damaged { name, .. }
            | Self::TooLong { name, .. }
            | Self::Senseless { name, .. } => Some(*name),
            Self::NoneWhole { newest, .. } => Some(*newest),
        }
    }
}

/// A snapshot that was read to its end.
#[derive(Debug)]
pub struct LoadedSnapshot<T> {
    /// The file.
    pub name: Name,
    /// The zxid of its name: the base of a replay.
    pub zxid: Zxid,
    /// What it says about itself.
    pub trailer: Trailer,
    /// What was built from it.
    pub value: T,
    /// Newer files that looked whole and are not.
    pub skipped: Vec<SnapshotReadError>,
}

/// Reads the newest whole snapshot: `begin` makes an empty value, `add` puts entries into it that
/// `prepare` made something of, in another thread.
///
/// `add` must copy what it keeps; it may refuse, and the next older snapshot is tried then.
/// `None` if there is no snapshot at all. Entries have at most `item_max` bytes.
///
/// # Errors
///
/// If there are snapshots and none can be read, or one has a longer entry, or the disk fails.
pub fn load_newest_snapshot<D: Disk, T, P: Send>(
    disk: &D,
    item_max: usize,
    mut begin: impl FnMut() -> T,
    prepare: impl Fn(Item) -> P + Sync,
    mut add: impl FnMut(&mut T, Vec<P>) -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<Option<LoadedSnapshot<T>>, SnapshotReadError> {
    let names = disk
        .list(Area::Data)
        .map_err(SnapshotReadError::Directory)?;
    let mut snapshots: Vec<Name> = names
        .into_iter()
        .filter(|name| name.as_snapshot().is_some())
        .collect();
    snapshots.sort_unstable();
    let Some(&newest) = snapshots.last() else {
        return Ok(None);
    };
    let mut skipped = Vec::new();
    for &name in snapshots.iter().rev() {
        let is_candidate =
            looks_whole(disk, name).map_err(|source| SnapshotReadError::Disk { name, source })?;
        if !is_candidate {
            continue;
        }
        if skipped.len() == TRIED_MAX {
            break;
        }
        let mut value = begin();
        match read(disk, name, item_max, &prepare, |items| {
            add(&mut value, items)
        }) {
            Ok(trailer) => {
                let zxid = name.as_snapshot().unwrap_or_default();
                return Ok(Some(LoadedSnapshot {
                    name,
                    zxid,
                    trailer,
                    value,
                    skipped,
                }));
            }
            Err(error @ SnapshotReadError::TooLong { .. }) => return Err(error),
            Err(error) => skipped.push(error),
        }
    }
    Err(SnapshotReadError::NoneWhole {
        newest,
        tried: skipped,
    })
}

/// Whether a snapshot can be whole, by its first or last bytes.
///
/// # Errors
///
/// If it cannot be read.
pub fn looks_whole<D: Disk>(disk: &D, name: Name) -> io::Result<bool> {
    let Role::Snapshot(_, compression) = name.role() else {
        return Ok(false);
    };
    let file = disk.open(name)?;
    let len = file.len()?;
    let mut ends = [0; 8];
    Ok(match compression {
        Compression::None => {
            let last = &mut ends[..5];
            let count = file.read_at(len.saturating_sub(5), last)?;
            count == last.len() && snapshot::looks_whole(len, last)
        }
        Compression::Gzip | Compression::Snappy => {
            let count = file.read_at(0, &mut ends)?;
            let first = ends.get(..count).unwrap_or_default();
            first.starts_with(compression.magic())
        }
    })
}

/// Reads one snapshot to its end. It is read and decoded by a thread of its own: to build a tree from
/// it takes as long again.
fn read<D: Disk, P: Send>(
    disk: &D,
    name: Name,
    item_max: usize,
    prepare: &(impl Fn(Item) -> P + Sync),
    mut each: impl FnMut(Vec<P>) -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<Trailer, SnapshotReadError> {
    let unreadable = |source| SnapshotReadError::Disk { name, source };
    let reader = SnapshotReader::open(disk, name).map_err(unreadable)?;
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(CHUNKS_AHEAD);
        let decoding = thread::Builder::new()
            .name("zk-snapshot-read".into())
            .spawn_scoped(scope, move || {
                decode(reader, name, item_max, prepare, &sender)
            })
            .map_err(unreadable)?;
        for items in &receiver {
            each(items).map_err(|source| SnapshotReadError::Senseless { name, source })?;
        }
        match decoding.join() {
            Ok(trailer) => trailer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Hands out the entries of a snapshot, a chunk of it at a time, as long as somebody takes them.
fn decode<F: DiskFile, P>(
    mut reader: SnapshotReader<F>,
    name: Name,
    item_max: usize,
    prepare: &impl Fn(Item) -> P,
    entries: &SyncSender<Vec<P>>,
) -> Result<Trailer, SnapshotReadError> {
    let unreadable = |source| SnapshotReadError::Disk { name, source };
    let file_len = reader.plain_len().map_err(unreadable)?;
    let damaged = |source: SnapshotError| {
        // A length that goes beyond the end is damage. Behind compression, nobody can tell.
        if let SnapshotReason::TooLong { len, max } = source.reason
            && file_len.is_some_and(|all| len as u64 <= all)
        {
            return SnapshotReadError::TooLong { name, len, max };
        }
        SnapshotReadError::Damaged { name, source }
    };
    let mut decoder = SnapshotDecoder::new(item_max);
    let mut len = 0;
    while let Some(chunk) = reader.next_chunk().map_err(unreadable)? {
        decoder.feed(chunk);
        let mut items = Vec::with_capacity(len);
        while let Some(item) = decoder.next_item().map_err(damaged)? {
            items.push(prepare(item));
        }
        len = items.len();
        if entries.send(items).is_err() {
            break;
        }
    }
    decoder.finish().map_err(damaged)
}

/// The uncompressed stream of a snapshot, in pieces.
#[derive(Debug)]
pub struct SnapshotReader<F>(Stream<F>);

#[derive(Debug)]
enum Stream<F> {
    Plain(FileReader<F>),
    Gzip(GzDecoder<FileReader<F>>),
    Snappy(SnappyDecoder<FileReader<F>>),
}

impl<F: DiskFile> SnapshotReader<F> {
    /// Opens a snapshot; its name tells the compression.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is no snapshot.
    pub fn open<D: Disk<File = F>>(disk: &D, name: Name) -> io::Result<Self> {
        let Role::Snapshot(_, compression) = name.role() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let file = FileReader {
            file: disk.open(name)?,
            offset: 0,
        };
        Ok(Self(match compression {
            Compression::None => Stream::Plain(file),
            Compression::Gzip => Stream::Gzip(GzDecoder::new(file)),
            Compression::Snappy => Stream::Snappy(SnappyDecoder::new(file)),
        }))
    }

    /// Length of the stream, if it is the file.
    fn plain_len(&self) -> io::Result<Option<u64>> {
        match &self.0 {
            Stream::Plain(reader) => reader.file.len().map(Some),
            Stream::Gzip(_) | Stream::Snappy(_) => Ok(None),
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// If they cannot be read or do not decompress.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        // Room for one byte more, which tells the end without growing.
        let mut chunk = Vec::with_capacity(READ_BYTES + 1);
        let limit = READ_BYTES as u64;
        match &mut self.0 {
            Stream::Plain(reader) => {
                chunk.resize(READ_BYTES, 0);
                let count = fill(&reader.file, reader.offset, &mut chunk)?;
                reader.offset += count as u64;
                chunk.truncate(count);
                count
            }
            Stream::Gzip(decoder) => decoder.take(limit).read_to_end(&mut chunk)?,
            Stream::Snappy(decoder) => return Ok(decoder.next_block()?.map(Bytes::from)),
        };
        Ok((!chunk.is_empty()).then(|| chunk.into()))
    }
}

/// A file read from front to back.
#[derive(Debug)]
struct FileReader<F> {
    file: F,
    offset: u64,
}

impl<F: DiskFile> io::Read for FileReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.offset, buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}
