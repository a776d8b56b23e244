//! One connection of a load: its requests in flight, its bytes both ways.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::error::LoadError;
use super::op::Requests;
use super::session::{REPLY_MAX, Session};

/// Bytes read at a time, at least.
const READ_MIN: usize = 16 << 10;
/// Bytes read at a time, at most.
const READ_MAX: usize = 256 << 10;
/// Length, xid, zxid and error code.
const HEADER_LEN: usize = 20;

/// A connection that keeps a number of requests in flight.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    requests: Requests,
    window: usize,
    output: Vec<u8>,
    /// Bytes of it that are written.
    written: usize,
    input: Vec<u8>,
    /// Bytes of it that are there.
    filled: usize,
    next_xid: i32,
    due_xid: i32,
    /// When requests were sent, and how many then.
    batches: VecDeque<(Instant, usize)>,
    in_flight: usize,
}

impl Connection {
    pub(super) fn new(
        session: Session,
        requests: Requests,
        window: usize,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, LoadError> {
        let stream = session.into_stream();
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            requests,
            window,
            output: Vec::new(),
            written: 0,
            input: vec![0; (window * 256).clamp(READ_MIN, READ_MAX)],
            filled: 0,
            next_xid: 1,
            due_xid: 1,
            batches: VecDeque::new(),
            in_flight: 0,
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends as many requests as the window has room for, and no more than `most`.
    pub(super) fn send(&mut self, most: usize, now: Instant) -> Result<usize, LoadError> {
        let count = most.min(self.window.saturating_sub(self.in_flight));
        for _ in 0..count {
            self.requests.write(self.next_xid, &mut self.output);
            self.next_xid += 1;
        }
        if count > 0 {
            self.batches.push_back((now, count));
            self.in_flight += count;
        }
        self.flush()?;
        Ok(count)
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), LoadError> {
        while let Some(rest) = self.output.get(self.written..)
            && !rest.is_empty()
        {
            match self.stream.write(rest) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what is there, counts replies and notes how long they took, in nanoseconds.
    pub(super) fn receive(&mut self, latency: &mut Histogram<u64>) -> Result<usize, LoadError> {
        let mut count = 0;
        loop {
            let room = self.input.get_mut(self.filled..).unwrap_or_default();
            let asked = room.len();
            let read = match self.stream.read(room) {
                Ok(0) => {
                    let in_flight = self.in_flight;
                    return Err(LoadError::Closed { in_flight });
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.filled += read;
            count += self.take_replies(latency)?;
            if read < asked {
                // The next bytes will be told anew.
                return Ok(count);
            }
        }
    }

    fn take_replies(&mut self, latency: &mut Histogram<u64>) -> Result<usize, LoadError> {
        let mut taken = 0;
        let mut count = 0;
        let input = self.input.get(..self.filled).unwrap_or_default();
        while let Some(header) = input.get(taken..taken + HEADER_LEN) {
            let word = |at: usize| {
                let bytes = header
                    .get(at..at + 4)
                    .and_then(|bytes| bytes.try_into().ok());
                i32::from_be_bytes(bytes.unwrap_or_default())
            };
            let len = word(0);
            let Some(whole) = usize::try_from(len).ok().filter(|len| *len <= REPLY_MAX) else {
                return Err(LoadError::Frame { len: len.into() });
            };
            if input.len() - taken < 4 + whole {
                break;
            }
            let (xid, code) = (word(4), word(16));
            if code != 0 {
                return Err(LoadError::Refused { xid, code });
            }
            if xid != self.due_xid {
                let due = self.due_xid;
                return Err(LoadError::OutOfOrder { xid, due });
            }
            self.due_xid += 1;
            taken += 4 + whole;
            count += 1;
        }
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        if self.filled == self.input.len() {
            // A reply longer than the buffer.
            self.input.resize(2 * self.filled, 0);
        }
        self.note(count, latency);
        Ok(count)
    }

    fn note(&mut self, count: usize, latency: &mut Histogram<u64>) {
        self.in_flight -= count;
        let now = Instant::now();
        let mut left = count;
        while left > 0 {
            let Some((sent, waiting)) = self.batches.front_mut() else {
                return;
            };
            let of_it = left.min(*waiting);
            let nanos = u64::try_from(now.duration_since(*sent).as_nanos()).unwrap_or(u64::MAX);
            latency.saturating_record_n(nanos, u64::try_from(of_it).unwrap_or(0));
            *waiting -= of_it;
            left -= of_it;
            if *waiting == 0 {
                self.batches.pop_front();
            }
        }
    }
}
