//! Replies on a socket that is told to wait for several: none is left lying.

#![expect(clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zk_client::{Client, Outcome, SessionId, Stat, Zxid};
use zk_proto::connect::{ConnectResponse, PASSWORD_LEN};
use zk_proto::frame;
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode, Reader};
use zk_proto::response::SetDataResponse;

/// Enough on its way that single replies are not worth a wake-up.
const REQUESTS: usize = 256;

#[tokio::test]
async fn few_replies_are_taken_in_though_many_are_due() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (client, server) = tokio::join!(Client::connect(&address), granted(&listener));
    let (client, mut server) = (client.unwrap(), server);
    let pending: Vec<_> = (0..REQUESTS)
        .map(|_| client.set("/a", "x").send())
        .collect();
    let mut requests = Vec::new();
    while requests.len() < REQUESTS {
        requests.push(next(&mut server).await);
    }
    let mut requests = requests.into_iter();
    let mut pending = pending.into_iter();
    // One at a time, and each waits for the one before.
    for _ in 0..10 {
        answer(&mut server, &requests.next().unwrap()).await;
        pending.next().unwrap().await.unwrap();
    }
    // What came before the end counts.
    answer(&mut server, &requests.next().unwrap()).await;
    drop((server, listener));
    pending.next().unwrap().await.unwrap();
    for lost in pending {
        assert_eq!(lost.await.unwrap_err().outcome(), Outcome::Unknown);
    }
}

/// A connection that ends while replies are waited for leaves no deadline behind that has come already.
#[tokio::test]
async fn who_has_lost_the_connection_while_replies_were_due_rests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (client, mut server) = tokio::join!(Client::connect(&address), granted(&listener));
    let client = client.unwrap();
    let pending: Vec<_> = (0..REQUESTS)
        .map(|_| client.set("/a", "x").send())
        .collect();
    for _ in 0..REQUESTS {
        next(&mut server).await;
    }
    drop((server, listener));
    for lost in pending {
        lost.await.unwrap_err();
    }
    // From here on the server refuses each attempt, and the client has nothing else to do.
    let (before, wait) = (processor_time(), Duration::from_millis(500));
    tokio::time::sleep(wait).await;
    let spent = processor_time().checked_sub(before).unwrap();
    assert!(spent < wait / 4, "{spent:?} of {wait:?}");
}

/// Of this thread, which is all that the client and its server run on.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|spent| Duration::from_micros(u64::try_from(spent.num_microseconds()).unwrap()))
        .sum()
}

/// A connection whose handshake is done.
async fn granted(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    next(&mut socket).await;
    let granted = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 30_000,
        session_id: SessionId::new(1),
        password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
        read_only: Some(false),
    };
    let mut wire = BytesMut::new();
    frame::write(&mut wire, &[&granted]);
    socket.write_all(&wire).await.unwrap();
    socket
}

async fn next(socket: &mut TcpStream) -> Vec<u8> {
    let len = socket.read_u32().await.unwrap();
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    socket.read_exact(&mut payload).await.unwrap();
    payload
}

async fn answer(socket: &mut TcpStream, request: &[u8]) {
    let header = RequestHeader::decode(&mut Reader::new(request)).unwrap();
    let reply = ReplyHeader {
        xid: header.xid,
        zxid: Zxid::new(1),
        err: 0,
    };
    let stat = Stat::default();
    let body: &dyn Encode = &SetDataResponse { stat };
    let mut wire = BytesMut::new();
    frame::write_reply(&mut wire, &reply, Some(body));
    socket.write_all(&wire).await.unwrap();
}
