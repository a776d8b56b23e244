use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;
use simd_adler32::Adler32;
use zk_proto::jute::{Decode, DecodeError, Reader, Reason};
use zk_proto::{Acl, SessionId, Zxid};

use super::{AclKey, END_PATH, Form, MAGIC, SEAL_LEN, SnapshotDigest, StoredZnode, Trailer};
use crate::wire::txn::TxnDigest;

/// Longest entry by default: a path and data, each of twice the default `jute.maxbuffer`.
pub const ITEM_MAX: usize = 4 * 1_048_575 + 4096;
/// Longest trailer: two sections with room for a digest written as text.
const TRAILER_MAX: usize = 1024;
/// Bytes of the section with the last zxid.
const LAST_ZXID_LEN: usize = 8 + SEAL_LEN;

/// Reads the stream in pieces of any size: [`feed`] bytes, take entries from [`next_item`] until it
/// has none, and at the end of the stream [`finish`].
///
/// An entry keeps the piece that it was read from alive, so copy what is to last. A stream is whole
/// and undamaged only if [`finish`] says so.
///
/// [`feed`]: SnapshotDecoder::feed
/// [`next_item`]: SnapshotDecoder::next_item
/// [`finish`]: SnapshotDecoder::finish
pub struct SnapshotDecoder {
    phase: Phase,
    /// Bytes being decoded.
    head: Bytes,
    /// Bytes fed behind `head`; joined to it once they complete an entry.
    tail: BytesMut,
    /// Of every byte before `head`.
    checksum: Adler32,
    /// Offset of `head` in the stream.
    offset: u64,
    /// Longest entry in bytes.
    item_max: usize,
    form: Form,
}

/// What stands next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    SessionCount,
    /// As many sessions are left.
    Sessions(u32),
    AclCount,
    /// As many access control lists are left.
    Acls(u32),
    Znodes,
    Seal,
    Trailer,
    /// Of a stream on the wire: what follows is somebody else's.
    End,
}

/// An entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A session and its timeout in milliseconds.
    Session(SessionId, i32),
    /// An access control list.
    Acl(AclKey, Vec<Acl>),
    /// A znode, by its path; the root's is empty. Parents come before children.
    Znode(ByteString, StoredZnode),
}

/// Why bytes are no snapshot, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at offset {offset}: {reason}")]
pub struct SnapshotError {
    /// Offset in the uncompressed stream of the entry that is wrong.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: SnapshotReason,
}

/// What is wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotReason {
    /// It begins with something else.
    #[error("begins with {0:#010x} instead of {MAGIC:#010x}")]
    Magic(u32),
    /// A number of sessions or access control lists is negative.
    #[error("the count {0} is negative")]
    Count(i32),
    /// An entry does not decode.
    #[error(transparent)]
    Entry(DecodeError),
    /// An entry is longer than any that could have been written.
    #[error("an entry takes at least {len} bytes, more than {max}")]
    TooLong {
        /// Its length, as far as it is known.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A checksum is wrong.
    #[error("the checksum is {computed:#x} where {sealed:#x} was written")]
    Checksum {
        /// What stands in the stream.
        sealed: i64,
        /// What its bytes give.
        computed: u32,
    },
    /// Something else stands in the place of a seal.
    #[error("a seal is missing")]
    NoSeal,
    /// The stream ends before its end.
    #[error("the stream ends early")]
    Short,
    /// Something stands behind the end.
    #[error("{0} bytes behind the end fit no section")]
    Trailing(usize),
}

impl std::fmt::Debug for SnapshotDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotDecoder")
            .field("phase", &self.phase)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Default for SnapshotDecoder {
    fn default() -> Self {
        Self::new(ITEM_MAX)
    }
}

impl SnapshotDecoder {
    /// At the start of a stream, none of whose entries may take more than `item_max` bytes.
    pub fn new(item_max: usize) -> Self {
        Self {
            phase: Phase::Header,
            head: Bytes::new(),
            tail: BytesMut::new(),
            checksum: Adler32::new(),
            offset: 0,
            item_max,
            form: Form::File,
        }
    }

    /// At the start of a stream on the wire, none of whose entries may take more than `item_max`
    /// bytes.
    pub fn of_wire(item_max: usize) -> Self {
        Self {
            phase: Phase::SessionCount,
            form: Form::Wire,
            ..Self::new(item_max)
        }
    }

