//! Names for what a driver holds on behalf of the core.

use std::fmt;
use std::num::NonZeroU64;

/// A connection of a learner on the quorum port.
///
/// Given by the driver; never given twice while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(NonZeroU64);

impl LinkId {
    /// The link with this number.
    pub const fn new(number: NonZeroU64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Declares a number that names something.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The one with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One try to be connected to a leader.
    ///
    /// Given by the core. Events of any try but the last are stale, and ignored.
    Attempt
}

number! {
    /// A tree that a leader sent, and that the driver keeps until it is installed.
    ///
    /// Given by the driver; never given twice while the process lives.
    SnapshotId
}

number! {
    /// A part of the log that the core asked for.
    ///
    /// Given by the core; never given twice while the process lives.
    RangeToken
}
