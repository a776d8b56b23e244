use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since a client was made. Read them with [`crate::Client::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that were answered without error.
    pub succeeded: u64,
    /// Requests that a server answered with an error.
    pub rejected: u64,
    /// Requests that failed with the outcome unknown.
    pub unknown: u64,
    /// Requests that failed without having been sent.
    pub not_sent: u64,
    /// Requests submitted and not resolved.
    pub outstanding: u64,
    /// Bytes of them.
    pub outstanding_bytes: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Connections on which a session was established or resumed.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub attempts_failed: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Sessions that expired.
    pub expirations: u64,
    /// Watch events handed to watches.
    pub watch_events: u64,
    /// Watch events dropped, each part of a gap, because a reader was too slow.
    pub watch_overflows: u64,
    /// Watches held.
    pub watches: u64,
}

/// Declares the counters behind [`Stats`].
macro_rules! counters {
    ($($name:ident),*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $( pub(crate) $name: Counter, )*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $( $name: self.$name.get(), )* ..Stats::default() }
            }
        }
    };
}

counters!(
    succeeded,
    rejected,
    unknown,
    not_sent,
    bytes_in,
    bytes_out,
    connects,
    attempts_failed,
    disconnects,
    expirations,
    watch_events,
    watch_overflows,
    watches
);

/// One number, written by the driver only.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        // One writer: a load and a store cost less than a locked addition.
        self.0
            .store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
