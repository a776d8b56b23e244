//! Frames, written in place.

use bytes::{BufMut as _, BytesMut};
use zk_proto::header::ReplyHeader;
use zk_proto::jute::Encode;
use zk_proto::{ErrorCode, Xid, Zxid};

/// Bytes of the length in front of a frame.
const LENGTH_LEN: usize = 4;

/// Appends a reply whose body is written by `body`; its length is filled in afterwards. One that is longer
/// than the wire can tell is an error instead.
pub(super) fn reply(out: &mut BytesMut, xid: Xid, zxid: Zxid, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    let header = ReplyHeader { xid, zxid, err: 0 };
    header.encode(out);
    body(out);
    let len = out.len() - start - LENGTH_LEN;
    let Ok(len) = i32::try_from(len) else {
        out.truncate(start);
        return error(out, xid, zxid, ErrorCode::MarshallingError);
    };
    if let Some(length) = out.get_mut(start..start + LENGTH_LEN) {
        length.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends a reply without a body.
pub(super) fn empty(out: &mut BytesMut, xid: Xid, zxid: Zxid) {
    reply(out, xid, zxid, |_| {});
}

/// Appends a reply that tells an error.
pub(super) fn error(out: &mut BytesMut, xid: Xid, zxid: Zxid, code: ErrorCode) {
    let header = ReplyHeader {
        xid,
        zxid,
        err: code.code(),
    };
    zk_proto::frame::write_reply(out, &header, None);
}
