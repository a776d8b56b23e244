//! Bytes between a pipeline and a socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Pieces of at least this many bytes are sent from where they are.
const SHARED_MIN: usize = 32 << 10;
/// Pieces sent with one call.
const SLICES_MAX: usize = 16;

/// What is to be written, small pieces copied together, large ones kept.
#[derive(Debug, Default)]
pub(crate) struct WriteBuf {
    /// In front of all others. It is sent from where it is, whatever its size: mostly it is all there
    /// is, and the socket takes it at once.
    first: Bytes,
    /// All others. An idle connection has none of it.
    rest: Option<Box<Rest>>,
    len: usize,
}

#[derive(Debug, Default)]
struct Rest {
    pieces: VecDeque<Bytes>,
    /// Behind all pieces.
    tail: BytesMut,
}

impl WriteBuf {
    pub(crate) fn push(&mut self, piece: Bytes) {
        let is_only = self.len == 0;
        self.len += piece.len();
        if is_only {
            self.first = piece;
            return;
        }
        let rest = self.rest.get_or_insert_default();
        if piece.len() < SHARED_MIN {
            rest.tail.extend_from_slice(&piece);
        } else {
            if !rest.tail.is_empty() {
                rest.pieces.push_back(rest.tail.split().freeze());
            }
            rest.pieces.push_back(piece);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes what the socket takes at once. Completes at its first poll.
    pub(crate) async fn write_now(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        poll_fn(|cx| {
            while self.len > 0 {
                let socket = Pin::new(&mut *socket);
                let written = if self.first.len() == self.len {
                    socket.poll_write(cx, &self.first)
                } else {
                    socket.poll_write_vectored(cx, &self.slices())
                };
                match written {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(written)) => self.advance(written),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        if self.first.len() < SHARED_MIN {
                            // It will wait, and must not keep a large buffer from its owner.
                            self.first = Bytes::copy_from_slice(&self.first);
                        }
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let rest = self.rest.iter().flat_map(|rest| {
            let pieces = rest.pieces.iter().map(|piece| &**piece);
            pieces.chain(std::iter::once(&*rest.tail))
        });
        let all = std::iter::once(&*self.first).chain(rest);
        let slices = all.filter(|piece| !piece.is_empty());
        slices.take(SLICES_MAX).map(IoSlice::new).collect()
    }

    /// Writes some of it.
    ///
    /// # Cancel safety
    ///
    /// Safe: what was written is gone from here, and nothing else.
    pub(crate) fn write_some(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
    ) -> impl Future<Output = io::Result<()>> {
        poll_fn(|cx| {
            let written = Pin::new(&mut *socket).poll_write_vectored(cx, &self.slices());
            Poll::Ready(match ready!(written)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                written => {
                    self.advance(written);
                    Ok(())
                }
            })
        })
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        if self.first.len() > written {
            self.first.advance(written);
            return;
        }
        written -= self.first.len();
        self.first = Bytes::new();
        let Some(rest) = &mut self.rest else {
            return;
        };
        while let Some(first) = rest.pieces.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            rest.pieces.pop_front();
        }
        rest.tail.advance(written);
        if rest.tail.is_empty() {
            self.rest = None;
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
