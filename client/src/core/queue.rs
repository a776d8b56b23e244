use std::collections::VecDeque;

use super::request::Queued;

/// Requests not sent, in the order of submission.
#[derive(Debug)]
pub(super) struct Queue<W, S> {
    requests: VecDeque<Queued<W, S>>,
    /// Bytes of their frames.
    bytes: usize,
}

/// A number of requests, and of bytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl<W, S> Queue<W, S> {
    pub(super) fn new() -> Self {
        Self {
            requests: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn push_back(&mut self, queued: Queued<W, S>) {
        self.bytes += queued.request.frame.len();
        self.requests.push_back(queued);
    }

    pub(super) fn pop_front(&mut self) -> Option<Queued<W, S>> {
        let queued = self.requests.pop_front()?;
        self.bytes -= queued.request.frame.len();
        Some(queued)
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> VecDeque<Queued<W, S>> {
        self.bytes = 0;
        std::mem::take(&mut self.requests)
    }

    pub(super) fn load(&self) -> Load {
        Load {
            requests: self.requests.len(),
            bytes: self.bytes,
        }
    }
}
