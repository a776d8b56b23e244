use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since a client was made. Read them with [`crate::Client::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that were answered without error.
    pub succeeded: u64,
    /// Requests that a server answered with an error, and that took no effect.
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
    /// Gaps handed to watch streams after reconnects; those of slow readers are overflows.
    pub watch_gaps: u64,
    /// Watches held.
    pub watches: u64,
}

/// Declares the numbers behind [`Stats`]: each under its name here, and under `zk_client_` and that
/// name for the `metrics` facade.
macro_rules! numbers {
    (counters { $($counter:ident),* } gauges { $($gauge:ident),* }) => {
        #[derive(Debug)]
        pub(crate) struct Counters {
            $( pub(crate) $counter: Counter, )*
            $( pub(crate) $gauge: Gauge, )*
        }

        impl Counters {
            /// Numbers of a client that begins. With the feature `metrics` they go to the recorder
            /// that is installed now.
            pub(crate) fn new() -> Self {
                Self {
                    $( $counter: Counter::new(concat!("zk_client_", stringify!($counter), "_total")), )*
                    $( $gauge: Gauge::new(concat!("zk_client_", stringify!($gauge))), )*
                }
            }

            pub(crate) fn snapshot(&self) -> Stats {
                Stats {
                    $( $counter: self.$counter.get(), )*
                    $( $gauge: self.$gauge.get(), )*
                }
            }
        }
    };
}

numbers! {
    counters {
        succeeded, rejected, unknown, not_sent, bytes_in, bytes_out, connects, attempts_failed,
        disconnects, expirations, watch_events, watch_overflows, watch_gaps
    }
    gauges { watches, outstanding, outstanding_bytes }
}

/// A number that grows. Only the driver writes it.
#[derive(Debug)]
pub(crate) struct Counter {
    value: AtomicU64,
    #[cfg(feature = "metrics")]
    exported: Exported<metrics::Counter>,
}

impl Counter {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "it is for metrics")
    )]
    fn new(name: &'static str) -> Self {
        Self {
            value: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            exported: Exported(metrics::counter!(name)),
        }
    }

    pub(crate) fn add(&self, count: u64) {
        // One writer: a load and a store cost less than a locked addition.
        self.value
            .store(self.get().wrapping_add(count), Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.exported.0.increment(count);
    }

    fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A number that comes and goes. Only the driver writes it.
#[derive(Debug)]
pub(crate) struct Gauge {
    value: AtomicU64,
    #[cfg(feature = "metrics")]
    exported: Exported<metrics::Gauge>,
}

impl Gauge {
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, reason = "it is for metrics")
    )]
    fn new(name: &'static str) -> Self {
        Self {
            value: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            exported: Exported(metrics::gauge!(name)),
        }
    }

    pub(crate) fn set(&self, value: u64) {
        let before = self.get();
        if before == value {
            return;
        }
        self.value.store(value, Ordering::Relaxed);
        // By the difference: other clients of the process count there too.
        #[cfg(feature = "metrics")]
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        if value > before {
            self.exported.0.increment((value - before) as f64);
        } else {
            self.exported.0.decrement((before - value) as f64);
        }
    }

    fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A handle of the recorder, which has no `Debug` of its own.
#[cfg(feature = "metrics")]
struct Exported<T>(T);

#[cfg(feature = "metrics")]
impl<T> std::fmt::Debug for Exported<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exported")
    }
}
