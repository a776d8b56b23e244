//! Frames: four bytes of length, big-endian, and that many bytes of payload.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::Xid;
use crate::header::{ReplyHeader, RequestHeader};
use crate::jute::{Encode, wire_len};
use crate::request::Request;

/// Bytes of the length in front of every payload.
pub const LENGTH_LEN: usize = 4;

/// Default of `jute.maxbuffer`: the longest payload that a server accepts, in bytes.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `BinaryInputArchive#maxBuffer`: a payload of exactly this length passes.
pub const DEFAULT_FRAME_MAX: usize = 0xf_ffff;

/// Why bytes cannot be a frame. The connection cannot go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is negative.
    #[error("frame claims the negative length {0}")]
    Negative(i32),
    /// The length is over the limit.
    #[error("frame of {len} bytes exceeds the limit of {max} (jute.maxbuffer)")]
    TooLong {
        /// Length claimed, in bytes.
        len: usize,
        /// Longest payload allowed, in bytes.
        max: usize,
    },
}

/// Takes the first payload out of `input`; `None` while it is not complete.
///
/// # Errors
/// [`FrameError`] as soon as the length is there and not legal; `input` is left as it is.
pub fn take(input: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(len) = payload_len(input, max)? else {
        return Ok(None);
    };
    if input.len() < LENGTH_LEN + len {
        return Ok(None);
    }
    input.advance(LENGTH_LEN);
    Ok(Some(input.split_to(len).freeze()))
}

/// Length of the payload that `input` starts with; `None` while its four bytes are not complete.
///
/// # Errors
/// [`FrameError`] if the length is not legal.
pub fn payload_len(input: &[u8], max: usize) -> Result<Option<usize>, FrameError> {
    let Some(length) = input.first_chunk() else {
        return Ok(None);
    };
    let claimed = i32::from_be_bytes(*length);
    let len = usize::try_from(claimed).map_err(|_| FrameError::Negative(claimed))?;
    if len > max {
        Err(FrameError::TooLong { len, max })
    } else {
        Ok(Some(len))
    }
}

/// Appends a frame whose payload is the records, one behind the other.
///
/// # Panics
/// If the payload is longer than `i32::MAX`, or a record's [`Encode::encoded_len`] is not what it
/// encodes to: the peer would take the bytes that follow for something that they are not.
pub fn write(out: &mut BytesMut, records: &[&dyn Encode]) {
    let len = records.iter().map(|record| record.encoded_len()).sum();
    out.reserve(LENGTH_LEN + len);
    out.put_i32(wire_len(len));
    let start = out.len();
    for record in records {
        record.encode(out);
    }
    assert_eq!(out.len() - start, len, "encoded_len is exact");
}

/// Appends the frame of a request.
///
/// # Panics
/// If the payload is longer than `i32::MAX`.
pub fn write_request(out: &mut BytesMut, xid: Xid, request: &Request) {
    write(out, &[&RequestHeader::new(xid, request.op()), request]);
}

/// Appends the frame of a reply. `body` is to be `None` when the header has an error.
///
/// # Panics
/// As [`write()`].
pub fn write_reply(out: &mut BytesMut, header: &ReplyHeader, body: Option<&dyn Encode>) {
    match body {
        Some(body) => write(out, &[header, body]),
        None => write(out, &[header]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_taken_only_when_complete() {
        let wire = [0, 0, 0, 2, 7, 8, 0, 0];
        for cut in 0..6 {
            let mut input = BytesMut::from(wire.get(..cut).unwrap());
            assert_eq!(take(&mut input, 10), Ok(None));
            assert_eq!(input.len(), cut);
        }
        let mut input = BytesMut::from(wire.as_slice());
        assert_eq!(take(&mut input, 10), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(input.as_ref(), [0, 0]);
    }

    #[test]
    fn limit_is_the_longest_legal_payload() {
        assert_eq!(payload_len(&10i32.to_be_bytes(), 10), Ok(Some(10)));
        let err = FrameError::TooLong { len: 11, max: 10 };
        assert_eq!(payload_len(&11i32.to_be_bytes(), 10), Err(err));
        assert_eq!(
            payload_len(&(-1i32).to_be_bytes(), 10),
            Err(FrameError::Negative(-1))
        );
    }
}
