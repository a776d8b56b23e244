//! The order in which one connection's requests are executed and its bytes leave: laws L4 and L5.
//!
//! Two parties use a pipeline, never at the same time (the driver puts a lock around it, and this
//! type does not care which): the *connection task*, which owns the socket, and the *apply thread*,
//! which changes the tree. They meet the tree itself under a guard that many readers may share, or
//! the apply thread has alone.
//!
//! # What comes in
//!
//! Requests are of two sorts. A **write** is decided elsewhere and answered when the apply thread
//! comes to it: every request with a transaction, and sync. A **read** `R` is executed here against
//! the tree and answered at once: reads proper, ping, and errors that are answered in their place.
//!
//! ```text
//!                        no write in flight                      a write in flight
//!  read            admit_read → Grouped                    admit_read → Held (behind it)
//!  write           admit_write → ticket,                   admit_write → ticket
//!                  but GroupFirst while there is a group
//! ```
//!
//! # Who executes reads
//!
//! ```text
//!  Grouped ──start_group──► running ──(connection task, under a shared guard: state z)──►
//!          ──finish_group(z)──► answered
//!
//!  Held    ──commit(ticket, z)──► (apply thread, under its exclusive guard, right after
//!          the write: state z) ──► answered
//!          ──run_before_write(z)──► (the same, right before the next write: state z) ──► answered
//! ```
//!
//! So a read meets exactly the state after the writes in front of it: while a group exists no write
//! of the session is in flight, and a held read is executed between two writes by the only thread
//! that can tell where that is. That is **L5**.
//!
//! # In what order bytes leave
//!
//! Whatever is appended carries the zxid of the state it shows; see `Outgoing`. That is **L4**, if
//! the driver keeps this contract:
//!
//! - **C1** The apply thread appends the events of a transaction, and then commits it here if it is
//!   a write of this connection, before it applies the next one or lets go of the exclusive guard.
//! - **C2** Between the moment when a group's reads meet the tree and `finish_group`, nothing is
//!   drained. The type sees to it: it yields nothing between `start_group` and `finish_group`.
//! - **C3** Transactions are applied in order of zxids, and the writes of a connection in order of
//!   their tickets.
//! - **C4** `run_before_write` is called before a write of this connection changes the tree.
//!
//! Whatever of it can be noticed is noticed: [`Broken`] means that a law is about to be broken, and
//! the server must stop (L7).
//!
//! # Invariants
//! - **I1** While there is a group, waiting or running, the queue is empty.
//! - **I2** A queue that is not empty has a write in it.
//! - **I3** Tickets in the queue ascend.
//! - **I4** Once closed, there is nothing in it, and nothing is taken in.
//!
//! # Bounds
//! See [`PipelineLimits`]. What the client sends too much is not read; what the server has to say
//! too much closes the connection, and the client finds out what it missed from its next server.

mod outgoing;

#[cfg(test)]
mod tests;

pub use outgoing::Broken;

use std::collections::VecDeque;

use zk_proto::{Bytes, Zxid};

use outgoing::Outgoing;

/// Number of a write on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Bounds of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineLimits {
    /// Most requests waiting: in the group, or in flight and behind. Beyond: [`Refused::Full`].
    pub waiting_max: usize,
    /// Most bytes of waiting requests. Beyond: [`Refused::Full`].
    pub waiting_bytes_max: usize,
    /// Most pieces that the apply thread may leave undrained. Beyond: closed.
    pub outgoing_max: usize,
    /// Most bytes that the apply thread may leave undrained; beyond: closed. When as many wait in
    /// all, no request is taken in: [`Refused::Full`].
    pub outgoing_bytes_max: usize,
}

/// Why a request is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A write may not overtake the reads in the group: run the group and ask again.
    GroupFirst,
    /// A bound is reached: run the group, drain, and read no further until something is answered.
    Full,
    /// The connection is closed or closing: drop it.
    Closed,
}

/// Where a read went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Into the group that the connection task is to run before it goes to sleep.
    Grouped,
    /// Behind a write of the connection; the apply thread runs it.
    Held,
}

