//! What shows inside of a server only.

use std::net::Ipv4Addr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;
use zk_client::Client;
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::{SessionId, frame};

use super::*;
use crate::{Phase, Role};

/// Longer than anything takes.
const SOON: Duration = Duration::from_mins(2);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Two members, each with the handle on its faults.
async fn two() -> Vec<(Server, Faults)> {
    let bind = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let sockets: Vec<_> = (0..2)
        .map(|_| MemberSockets {
            quorum: bind(),
            election: bind(),
        })
        .collect();
    let port = |listener: &std::net::TcpListener| listener.local_addr().expect("bound").port();
    let lines: Vec<_> = sockets
        .iter()
        .map(|one| format!("127.0.0.1:{}:{}", port(&one.quorum), port(&one.election)))
        .collect();
    let starting = sockets.into_iter().zip(1..).map(async |(sockets, id)| {
        let faults = Faults::default();
        // It bears the silence of the other for 25 ticks.
        let mut builder = Server::builder()
            .set("tickTime", 200)
            .set("syncLimit", 25)
            .set("audit.enable", true)
            .faults(&faults)
            .member(ServerId::new(id), sockets);
        for (line, id) in lines.iter().zip(1..) {
            builder = builder.set(&format!("server.{id}"), line);
        }
        (builder.start().await.expect("started"), faults)
    });
    futures_util::future::join_all(starting).await
}

/// Sends the first frame of a client, and reads the answer.
async fn greet(address: SocketAddr, session: SessionId, password: &[u8]) -> (TcpStream, Bytes) {
    let hello = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 1000,
        session_id: session,
        password: Some(Bytes::copy_from_slice(password)),
        read_only: Some(false),
    };
    let mut wire = BytesMut::new();
    frame::write(&mut wire, &[&hello]);
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(&wire).await.expect("sent");
    let len = socket.read_u32().await.expect("a length");
    let mut answer = vec![0; usize::try_from(len).expect("short")];
    socket.read_exact(&mut answer).await.expect("an answer");
    (socket, answer.into())
}

/// The path of the first connection is cut without a sign, as this server sees it; the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_its_session_has_left_is_not_kept() {
    let members = two().await;
    let serves = |server: &Server| server.status().phase == Phase::Broadcast;
    until("both serve", || members.iter().all(|(one, _)| serves(one))).await;
    let mut addresses = members.iter().map(|(server, _)| server.client_address());
    let (first, second) = addresses.next().zip(addresses.next()).expect("two");
    let (mut left, answer) = greet(first, SessionId::NONE, &[0; 16]).await;
    let answer = ConnectResponse::decode(&mut Reader::shared(&answer)).expect("accepted");
    let session = answer.session_id;
    let password = answer.password.expect("of every session");
    let (socket, answer) = greet(second, session, &password).await;
    let answer = ConnectResponse::decode(&mut Reader::shared(&answer)).expect("accepted");
    assert_eq!(answer.session_id, session);
    let (mut reader, mut writer) = socket.into_split();
    let mut answers = 0;
    let mut sign = 8_u32.to_be_bytes().to_vec();
    sign.extend([(-2_i32).to_be_bytes(), 11_i32.to_be_bytes()].as_flattened());
    let mut pings = tokio::time::interval(Duration::from_millis(100));
    let lives_on = async {
        // A length and a header.
        let mut answer = [0; 20];
        loop {
            pings.tick().await;
            writer.write_all(&sign).await.expect("sent");
            reader.read_exact(&mut answer).await.expect("answered");
            answers += 1;
        }
    };
    let mut byte = [0];
    let ended = tokio::select! {
        ended = left.read(&mut byte) => ended,
        () = lives_on => unreachable!("it does not end"),
        () = sleep(SOON) => panic!("the connection is kept after {answers} signs of life elsewhere"),
    };
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    writer.write_all(&sign).await.expect("sent");
    reader.readable().await.expect("it lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_of_a_leader_that_lost_its_quorum_is_kept_by_no_audit() {
    let members = two().await;
    let leads = |server: &Server| {
        let status = server.status();
        (status.role, status.phase) == (Role::Leading, Phase::Broadcast)
    };
    until("one leads", || {
        members.iter().any(|(server, _)| leads(server))
    })
    .await;
    let of = |leading| members.iter().find(|(server, _)| leads(server) == leading);
    let ((leader, _), (_, follower)) = of(true).zip(of(false)).expect("one leads, one does not");
    let pending = || leader.audit.as_ref().map(|audit| audit.pending());
    let address = leader.client_address().to_string();
    let zk = Client::connect(&address).await.expect("connected");
    // Nobody acknowledges it.
    follower.pause();
    let create = zk.create("/a", "").send();
    until("it is asked for", || pending() == Some(1)).await;
    until("it does not lead any more", || !leads(leader)).await;
    until("nothing is kept", || pending() == Some(0)).await;
    follower.resume();
    drop(create);
}
