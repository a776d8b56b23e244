//! Transactions as they stand in logs and proposals.
//!
//! An entry is a header with the type, the record of that type, and a digest of the tree unless the
//! record is an error, digests are switched off, or the entry is older than 3.6.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `SerializeUtils#deserializeTxn`, `zookeeper.jute`.

mod records;

#[cfg(test)]
mod tests;

pub use records::{
    CheckVersionTxn, CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn,
    CreateTxn, DeleteTxn, ErrorTxn, SetAclTxn, SetDataTxn, TxnDigest,
};

use bytes::{BufMut as _, BytesMut};
use bytestring::ByteString;
use zk_proto::jute::{Decode, DecodeError, Encode, Reader, Reason};
use zk_proto::{Bytes, OpCode, SessionId, Xid, Zxid};

use crate::time::WallTime;

/// Type of an error record.
const TYPE_ERROR: i32 = -1;

/// A transaction with everything that is logged of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnEntry {
    /// Who asked for it, its place in history, and when.
    pub header: TxnHeader,
    /// What it does.
    pub txn: Txn,
    /// Digest of the tree after it.
    pub digest: Option<TxnDigest>,
}

/// Who asked for a transaction, its place in history, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnHeader {
    /// Session that asked for it; [`SessionId::NONE`] for what servers do by themselves.
    pub session: SessionId,
    /// The client's number for the request; 0 for what servers do by themselves.
    pub cxid: Xid,
    /// Its place in history.
    pub zxid: Zxid,
    /// When the leader made it, by the leader's clock.
    pub time: WallTime,
}

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Txn {
    /// One change, or the error that came instead of one.
    Single(Op),
    /// Several changes at one zxid. If any of them is an error, none of them happened.
    Multi(Vec<Op>),
    /// Begins a session.
    CreateSession(CreateSessionTxn),
    /// Ends a session.
    CloseSession(CloseSessionTxn),
}

/// One change of the tree: a transaction of its own, or a part of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates a persistent or ephemeral znode; asked for by `create`.
    Create(CreateTxn),
    /// As [`Op::Create`], asked for by `create2`. As a part of a multi it is written as a create:
    /// Apache's 3.8.0 loses a multi that has the other type in it, when it applies it and when it
    /// reads its log. Only the answer tells the two apart.
    Create2(CreateTxn),
    /// Creates a container.
    CreateContainer(CreateContainerTxn),
    /// Creates a znode with a time to live.
    CreateTtl(CreateTtlTxn),
    /// Deletes a znode.
    Delete(DeleteTxn),
    /// Deletes a container or a znode whose time to live is over.
    DeleteContainer(DeleteTxn),
    /// Sets the data of a znode.
    SetData(SetDataTxn),
    /// Sets the access control list of a znode.
    SetAcl(SetAclTxn),
    /// Records that a version was as expected; part of a multi only.
    Check(CheckVersionTxn),
    /// Sets the data of `/zookeeper/config`.
    Reconfig(SetDataTxn),
    /// Records a failure.
    Error(ErrorTxn),
}

impl TxnEntry {
    /// Reads a log entry or the data of a proposal. Bytes behind the digest are ignored, as the
    /// reference ignores them.
    ///
    /// # Errors
    /// [`DecodeError`] names the record and field.
    pub fn decode(entry: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::shared(entry);
        let (header, txn_type) = TxnHeader::decode(&mut reader)?;
        let txn = Txn::decode(txn_type, &mut reader)?;
        let digest = if reader.is_empty() {
            None
        } else {
            Some(TxnDigest::decode(&mut reader)?)
        };
        Ok(Self {
            header,
            txn,
            digest,
        })
    }
}

impl Encode for TxnEntry {
    fn encoded_len(&self) -> usize {
        TxnHeader::LEN
            + self.txn.encoded_len()
            + self.digest.as_ref().map_or(0, Encode::encoded_len)
    }

    fn encode(&self, out: &mut BytesMut) {
        self.header.encode(self.txn.type_code(), out);
        self.txn.encode(out);
        if let Some(digest) = &self.digest {
            digest.encode(out);
        }
    }
}

