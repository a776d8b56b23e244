use bytes::Bytes;

use super::{DecodeError, Reason};

/// Cursor over the payload of one frame.
///
/// Built with [`Reader::shared`] it hands out buffers and strings as slices of the frame (no copy;
/// they keep the frame's allocation alive), built with [`Reader::new`] it copies them.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// What is left to read.
    left: &'a [u8],
    /// The allocation that `left` points into.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads from borrowed bytes; decoded buffers and strings are copies.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            left: bytes,
            shared: None,
        }
    }

    /// Reads from a frame; decoded buffers and strings are slices of it.
    pub fn shared(frame: &'a Bytes) -> Self {
        Self {
            left: frame,
            shared: Some(frame),
        }
    }

    /// Number of bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Whether everything has been read. Trailing bytes are legal and ignored in every record.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The bytes not yet read, without consuming them.
    pub fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// Reads the next `len` bytes as a borrowed slice.
    ///
    /// # Errors
    /// [`Reason::Truncated`] if fewer are left.
    pub fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.left.len();
        let (head, tail) = self
            .left
            .split_at_checked(len)
            .ok_or_else(|| DecodeError::new(Reason::Truncated { needed: len, left }))?;
        self.left = tail;
        Ok(head)
    }

    /// A slice read from here in a buffer of its own: sharing the frame's allocation where there is
    /// one, a copy otherwise.
    ///
    /// # Panics
    /// If the reader is of a frame and `slice` is not a part of it.
    pub fn share(&self, slice: &'a [u8]) -> Bytes {
        match self.shared {
            Some(frame) => frame.slice_ref(slice),
            None => Bytes::copy_from_slice(slice),
        }
    }

    /// Reads a string or buffer as a borrowed slice; `None` is null.
    ///
    /// # Errors
    /// [`Reason::NegativeLength`] below −1, [`Reason::Truncated`] if the frame ends inside it.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match i32::from_be_bytes(self.array()?) {
            -1 => Ok(None),
            claimed => {
                let len = usize::try_from(claimed)
                    .map_err(|_| DecodeError::new(Reason::NegativeLength(claimed)))?;
                self.slice(len).map(Some)
            }
        }
    }

    /// Reads the next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = self.left.len();
        let (head, tail) = self
            .left
            .split_first_chunk::<N>()
            .ok_or_else(|| DecodeError::new(Reason::Truncated { needed: N, left }))?;
        self.left = tail;
        Ok(*head)
    }
}
