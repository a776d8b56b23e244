//! Jute: big-endian, packed, no tags. A record is its fields in order.
//!
//! | type | bytes |
//! |---|---|
//! | `bool` | one byte; any non-zero reads as true, true is written as 1 |
//! | `i32`, `i64` | 4 or 8 bytes, two's complement |
//! | string, buffer | `i32` length and that many bytes; −1 is null |
//! | vector | `i32` count and that many elements; −1 is null, any other negative count is empty |
//!
//! # Memory
//! A length or count is checked against what is left of the frame before anything is allocated for
//! it, so a decoder's memory grows with the bytes at hand, not with what they claim. It can still
//! exceed them, where an element is smaller on the wire than in memory. What a decoded value holds,
//! per byte of its frame, is at most:
//!
//! | element | on the wire, at least | in memory | factor |
//! |---|---|---|---|
//! | string of a vector | 4 | 32 | 8 |
//! | identity ([`ClientInfo`](crate::acl::ClientInfo)) | 8 | 64 | 8 |
//! | ACL entry | 12 | 72 | 6 |
//! | operation of a multi | 14 | 104 | 7.5 |
//! | result of a multi | 9 | 112 | 12.5 |
//!
//! The operations and results of a multi come without a count. Their list grows from one allocation to
//! the next while it is being decoded, and for that moment the factor is twice the one above.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `BinaryInputArchive`, `BinaryOutputArchive`.

mod error;
mod reader;
mod record;
mod text;

pub use error::{DecodeError, Reason};
pub use reader::Reader;
pub(crate) use record::{Secret, record};

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;

/// Something that can be written to the wire.
pub trait Encode {
    /// Exact number of bytes that [`Encode::encode`] appends.
    fn encoded_len(&self) -> usize;

    /// Appends the wire form.
    ///
    /// # Panics
    /// If a string, buffer or vector is longer than `i32::MAX`, which the wire cannot express.
    fn encode(&self, out: &mut BytesMut);

    /// The wire form in a buffer of its own.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        self.encode(&mut out);
        out.freeze()
    }
}

/// Something that can be read from the wire.
pub trait Decode: Sized {
    /// Fewest bytes that any value takes: bounds what a vector may reserve for a claimed count.
    const LEN_MIN: usize;

    /// Reads one value, leaving what follows it in the reader.
    ///
    /// # Errors
    /// [`DecodeError`] names the record, the field and what is wrong with it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Makes room for one more element of a list that comes without a count.
///
/// Grows as `Vec` does, but never beyond what the rest of the frame can hold: `left` bytes behind the
/// element, at `len_min` bytes for each.
pub(crate) fn reserve_element<T>(elements: &mut Vec<T>, left: usize, len_min: usize) {
    if elements.len() == elements.capacity() {
        let most = 1 + left / len_min;
        elements.reserve_exact(elements.len().max(4).min(most));
    }
}

/// Length as it goes on the wire.
pub(crate) fn wire_len(len: usize) -> i32 {
    i32::try_from(len).expect("a jute string, buffer or vector is at most i32::MAX long")
}

impl Encode for bool {
    fn encoded_len(&self) -> usize {
        1
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }
}

impl Decode for bool {
    const LEN_MIN: usize = 1;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(reader.array::<1>()? != [0])
    }
}

impl Encode for i32 {
    fn encoded_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(*self);
    }
}

impl Decode for i32 {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self::from_be_bytes)
    }
}

impl Encode for i64 {
    fn encoded_len(&self) -> usize {
        8
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i64(*self);
    }
}

impl Decode for i64 {
    const LEN_MIN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self::from_be_bytes)
    }
}

impl Encode for str {
    fn encoded_len(&self) -> usize {
        4 + self.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.as_bytes().encode(out);
    }
}

impl Encode for [u8] {
    fn encoded_len(&self) -> usize {
        4 + self.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(wire_len(self.len()));
        out.put_slice(self);
    }
}

impl Encode for ByteString {
    fn encoded_len(&self) -> usize {
        4 + self.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.as_bytes().as_ref().encode(out);
    }
}

impl Encode for Option<ByteString> {
    fn encoded_len(&self) -> usize {
        4 + self.as_ref().map_or(0, |text| text.len())
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(text) => text.encode(out),
            None => out.put_i32(-1),
        }
    }
}

