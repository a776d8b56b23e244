//! What an operation allocates: counted, so that it can be asserted.
//!
//! A binary of its own, because it counts what its allocator hands out. The server is a part of the
//! connection: it answers within the write, and allocates nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of a test may panic"
)]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use zk_client::{Client, ConnectError, Connector, Io, Pending, Server, SessionId, Stat, Zxid};
use zk_proto::OpCode;
use zk_proto::connect::{ConnectResponse, PASSWORD_LEN};
use zk_proto::frame;
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode, Reader};
use zk_proto::response::{GetDataResponse, SetDataResponse};

/// Operations per measurement: buffers grow and wrap, which is paid for by many.
const OPS: u64 = 10_000;
/// Operations under way at once where several are.
const WINDOW: usize = 256;
/// Bytes that the connection holds without growing.
const ROOM: usize = 1 << 20;
/// What buffers, the timer and the queues may take beside the operations: less than one in fifty.
const SLACK: u64 = OPS / 50;

#[test]
fn read_allocates_frame_slot_and_data() {
    let (runtime, client) = connect();
    let allocated = allocations(&runtime, async {
        for _ in 0..OPS {
            let node = client.get("/app/config").await.unwrap();
            assert_eq!(node.unwrap().data.len(), 100);
        }
    });
    assert_within(allocated, 3);
}

#[test]
fn pipelined_read_allocates_frame_slot_and_data() {
    let (runtime, client) = connect();
    let allocated = allocations(&runtime, async {
        let mut pending = VecDeque::<Pending<_>>::with_capacity(WINDOW);
        for _ in 0..OPS {
            if pending.len() == WINDOW {
                let oldest = pending.pop_front().unwrap();
                oldest.await.unwrap();
            }
            pending.push_back(client.get("/app/config").send());
        }
        for reply in pending {
            reply.await.unwrap();
        }
    });
    assert_within(allocated, 3);
}

#[test]
fn write_allocates_frame_and_slot() {
    let (runtime, client) = connect();
    let data = Bytes::from_static(&[7; 100]);
    let allocated = allocations(&runtime, async {
        for _ in 0..OPS {
            client.set("/app/config", data.clone()).await.unwrap();
        }
    });
    assert_within(allocated, 2);
}

#[track_caller]
fn assert_within(allocated: u64, per_op: u64) {
    assert!(
        (OPS..=OPS * per_op + SLACK).contains(&allocated),
        "{allocated} allocations for {OPS} operations, {per_op} for each are allowed"
    );
}

fn connect() -> (Runtime, Client) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let connect = Client::builder("server").connector(InProcess).connect();
    let client = runtime.block_on(connect).unwrap();
    (runtime, client)
}

/// Counts on this thread, which is the only one that the runtime has.
fn allocations(runtime: &Runtime, work: impl Future<Output = ()>) -> u64 {
    measure(|| runtime.block_on(work)).count_total
}

#[derive(Debug)]
struct InProcess;

#[async_trait]
impl Connector for InProcess {
    async fn connect(&self, _: &Server, _: Duration) -> Result<Box<dyn Io>, ConnectError> {
        Ok(Box::new(Connection::new()))
    }
}

/// A connection whose other end answers at once.
struct Connection {
    /// Received by the server and not complete.
    requests: BytesMut,
    /// On their way to the client.
    replies: BytesMut,
    is_granted: bool,
    data: Bytes,
    reader: Waker,
}

impl Connection {
    fn new() -> Self {
        Self {
            requests: BytesMut::with_capacity(ROOM),
            replies: BytesMut::with_capacity(ROOM),
            is_granted: false,
            data: Bytes::from_static(&[7; 100]),
            reader: Waker::noop().clone(),
        }
    }

    fn answer(&mut self) {
        while let Some(len) = frame::payload_len(&self.requests, ROOM).unwrap()
            && self.requests.len() >= frame::LENGTH_LEN + len
        {
            let mut request = Reader::new(&self.requests[frame::LENGTH_LEN..]);
            if self.is_granted {
                let header = RequestHeader::decode(&mut request).unwrap();
                let reply = ReplyHeader {
                    xid: header.xid,
                    zxid: Zxid::new(1),
                    err: 0,
                };
                let stat = Stat::default();
                let data = Some(self.data.clone());
                let body: Option<&dyn Encode> = match header.op().unwrap() {
                    OpCode::GetData => Some(&GetDataResponse { data, stat }),
                    OpCode::SetData => Some(&SetDataResponse { stat }),
                    _ => None,
                };
                frame::write_reply(&mut self.replies, &reply, body);
            } else {
                self.is_granted = true;
                let granted = ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: 10_000,
                    session_id: SessionId::new(1),
                    password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
                    read_only: Some(false),
                };
                frame::write(&mut self.replies, &[&granted]);
            }
            self.requests.advance(frame::LENGTH_LEN + len);
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.requests.put_slice(bytes);
        self.answer();
        self.reader.wake_by_ref();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replies.is_empty() {
            self.reader.clone_from(cx.waker());
            return Poll::Pending;
        }
        let len = out.remaining().min(self.replies.len());
        out.put_slice(&self.replies[..len]);
        self.replies.advance(len);
        Poll::Ready(Ok(()))
    }
}
