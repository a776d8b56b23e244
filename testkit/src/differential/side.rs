//! One of the two servers, and all connections to it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::{GetChildrenRequest, Request};
use zk_proto::response::GetChildrenResponse;
use zk_proto::{ErrorCode, Xid, Zxid};

use super::ask::{Ask, Trace};
use super::link::{Grant, Link, Next};
use super::seen::{Asked, Seen, Terms};

#[derive(Debug)]
pub(super) struct Side {
    pub(super) addr: SocketAddr,
    /// Whether a write that cannot be read takes a zxid all the same.
    logs_unreadable: bool,
    pub(super) terms: Terms,
    seats: Vec<Seat>,
}

/// A connection of the script, and the session it is in.
#[derive(Debug)]
struct Seat {
    link: Link,
    grant: Grant,
    /// What has no answer yet.
    owed: VecDeque<Owed>,
    next_xid: i32,
}

/// What must be known of a request to read its answer.
#[derive(Debug, Clone, Copy)]
struct Owed {
    asked: Asked,
    trace: Option<Trace>,
}

impl Side {
    pub(super) fn new(addr: SocketAddr, logs_unreadable: bool) -> Self {
        Self {
            addr,
            logs_unreadable,
            terms: Terms::default(),
            seats: Vec::new(),
        }
    }

    /// Forgets the last script's connections, which closes them.
    pub(super) fn clear(&mut self, base: Zxid) {
        self.seats.clear();
        self.terms = Terms {
            base,
            ..Terms::default()
        };
    }

    fn seat(&mut self, i: usize) -> io::Result<&mut Seat> {
        self.seats.get_mut(i).ok_or_else(missing)
    }

    /// Opens a session: a new seat, or in the place of one.
    pub(super) fn open(&mut self, place: Option<usize>) -> io::Result<i32> {
        let (link, grant) = Link::connect(self.addr, None)?;
        let grant = grant.ok_or_else(|| io::Error::other("no session"))?;
        let number = i64::try_from(self.terms.sessions.len()).unwrap_or_default() + 1;
        self.terms.sessions.insert(grant.session, number);
        let timeout_ms = grant.timeout_ms;
        let seat = Seat {
            link,
            grant,
            owed: VecDeque::new(),
            next_xid: 1,
        };
        match place.and_then(|i| self.seats.get_mut(i)) {
            Some(old) => *old = seat,
            None => self.seats.push(seat),
        }
        Ok(timeout_ms)
    }

    /// Goes on with the session of a seat on a new connection; tells whether it may, and what came on
    /// the old connection if that was left open.
    pub(super) fn resume(
        &mut self,
        i: usize,
        keeps_old: bool,
        is_wrong: bool,
    ) -> io::Result<(bool, Vec<Seen>)> {
        let addr = self.addr;
        let mut grant = self.seat(i)?.grant.clone();
        if is_wrong {
            grant.password = Bytes::from_static(&[7; 16]);
        }
        if !keeps_old {
            self.seat(i)?.link.close()?;
        }
        let (link, granted) = Link::connect(addr, Some(&grant))?;
        let seen = if keeps_old {
            self.until_closed(i)?
        } else {
            Vec::new()
        };
        let seat = self.seat(i)?;
        seat.link = link;
        seat.owed.clear();
        Ok((granted.is_some(), seen))
    }

    /// Sends requests in one go. An xid that is not given is the next one.
    pub(super) fn send(&mut self, i: usize, asks: &[(Option<i32>, Ask)]) -> io::Result<()> {
        let Self { terms, seats, .. } = self;
        let seat = seats.get_mut(i).ok_or_else(missing)?;
        let mut out = BytesMut::new();
        for (xid, ask) in asks {
            let xid = xid.unwrap_or(seat.next_xid);
            seat.next_xid += 1;
            ask.write(&mut out, Xid::new(xid), terms);
            seat.owed.push_back(Owed {
                asked: ask.op().map_or(Asked::NoOp, Asked::Op),
                trace: ask.trace(),
            });
        }
        seat.link.send(&out)
    }

    pub(super) fn send_bytes(&mut self, i: usize, bytes: &[u8]) -> io::Result<()> {
        self.seat(i)?.link.send(bytes)
    }

    /// What comes until everything that was asked is answered, or the connection is over.
    pub(super) fn answers(&mut self, i: usize) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        while !self.seat(i)?.owed.is_empty() {
            let item = self.next(i)?;
            let is_over = matches!(item, Seen::Closed | Seen::Silent);
            seen.push(item);
            if is_over {
                self.seat(i)?.owed.clear();
            }
        }
        Ok(seen)
    }

    pub(super) fn until_closed(&mut self, i: usize) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        loop {
            let item = self.next(i)?;
            let is_over = matches!(item, Seen::Closed | Seen::Silent);
            seen.push(item);
            if is_over {
                return Ok(seen);
            }
        }
    }

    fn next(&mut self, i: usize) -> io::Result<Seen> {
        let seat = self.seat(i)?;
        let payload = match seat.link.next()? {
            Next::Frame(payload) => payload,
            Next::Closed => return Ok(Seen::Closed),
            Next::Silent => return Ok(Seen::Silent),
        };
        let header = ReplyHeader::decode(&mut Reader::new(&payload)).unwrap_or_default();
        if header.xid == Xid::NOTIFICATION {
            return Ok(self.terms.frame(&payload, Asked::Nothing));
        }
        let owed = seat.owed.pop_front();
        self.terms.last = self.terms.last.max(header.zxid);
        let trace = owed.and_then(|owed| owed.trace);
        if self.logs_unreadable && header.error() == Some(ErrorCode::MarshallingError) {
            match trace {
                Some(Trace::Logged) => self.terms.extra.push(header.zxid),
                Some(Trace::Skipped) => self.terms.skip(header.zxid),
                None => {}
            }
        }
        let asked = owed.map_or(Asked::Nothing, |owed| owed.asked);
        Ok(self.terms.frame(&payload, asked))
    }

    /// The names of a znode's children, sorted; none if there is no such znode.
    pub(super) fn children(&mut self, i: usize, path: &ByteString) -> io::Result<Vec<ByteString>> {
        let request = Request::GetChildren(GetChildrenRequest {
            path: Some(path.clone()),
            watch: false,
        });
        self.send(i, &[(None, Ask::Request(request))])?;
        let seat = self.seat(i)?;
        seat.owed.clear();
        let Next::Frame(payload) = seat.link.next()? else {
            return Err(io::Error::other("no list of children"));
        };
        let rest = payload.get(ReplyHeader::LEN..).unwrap_or_default();
        let response = GetChildrenResponse::decode(&mut Reader::new(rest));
        let mut children = response.map(|r| r.children).unwrap_or_default();
        children.sort();
        Ok(children)
    }

    /// Events that were sent to a connection so far: a ping's answer is behind them.
    pub(super) fn barrier(&mut self, i: usize) -> io::Result<Vec<Seen>> {
        self.send(i, &[(Some(-2), Ask::Request(Request::Ping))])?;
        self.answers(i)
    }
}

fn missing() -> io::Error {
    io::Error::other("no such connection")
}
