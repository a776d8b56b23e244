use bytes::BytesMut;

use crate::OpCode;
use crate::header::MultiHeader;
use crate::jute::{Decode, DecodeError, Encode, Reader, Reason, reserve_element};

use super::{
    Create2Response, CreateResponse, ErrorResponse, GetChildrenResponse, GetDataResponse,
    SetDataResponse,
};

/// Results of a [`crate::request::MultiRequest`], one for each operation, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultiResponse {
    /// The results.
    pub results: Vec<MultiResult>,
}

/// Result of one operation.
///
/// When an operation of a multi fails, every result is [`MultiResult::Error`]: 0 before the one that
/// failed, its code there, and `RUNTIMEINCONSISTENCY` behind it; the reply's header says 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    /// Of create.
    Create(CreateResponse),
    /// Of create2, createContainer and createTTL.
    Create2(Create2Response),
    /// Of delete.
    Delete,
    /// Of setData: the stat as of this operation.
    SetData(SetDataResponse),
    /// Of check.
    Check,
    /// Of getData.
    GetData(GetDataResponse),
    /// Of getChildren.
    GetChildren(GetChildrenResponse),
    /// The operation failed, or another did; 0 if it would have succeeded.
    Error(ErrorResponse),
}

impl MultiResult {
    /// Fewest bytes on the wire: the header alone.
    const LEN_MIN: usize = MultiHeader::LEN_MIN;

    fn op_code(&self) -> i32 {
        match self {
            Self::Create(_) => OpCode::Create.code(),
            Self::Create2(_) => OpCode::Create2.code(),
            Self::Delete => OpCode::Delete.code(),
            Self::SetData(_) => OpCode::SetData.code(),
            Self::Check => OpCode::Check.code(),
            Self::GetData(_) => OpCode::GetData.code(),
            Self::GetChildren(_) => OpCode::GetChildren.code(),
            Self::Error(_) => -1,
        }
    }

    fn body(&self) -> Option<&dyn Encode> {
        match self {
            Self::Create(body) => Some(body),
            Self::Create2(body) => Some(body),
            Self::SetData(body) => Some(body),
            Self::GetData(body) => Some(body),
            Self::GetChildren(body) => Some(body),
            Self::Error(body) => Some(body),
            Self::Delete | Self::Check => None,
        }
    }

    fn decode(op_code: i32, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if op_code == -1 {
            return Decode::decode(reader).map(Self::Error);
        }
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
            OpCode::Delete => Self::Delete,
            OpCode::SetData => Self::SetData(Decode::decode(reader)?),
            OpCode::Check => Self::Check,
            OpCode::GetData => Self::GetData(Decode::decode(reader)?),
            OpCode::GetChildren => Self::GetChildren(Decode::decode(reader)?),
            _ => return Err(undefined()),
        })
    }
}

impl Encode for MultiResult {
    fn encoded_len(&self) -> usize {
        MultiHeader::default().encoded_len() + self.body().map_or(0, Encode::encoded_len)
    }

    fn encode(&self, out: &mut BytesMut) {
        let err = if let Self::Error(error) = self {
            error.err
        } else {
            0
        };
        MultiHeader {
            op_code: self.op_code(),
            done: false,
            err,
        }
        .encode(out);
        if let Some(body) = self.body() {
            body.encode(out);
        }
    }
}

impl Encode for MultiResponse {
    fn encoded_len(&self) -> usize {
        let results: usize = self.results.iter().map(Encode::encoded_len).sum();
        results + MultiHeader::END.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        for result in &self.results {
            result.encode(out);
        }
        MultiHeader::END.encode(out);
    }
}

impl Decode for MultiResponse {
    const LEN_MIN: usize = MultiHeader::LEN_MIN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut results = Vec::new();
        loop {
            let at = |err: DecodeError| err.at_index(results.len()).at("MultiResponse", "results");
            let header = MultiHeader::decode(reader).map_err(at)?;
            if header.done {
                // Room that was made for parts that did not come is not kept.
                results.shrink_to_fit();
                return Ok(Self { results });
            }
            let result = MultiResult::decode(header.op_code, reader).map_err(at)?;
            reserve_element(&mut results, reader.remaining(), MultiResult::LEN_MIN);
            results.push(result);
        }
    }
}
