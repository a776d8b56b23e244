//! What stands before the body of a frame.

use crate::jute::record;
use crate::{ErrorCode, OpCode, Xid, Zxid};

record! {
    /// Before every request but the handshake.
    pub struct RequestHeader {
        /// Pairs the reply with the request.
        pub xid: Xid,
        /// Number of the opcode.
        pub op_code: i32,
    }

    /// Before every reply but the handshake's, and before every watch event.
    pub struct ReplyHeader {
        /// Xid of the request, or a reserved one.
        pub xid: Xid,
        /// For a write, its transaction; for a read, the last transaction applied at the server;
        /// 0 or −1 where neither applies. Only positive values say anything.
        pub zxid: Zxid,
        /// 0, or the number of an [`ErrorCode`].
        pub err: i32,
    }

    /// Before every operation and every result of a multi, and after the last.
    pub struct MultiHeader {
        /// Number of the opcode; −1 before an error result and after the last.
        pub op_code: i32,
        /// True after the last.
        pub done: bool,
        /// Result of the operation; −1 in requests and after the last.
        pub err: i32,
    }
}

impl RequestHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 8;

    /// Header of a request.
    pub const fn new(xid: Xid, op: OpCode) -> Self {
        Self {
            xid,
            op_code: op.code(),
        }
    }

    /// The opcode, if it is one that is known.
    pub const fn op(&self) -> Option<OpCode> {
        OpCode::from_code(self.op_code)
    }
}

impl ReplyHeader {
    /// Bytes on the wire.
    pub const LEN: usize = 16;

    /// The error that the server answers with, if any.
    pub const fn error(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.err)
    }
}

impl MultiHeader {
    /// After the last operation or result.
    pub const END: Self = Self {
        op_code: -1,
        done: true,
        err: -1,
    };
}