    /// Ends a stream on the wire: what was fed behind its end. `None` if it has not ended; feed
    /// more, and take the entries.
    pub fn take_rest(&mut self) -> Option<Bytes> {
        if self.phase != Phase::End {
            return None;
        }
        self.join();
        Some(std::mem::take(&mut self.head))
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.head.is_empty() && self.tail.is_empty() {
            self.head = bytes;
        } else {
            self.tail.extend_from_slice(&bytes);
        }
    }

    /// Decodes the next entry; `None` if it takes more bytes than were fed, or all are read.
    ///
    /// # Errors
    /// [`SnapshotError`]; the stream is useless then.
    pub fn next_item(&mut self) -> Result<Option<Item>, SnapshotError> {
        loop {
            match self.phase {
                Phase::Trailer => return self.hold_trailer(),
                Phase::End => return Ok(None),
                Phase::Header
                | Phase::SessionCount
                | Phase::Sessions(_)
                | Phase::AclCount
                | Phase::Acls(_)
                | Phase::Znodes
                | Phase::Seal => {}
            }
            let mut reader = Reader::shared(&self.head);
            match Self::step(self.phase, self.form, &mut reader) {
                Ok((phase, item)) => {
                    let len = self.head.len() - reader.remaining();
                    if len > self.item_max {
                        return Err(self.too_long(len));
                    }
                    self.consume(len)?;
                    self.phase = phase;
                    if item.is_some() {
                        return Ok(item);
                    }
                }
                Err(reason) => {
                    let needed = if let SnapshotReason::Entry(err) = &reason {
                        self.bytes_needed(err)
                    } else {
                        None
                    };
                    let Some(needed) = needed else {
                        return Err(self.error(reason));
                    };
                    if needed > self.item_max {
                        return Err(self.too_long(needed));
                    }
                    if needed > self.head.len() + self.tail.len() {
                        return Ok(None);
                    }
                    self.join();
                }
            }
        }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// If it ends too early, or something is behind its end, or a seal there is broken.
    pub fn finish(mut self) -> Result<Trailer, SnapshotError> {
        if self.phase != Phase::Trailer {
            return Err(self.error(SnapshotReason::Short));
        }
        self.join();
        let mut trailer = Trailer::default();
        if !matches!(self.head.len(), 0 | LAST_ZXID_LEN) {
            let mut reader = Reader::shared(&self.head);
            let digest = decode_digest(&mut reader)
                .map_err(|_| self.error(SnapshotReason::Trailing(self.head.len())))?;
            let len = self.head.len() - reader.remaining();
            trailer.digest = Some(digest);
            self.consume(len)?;
            self.seal()?;
        }
        if self.head.len() == LAST_ZXID_LEN {
            let zxid = Zxid::new(self.head.slice(..8).get_i64());
            trailer.last_zxid = Some(zxid);
            self.consume(8)?;
            self.seal()?;
        }
        if self.head.is_empty() {
            Ok(trailer)
        } else {
            Err(self.error(SnapshotReason::Trailing(self.head.len())))
        }
    }

    /// Decodes what stands next; what follows it, and the entry if it was one.
    fn step(
        phase: Phase,
        form: Form,
        reader: &mut Reader<'_>,
    ) -> Result<(Phase, Option<Item>), SnapshotReason> {
        match phase {
            Phase::Header => {
                let magic = i32::decode(reader)?.cast_unsigned();
                if magic != MAGIC {
                    return Err(SnapshotReason::Magic(magic));
                }
                // Version and dbid mean nothing to any reader.
                i32::decode(reader)?;
                i64::decode(reader)?;
                Ok((Phase::SessionCount, None))
            }
            Phase::SessionCount => Ok((Phase::Sessions(count(reader)?), None)),
            Phase::Sessions(0) => Ok((Phase::AclCount, None)),
            Phase::Sessions(left) => {
                let session = SessionId::decode(reader).map_err(|err| err.at("Session", "id"))?;
                let timeout_ms = i32::decode(reader).map_err(|err| err.at("Session", "timeout"))?;
                let item = Item::Session(session, timeout_ms);
                Ok((Phase::Sessions(left - 1), Some(item)))
            }
            Phase::AclCount => Ok((Phase::Acls(count(reader)?), None)),
            Phase::Acls(0) => Ok((Phase::Znodes, None)),
            Phase::Acls(left) => {
                let key = AclKey::decode(reader).map_err(|err| err.at("AclEntry", "key"))?;
                let acl = Vec::decode(reader).map_err(|err| err.at("AclEntry", "acl"))?;
                Ok((Phase::Acls(left - 1), Some(Item::Acl(key, acl))))
            }
            Phase::Znodes => {
                let path = ByteString::decode(reader).map_err(|err| err.at("Znode", "path"))?;
                if path == END_PATH {
                    let next = match form {
                        Form::File => Phase::Seal,
                        Form::Wire => Phase::End,
                    };
                    return Ok((next, None));
                }
                let znode = StoredZnode::decode(reader).map_err(|err| err.at("Znode", "record"))?;
                Ok((Phase::Znodes, Some(Item::Znode(path, znode))))
            }
            Phase::Seal | Phase::Trailer => {
                reader.slice(SEAL_LEN)?;
                Ok((Phase::Trailer, None))
            }
            Phase::End => Ok((Phase::End, None)),
        }
    }

    /// Passes over `len` decoded bytes. A seal is checked on the way.
    fn consume(&mut self, len: usize) -> Result<(), SnapshotError> {
        if self.phase == Phase::Seal {
            return self.seal();
        }
        let bytes = self.head.split_to(len);
        self.checksum.write(&bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Checks and passes over the seal that `head` begins with.
    fn seal(&mut self) -> Result<(), SnapshotError> {
        if self.head.len() < SEAL_LEN {
            return Err(self.error(SnapshotReason::Trailing(self.head.len())));
        }
        let mut seal = self.head.slice(..SEAL_LEN);
        let (sealed, path) = (seal.get_i64(), seal);
        let computed = self.checksum.finish();
        if path.as_ref() != super::END {
            return Err(self.error(SnapshotReason::NoSeal));
        }
        if sealed != i64::from(computed) {
            return Err(self.error(SnapshotReason::Checksum { sealed, computed }));
        }
        let bytes = self.head.split_to(SEAL_LEN);
        self.checksum.write(&bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Behind the first seal bytes are only collected: their number tells what they are.
    fn hold_trailer(&self) -> Result<Option<Item>, SnapshotError> {
        let len = self.head.len() + self.tail.len();
        if len > TRAILER_MAX {
            return Err(self.error(SnapshotReason::Trailing(len)));
        }
        Ok(None)
    }

    /// How long `head` must become for the decoder to get further; `None` if no bytes help.
    fn bytes_needed(&self, err: &DecodeError) -> Option<usize> {
        let (left, needed) = match *err.reason() {
            Reason::Truncated { needed, left } => (left, needed),
            Reason::Count { count, left } => (left, count.saturating_mul(Acl::LEN_MIN)),
            Reason::NegativeLength(_) | Reason::Null | Reason::Undefined(_) | _ => return None,
        };
        Some((self.head.len() - left).saturating_add(needed))
    }

    fn join(&mut self) {
        let mut joined = BytesMut::with_capacity(self.head.len() + self.tail.len());
        joined.extend_from_slice(&self.head);
        joined.extend_from_slice(&self.tail);
        self.head = joined.freeze();
        self.tail = BytesMut::new();
    }

    fn too_long(&self, len: usize) -> SnapshotError {
        let max = self.item_max;
        self.error(SnapshotReason::TooLong { len, max })
    }

    fn error(&self, reason: SnapshotReason) -> SnapshotError {
        SnapshotError {
            offset: self.offset,
            reason,
        }
    }
}

impl From<DecodeError> for SnapshotReason {
    fn from(err: DecodeError) -> Self {
        Self::Entry(err)
    }
}

fn count(reader: &mut Reader<'_>) -> Result<u32, SnapshotReason> {
    let count = i32::decode(reader)?;
    u32::try_from(count).map_err(|_| SnapshotReason::Count(count))
}

/// # Source
/// Apache `ZooKeeper` 3.9, `DataTree.ZxidDigest#deserialize`: versions before 2 wrote text.
fn decode_digest(reader: &mut Reader<'_>) -> Result<SnapshotDigest, DecodeError> {
    let zxid = Zxid::decode(reader)?;
    let version = i32::decode(reader)?;
    if version < TxnDigest::VERSION {
        Option::<ByteString>::decode(reader)?;
        return Ok(SnapshotDigest { zxid, tree: None });
    }
    let tree = i64::decode(reader)?;
    let tree = TxnDigest { version, tree }.known();
    Ok(SnapshotDigest { zxid, tree })
}
