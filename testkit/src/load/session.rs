//! Sessions over blocking sockets: for what is asked once, and for sessions themselves.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::RequestHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::Request;
use zk_proto::{OpCode, SessionId, Xid, frame};

use super::error::LoadError;

/// Session timeout asked for: no run is so long, and nobody sends pings.
const TIMEOUT_MS: i32 = 600_000;
/// How long a server may be silent: the longest is one that writes a large snapshot.
pub(super) const SILENCE: Duration = Duration::from_mins(1);
/// Longest reply that is plausible.
pub(super) const REPLY_MAX: usize = 64 << 20;

/// A connection with a session.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    input: BytesMut,
}

impl Session {
    /// Connects and gets a session.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(server: SocketAddr) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut session = Self {
            stream,
            input: BytesMut::new(),
        };
        let handshake = ConnectRequest {
            timeout_ms: TIMEOUT_MS,
            password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
            read_only: Some(false),
            ..ConnectRequest::default()
        };
        let mut wire = BytesMut::new();
        frame::write(&mut wire, &[&handshake]);
        session.stream.write_all(&wire)?;
        let payload = session.receive()?;
        let response = ConnectResponse::decode(&mut Reader::shared(&payload))?;
        if response.session_id == SessionId::NONE || response.timeout_ms <= 0 {
            return Err(LoadError::NoSession);
        }
        Ok(session)
    }

    /// Sends a request without waiting for its answer.
    pub(super) fn send(&mut self, xid: i32, request: &Request) -> Result<(), LoadError> {
        let mut wire = BytesMut::new();
        frame::write_request(&mut wire, Xid::new(xid), request);
        Ok(self.stream.write_all(&wire)?)
    }

    /// Waits for the answer to `xid`; its error code comes back.
    pub(super) fn answer(&mut self, xid: i32) -> Result<i32, LoadError> {
        let payload = self.receive()?;
        let (got, code) = header(&payload)?;
        if got == xid {
            Ok(code)
        } else {
            Err(LoadError::OutOfOrder { xid: got, due: xid })
        }
    }

    /// Asks and waits; an error code is an error.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn call(&mut self, request: &Request) -> Result<(), LoadError> {
        match self.try_call(request)? {
            0 => Ok(()),
            code => Err(LoadError::Refused { xid: 1, code }),
        }
    }

    /// Asks and waits; the error code comes back.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn try_call(&mut self, request: &Request) -> Result<i32, LoadError> {
        self.send(1, request)?;
        self.answer(1)
    }

    /// Ends the session, and waits until it is.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn close(mut self) -> Result<(), LoadError> {
        let mut wire = BytesMut::new();
        let header = RequestHeader::new(Xid::new(1), OpCode::CloseSession);
        frame::write(&mut wire, &[&header]);
        self.stream.write_all(&wire)?;
        self.answer(1).map(|_| ())
    }

    /// The socket, if nothing has come that was not asked for.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub(super) fn receive(&mut self) -> Result<Bytes, LoadError> {
        loop {
            match frame::take(&mut self.input, REPLY_MAX) {
                Ok(Some(payload)) => return Ok(payload),
                Ok(None) => {}
                Err(_) => {
                    let len = self.input.first_chunk().copied().unwrap_or_default();
                    let len = i32::from_be_bytes(len).into();
                    return Err(LoadError::Frame { len });
                }
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(LoadError::Closed { in_flight: 1 });
            }
            self.input
                .extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}

/// Xid and error code of a reply.
fn header(payload: &[u8]) -> Result<(i32, i32), LoadError> {
    let mut rest = payload;
    if rest.len() < 16 {
        let len = i64::try_from(rest.len()).unwrap_or(0);
        return Err(LoadError::Frame { len });
    }
    let xid = rest.get_i32();
    rest.advance(8);
    Ok((xid, rest.get_i32()))
}

/// Opens and closes sessions one after the other for so long; returns how many.
///
/// # Errors
/// [`LoadError`].
pub fn open_and_close(server: SocketAddr, span: Duration) -> Result<u64, LoadError> {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < span {
        Session::open(server)?.close()?;
        count += 1;
    }
    Ok(count)
}
