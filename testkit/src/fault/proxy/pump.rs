//! Moves the bytes of one way of one connection.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::state::{Link, State, Way};

/// Bytes read at a time.
const READ_MAX: usize = 16 * 1024;

/// Reads per step; the other way and other tasks want a turn too.
const READS_MAX: usize = 8;

/// Bytes held for one way of one connection.
const HELD_MAX: usize = 64 * 1024;

/// The same with a delay, when bytes are held although nobody is slow.
const HELD_DELAYED_MAX: usize = 4 * 1024 * 1024;

/// Chunks held, whatever their size, which bounds what many small ones cost beside their bytes.
const CHUNKS_MAX: usize = 16 * 1024;

/// A throttled way moves a 50th of a second's bytes at a time, so that they flow evenly.
const SLICES_PER_SECOND: u64 = 50;

/// How far a throttled way may catch up with timers that fire late.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both sides have ended it.
    Closed,
    /// A verb or a side has reset it.
    Reset,
    /// The bytes it was good for have passed this way.
    Spent(Way),
}

/// What a pump waits for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wants {
    /// Bytes from the source.
    pub(super) read: bool,
    /// Room at the destination.
    pub(super) write: bool,
    /// The time at which held bytes are due.
    pub(super) wake: Option<Instant>,
}

/// One way of one connection.
#[derive(Debug)]
pub(super) struct Pump {
    way: Way,
    held: VecDeque<Chunk>,
    /// Sum of the bytes in `held`.
    held_bytes: usize,
    /// How the source ended, once it has.
    end: Option<End>,
    /// Whether the destination knows about the end.
    is_end_told: bool,
    /// Whether the destination does not take bytes any more; what comes is discarded then.
    is_dest_lost: bool,
    /// The rate that `next_write` was computed for.
    rate: Option<u64>,
    /// When the rate allows the next write.
    next_write: Instant,
}

#[derive(Debug)]
struct Chunk {
    arrived: Instant,
    bytes: Bytes,
}

#[derive(Debug, Clone, Copy)]
struct End {
    arrived: Instant,
    is_reset: bool,
}

impl Pump {
    pub(super) fn new(way: Way) -> Self {
        Self {
            way,
            held: VecDeque::new(),
            held_bytes: 0,
            end: None,
            is_end_told: false,
            is_dest_lost: false,
            rate: None,
            next_write: Instant::now(),
        }
    }

