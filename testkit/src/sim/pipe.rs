//! One direction of a connection: what is sent arrives in order, each piece in its time.

use std::collections::VecDeque;

use super::schedule::Micros;

/// What is under way.
#[derive(Debug)]
pub struct Pipe<T> {
    queue: VecDeque<(Micros, T)>,
    /// When the last piece arrives.
    last: Micros,
}

impl<T> Default for Pipe<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            last: 0,
        }
    }
}

impl<T> Pipe<T> {
    /// Sends a piece that would arrive at `at`, were there nothing before it. Whether it is the
    /// first under way, and its arrival has to be scheduled; for all others it follows from the
    /// arrival before.
    pub fn send(&mut self, at: Micros, piece: T) -> Option<Micros> {
        self.last = self.last.max(at);
        self.queue.push_back((self.last, piece));
        (self.queue.len() == 1).then_some(self.last)
    }

    /// The next piece to arrive, left in place.
    pub fn first(&self) -> Option<&T> {
        self.queue.front().map(|(_, piece)| piece)
    }

    /// Takes the piece that arrives now, and tells when the next one does.
    pub fn arrive(&mut self) -> Option<(T, Option<Micros>)> {
        let (_, piece) = self.queue.pop_front()?;
        Some((piece, self.queue.front().map(|(at, _)| *at)))
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_arrive_in_order() {
        let mut pipe = Pipe::default();
        assert_eq!(pipe.send(5, 'a'), Some(5));
        assert_eq!(pipe.send(3, 'b'), None);
        assert_eq!(pipe.send(9, 'c'), None);
        assert_eq!(pipe.arrive(), Some(('a', Some(5))));
        assert_eq!(pipe.arrive(), Some(('b', Some(9))));
        assert_eq!(pipe.arrive(), Some(('c', None)));
        assert!(pipe.is_empty());
    }
}
