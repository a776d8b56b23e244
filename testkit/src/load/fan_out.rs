//! One change, told to many.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use zk_proto::request::{GetDataRequest, Request, SetDataRequest};
use zk_proto::{Bytes, Version, Xid, frame};

use super::error::LoadError;
use super::op::{DATA, WATCHED};
use super::process::{Cpu, cpu};
use super::session::{REPLY_MAX, SILENCE, Session};

/// What telling took.
#[derive(Debug, Clone, Copy)]
pub struct FanOut {
    /// From the change being sent until the last watcher heard of it.
    pub elapsed: Duration,
    /// Time that the servers took meanwhile.
    pub servers: Cpu,
}

/// Sessions that do nothing, or watch one znode, each on a connection of its own.
#[derive(Debug)]
pub struct Watchers {
    server: SocketAddr,
    poll: Poll,
    events: Events,
    sockets: Vec<(TcpStream, BytesMut)>,
}

impl Watchers {
    /// Opens so many sessions.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(server: SocketAddr, count: usize) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let mut sockets = Vec::with_capacity(count);
        for at in 0..count {
            let stream = Session::open(server)?.into_stream();
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(at), Interest::READABLE)?;
            sockets.push((stream, BytesMut::new()));
        }
        Ok(Self {
            server,
            poll,
            events: Events::with_capacity(4096),
            sockets,
        })
    }

    /// Lets each session watch the znode once, changes it, and waits until all are told.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn tell(&mut self, pids: &[u32]) -> Result<FanOut, LoadError> {
        let watch = Request::GetData(GetDataRequest {
            path: Some(WATCHED.into()),
            watch: true,
        });
        let mut wire = BytesMut::new();
        frame::write_request(&mut wire, Xid::new(1), &watch);
        for (stream, _) in &mut self.sockets {
            // A short request always fits an idle socket.
            stream.write_all(&wire)?;
        }
        self.await_frame_each()?;

        let mut writer = Session::open(self.server)?;
        let change = Request::SetData(SetDataRequest {
            path: Some(WATCHED.into()),
            data: Some(Bytes::from_static(DATA)),
            version: Version::ANY,
        });
        let before = cpu_of(pids)?;
        let start = Instant::now();
        writer.send(1, &change)?;
        self.await_frame_each()?;
        let fan_out = FanOut {
            elapsed: start.elapsed(),
            servers: cpu_of(pids)? - before,
        };
        match writer.answer(1)? {
            0 => writer.close()?,
            code => return Err(LoadError::Refused { xid: 1, code }),
        }
        Ok(fan_out)
    }

    /// Waits until each connection got a frame.
    fn await_frame_each(&mut self) -> Result<(), LoadError> {
        let mut chunk = [0; 1024];
        let mut waiting = self.sockets.len();
        while waiting > 0 {
            self.poll.poll(&mut self.events, Some(SILENCE))?;
            if self.events.is_empty() {
                return Err(LoadError::Silence(SILENCE));
            }
            for event in &self.events {
                let Some((stream, input)) = self.sockets.get_mut(event.token().0) else {
                    continue;
                };
                let read = match stream.read(&mut chunk) {
                    Ok(0) => return Err(LoadError::Closed { in_flight: 1 }),
                    Ok(read) => read,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error.into()),
                };
                input.extend_from_slice(chunk.get(..read).unwrap_or_default());
                match frame::take(input, REPLY_MAX) {
                    Ok(Some(_)) => waiting -= 1,
                    Ok(None) => {}
                    Err(_) => return Err(LoadError::Frame { len: -1 }),
                }
            }
        }
        Ok(())
    }
}

fn cpu_of(pids: &[u32]) -> Result<Cpu, LoadError> {
    pids.iter().map(|&pid| cpu(pid)).sum()
}