    /// Moves what can be moved without waiting.
    ///
    /// # Errors
    /// The ending, when the connection is over.
    pub(super) fn step(
        &mut self,
        number: u64,
        source: &TcpStream,
        dest: &TcpStream,
        state: &mut State,
    ) -> Result<Wants, Ending> {
        let now = Instant::now();
        let link = *state.links.get(self.way);
        let budget = state
            .live
            .get_mut(&number)
            .ok_or(Ending::Reset)?
            .get_mut(self.way);
        let passed = state.passed.get_mut(self.way);
        let dropped = state.dropped.get_mut(self.way);
        if *budget == Some(0) {
            return Err(Ending::Spent(self.way));
        }
        if link.is_stalled || state.is_frozen {
            return Ok(Wants::default());
        }
        if self.rate != link.rate {
            self.rate = link.rate;
            self.next_write = now;
        }
        if self.discards(&link) {
            *dropped += self.discard_held();
        }
        *dropped += self.read(now, &link, source);
        let mut wants = self.write(now, &link, dest, budget, passed)?;
        if self.is_dest_lost {
            *dropped += self.discard_held();
        }
        self.tell_end(now, &link, dest, &mut wants)?;
        wants.read = self.end.is_none() && self.has_room(&link);
        Ok(wants)
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_done(&self) -> bool {
        self.is_end_told
    }

    pub(super) fn is_dest_lost(&self) -> bool {
        self.is_dest_lost
    }

    /// Notes that the source was found to be reset in another way than by reading from it.
    pub(super) fn source_reset(&mut self) {
        if !self.end.is_some_and(|end| end.is_reset) {
            self.end = Some(End {
                arrived: Instant::now(),
                is_reset: true,
            });
            self.is_end_told = false;
        }
    }

    /// Takes bytes from the source; returns how many of them were dropped.
    fn read(&mut self, now: Instant, link: &Link, source: &TcpStream) -> u64 {
        let mut buffer = [0; READ_MAX];
        let mut dropped = 0;
        for _ in 0..READS_MAX {
            if self.end.is_some() || !self.has_room(link) {
                break;
            }
            match source.try_read(&mut buffer) {
                Ok(0) => self.ended(now, false),
                Ok(count) if self.discards(link) => dropped += count as u64,
                Ok(count) => {
                    let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                    self.held.push_back(Chunk {
                        arrived: now,
                        bytes,
                    });
                    self.held_bytes += count;
                }
                Err(err) if is_transient(&err) => break,
                Err(_) => self.ended(now, true),
            }
        }
        dropped
    }

    fn write(
        &mut self,
        now: Instant,
        link: &Link,
        dest: &TcpStream,
        budget: &mut Option<u64>,
        passed: &mut u64,
    ) -> Result<Wants, Ending> {
        let mut wants = Wants::default();
        while let Some(chunk) = self.held.front_mut() {
            let due = chunk.arrived + link.delay;
            if due > now {
                wants.wake = Some(due);
                break;
            }
            let slice = match link.rate {
                None => u64::MAX,
                Some(0) => break,
                Some(_) if self.next_write > now => {
                    wants.wake = Some(self.next_write);
                    break;
                }
                Some(rate) => (rate / SLICES_PER_SECOND).max(1),
            };
            let allowed = usize::try_from(budget.unwrap_or(u64::MAX).min(slice));
            let count = chunk.bytes.len().min(allowed.unwrap_or(usize::MAX));
            let written = match dest.try_write(chunk.bytes.get(..count).unwrap_or_default()) {
                Ok(written) => written,
                Err(err) if is_transient(&err) => {
                    wants.write = true;
                    break;
                }
                Err(_) => {
                    self.is_dest_lost = true;
                    break;
                }
            };
            chunk.bytes.advance(written);
            if chunk.bytes.is_empty() {
                self.held.pop_front();
            }
            self.held_bytes -= written;
            *passed += written as u64;
            if let Some(rate) = link.rate {
                let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
                self.next_write = self.next_write.max(earliest) + time_for(written, rate);
            }
            if let Some(left) = budget {
                *left -= written as u64;
                if *left == 0 {
                    return Err(Ending::Spent(self.way));
                }
            }
        }
        Ok(wants)
    }

    /// Passes on the end of the source after all of its bytes.
    fn tell_end(
        &mut self,
        now: Instant,
        link: &Link,
        dest: &TcpStream,
        wants: &mut Wants,
    ) -> Result<(), Ending> {
        let Some(end) = self.end else { return Ok(()) };
        if self.is_end_told || link.is_dropping || !self.held.is_empty() {
            return Ok(());
        }
        let due = end.arrived + link.delay;
        if due > now {
            wants.wake = Some(due);
            return Ok(());
        }
        if end.is_reset {
            return Err(Ending::Reset);
        }
        end_of_stream(dest);
        self.is_end_told = true;
        Ok(())
    }

    fn ended(&mut self, arrived: Instant, is_reset: bool) {
        self.end = Some(End { arrived, is_reset });
    }

    fn discards(&self, link: &Link) -> bool {
        link.is_dropping || self.is_dest_lost
    }

    /// Forgets what is held and returns how many bytes that was.
    fn discard_held(&mut self) -> u64 {
        self.held.clear();
        std::mem::take(&mut self.held_bytes) as u64
    }

    fn has_room(&self, link: &Link) -> bool {
        let held_max = if link.delay.is_zero() {
            HELD_MAX
        } else {
            HELD_DELAYED_MAX
        };
        self.held_bytes < held_max && self.held.len() < CHUNKS_MAX
    }
}

/// Ends a stream for its receiver after all that was written to it.
pub(super) fn end_of_stream(stream: &TcpStream) {
    if let Err(err) = shutdown(stream.as_raw_fd(), Shutdown::Write) {
        tracing::trace!(%err, "stream ended already");
    }
}

fn is_transient(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// How long `bytes` take at `rate` bytes per second.
fn time_for(bytes: usize, rate: u64) -> Duration {
    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
    Duration::from_nanos(nanos)
}
