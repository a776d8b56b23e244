//! What waits to be sent over a link between servers, and the task that sends it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::timeout;
use zk_core::wire::quorum::{LeaderPacket, LengthLimit, QuorumPacket};
use zk_proto::jute::DecodeError;

/// Bytes that are taken to be sent at a time, so that what is not sent yet counts as waiting.
const TAKEN_BYTES: usize = 1 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// A queue from the core thread to the task of a link. It never makes the sender wait: what is over
/// its bound ends the link, and the other server starts over.
#[derive(Debug)]
pub(super) struct SendQueue<T> {
    inner: Mutex<Inner<T>>,
    bell: Notify,
    bytes_max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    /// Each with about how many bytes it takes.
    items: VecDeque<(T, usize)>,
    /// Those of all.
    bytes: usize,
    /// How many bytes more than usual may wait.
    extra: usize,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// Nothing comes behind what is there.
    Closing,
    /// The link is over; what is there is not sent any more.
    Aborted,
}

/// What a link is to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something.
    Items,
    /// Nothing any more: the link ends here.
    End,
}

impl<T> SendQueue<T> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                extra: 0,
                end: End::Open,
            }),
            bell: Notify::new(),
            bytes_max,
        }
    }

    /// Appends something that takes about `bytes`; false if that is more than may wait, which ends
    /// the link.
    pub(super) fn push(&self, item: T, bytes: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.end != End::Open {
            return true;
        }
        inner.bytes += bytes;
        let bytes_max = self.bytes_max.saturating_add(inner.extra);
        let fits = inner.bytes <= bytes_max || inner.items.is_empty();
        if fits {
            inner.items.push_back((item, bytes));
        } else {
            inner.items.clear();
            inner.end = End::Aborted;
        }
        drop(inner);
        self.bell.notify_one();
        fits
    }

    /// Lets so many bytes more wait, until no more than usual does when something is taken.
    pub(super) fn widen(&self, extra: usize) {
        self.inner.lock().extra = extra;
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.inner.lock().end == End::Open
    }

    /// Ends the link behind what waits.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        if inner.end == End::Open {
            inner.end = End::Closing;
        }
        drop(inner);
        self.bell.notify_one();
    }

    /// Ends the link now.
    pub(super) fn abort(&self) {
        let mut inner = self.inner.lock();
        inner.end = End::Aborted;
        inner.items.clear();
        drop(inner);
        self.bell.notify_one();
    }

    /// Waits for something to send, and takes it, or a part if it is much, to where nothing is yet; each with
    /// its bytes.
    ///
    /// # Cancel safety
    ///
    /// Safe: what is not taken stays.
    pub(super) async fn take(&self, out: &mut VecDeque<(T, usize)>) -> Taken {
        loop {
            {
                let mut inner = self.inner.lock();
                if inner.end == End::Aborted {
                    return Taken::End;
                }
                if !inner.items.is_empty() {
                    inner.give(out);
                    if inner.bytes <= self.bytes_max {
                        inner.extra = 0;
                    }
                    return Taken::Items;
                }
                if inner.end == End::Closing {
                    return Taken::End;
                }
            }
            self.bell.notified().await;
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.inner.lock().items.len()
    }
}

impl<T> Inner<T> {
    fn give(&mut self, out: &mut VecDeque<(T, usize)>) {
        if self.bytes <= TAKEN_BYTES {
            std::mem::swap(&mut self.items, out);
            self.bytes = 0;
            return;
        }
        let mut taken = 0;
        while taken < TAKEN_BYTES
            && let Some(item) = self.items.pop_front()
        {
            taken += item.1;
            out.push_back(item);
        }
        self.bytes -= taken;
    }
}

