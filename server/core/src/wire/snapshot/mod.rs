//! The whole tree as a stream: what a snapshot file holds, and what a SNAP sync sends.
//!
//! ```text
//! magic "ZKSN"  version 2 (i32)  dbid −1 (i64)
//! count (i32)  { session (i64)  timeout (i32) }*
//! count (i32)  { key (i64)  access control list }*
//! { path  data  key (i64)  stat }*                      parents first, root is ""
//! "/"  seal
//! [ zxid (i64)  digest version 2 (i32)  digest (i64)  seal ]      3.6 and later, if switched on
//! [ last zxid (i64)  seal ]                                       3.9 and later, if switched on
//! seal = Adler-32 of every byte before it (i64)  "/"
//! ```
//!
//! Which of the last two sections are there is told by how many bytes they take. Compression is
//! around the stream, and not known here.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `FileSnap#serialize`, `DataTree#serialize`, `SnapStream#sealStream`.

mod decoder;
mod encoder;

#[cfg(test)]
mod tests;

pub use decoder::{ITEM_MAX, Item, SnapshotDecoder, SnapshotError, SnapshotReason};
pub use encoder::SnapshotEncoder;

use bytes::{BufMut as _, BytesMut};
use zk_proto::jute::{Decode, DecodeError, Encode, Reader};
use zk_proto::{Bytes, SessionId, Version, Zxid};

use crate::time::WallTime;
use crate::wire::record;

/// Where the stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Into a file: with a header, checksums and a trailer.
    File,
    /// To a learner, behind SNAP: without, and followed by the next packet.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ZKDatabase#serializeSnapshot`.
    Wire,
}

const MAGIC: u32 = 0x5a4b_534e;
const VERSION: i32 = 2;
const DBID: i64 = -1;
/// Path that ends the znodes, and stands in every seal. The root's own path is empty.
const END_PATH: &str = "/";
/// Bytes of a seal.
const SEAL_LEN: usize = 13;
/// Last bytes of every uncompressed snapshot: the path of a seal.
const END: [u8; 5] = [0, 0, 0, 1, b'/'];

/// Number that stands for an access control list within one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclKey(i64);

impl AclKey {
    /// Of the open list of built-in znodes, which has no entry.
    pub const BUILT_IN: Self = Self(-1);

    /// Wraps the number as it stands in the stream.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl Encode for AclKey {
    fn encoded_len(&self) -> usize {
        8
    }

    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
}

impl Decode for AclKey {
    const LEN_MIN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        i64::decode(reader).map(Self)
    }
}

record! {
    /// A znode as it is stored, beside its path.
    pub struct StoredZnode {
        /// Data; null and empty are different.
        pub data: Option<Bytes>,
        /// Its access control list.
        pub acl: AclKey,
        /// The rest.
        pub stat: StoredStat,
    }
}

/// Stat of a znode as it is stored. What clients see differs in two fields, see
/// [`StoredStat::cversion`] and [`StoredStat::owner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredStat {
    /// Transaction that created the znode.
    pub czxid: Zxid,
    /// Transaction that last set its data.
    pub mzxid: Zxid,
    /// When it was created.
    pub ctime: WallTime,
    /// When its data was last set.
    pub mtime: WallTime,
    /// Number of changes of its data.
    pub version: Version,
    /// Number of children ever created. Clients see twice this less the number of children.
    pub cversion: Version,
    /// Number of changes of its access control list.
    pub aversion: Version,
    /// Session that the znode dies with, or a marker for containers and times to live, which
    /// clients see as none.
    pub owner: SessionId,
    /// Transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

impl StoredStat {
    /// Bytes on the wire.
    pub const LEN: usize = 60;
}

impl Encode for StoredStat {
    fn encoded_len(&self) -> usize {
        Self::LEN
    }

    fn encode(&self, out: &mut BytesMut) {
        // Filled on the stack, so that the output grows once instead of nine times.
        let mut wire = [0; Self::LEN];
        let mut rest = wire.as_mut_slice();
        rest.put_i64(self.czxid.get());
        rest.put_i64(self.mzxid.get());
        rest.put_i64(self.ctime.as_millis());
        rest.put_i64(self.mtime.as_millis());
        rest.put_i32(self.version.get());
        rest.put_i32(self.cversion.get());
        rest.put_i32(self.aversion.get());
        rest.put_i64(self.owner.get());
        rest.put_i64(self.pzxid.get());
        out.put_slice(&wire);
    }
}

impl Decode for StoredStat {
    const LEN_MIN: usize = Self::LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        fn field<T: Decode>(reader: &mut Reader<'_>, name: &str) -> Result<T, DecodeError> {
            T::decode(reader).map_err(|err| err.at("StatPersisted", name))
        }
        Ok(Self {
            czxid: field(reader, "czxid")?,
            mzxid: field(reader, "mzxid")?,
            ctime: WallTime::from_millis(field(reader, "ctime")?),
            mtime: WallTime::from_millis(field(reader, "mtime")?),
            version: field(reader, "version")?,
            cversion: field(reader, "cversion")?,
            aversion: field(reader, "aversion")?,
            owner: field(reader, "ephemeral_owner")?,
            pzxid: field(reader, "pzxid")?,
        })
    }
}

/// What stands behind the znodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// Digest of the tree, when the section was written.
    pub digest: Option<SnapshotDigest>,
    /// Last zxid applied when the section was written. Not the base of a replay: that is the zxid in
    /// the file's name, which is lower in a fuzzy snapshot.
    pub last_zxid: Option<Zxid>,
}

/// Digest of the tree after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// The transaction; zero if none was applied since the server loaded its state.
    pub zxid: Zxid,
    /// The digest, if it was computed in the known way.
    pub tree: Option<u64>,
}

/// Whether a file can be a whole snapshot, by its length and last five bytes. Spares reading files
/// that a crash cut short; passing it proves nothing.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `SnapStream#isValidSnapshot`.
pub fn looks_whole(len: u64, last: &[u8]) -> bool {
    len >= 10 && last == END
}
