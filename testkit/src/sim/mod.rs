//! An ensemble in one thread and no time.
//!
//! Everything that happens is an entry of one heap, ordered by time; nothing runs beside it. Members
//! are the cores that servers run, with stages around them that take their time; links, disks and
//! clocks do what real ones do when they are bad. A run is made from one number: the [`plan`] is drawn
//! from it, and whatever is drawn on the way.
//!
//! ```text
//!  plan ──► World ── schedule: the next Happening ──► member | link | connection | client
//!             │              ▲                               │
//!             │              └──── what follows, later ──────┘
//!             └── laws: told of everything, object at once
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`plan`] | what a run is made of, as data, drawn from a seed |
//! | [`world`] | the loop, members' lives, what their cores want done |
//! | [`stages`] | log, apply and snapshot stages |
//! | [`disk`] | what outlasts a crash |
//! | [`net`] | votes, and links between learners and leaders |
//! | [`service`], [`client`] | both ends of client connections |
//! | `members` | servers that become members, and members that leave |
//! | `outside` | connections of real clients, see [`crate::simulation`] |
//! | [`faults`] | what goes wrong, and the end of it |
//! | [`siege`] | a minority that is cut off, when nothing else is wrong |
//! | [`laws`] | the laws of `check`, together, and all histories |
//! | [`run`] | from beginning to end |

#![expect(
    clippy::unnecessary_wraps,
    reason = "whatever happens may break a law, and all that happens is handled alike"
)]
#![expect(clippy::wrong_self_convention, reason = "directions, not conversions")]

/// Whether a bug of a driver is planted.
#[cfg(feature = "mutants")]
macro_rules! planted {
    ($bug:ident) => {
        zk_core::mutation::is_on(zk_core::mutation::Mutation::$bug)
    };
}

/// Whether a bug of a driver is planted: never.
#[cfg(not(feature = "mutants"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod client;
pub mod clock;
pub mod coverage;
pub mod disk;
pub mod event;
pub mod faults;
pub mod laws;
pub mod member;
pub(crate) mod members;
pub mod net;
pub(crate) mod outside;
pub mod pipe;
pub mod plan;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod service;
pub mod shrink;
pub mod siege;
pub mod stages;
pub mod trace;
pub mod world;