impl TxnHeader {
    /// Bytes on the wire, with the type.
    pub const LEN: usize = 32;

    /// Reads a header and the type of the record behind it.
    ///
    /// # Errors
    /// If the bytes end inside it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<(Self, i32), DecodeError> {
        fn field<T: Decode>(reader: &mut Reader<'_>, name: &str) -> Result<T, DecodeError> {
            T::decode(reader).map_err(|err| err.at("TxnHeader", name))
        }
        let header = Self {
            session: field(reader, "session")?,
            cxid: field(reader, "cxid")?,
            zxid: field(reader, "zxid")?,
            time: WallTime::from_millis(field(reader, "time")?),
        };
        Ok((header, field(reader, "type")?))
    }

    fn encode(&self, txn_type: i32, out: &mut BytesMut) {
        out.reserve(Self::LEN);
        out.put_i64(self.session.get());
        out.put_i32(self.cxid.get());
        out.put_i64(self.zxid.get());
        out.put_i64(self.time.as_millis());
        out.put_i32(txn_type);
    }
}

impl Txn {
    /// Bytes of a multi beside its parts.
    pub const PARTS_COUNT_LEN: usize = 4;

    /// The type as the header tells it.
    pub const fn type_code(&self) -> i32 {
        match self {
            Self::Single(op) => op.type_code(),
            Self::Multi(_) => OpCode::Multi.code(),
            Self::CreateSession(_) => OpCode::CreateSession.code(),
            Self::CloseSession(_) => OpCode::CloseSession.code(),
        }
    }

    /// Name of the type: `createTTL`, or `error`.
    pub const fn type_name(&self) -> &'static str {
        match OpCode::from_code(self.type_code()) {
            Some(op) => op.name(),
            None => "error",
        }
    }

    fn decode(txn_type: i32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_code(txn_type) {
            Some(OpCode::Multi) => Self::Multi(decode_multi(reader)?),
            Some(OpCode::CreateSession) => Self::CreateSession(Decode::decode(reader)?),
            Some(OpCode::CloseSession) => Self::CloseSession(Decode::decode(reader)?),
            _ => Self::Single(Op::decode(txn_type, reader)?.ok_or_else(|| {
                DecodeError::new(Reason::Undefined(txn_type)).at("TxnHeader", "type")
            })?),
        })
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Single(op) => op.record_len(),
            Self::Multi(ops) => {
                let ops = ops.iter().map(|op| Op::PART_FRAME_LEN + op.record_len());
                Self::PARTS_COUNT_LEN + ops.sum::<usize>()
            }
            Self::CreateSession(record) => record.encoded_len(),
            Self::CloseSession(record) => record.encoded_len(),
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Single(op) => op.record().encode(out),
            Self::Multi(ops) => {
                out.put_i32(wire_len(ops.len()));
                for op in ops {
                    out.put_i32(op.part_code());
                    out.put_i32(wire_len(op.record_len()));
                    op.record().encode(out);
                }
            }
            Self::CreateSession(record) => record.encode(out),
            Self::CloseSession(record) => record.encode(out),
        }
    }
}

/// Length as it goes on the wire.
fn wire_len(len: usize) -> i32 {
    i32::try_from(len).expect("a multi is made of a request, which a frame limit bounds")
}

/// One part of a multi before its record is looked at.
struct RawOp {
    txn_type: i32,
    record: Bytes,
}

impl Decode for RawOp {
    const LEN_MIN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let txn_type = i32::decode(reader).map_err(|err| err.at("Txn", "type"))?;
        let record = Option::<Bytes>::decode(reader).map_err(|err| err.at("Txn", "data"))?;
        Ok(Self {
            txn_type,
            record: record.unwrap_or_default(),
        })
    }
}