/// What follows on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next one.
    Continue,
    /// Nothing: the connection is closed once it is sent. Requests behind it are dropped.
    Close,
}

/// The answer to one request, framed, with the catch-up events that precede it, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The bytes.
    pub bytes: Bytes,
    /// What follows.
    pub then: Then,
}

/// What a drain leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing to send.
    Empty,
    /// More to send.
    More,
    /// Nothing until the running group is finished.
    GroupRunning,
    /// Nothing ever: close the socket when all before is sent.
    Close,
}

/// Why a connection is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// An answer said so.
    Answered,
    /// The client took too little of what the server had to say: what was left is dropped.
    Overflow,
    /// The driver said so: the session expired or moved, the socket is gone, the server stops.
    Aborted,
}

/// Requests of one connection on their way, and bytes on theirs. See the module for its contract.
#[derive(Debug)]
pub struct Pipeline<R> {
    limits: &'static PipelineLimits,
    /// Reads that the connection task is to run, oldest first.
    group: Vec<R>,
    /// Whether a group has been taken out and not been finished.
    is_running: bool,
    /// Writes in flight and the reads behind them, oldest first.
    queue: VecDeque<Slot<R>>,
    /// Bytes of the requests in `group` and `queue`.
    waiting_bytes: usize,
    /// Bytes of those in `group` alone.
    group_bytes: usize,
    next_ticket: u64,
    outgoing: Outgoing,
    /// Set once: from then on nothing is taken in.
    closed: Option<CloseCause>,
}

#[derive(Debug)]
struct Slot<R> {
    /// Bytes of the request.
    bytes: usize,
    work: Work<R>,
}

#[derive(Debug)]
enum Work<R> {
    Write(Ticket),
    Read(R),
}

impl<R> Pipeline<R> {
    /// The pipeline of a connection whose handshake is done.
    pub fn new(limits: &'static PipelineLimits) -> Self {
        Self {
            limits,
            group: Vec::new(),
            is_running: false,
            queue: VecDeque::new(),
            waiting_bytes: 0,
            group_bytes: 0,
            next_ticket: 0,
            outgoing: Outgoing::default(),
            closed: None,
        }
    }

    // The connection task.

    /// Takes in the next request, a read of `bytes` bytes.
    ///
    /// # Errors
    /// [`Refused::Closed`] or [`Refused::Full`], and the read is given back.
    pub fn admit_read(&mut self, read: R, bytes: usize) -> Result<Placed, (Refused, R)> {
        if let Err(refused) = self.has_room() {
            return Err((refused, read));
        }
        self.waiting_bytes += bytes;
        if self.queue.is_empty() {
            self.group_bytes += bytes;
            self.group.push(read);
            Ok(Placed::Grouped)
        } else {
            self.queue.push_back(Slot {
                bytes,
                work: Work::Read(read),
            });
            Ok(Placed::Held)
        }
    }

    /// Takes in the next request, a write of `bytes` bytes, which is then to be submitted.
    ///
    /// # Errors
    /// [`Refused::Closed`], [`Refused::GroupFirst`] or [`Refused::Full`].
    pub fn admit_write(&mut self, bytes: usize) -> Result<Ticket, Refused> {
        if self.closed.is_some() {
            return Err(Refused::Closed);
        }
        if self.is_running || !self.group.is_empty() {
            return Err(Refused::GroupFirst);
        }
        self.has_room()?;
        self.waiting_bytes += bytes;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.queue.push_back(Slot {
            bytes,
            work: Work::Write(ticket),
        });
        Ok(ticket)
    }

    /// Takes the group out to run it: execute all of it under one shared guard, drop the guard, then
    /// [`Self::finish_group`]. `None` if there is nothing to run, or one is running.
    pub fn start_group(&mut self) -> Option<Vec<R>> {
        if self.is_running || self.group.is_empty() {
            return None;
        }
        self.is_running = true;
        self.waiting_bytes -= std::mem::take(&mut self.group_bytes);
        Some(std::mem::take(&mut self.group))
    }

