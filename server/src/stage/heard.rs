//! Signs of life, between the connections that hear them and the core that counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use zk_core::peer::Event;
use zk_core::session::SessionTimeout;
use zk_core::time::Time;
use zk_proto::SessionId;

/// The last sign of life of each session since the core looked.
///
/// Kept out of the mailbox: a client that only reads would otherwise send the core an event for
/// every turn. Bounded by the number of connections that there were since the core looked.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Vec<Arc<Pulse>>>);

/// The signs of life of one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    session: SessionId,
    timeout: SessionTimeout,
    /// The last one, in microseconds.
    at: AtomicU64,
    /// Whether the core will find it.
    is_listed: AtomicBool,
}

impl Pulse {
    pub(crate) fn new(session: SessionId, timeout: SessionTimeout) -> Arc<Self> {
        Arc::new(Self {
            session,
            timeout,
            at: AtomicU64::new(0),
            is_listed: AtomicBool::new(false),
        })
    }
}

impl Heard {
    /// Notes a sign of life.
    ///
    /// # Ordering
    ///
    /// The time is written before the mark is set, and read after it is cleared: either the core
    /// sees this time, or it finds the connection listed again.
    pub(crate) fn note(&self, pulse: &Arc<Pulse>, at: Time) {
        pulse.at.store(at.as_micros(), Ordering::Relaxed);
        if !pulse.is_listed.swap(true, Ordering::AcqRel) {
            self.0.lock().push(Arc::clone(pulse));
        }
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> impl Iterator<Item = Event> + use<> {
        let listed = std::mem::take(&mut *self.0.lock());
        listed.into_iter().map(|pulse| {
            pulse.is_listed.swap(false, Ordering::AcqRel);
            Event::SessionHeard {
                session: pulse.session,
                timeout: pulse.timeout,
                at: Time::from_micros(pulse.at.load(Ordering::Relaxed)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sign_of_each_is_told_once() {
        let heard = Heard::default();
        let pulse = |id| Pulse::new(SessionId::new(id), SessionTimeout::from_millis(1000));
        let (one, two) = (pulse(1), pulse(2));
        let told = || {
            let sign = |event| {
                let Event::SessionHeard { session, at, .. } = event else {
                    return None;
                };
                Some((session.get(), at.as_micros()))
            };
            heard.take().filter_map(sign).collect::<Vec<_>>()
        };
        for (pulse, at) in [(&one, 1), (&two, 2), (&one, 3)] {
            heard.note(pulse, Time::from_micros(at));
        }
        assert_eq!(told(), [(1, 3), (2, 2)]);
        assert_eq!(told(), []);
        heard.note(&one, Time::from_micros(4));
        assert_eq!(told(), [(1, 4)]);
    }
}
