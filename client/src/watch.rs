//! Watches as values: a future for one event, a stream for many.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use zk_proto::{ByteString, EventType, SessionId, ZPathBuf, Zxid, strip_chroot};

use crate::core::{CloseReason, Delivery, WatchId};
use crate::shared::Shared;

/// Something happened to a znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventType,
    /// To which znode, as the client sees it: without the chroot.
    pub path: ByteString,
    /// The transaction, if the server tells: since 3.9, and not for what was missed while the client
    /// was between connections.
    pub zxid: Option<Zxid>,
}

/// How a one-shot watch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchEnd {
    /// It fired.
    Event(WatchEvent),
    /// The session is over, and with it the watch. The znode may have changed or not.
    SessionEnded(SessionId),
    /// The client is closed.
    Closed(CloseReason),
}

/// An item of a [`WatchStream`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchItem {
    /// Something happened.
    Event(WatchEvent),
    /// Events behind this zxid may be missing: the connection is another one, or the reader was too
    /// slow for the stream's buffer. Every gap ends with [`WatchItem::Armed`], the one of a slow reader
    /// at once.
    Gap {
        /// Highest zxid of which nothing is missing; zero if not known.
        since: Zxid,
    },
    /// The gap is over, because the server watches again or the reader has caught up: what is read
    /// from now on cannot miss a change. Read again what the stream is to tell about.
    Armed {
        /// Zxid up to which the server had applied transactions then; behind a slow reader's gap that
        /// of the last event that is missing, zero if not known.
        zxid: Zxid,
    },
    /// The session that the stream belongs to is over; the stream ends.
    SessionEnded(SessionId),
    /// The client is closed; the stream ends.
    Closed(CloseReason),
}

/// Where the driver puts what a watch has to tell.
#[derive(Debug)]
pub(crate) struct WatchCell {
    state: Mutex<CellState>,
    /// Events held for a reader; more than that become one gap, and the end of it.
    capacity: usize,
}

#[derive(Debug)]
struct CellState {
    items: VecDeque<Delivery>,
    /// Events among `items`.
    events: usize,
    waker: Option<Waker>,
    /// Zxid of the last event that was taken in.
    last_zxid: Zxid,
    /// Whether the server watches: not between a gap and its end.
    is_armed: bool,
    /// Whether nothing follows `items`.
    is_ended: bool,
}