    /// Appends the answers to the group, which met the state of transaction `zxid`: behind all events
    /// up to it, before those after it that may have come meanwhile.
    ///
    /// `pieces` are the answers in order of the requests, cut wherever the driver likes; with
    /// [`Then::Close`] it has left out those behind the closing one.
    ///
    /// # Errors
    /// [`Broken`] if no group is running, or the state was an old one.
    pub fn finish_group(
        &mut self,
        zxid: Zxid,
        pieces: impl IntoIterator<Item = Bytes>,
        then: Then,
    ) -> Result<(), Broken> {
        if self.closed.is_some() {
            return Ok(());
        }
        if !self.is_running {
            return Err(Broken::NoGroup);
        }
        self.is_running = false;
        self.outgoing.merge_replies(zxid, pieces)?;
        if then == Then::Close {
            self.close_behind(zxid);
        }
        Ok(())
    }

    /// Appends an answer that overtakes the requests in the pipeline and shows no state: to auth and
    /// sasl. [`Then::Close`] drops all requests.
    pub fn answer_now(&mut self, answer: Answer) {
        if self.closed.is_none() {
            self.outgoing.push_now(answer.bytes);
            if answer.then == Then::Close {
                self.close(CloseCause::Answered);
            }
        }
    }

    /// Takes out what is to be sent next: whole pieces, at least one if there is any, until
    /// `bytes_max` is reached.
    pub fn drain(&mut self, bytes_max: usize, out: &mut Vec<Bytes>) -> Drained {
        if self.is_running && self.closed.is_none() {
            return Drained::GroupRunning;
        }
        self.outgoing.drain(bytes_max, out);
        if !self.outgoing.is_empty() {
            Drained::More
        } else if self.closed.is_some() {
            Drained::Close
        } else {
            Drained::Empty
        }
    }

    // The apply thread.

    /// Appends a watch event of transaction `zxid`.
    ///
    /// # Errors
    /// [`Broken`] if an answer that shows this transaction, or an event of a later one, is there
    /// already.
    pub fn push_event(&mut self, zxid: Zxid, frame: Bytes) -> Result<(), Broken> {
        if self.closed.is_some() {
            return Ok(());
        }
        self.outgoing.push_event(zxid, frame)?;
        self.check_overflow(0);
        Ok(())
    }

    /// Executes the reads that stand before the next write, in state `zxid`: to be called before a
    /// write of this connection changes the tree. Does nothing unless a write was rejected.
    ///
    /// # Errors
    /// [`Broken`] if the state is an old one.
    pub fn run_before_write(
        &mut self,
        zxid: Zxid,
        run: &mut dyn FnMut(R) -> Answer,
    ) -> Result<(), Broken> {
        while self.closed.is_none() {
            let Some(slot) = self.queue.pop_front_if(|slot| slot.is_read()) else {
                break;
            };
            self.run(slot, zxid, run)?;
        }
        Ok(())
    }

    /// Answers a write, now that the tree is in state `zxid`, its own transaction's, or for a sync
    /// the last one applied; then executes the reads behind it, up to the next write.
    ///
    /// # Errors
    /// [`Broken`] if this write is not the next one, or the state is an old one.
    pub fn commit(
        &mut self,
        ticket: Ticket,
        zxid: Zxid,
        answer: Answer,
        run: &mut dyn FnMut(R) -> Answer,
    ) -> Result<(), Broken> {
        if self.closed.is_some() {
            return Ok(());
        }
        let is_next = |slot: &mut Slot<R>| matches!(slot.work, Work::Write(next) if next == ticket);
        let slot = self.queue.pop_front_if(is_next).ok_or(Broken::NotNext)?;
        self.waiting_bytes -= slot.bytes;
        self.append(zxid, answer)?;
        self.run_before_write(zxid, run)?;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Ok(())
    }

    // Others.

