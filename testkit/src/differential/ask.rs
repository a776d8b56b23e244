//! One request, before it has an xid.

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::jute::{Encode as _, Reader};
use zk_proto::request::{MultiOp, Request, SetWatches, SetWatches2};
use zk_proto::{OpCode, Xid, Zxid};

use super::seen::Terms;

/// What is asked.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A request as it should be.
    Request(Request),
    /// The first bytes of a request's body, under this opcode.
    Bytes(OpCode, Bytes),
    /// An opcode that there may not be, without a body.
    Code(i32),
    /// A deleteContainer, in the form of 3.9.
    DeleteContainer(ByteString),
    /// Registers watches anew, as of so many transactions after the script began.
    SetWatches(i64, Words),
}

/// The lists of a setWatches or, with the last two, a setWatches2.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// Data watches, exist watches, child watches.
    pub one_shot: [Option<Vec<ByteString>>; 3],
    /// Persistent watches and recursive ones.
    pub added: Option<[Option<Vec<ByteString>>; 2]>,
}

/// What becomes of the zxid of a write that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    /// An error is logged under it.
    Logged,
    /// Nothing is: the next one is given to the next request.
    Skipped,
}

impl Ask {
    /// The opcode on the wire.
    pub fn code(&self) -> i32 {
        match self {
            Self::Request(request) => request.op().code(),
            Self::Bytes(op, _) => op.code(),
            Self::Code(code) => *code,
            Self::DeleteContainer(_) => OpCode::DeleteContainer.code(),
            Self::SetWatches(_, words) if words.added.is_some() => OpCode::SetWatches2.code(),
            Self::SetWatches(..) => OpCode::SetWatches.code(),
        }
    }

    /// The opcode, if there is such a one.
    pub fn op(&self) -> Option<OpCode> {
        OpCode::from_code(self.code())
    }

    /// What the reference does for a write that it refuses because of how it is written.
    pub(super) fn trace(&self) -> Option<Trace> {
        match self {
            Self::Request(request) => trace_of(request),
            Self::Bytes(op, bytes) if is_logged(*op) => {
                let request = Request::decode(*op, &mut Reader::new(bytes));
                request.map_or(Some(Trace::Logged), |request| trace_of(&request))
            }
            Self::Bytes(..) | Self::Code(_) | Self::DeleteContainer(_) | Self::SetWatches(..) => {
                None
            }
        }
    }

    /// Appends the frame for a server in whose terms zxids are to be told.
    pub(super) fn write(&self, out: &mut BytesMut, xid: Xid, terms: &Terms) {
        let mut body = BytesMut::new();
        match self {
            Self::Request(request) => request.encode(&mut body),
            Self::Bytes(_, bytes) => body.put_slice(bytes),
            Self::Code(_) => {}
            Self::DeleteContainer(path) => {
                body.put_i32(i32::try_from(path.len()).unwrap_or_default());
                body.put_slice(path.as_bytes());
            }
            Self::SetWatches(after, words) => words.encode(terms.raw(*after), &mut body),
        }
        out.put_i32(i32::try_from(body.len() + 8).unwrap_or_default());
        out.put_i32(xid.get());
        out.put_i32(self.code());
        out.put_slice(&body);
    }
}

/// Whether an undecodable request of this kind is logged by the reference.
fn is_logged(op: OpCode) -> bool {
    use OpCode as Op;
    matches!(
        op,
        Op::Create
            | Op::Create2
            | Op::CreateContainer
            | Op::CreateTtl
            | Op::Delete
            | Op::SetData
            | Op::SetAcl
            | Op::Multi
    )
}

fn trace_of(request: &Request) -> Option<Trace> {
    let Request::Multi(multi) = request else {
        return None;
    };
    if multi.ops.iter().any(MultiOp::is_read) {
        return Some(Trace::Logged);
    }
    multi.ops.iter().any(has_no_path).then_some(Trace::Skipped)
}

fn has_no_path(op: &MultiOp) -> bool {
    match op {
        MultiOp::Create(r) | MultiOp::Create2(r) | MultiOp::CreateContainer(r) => r.path.is_none(),
        MultiOp::CreateTtl(r) => r.path.is_none(),
        MultiOp::Delete(r) => r.path.is_none(),
        MultiOp::SetData(r) => r.path.is_none(),
        MultiOp::Check(r) => r.path.is_none(),
        MultiOp::GetData(r) => r.path.is_none(),
        MultiOp::GetChildren(r) => r.path.is_none(),
    }
}

impl Words {
    fn encode(&self, relative_zxid: Zxid, out: &mut BytesMut) {
        let [data_watches, exist_watches, child_watches] = self.one_shot.clone();
        match self.added.clone() {
            None => Request::SetWatches(SetWatches {
                relative_zxid,
                data_watches,
                exist_watches,
                child_watches,
            }),
            Some([persistent_watches, persistent_recursive_watches]) => {
                Request::SetWatches2(SetWatches2 {
                    relative_zxid,
                    data_watches,
                    exist_watches,
                    child_watches,
                    persistent_watches,
                    persistent_recursive_watches,
                })
            }
        }
        .encode(out);
    }
}
