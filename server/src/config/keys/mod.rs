//! Every key the server knows: one row each, from which both the parser and the documentation
//! come.
//!
//! A row of a key that is honoured also *is* the field of the [`Config`](super::Config) it sets:
//! the `settings!` lists below declare field, key, type, default and bounds in one line, so a
//! key cannot be documented and forgotten, or read and left undocumented; a test looks whether the
//! server reads the field. Keys that are refused or ignored stand in `unused` with the reason.

/// Declares a group of settings: a struct, one row per field, and how to fill it.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $vis:vis $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $key:literal $(or $alias:literal)*, $twin:expr, $kind:expr;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Key: `", $key, "`.")]
                pub $field: $type,
            )+
        }

        impl $name {
            /// The rows of these settings.
            pub(in crate::config) const ROWS: &'static [$crate::config::keys::Key] = &[
                $(
                    $crate::config::keys::Key {
                        name: $key,
                        aliases: &[$($alias),*],
                        twin: $twin,
                        kind: $kind,
                        disposition: $crate::config::keys::Disposition::Honoured,
                        field: Some(stringify!($field)),
                        reason: concat!($($doc),+),
                    },
                )+
            ];

            /// Fills every field from what was written, else from its default.
            pub(in crate::config) fn take(values: &$crate::config::value::Values) -> Self {
                Self { $($field: values.take($key)),+ }
            }
        }
    };
}

mod admin;
mod basics;
mod ensemble;
mod limits;
mod security;
mod storage;
mod table;
mod tls;
mod unused;

pub use admin::{AdminSettings, MetricsSettings, ServiceSettings};
pub(super) use basics::Basics;
pub use ensemble::EnsembleSettings;
pub use limits::{LimitSettings, ThrottleSettings};
pub use security::{AuthSettings, QuorumAuthSettings};
pub use storage::{PurgeSettings, StorageSettings};
pub use table::{find, find_property, markdown, nearest, rows};
pub use tls::{Side, TlsSettings, TlsSwitches};

/// One row: a key, or a family of keys when the name ends in `*`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Key {
    /// Name in `zoo.cfg`.
    pub name: &'static str,
    /// Other names accepted for it, most of them printed in documentation and read by nobody.
    pub aliases: &'static [&'static str],
    /// The JVM system property that sets it.
    pub twin: Twin,
    /// Form, default and bounds of the value.
    pub kind: Kind,
    /// What becomes of it.
    pub disposition: Disposition,
    /// The field of the settings that it sets, if it sets one.
    pub field: Option<&'static str>,
    /// What it means, or why it is not used: one line.
    pub reason: &'static str,
}

/// Which system property sets a key, for `-D` flags that operators carry over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// None: it can only be written in the file.
    None,
    /// `zookeeper.<key>`.
    Prefixed,
    /// A property of exactly this name; the reference does not read the key from the file.
    Raw(&'static str),
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// A field of the configuration.
    Honoured,
    /// Stops the server unless the value is the harmless one: running on would break a promise.
    Refused {
        /// The values that ask for nothing.
        harmless: &'static [&'static str],
    },
    /// Accepted without effect. If it has a form, its value is looked at, and one that is not the
    /// default is told of.
    Ignored,
}

/// Form of a value, with default and bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number within bounds.
    Int {
        /// When absent.
        default: i64,
        /// Smallest legal value.
        min: i64,
        /// Largest legal value.
        max: i64,
    },
    /// A whole number; one below the floor is replaced, with a notice.
    Raised {
        /// When absent.
        default: i64,
        /// Smallest value taken as written.
        floor: i64,
        /// What stands in for a smaller one.
        instead: i64,
    },
    /// A number with a fraction, within bounds.
    Float {
        /// When absent.
        default: f64,
        /// Smallest legal value.
        min: f64,
        /// Largest legal value.
        max: f64,
    },
    /// A duration: a number in `unit_ms`, or with a suffix `ms`, `s`, `m`, `h` or `d`.
    Interval {
        /// When absent, in ms.
        default_ms: i64,
        /// What a bare number counts.
        unit_ms: i64,
    },
    /// `true` or `false`.
    Flag(bool),
    /// `yes` or `no`.
    YesNo(bool),
    /// Any text; empty when absent.
    Text(&'static str),
    /// Text that is never shown.
    Secret,
    /// One of a few words, any case.
    Choice {
        /// When absent.
        default: &'static str,
        /// All legal words.
        of: &'static [&'static str],
    },
    /// Not parsed by the row: a family read as a whole, or a key without effect.
    Free,
}

/// A count or size that may be any `i32` from `min` up.
pub(super) const fn int(default: i64, min: i64) -> Kind {
    Kind::Int {
        default,
        min,
        max: i32::MAX as i64,
    }
}

/// A size that may need 64 bits.
pub(super) const fn long(default: i64, min: i64) -> Kind {
    Kind::Int {
        default,
        min,
        max: i64::MAX,
    }
}

/// A TCP port; 0 lets the system choose.
pub(super) const fn port(default: i64) -> Kind {
    Kind::Int {
        default,
        min: if default < 0 { -1 } else { 0 },
        max: 65_535,
    }
}