fn decode_multi(reader: &mut Reader<'_>) -> Result<Vec<Op>, DecodeError> {
    let raw = Option::<Vec<RawOp>>::decode(reader).map_err(|err| err.at("MultiTxn", "txns"))?;
    let decode = |(index, raw): (usize, RawOp)| {
        Op::decode(raw.txn_type, &mut Reader::shared(&raw.record))
            .and_then(|op| {
                let undefined = || DecodeError::new(Reason::Undefined(raw.txn_type));
                op.ok_or_else(|| undefined().at("Txn", "type"))
            })
            .map_err(|err| err.at_index(index).at("MultiTxn", "txns"))
    };
    raw.unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(decode)
        .collect()
}

impl Op {
    /// Bytes of a part of a multi beside its record.
    pub const PART_FRAME_LEN: usize = 8;

    /// The type as a header tells it.
    pub const fn type_code(&self) -> i32 {
        match self {
            Self::Create(_) => OpCode::Create.code(),
            Self::Create2(_) => OpCode::Create2.code(),
            Self::CreateContainer(_) => OpCode::CreateContainer.code(),
            Self::CreateTtl(_) => OpCode::CreateTtl.code(),
            Self::Delete(_) => OpCode::Delete.code(),
            Self::DeleteContainer(_) => OpCode::DeleteContainer.code(),
            Self::SetData(_) => OpCode::SetData.code(),
            Self::SetAcl(_) => OpCode::SetAcl.code(),
            Self::Check(_) => OpCode::Check.code(),
            Self::Reconfig(_) => OpCode::Reconfig.code(),
            Self::Error(_) => TYPE_ERROR,
        }
    }

    /// The type as a multi tells it.
    const fn part_code(&self) -> i32 {
        if let Self::Create2(_) = self {
            OpCode::Create.code()
        } else {
            self.type_code()
        }
    }

    /// Path of the znode that it is about; none for an error.
    pub const fn path(&self) -> Option<&ByteString> {
        match self {
            Self::Create(record) | Self::Create2(record) => Some(&record.path),
            Self::CreateContainer(record) => Some(&record.path),
            Self::CreateTtl(record) => Some(&record.path),
            Self::Delete(record) | Self::DeleteContainer(record) => Some(&record.path),
            Self::SetData(record) | Self::Reconfig(record) => Some(&record.path),
            Self::SetAcl(record) => Some(&record.path),
            Self::Check(record) => Some(&record.path),
            Self::Error(_) => None,
        }
    }

    /// Bytes of its record.
    pub fn record_len(&self) -> usize {
        self.record().encoded_len()
    }

    /// Reads the record of a type; `None` if no single change has this type.
    fn decode(txn_type: i32, reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        if txn_type == TYPE_ERROR {
            return Ok(Some(Self::Error(Decode::decode(reader)?)));
        }
        let Some(op) = OpCode::from_code(txn_type) else {
            return Ok(None);
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others change no znode")]
        Ok(Some(match op {
            OpCode::Create => Self::Create(Decode::decode(reader)?),
            OpCode::Create2 => Self::Create2(Decode::decode(reader)?),
            OpCode::CreateContainer => Self::CreateContainer(Decode::decode(reader)?),
            OpCode::CreateTtl => Self::CreateTtl(Decode::decode(reader)?),
            OpCode::Delete => Self::Delete(Decode::decode(reader)?),
            OpCode::DeleteContainer => Self::DeleteContainer(Decode::decode(reader)?),
            OpCode::SetData => Self::SetData(Decode::decode(reader)?),
            OpCode::SetAcl => Self::SetAcl(Decode::decode(reader)?),
            OpCode::Check => Self::Check(Decode::decode(reader)?),
            OpCode::Reconfig => Self::Reconfig(Decode::decode(reader)?),
            _ => return Ok(None),
        }))
    }

    fn record(&self) -> &dyn Encode {
        match self {
            Self::Create(record) | Self::Create2(record) => record,
            Self::CreateContainer(record) => record,
            Self::CreateTtl(record) => record,
            Self::Delete(record) | Self::DeleteContainer(record) => record,
            Self::SetData(record) | Self::Reconfig(record) => record,
            Self::SetAcl(record) => record,
            Self::Check(record) => record,
            Self::Error(record) => record,
        }
    }
}

impl From<Op> for Txn {
    fn from(op: Op) -> Self {
        Self::Single(op)
    }
}
