//! Ending a session for certain.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zk_client::SessionId;
use zk_core::session::derive_password;
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::Request;
use zk_proto::{Bytes, Xid, Zxid, frame};

/// Longest answer looked at.
const FRAME_MAX: usize = 1 << 20;

/// Takes a session over and closes it, in one write, so that its owner cannot take it back between.
/// True if the server says that it is over already.
///
/// # Source
/// Every server of an ensemble derives the password of a session from its id
/// (Apache `ZooKeeper` 3.9, `ZooKeeperServer#generatePasswd`).
pub(super) async fn close(server: SocketAddr, session: SessionId) -> io::Result<bool> {
    let handshake = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 10_000,
        session_id: session,
        password: Some(Bytes::copy_from_slice(&derive_password(session))),
        read_only: Some(false),
    };
    let mut out = BytesMut::new();
    frame::write(&mut out, &[&handshake]);
    frame::write_request(&mut out, Xid::new(1), &Request::CloseSession);
    let mut socket = TcpStream::connect(server).await?;
    socket.write_all(&out).await?;
    let mut input = BytesMut::new();
    // The server closes the connection behind its last answer.
    while socket.read_buf(&mut input).await? > 0 {}
    let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let answer = frame::take(&mut input, FRAME_MAX).map_err(io::Error::other)?;
    let answer = answer.ok_or_else(closed)?;
    let answer = ConnectResponse::decode(&mut Reader::shared(&answer)).map_err(io::Error::other)?;
    Ok(answer.timeout_ms <= 0)
}
