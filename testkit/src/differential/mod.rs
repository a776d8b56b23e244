//! The differential test: the same requests to two servers, and not one answer may differ.
//!
//! A seed decides a [`Script`]: connections, and what each sends in which order. [`Pair::play`]
//! sends every step to both servers before it reads from either, and compares what comes back, frame
//! by frame. Only what must differ is made equal first (`seen`): session ids become numbers,
//! zxids count from the start of the script, times are hidden, lists without an order are sorted.
//! Differences that we want are named by a [`Quirk`] with a rule as narrow as it can be; anything
//! else is a [`Difference`], which [`shrink()`] makes small.
//!
//! ```text
//!  seed ─► Script ─► Pair ──► Link ─► their server
//!                     │  └──► Link ─► our server
//!                     ▼
//!                  compare ─► Quirk (counted) | Difference ─► shrink
//! ```
//!
//! After each script a janitor with all rights compares the whole tree and deletes what is left.

mod ask;
mod draw;
mod link;
mod play;
mod quirk;
mod script;
mod seen;
mod shrink;
mod side;

pub use ask::{Ask, Words};
pub use play::{Difference, Pair, Tally};
pub use quirk::Quirk;
pub use script::{Act, Flavour, Script, Step};
pub use seen::Seen;
pub use shrink::shrink;
