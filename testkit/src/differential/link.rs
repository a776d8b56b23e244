//! One raw connection.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::{SessionId, Zxid, frame};

/// How long a server may be silent when it owes an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Session timeout asked for: longer than any script takes.
const SESSION_MS: i32 = 60_000;

/// Longest frame taken from a server, which has no limit of its own.
const FRAME_MAX: usize = 16 << 20;

/// What comes next on a connection.
#[derive(Debug)]
pub(super) enum Next {
    Frame(Bytes),
    Closed,
    Silent,
}

#[derive(Debug)]
pub(super) struct Link {
    socket: TcpStream,
    input: BytesMut,
}

/// What a server granted.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) session: SessionId,
    pub(super) password: Bytes,
    pub(super) timeout_ms: i32,
}

impl Link {
    /// Connects and shakes hands; the grant is `None` when the server refuses the session.
    pub(super) fn connect(
        addr: SocketAddr,
        resume: Option<&Grant>,
    ) -> io::Result<(Self, Option<Grant>)> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut link = Self {
            socket,
            input: BytesMut::new(),
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: SESSION_MS,
            session_id: resume.map_or(SessionId::NONE, |grant| grant.session),
            password: Some(
                resume.map_or_else(|| vec![0; 16].into(), |grant| grant.password.clone()),
            ),
            read_only: Some(false),
        };
        let mut out = BytesMut::new();
        frame::write(&mut out, &[&request]);
        link.send(&out)?;
        let Next::Frame(payload) = link.next()? else {
            return Err(io::Error::other("no answer to the handshake"));
        };
        let response = ConnectResponse::decode(&mut Reader::new(&payload))
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        let grant = (response.timeout_ms > 0).then(|| Grant {
            session: response.session_id,
            password: response.password.unwrap_or_default(),
            timeout_ms: response.timeout_ms,
        });
        Ok((link, grant))
    }

    /// Sends bytes. That the server has closed is told by what comes next.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.socket.write_all(bytes) {
            Err(err) if is_closed(&err) => Ok(()),
            other => other,
        }
    }

    /// Ends the connection without a word, and waits until the server has noticed: the reference
    /// forgets the connection of a session that goes on elsewhere if it notices later.
    pub(super) fn close(&mut self) -> io::Result<()> {
        // An error means that it is closed.
        drop(self.socket.shutdown(Shutdown::Write));
        while let Next::Frame(_) = self.next()? {}
        Ok(())
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        loop {
            let taken = frame::take(&mut self.input, FRAME_MAX)
                .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
            if let Some(payload) = taken {
                return Ok(Next::Frame(payload));
            }
            let mut buffer = [0; 16 << 10];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(Next::Closed),
                Ok(len) => self
                    .input
                    .extend_from_slice(buffer.get(..len).unwrap_or_default()),
                Err(err) if is_closed(&err) => return Ok(Next::Closed),
                Err(err)
                    if matches!(
                        err.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(Next::Silent);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
}

fn is_closed(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
    )
}
