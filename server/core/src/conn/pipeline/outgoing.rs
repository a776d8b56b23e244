//! Bytes on their way out, sorted by the state that they show: law L4.

use std::collections::VecDeque;

use bytes::BytesMut;
use zk_proto::{Bytes, Zxid};

/// A law is about to be broken: the caller did not keep the contract of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// An event comes after an answer that shows its transaction, or after a later event.
    #[error("L4: event of {zxid} after an answer or event of {last}")]
    EventTooLate {
        /// Transaction of the event.
        zxid: Zxid,
        /// The state that was shown already.
        last: Zxid,
    },
    /// An answer shows a state before one that was shown already.
    #[error("L4: answer of {zxid} after {last}")]
    AnswerTooLate {
        /// The state that it shows.
        zxid: Zxid,
        /// The state that was shown already.
        last: Zxid,
    },
    /// A write is committed that is not the next one, or before the reads in front of it ran.
    #[error("L5: the write committed is not the first request in flight")]
    NotNext,
    /// A write is rejected that is not in flight.
    #[error("the write rejected is not in flight")]
    NotInFlight,
    /// A group is finished and none was started.
    #[error("the group finished is not running")]
    NoGroup,
}

/// Pieces to send, in order. Three kinds:
///
/// - an **event** of transaction z: after everything of states before z, and before every answer
///   that shows z;
/// - a **reply** that shows state z: after every event up to z;
/// - a piece to be sent **now**, which shows no state and stands where it was put.
///
/// # Invariants
/// - Zxids of events and replies ascend; at equal zxids events come first.
/// - `sent ≤ zxid` for every piece: what has left is older than what is here.
/// - `last_event` and `last_reply` are the highest zxids ever appended of either kind.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// What is there; nothing most of the time, and then it takes no room.
    waiting: Option<Box<Waiting>>,
    last_event: Zxid,
    last_reply: Zxid,
    sent: Zxid,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<Piece>,
    /// Short replies from the apply thread, behind all pieces, put together: they leave as one. What
    /// is put in place by its zxid is never older than the last reply, so nothing goes between them.
    tail: BytesMut,
    /// Bytes of all pieces and the tail.
    bytes: usize,
    /// Number and bytes of those that the apply thread put here.
    pushed: (usize, usize),
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// State that it shows; [`NO_STATE`] for a piece sent now.
    zxid: Zxid,
    /// Whether the apply thread put it here.
    is_pushed: bool,
}

/// Longest reply that is copied to the others.
const SHORT: usize = 4096;

/// Of pieces that show no state: below every zxid, so that they never count as later than anything.
const NO_STATE: Zxid = Zxid::new(i64::MIN);

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            waiting: None,
            last_event: NO_STATE,
            last_reply: NO_STATE,
            sent: NO_STATE,
        }
    }
}

impl Outgoing {
    /// Appends an event, from the apply thread.
    pub(super) fn push_event(&mut self, zxid: Zxid, bytes: Bytes) -> Result<(), Broken> {
        if zxid <= self.last_reply || zxid < self.last_event {
            let last = self.last_reply.max(self.last_event);
            return Err(Broken::EventTooLate { zxid, last });
        }
        self.last_event = zxid;
        self.push(bytes, zxid, true);
        Ok(())
    }

    /// Appends a reply from the apply thread: it has appended all events up to `zxid`, and none after.
    pub(super) fn push_reply(&mut self, zxid: Zxid, bytes: Bytes) -> Result<(), Broken> {
        let last = self.last_reply.max(self.last_event);
        if zxid < last {
            return Err(Broken::AnswerTooLate { zxid, last });
        }
        if bytes.len() <= SHORT {
            let waiting = self.waiting.get_or_insert_default();
            waiting.bytes += bytes.len();
            waiting.pushed.0 += usize::from(waiting.tail.is_empty());
            waiting.pushed.1 += bytes.len();
            waiting.tail.extend_from_slice(&bytes);
        } else {
            self.push(bytes, zxid, true);
        }
        self.last_reply = zxid;
        Ok(())
    }

