//! Bytes between a pipeline and a socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Pieces of at least this many bytes are sent from where they are.
const SHARED_MIN: usize = 32 << 10;
/// Pieces sent with one call.
const SLICES_MAX: usize = 16;

/// What is to be written, small pieces copied together, large ones kept.
#[derive(Debug, Default)]
pub(crate) struct WriteBuf {
    pieces: VecDeque<Bytes>,
    /// Behind all pieces.
    tail: BytesMut,
    len: usize,
}

impl WriteBuf {
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < SHARED_MIN {
            self.tail.extend_from_slice(&piece);
        } else {
            if !self.tail.is_empty() {
                self.pieces.push_back(self.tail.split().freeze());
            }
            self.pieces.push_back(piece);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes some of it.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was written is gone from here, and nothing else.
    pub(crate) async fn write_some(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let tail = (!self.tail.is_empty()).then_some(&*self.tail);
        let slices = self.pieces.iter().map(|piece| &**piece).chain(tail);
        let slices: Vec<IoSlice<'_>> = slices.take(SLICES_MAX).map(IoSlice::new).collect();
        let written = match slices.as_slice() {
            [one] => socket.write(one).await?,
            many => socket.write_vectored(many).await?,
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        while let Some(first) = self.pieces.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written);
        if self.tail.is_empty() {
            // An idle connection holds no buffer.
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_leave_in_order_whatever_their_size() {
        let mut buf = WriteBuf::default();
        let mut expected = Vec::new();
        for (at, len) in [5, 40_000, 3, 0, 70_000, 32 << 10, 9]
            .into_iter()
            .enumerate()
        {
            let piece = vec![u8::try_from(at).expect("few"); len];
            expected.extend_from_slice(&piece);
            buf.push(piece.into());
        }
        let (mut near, mut far) = tokio::io::duplex(1000);
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut got)
                .await
                .expect("read");
            got
        });
        while !buf.is_empty() {
            buf.write_some(&mut near).await.expect("written");
        }
        drop(near);
        assert_eq!(reader.await.expect("joined"), expected);
    }
}