    /// Puts a read in the place of a write that will have no transaction after all: the error to
    /// answer it with. It keeps its place among the requests.
    ///
    /// # Errors
    /// [`Broken::NotInFlight`] if there is no such write.
    pub fn reject(&mut self, ticket: Ticket, answer: R) -> Result<(), Broken> {
        if self.closed.is_some() {
            return Ok(());
        }
        let is_it =
            |slot: &&mut Slot<R>| matches!(slot.work, Work::Write(other) if other == ticket);
        let slot = self.queue.iter_mut().find(is_it);
        let slot = slot.ok_or(Broken::NotInFlight)?;
        slot.work = Work::Read(answer);
        // Without a write in flight the connection task may run them all.
        if self.queue.iter().all(Slot::is_read) {
            for slot in std::mem::take(&mut self.queue) {
                if let Work::Read(read) = slot.work {
                    self.group_bytes += slot.bytes;
                    self.group.push(read);
                }
            }
        }
        Ok(())
    }

    /// Drops everything, what is not sent yet as well: nothing more will be said on this connection.
    pub fn abort(&mut self) {
        if self.closed.is_none() {
            self.close(CloseCause::Aborted);
        }
        self.outgoing.clear();
    }

    /// Whether the connection task has something to do: a group to run, bytes to send, or an end to
    /// bring about. What the apply thread asks after it is done with a batch, to wake it.
    pub fn has_work(&self) -> bool {
        self.closed.is_some() || !self.group.is_empty() || !self.outgoing.is_empty()
    }

    /// Requests that are not answered yet, without those of a running group.
    pub fn waiting(&self) -> usize {
        self.group.len() + self.queue.len()
    }

    /// Bytes that wait to be sent.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Why the connection is at its end, if it is.
    pub fn closed(&self) -> Option<CloseCause> {
        self.closed
    }

    fn has_room(&self) -> Result<(), Refused> {
        if self.closed.is_some() {
            Err(Refused::Closed)
        } else if self.waiting() >= self.limits.waiting_max
            || self.waiting_bytes >= self.limits.waiting_bytes_max
            || self.outgoing.bytes() >= self.limits.outgoing_bytes_max
        {
            Err(Refused::Full)
        } else {
            Ok(())
        }
    }

    /// Executes a read that is out of the queue.
    fn run(
        &mut self,
        slot: Slot<R>,
        zxid: Zxid,
        run: &mut dyn FnMut(R) -> Answer,
    ) -> Result<(), Broken> {
        self.waiting_bytes -= slot.bytes;
        match slot.work {
            Work::Read(read) => self.append(zxid, run(read)),
            Work::Write(_) => Err(Broken::NotNext),
        }
    }

    fn append(&mut self, zxid: Zxid, answer: Answer) -> Result<(), Broken> {
        let len = answer.bytes.len();
        self.outgoing.push_reply(zxid, answer.bytes)?;
        match answer.then {
            Then::Close => self.close(CloseCause::Answered),
            Then::Continue => self.check_overflow(len),
        }
        Ok(())
    }

    /// The last answer is the one at `zxid`: events after it have nothing to follow.
    fn close_behind(&mut self, zxid: Zxid) {
        self.outgoing.truncate_behind(zxid);
        self.close(CloseCause::Answered);
    }

    /// Closes when more waits than may. The newest piece, of so many bytes, does not count: one answer
    /// may be longer than all that may wait, and its client would ask for it again and again.
    fn check_overflow(&mut self, newest: usize) {
        let (pieces, bytes) = self.outgoing.pushed();
        let before = bytes.saturating_sub(newest);
        if pieces > self.limits.outgoing_max || before > self.limits.outgoing_bytes_max {
            self.close(CloseCause::Overflow);
            self.outgoing.clear();
        }
    }

    /// Ends it; what is appended already will still be sent.
    fn close(&mut self, cause: CloseCause) {
        self.closed = Some(cause);
        self.group = Vec::new();
        self.queue = VecDeque::new();
        self.waiting_bytes = 0;
        self.group_bytes = 0;
        self.is_running = false;
    }
}

impl<R> Slot<R> {
    fn is_read(&self) -> bool {
        matches!(self.work, Work::Read(_))
    }
}