    /// Puts in the replies of the connection task, which met state `zxid` some time ago: the apply
    /// thread may have appended events of later transactions since.
    pub(super) fn merge_replies(
        &mut self,
        zxid: Zxid,
        replies: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), Broken> {
        // A reply is never behind a later reply, nor behind an event that has left.
        let last = self.last_reply.max(self.sent);
        if zxid < last {
            return Err(Broken::AnswerTooLate { zxid, last });
        }
        self.settle_tail();
        self.last_reply = zxid;
        let (at, later) = self.later_than(zxid);
        for bytes in replies {
            self.push(bytes, zxid, false);
        }
        // The later ones are few, if any; they change places with the replies.
        if later > 0
            && let Some(waiting) = &mut self.waiting
            && let Some(tail) = waiting.pieces.make_contiguous().get_mut(at..)
        {
            tail.rotate_left(later);
        }
        Ok(())
    }

    /// Appends a piece that shows no state.
    pub(super) fn push_now(&mut self, bytes: Bytes) {
        self.push(bytes, NO_STATE, false);
    }

    /// Drops what shows states after `zxid`.
    pub(super) fn truncate_behind(&mut self, zxid: Zxid) {
        self.settle_tail();
        let (at, count) = self.later_than(zxid);
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        for piece in waiting.pieces.drain(at..at + count) {
            waiting.bytes -= piece.bytes.len();
            if piece.is_pushed {
                waiting.pushed.0 -= 1;
                waiting.pushed.1 -= piece.bytes.len();
            }
        }
    }

    /// Takes out pieces until there are `bytes_max` bytes or none is left.
    pub(super) fn drain(&mut self, bytes_max: usize, out: &mut Vec<Bytes>) {
        self.settle_tail();
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        let mut taken = 0;
        while taken < bytes_max {
            let Some(piece) = waiting.pieces.pop_front() else {
                break;
            };
            assert!(
                piece.zxid == NO_STATE || piece.zxid >= self.sent,
                "L4: bytes of {} after those of {}",
                piece.zxid,
                self.sent
            );
            self.sent = self.sent.max(piece.zxid);
            waiting.bytes -= piece.bytes.len();
            if piece.is_pushed {
                waiting.pushed.0 -= 1;
                waiting.pushed.1 -= piece.bytes.len();
            }
            taken += piece.bytes.len().max(1);
            out.push(piece.bytes);
        }
        if waiting.pieces.is_empty() {
            // An idle connection holds no buffer.
            self.waiting = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.waiting = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.all(|waiting| waiting.pieces.is_empty() && waiting.tail.is_empty())
    }

    /// Bytes of all pieces.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    /// Number and bytes of the pieces from the apply thread.
    pub(super) fn pushed(&self) -> (usize, usize) {
        let waiting = self.waiting.as_ref();
        waiting.map_or((0, 0), |waiting| waiting.pushed)
    }

    /// Makes the tail a piece, so that others can follow on it.
    fn settle_tail(&mut self) {
        if let Some(waiting) = &mut self.waiting
            && !waiting.tail.is_empty()
        {
            waiting.pieces.push_back(Piece {
                bytes: std::mem::take(&mut waiting.tail).freeze(),
                zxid: self.last_reply,
                is_pushed: true,
            });
        }
    }

    /// Where the pieces begin that show states after `zxid`, and how many stand from there on.
    fn later_than(&self, zxid: Zxid) -> (usize, usize) {
        let Some(waiting) = &self.waiting else {
            return (0, 0);
        };
        let len = waiting.pieces.len();
        let later = waiting.pieces.iter().position(|piece| piece.zxid > zxid);
        let at = later.unwrap_or(len);
        (at, len - at)
    }

    fn push(&mut self, bytes: Bytes, zxid: Zxid, is_pushed: bool) {
        self.settle_tail();
        let waiting = self.waiting.get_or_insert_default();
        waiting.bytes += bytes.len();
        if is_pushed {
            waiting.pushed.0 += 1;
            waiting.pushed.1 += bytes.len();
        }
        waiting.pieces.push_back(Piece {
            bytes,
            zxid,
            is_pushed,
        });
    }
}