impl Decode for Option<ByteString> {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let wire = reader.buffer()?;
        Ok(wire.map(|wire| text::from_wire(wire, reader.share(wire))))
    }
}

impl Decode for ByteString {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Option::<Self>::decode(reader)?.ok_or_else(|| DecodeError::new(Reason::Null))
    }
}

impl Encode for Option<Bytes> {
    fn encoded_len(&self) -> usize {
        4 + self.as_ref().map_or(0, Bytes::len)
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(data) => data.as_ref().encode(out),
            None => out.put_i32(-1),
        }
    }
}

impl Decode for Option<Bytes> {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let wire = reader.buffer()?;
        Ok(wire.map(|wire| reader.share(wire)))
    }
}

impl<T: Encode> Encode for [T] {
    fn encoded_len(&self) -> usize {
        4 + self.iter().map(Encode::encoded_len).sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_i32(wire_len(self.len()));
        for element in self {
            element.encode(out);
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encoded_len(&self) -> usize {
        self.as_slice().encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.as_slice().encode(out);
    }
}

impl<T: Encode> Encode for Option<Vec<T>> {
    fn encoded_len(&self) -> usize {
        self.as_ref().map_or(4, Encode::encoded_len)
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Some(elements) => elements.encode(out),
            None => out.put_i32(-1),
        }
    }
}

impl<T: Decode> Decode for Option<Vec<T>> {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const {
            assert!(
                T::LEN_MIN > 0,
                "elements without bytes could be claimed without end"
            );
        };
        let claimed = i32::decode(reader)?;
        if claimed == -1 {
            return Ok(None);
        }
        // The reference reads any other negative count as an empty vector.
        let count = usize::try_from(claimed).unwrap_or(0);
        // A count that the rest of the frame cannot hold fails before anything is allocated.
        if count.saturating_mul(T::LEN_MIN) > reader.remaining() {
            return Err(DecodeError::new(Reason::Count {
                count,
                left: reader.remaining(),
            }));
        }
        let mut elements = Vec::with_capacity(count);
        for index in 0..count {
            elements.push(T::decode(reader).map_err(|err| err.at_index(index))?);
        }
        Ok(Some(elements))
    }
}

impl<T: Decode> Decode for Vec<T> {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Option::<Self>::decode(reader)?.ok_or_else(|| DecodeError::new(Reason::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<T: Decode>(wire: &[u8]) -> Result<T, DecodeError> {
        T::decode(&mut Reader::new(wire))
    }

    #[test]
    fn negative_counts_other_than_null_are_empty_vectors() {
        assert_eq!(
            decode::<Option<Vec<i32>>>(&(-1i32).to_be_bytes()).unwrap(),
            None
        );
        assert_eq!(
            decode::<Option<Vec<i32>>>(&(-7i32).to_be_bytes()).unwrap(),
            Some(vec![])
        );
    }

    #[test]
    fn negative_lengths_other_than_null_are_errors() {
        assert_eq!(
            decode::<Option<Bytes>>(&(-1i32).to_be_bytes()).unwrap(),
            None
        );
        let err = decode::<Option<Bytes>>(&(-2i32).to_be_bytes()).unwrap_err();
        assert_eq!(err.reason(), &Reason::NegativeLength(-2));
    }

    #[test]
    fn huge_count_fails_before_it_allocates() {
        let err = decode::<Vec<i64>>(&i32::MAX.to_be_bytes()).unwrap_err();
        assert_eq!(
            err.reason(),
            &Reason::Count {
                count: i32::MAX as usize,
                left: 0
            }
        );
    }

    #[test]
    fn null_is_not_empty() {
        assert_eq!(Some(Bytes::new()).to_bytes().as_ref(), [0, 0, 0, 0]);
        assert_eq!(None::<Bytes>.to_bytes().as_ref(), [0xff; 4]);
    }

    #[test]
    fn any_non_zero_byte_is_true() {
        assert!(decode::<bool>(&[7]).unwrap());
        assert!(!decode::<bool>(&[0]).unwrap());
        assert_eq!(true.to_bytes().as_ref(), [1]);
    }
}
