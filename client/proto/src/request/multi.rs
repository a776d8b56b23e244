use bytes::BytesMut;

use crate::OpCode;
use crate::header::MultiHeader;
use crate::jute::{Decode, DecodeError, Encode, Reader, Reason, reserve_element};

use super::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, GetChildrenRequest,
    GetDataRequest, SetDataRequest,
};

/// Several operations in one request: writes, all or none of them (multi), or reads, each with a
/// result of its own (multiRead). A server refuses a mixture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultiRequest {
    /// The operations, in order.
    pub ops: Vec<MultiOp>,
}

/// One operation of a [`MultiRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiOp {
    /// Creates a znode; answers its path.
    Create(CreateRequest),
    /// Creates a znode; answers its path and stat.
    Create2(CreateRequest),
    /// Creates a container.
    CreateContainer(CreateRequest),
    /// Creates a znode with a time to live.
    CreateTtl(CreateTtlRequest),
    /// Deletes a znode.
    Delete(DeleteRequest),
    /// Sets a znode's data.
    SetData(SetDataRequest),
    /// Requires a version.
    Check(CheckVersionRequest),
    /// Reads data; in a multiRead only.
    GetData(GetDataRequest),
    /// Lists children; in a multiRead only.
    GetChildren(GetChildrenRequest),
}

impl MultiOp {
    /// Fewest bytes on the wire: the header, and a null path with a watch flag.
    const LEN_MIN: usize = MultiHeader::LEN_MIN + GetDataRequest::LEN_MIN;

    /// The opcode.
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::SetData(_) => OpCode::SetData,
            Self::Check(_) => OpCode::Check,
            Self::GetData(_) => OpCode::GetData,
            Self::GetChildren(_) => OpCode::GetChildren,
        }
    }

    /// Whether it belongs into a multiRead.
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::GetData(_) | Self::GetChildren(_))
    }

    fn body(&self) -> &dyn Encode {
        match self {
            Self::Create(body) | Self::Create2(body) | Self::CreateContainer(body) => body,
            Self::CreateTtl(body) => body,
            Self::Delete(body) => body,
            Self::SetData(body) => body,
            Self::Check(body) => body,
            Self::GetData(body) => body,
            Self::GetChildren(body) => body,
        }
    }

    fn decode(op_code: i32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let undefined =
            || DecodeError::new(Reason::Undefined(op_code)).at("MultiHeader", "op_code");
        let op = OpCode::from_code(op_code).ok_or_else(undefined)?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others are not allowed here"
        )]
        Ok(match op {
            OpCode::Create => Self::Create(Decode::decode(reader)?),
            OpCode::Create2 => Self::Create2(Decode::decode(reader)?),
            OpCode::CreateContainer => Self::CreateContainer(Decode::decode(reader)?),
            OpCode::CreateTtl => Self::CreateTtl(Decode::decode(reader)?),
            OpCode::Delete => Self::Delete(Decode::decode(reader)?),
            OpCode::SetData => Self::SetData(Decode::decode(reader)?),
            OpCode::Check => Self::Check(Decode::decode(reader)?),
            OpCode::GetData => Self::GetData(Decode::decode(reader)?),
            OpCode::GetChildren => Self::GetChildren(Decode::decode(reader)?),
            _ => return Err(undefined()),
        })
    }
}

impl Encode for MultiOp {
    fn encoded_len(&self) -> usize {
        MultiHeader::default().encoded_len() + self.body().encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        MultiHeader {
            op_code: self.op().code(),
            done: false,
            err: -1,
        }
        .encode(out);
        self.body().encode(out);
    }
}

impl Encode for MultiRequest {
    fn encoded_len(&self) -> usize {
        let ops: usize = self.ops.iter().map(Encode::encoded_len).sum();
        ops + MultiHeader::END.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        for op in &self.ops {
            op.encode(out);
        }
        MultiHeader::END.encode(out);
    }
}

impl Decode for MultiRequest {
    const LEN_MIN: usize = MultiHeader::LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut ops = Vec::new();
        loop {
            let at = |err: DecodeError| err.at_index(ops.len()).at("MultiRequest", "ops");
            let header = MultiHeader::decode(reader).map_err(at)?;
            if header.done {
                // Room that was made for parts that did not come is not kept.
                ops.shrink_to_fit();
                return Ok(Self { ops });
            }
            let op = MultiOp::decode(header.op_code, reader).map_err(at)?;
            reserve_element(&mut ops, reader.remaining(), MultiOp::LEN_MIN);
            ops.push(op);
        }
    }
}