impl WatchCell {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(CellState {
                items: VecDeque::new(),
                events: 0,
                waker: None,
                last_zxid: Zxid::ZERO,
                is_armed: true,
                is_ended: false,
            }),
            capacity: capacity.max(1),
        })
    }

    fn lock(&self) -> MutexGuard<'_, CellState> {
        // Nothing in the critical sections can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something in. Returns whether it was dropped for want of room.
    pub(crate) fn deliver(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        if state.is_ended {
            return false;
        }
        let mut overflowed = false;
        match delivery {
            Delivery::Event { zxid, .. } if state.events < self.capacity => {
                state.last_zxid = zxid.unwrap_or(state.last_zxid);
                state.events += 1;
                state.items.push_back(delivery);
            }
            Delivery::Event { zxid, .. } => {
                overflowed = true;
                state.overflow(zxid);
            }
            Delivery::Gap { since } => {
                state.is_armed = false;
                state.push_gap(since);
            }
            Delivery::Armed { .. } => {
                state.is_armed = true;
                state.push_armed(delivery);
            }
            Delivery::SessionEnded(_) | Delivery::Closed(_) => {
                state.is_ended = true;
                state.items.push_back(delivery);
            }
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        overflowed
    }

    /// The next item; `Ready(None)` when nothing follows.
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.lock();
        match state.items.pop_front() {
            Some(delivery) => {
                state.events -= usize::from(matches!(delivery, Delivery::Event { .. }));
                Poll::Ready(Some(delivery))
            }
            None if state.is_ended => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl CellState {
    /// An event is dropped. The server watches on, so whoever has read all that is held, and with it the
    /// gap, misses nothing any more.
    fn overflow(&mut self, zxid: Option<Zxid>) {
        let mut since = self.last_zxid;
        // A transaction of several events was torn.
        if zxid == Some(since) {
            since = Zxid::new(since.get() - 1);
        }
        self.push_gap(since);
        if self.is_armed {
            let zxid = zxid.unwrap_or(Zxid::ZERO);
            self.items.push_back(Delivery::Armed { zxid });
        }
    }

    /// Gaps and re-armings at the end of the queue become one gap: that bounds the queue under a
    /// reader that does not read while connections come and go.
    fn push_gap(&mut self, since: Zxid) {
        let mut since = since;
        while let Some(Delivery::Gap { .. } | Delivery::Armed { .. }) = self.items.back() {
            if let Some(Delivery::Gap { since: earlier }) = self.items.pop_back() {
                since = since.min(earlier);
            }
        }
        self.items.push_back(Delivery::Gap { since });
    }

    /// Of re-armings with nothing between them the last says all: servers before 3.9 tell of many on one
    /// connection.
    fn push_armed(&mut self, armed: Delivery) {
        if let Some(last @ Delivery::Armed { .. }) = self.items.back_mut() {
            *last = armed;
        } else {
            self.items.push_back(armed);
        }
    }
}

/// The client's side of a watch: leaves when it is dropped.
struct Subscription {
    shared: Arc<Shared>,
    id: WatchId,
    cell: Arc<WatchCell>,
    chroot: ZPathBuf,
    /// Whether there is nothing left to leave.
    is_ended: bool,
}

impl Subscription {
    fn event(&self, kind: EventType, path: &ByteString, zxid: Option<Zxid>) -> WatchEvent {
        let path = match strip_chroot(self.chroot.as_path(), path) {
            Some(stripped) if stripped.len() < path.len() => ByteString::from(stripped),
            _ => path.clone(),
        };
        WatchEvent { kind, path, zxid }
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<WatchItem>> {
        let Poll::Ready(delivery) = self.cell.poll_next(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(delivery.map(|delivery| match delivery {
            Delivery::Event { kind, path, zxid } => WatchItem::Event(self.event(kind, &path, zxid)),
            Delivery::Gap { since } => WatchItem::Gap { since },
            Delivery::Armed { zxid } => WatchItem::Armed { zxid },
            Delivery::SessionEnded(session) => {
                self.is_ended = true;
                WatchItem::SessionEnded(session)
            }
            Delivery::Closed(reason) => {
                self.is_ended = true;
                WatchItem::Closed(reason)
            }
        }))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.is_ended {
            self.shared.unsubscribe(self.id);
        }
    }
}

/// A watch that fires once: a future of how it ended.
///
/// It exists from the read that returned it: a change after the state that the read saw fires it,
/// and an event that comes before the first poll is kept. A lost connection does not end it: it is
/// registered anew with the next server, which fires it if the znode changed meanwhile. Two changes
/// that cancel out are not seen then: a znode created and deleted again by an `exists` watch, one
/// deleted and created anew shows as changed data.
///
/// # Cancel safety
/// Dropping it unsubscribes; the server is told when nobody else of this client watches the same.
/// Polling it through a reference, as `select!` does, loses nothing.
#[must_use = "a watch unsubscribes when it is dropped"]
pub struct Watch {
    subscription: Subscription,
}

impl Watch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: WatchId,
        cell: Arc<WatchCell>,
        chroot: ZPathBuf,
    ) -> Self {
        Self {
            subscription: Subscription {
                shared,
                id,
                cell,
                chroot,
                is_ended: false,
            },
        }
    }
}

impl Future for Watch {
    type Output = WatchEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WatchEnd> {
        loop {
            let end = match self.subscription.poll_next(cx) {
                // Nothing yet; or polled again after it ended.
                Poll::Pending | Poll::Ready(None) => return Poll::Pending,
                Poll::Ready(Some(WatchItem::Event(event))) => WatchEnd::Event(event),
                Poll::Ready(Some(WatchItem::SessionEnded(session))) => {
                    WatchEnd::SessionEnded(session)
                }
                Poll::Ready(Some(WatchItem::Closed(reason))) => WatchEnd::Closed(reason),
                Poll::Ready(Some(WatchItem::Gap { .. } | WatchItem::Armed { .. })) => continue,
            };
            self.subscription.is_ended = true;
            return Poll::Ready(end);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.subscription.id)
            .finish_non_exhaustive()
    }
}

/// A watch that stays: a stream of what happens, with explicit gaps.
///
/// Events come in the order in which the server sent them, and before the replies that could show
/// their effect. What happens between two connections is not told: [`WatchItem::Gap`] says so after
/// every reconnect, and [`WatchItem::Armed`] from when on nothing is missing again. A reader that is
/// too slow for the buffer gets both too, in the place of what it missed. Memory is bounded by the
/// buffer.
///
/// # Cancel safety
/// Dropping it unsubscribes. `next` on it is cancel-safe.
#[must_use = "a watch unsubscribes when it is dropped"]
pub struct WatchStream {
    subscription: Subscription,
}

impl WatchStream {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: WatchId,
        cell: Arc<WatchCell>,
        chroot: ZPathBuf,
    ) -> Self {
        Self {
            subscription: Subscription {
                shared,
                id,
                cell,
                chroot,
                is_ended: false,
            },
        }
    }

    /// The next item; `None` after the stream has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses no item.
    pub async fn next(&mut self) -> Option<WatchItem> {
        std::future::poll_fn(|cx| self.subscription.poll_next(cx)).await
    }
}

impl Stream for WatchStream {
    type Item = WatchItem;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        self.subscription.poll_next(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("id", &self.subscription.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(zxid: i64) -> Delivery {
        let zxid = Some(Zxid::new(zxid));
        Delivery::Event {
            kind: EventType::NodeDataChanged,
            path: "/a".into(),
            zxid,
        }
    }

    fn gap(since: i64) -> Delivery {
        let since = Zxid::new(since);
        Delivery::Gap { since }
    }

    fn armed(zxid: i64) -> Delivery {
        let zxid = Zxid::new(zxid);
        Delivery::Armed { zxid }
    }

    fn drain(cell: &WatchCell) -> Vec<Delivery> {
        let cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match cell.poll_next(&cx) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn events_beyond_the_buffer_become_one_gap_that_ends_at_once() {
        let cell = WatchCell::new(2);
        let dropped: Vec<_> = (1..=5).map(|zxid| cell.deliver(event(zxid))).collect();
        assert_eq!(dropped, [false, false, true, true, true]);
        assert_eq!(drain(&cell), [event(1), event(2), gap(2), armed(5)]);
        cell.deliver(event(6));
        assert_eq!(drain(&cell), [event(6)]);
    }

    #[test]
    fn gap_of_a_slow_reader_is_where_the_missing_events_were() {
        let cell = WatchCell::new(2);
        let cx = Context::from_waker(Waker::noop());
        for zxid in 1..=3 {
            cell.deliver(event(zxid));
        }
        assert_eq!(cell.poll_next(&cx), Poll::Ready(Some(event(1))));
        cell.deliver(event(4));
        cell.deliver(event(5));
        let items = [event(2), gap(2), armed(3), event(4), gap(4), armed(5)];
        assert_eq!(drain(&cell), items);
    }

    #[test]
    fn transaction_whose_events_are_torn_is_missing() {
        let cell = WatchCell::new(2);
        for zxid in [1, 2, 2] {
            cell.deliver(event(zxid));
        }
        assert_eq!(drain(&cell), [event(1), event(2), gap(1), armed(2)]);
    }

    #[test]
    fn gap_of_a_slow_reader_does_not_end_before_the_server_watches() {
        let cell = WatchCell::new(1);
        cell.deliver(event(1));
        cell.deliver(gap(1));
        cell.deliver(event(2));
        assert_eq!(drain(&cell), [event(1), gap(1)]);
        cell.deliver(event(3));
        cell.deliver(event(4));
        cell.deliver(armed(5));
        assert_eq!(drain(&cell), [event(3), gap(3), armed(5)]);
    }

    #[test]
    fn end_of_a_gap_is_told_though_the_buffer_overflows_behind_it() {
        let cell = WatchCell::new(1);
        cell.deliver(event(1));
        cell.deliver(gap(1));
        cell.deliver(armed(3));
        cell.deliver(event(4));
        assert_eq!(drain(&cell), [event(1), gap(1), armed(4)]);
    }

    #[test]
    fn reconnects_without_a_reader_keep_the_queue_short() {
        let cell = WatchCell::new(2);
        for zxid in 1..=1_000 {
            cell.deliver(gap(zxid));
            cell.deliver(armed(zxid));
        }
        assert_eq!(drain(&cell), [gap(1), armed(1_000)]);
    }

    #[test]
    fn re_armings_without_a_reader_keep_the_queue_short() {
        let cell = WatchCell::new(2);
        for zxid in 1..=1_000 {
            cell.deliver(armed(zxid));
        }
        cell.deliver(event(1_001));
        for zxid in 1_002..=2_000 {
            cell.deliver(armed(zxid));
        }
        assert_eq!(drain(&cell), [armed(1_000), event(1_001), armed(2_000)]);
    }

    #[test]
    fn nothing_follows_the_end() {
        let cell = WatchCell::new(2);
        cell.deliver(Delivery::Closed(CloseReason::Requested));
        cell.deliver(event(1));
        assert_eq!(drain(&cell), [Delivery::Closed(CloseReason::Requested)]);
    }
}