/// Waits for the other side of a link, but not for ever: one that is cut off or stands still says nothing, and
/// its connection may stay open.
pub(super) async fn within<T, E: From<io::Error>>(
    patience: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(patience, step).await.unwrap_or_else(|_elapsed| {
        let message = format!("the other side has stood still for {patience:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, message).into())
    })
}

/// Sends all of a buffer, which is empty then, as long as the other side takes some of it within `patience`:
/// how long the whole takes is a matter of the connection.
pub(super) async fn write_all(
    patience: Duration,
    sink: &mut (impl AsyncWrite + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<()> {
    while !buffer.is_empty() {
        if within(patience, sink.write_buf(buffer)).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Bytes of the transaction in a packet; 0 if there is none.
pub(crate) fn txn_bytes(packet: &LeaderPacket) -> usize {
    match packet {
        LeaderPacket::Proposal { entry, .. }
        | LeaderPacket::Inform { entry, .. }
        | LeaderPacket::InformAndActivate { entry, .. } => entry.len(),
        LeaderPacket::LeaderInfo { .. }
        | LeaderPacket::Diff { .. }
        | LeaderPacket::Trunc { .. }
        | LeaderPacket::Snap { .. }
        | LeaderPacket::NewLeader { .. }
        | LeaderPacket::UpToDate
        | LeaderPacket::Commit { .. }
        | LeaderPacket::CommitAndActivate { .. }
        | LeaderPacket::Ping { .. }
        | LeaderPacket::Revalidate { .. }
        | LeaderPacket::Sync
        | LeaderPacket::Unknown { .. } => 0,
    }
}

/// Why nothing more can be read from a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection broke.
    #[error("connection lost")]
    Io(#[from] io::Error),
    /// The other side closed the connection.
    #[error("connection closed by the other side")]
    Closed,
    /// The other side sent what is no packet.
    #[error("no packet")]
    Packet(#[from] DecodeError),
    /// The other side sent a length that no packet has.
    #[error(transparent)]
    Length(#[from] zk_core::wire::quorum::BadLength),
    /// A tree was sent that is none.
    #[error("the snapshot that was sent is damaged")]
    Snapshot(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads packets from a connection.
#[derive(Debug)]
pub(super) struct PacketReader<R> {
    source: R,
    buffer: BytesMut,
    limit: LengthLimit,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    pub(super) fn new(source: R, limit: LengthLimit) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// The next packet.
    pub(super) async fn packet(&mut self) -> Result<QuorumPacket, ReadError> {
        loop {
            if let Some(len) = QuorumPacket::find(&self.buffer, self.limit)? {
                let bytes = self.buffer.split_to(len).freeze();
                return Ok(QuorumPacket::decode(&bytes)?);
            }
            self.fill().await?;
        }
    }

    /// Bytes as they come, for what is no packet; at least one.
    pub(super) async fn bytes(&mut self) -> Result<Bytes, ReadError> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split().freeze())
    }

    /// Exactly `len` bytes.
    pub(super) async fn exact(&mut self, len: usize) -> Result<Bytes, ReadError> {
        while self.buffer.len() < len {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(len).freeze())
    }

    /// Gives back bytes that belong to what comes next.
    pub(super) fn give_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let behind = std::mem::take(&mut self.buffer);
            self.buffer.extend_from_slice(bytes);
            self.buffer.extend_from_slice(&behind);
        }
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        // Grows with what has come, not with what a length claims.
        let more = self.buffer.len().clamp(READ_BYTES / 16, READ_BYTES * 16);
        self.buffer.reserve(more);
        if self.source.read_buf(&mut self.buffer).await? == 0 {
            return Err(ReadError::Closed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_waits_is_taken_at_once_and_then_the_end() {
        let queue = SendQueue::new(10);
        assert!(queue.push(1, 4) && queue.push(2, 6));
        queue.close();
        assert!(queue.push(3, 1), "nothing is taken in behind the end");
        let mut out = VecDeque::new();
        assert_eq!(queue.take(&mut out).await, Taken::Items);
        assert_eq!(out, [(1, 4), (2, 6)]);
        out.clear();
        assert_eq!(queue.take(&mut out).await, Taken::End);
    }

    #[tokio::test]
    async fn more_may_wait_until_it_is_taken() {
        let queue = SendQueue::new(10);
        queue.widen(90);
        assert!(queue.push(1, 50) && queue.push(2, 50));
        assert_eq!(queue.take(&mut VecDeque::new()).await, Taken::Items);
        assert!(queue.push(3, 10));
        assert!(!queue.push(4, 1));
    }

    /// What waits while a tree is sent takes as long to send as it took to come: meanwhile as much may come.
    #[tokio::test]
    async fn more_may_wait_until_no_more_than_usual_does() {
        const USUAL: usize = 3 * TAKEN_BYTES;
        let queue = SendQueue::new(USUAL);
        queue.widen(4 * TAKEN_BYTES);
        let waiting = 6;
        assert!((0..waiting).all(|item| queue.push(item, TAKEN_BYTES)));
        let mut out = VecDeque::new();
        for next in waiting..20 {
            assert_eq!(queue.take(&mut out).await, Taken::Items);
            for (item, _) in out.drain(..) {
                assert_eq!(item, next - waiting);
                assert!(queue.push(next, TAKEN_BYTES));
            }
        }
        let mut left = 0;
        while queue.waiting() > 0 {
            assert_eq!(queue.take(&mut out).await, Taken::Items);
            left += out.drain(..).count();
        }
        assert_eq!(left, waiting);
        assert!((0..3).all(|item| queue.push(item, TAKEN_BYTES)));
        assert!(!queue.push(3, TAKEN_BYTES), "as usual");
    }

    /// A slow connection: part after part, each within what is borne, and the whole not.
    #[tokio::test(start_paused = true)]
    async fn as_long_as_something_is_taken_a_write_goes_on() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let (mut sink, mut source) = tokio::io::duplex(64 << 10);
        let mut buffer = BytesMut::zeroed(1 << 20);
        let reading = async {
            let mut taken = BytesMut::new();
            while taken.len() < 1 << 20 {
                tokio::time::sleep(PATIENCE / 2).await;
                source.read_buf(&mut taken).await.expect("open");
            }
        };
        let writing = async {
            let written = write_all(PATIENCE, &mut sink, &mut buffer).await;
            written.expect("it goes on");
        };
        tokio::join!(writing, reading);
        assert!(buffer.is_empty());

        buffer.resize(1 << 20, 0);
        let error = write_all(PATIENCE, &mut sink, &mut buffer).await;
        let error = error.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn more_than_may_wait_ends_the_link() {
        let queue = SendQueue::new(10);
        assert!(queue.push(1, 100), "one item may be of any size");
        assert!(!queue.push(2, 1));
        assert_eq!(queue.waiting(), 0);
        assert_eq!(queue.take(&mut VecDeque::new()).await, Taken::End);
    }
}
