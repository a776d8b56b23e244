//! What is to happen, ordered by time and then by the order in which it was asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual time in microseconds since the run began.
pub type Micros = u64;

/// The event heap. Its memory is kept from run to run.
#[derive(Debug)]
pub struct Schedule<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
    now: Micros,
}

#[derive(Debug)]
struct Entry<E> {
    at: Micros,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequence: 0,
            now: 0,
        }
    }
}

impl<E> Schedule<E> {
    /// Lets something happen `delay` from now.
    pub fn after(&mut self, delay: Micros, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Lets something happen at a point of time, or now if that is over.
    pub fn at(&mut self, at: Micros, event: E) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry {
            at: at.max(self.now),
            sequence: self.sequence,
            event,
        }));
    }

    /// What happens next, if it happens before `end`; the time is then now.
    pub fn next_before(&mut self, end: Micros) -> Option<E> {
        let Reverse(next) = self.heap.peek()?;
        if next.at >= end {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// When the next thing happens, if anything is to.
    pub fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// The time of the last event.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Moves the time on, when nothing is to happen until then.
    pub fn advance(&mut self, to: Micros) {
        self.now = self.now.max(to);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.heap.clear();
        self.sequence = 0;
        self.now = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_asked_for() {
        let mut schedule = Schedule::default();
        for (delay, event) in [(5, 'b'), (1, 'a'), (5, 'c'), (9, 'd')] {
            schedule.after(delay, event);
        }
        let mut seen = Vec::new();
        while let Some(event) = schedule.next_before(9) {
            seen.push((schedule.now(), event));
        }
        assert_eq!(seen, [(1, 'a'), (5, 'b'), (5, 'c')]);
        assert_eq!(schedule.next_before(10), Some('d'));
    }

    #[test]
    fn nothing_happens_in_the_past() {
        let mut schedule = Schedule::default();
        schedule.advance(10);
        schedule.at(3, ());
        assert_eq!(schedule.next_before(11), Some(()));
        assert_eq!(schedule.now(), 10);
    }
}
