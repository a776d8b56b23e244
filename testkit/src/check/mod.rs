//! Laws that a run of an ensemble must keep, one per file.
//!
//! A law is told what happens, keeps what it needs to remember, and objects at once. It knows what no
//! member can know: the disks of all, the one history that was committed. So an error is found where
//! it is made, not where a client stumbles over it.
//!
//! | law | numbers | says |
//! |---|---|---|
//! | [`one_leader`] | S1 | one leader is established per epoch |
//! | [`proposals`] | S2, S4, S6, S7 | what is logged was proposed by the leader of its epoch, behind the same history everywhere |
//! | [`committed`] | S3, S5, S8, S9 | what is committed is on the disks of a quorum, and every later leader has it |
//! | [`acks`] | S10, S11, S15 | what is acknowledged is on disk |
//! | [`epochs`] | S12, S13 | epochs never go back, and are on disk before anybody hears of them |
//! | [`recency`] | S14 | a leader has seen nobody who knows more |
//! | [`truncation`] | S16 | what is committed is never taken off a disk |
//! | [`replicas`] | S17, S18 | equal histories make equal trees, however they were come by |
//! | [`reconfig`] | S19 | a change of the members is decided by old and new ones, and makes one chain |
//! | [`sessions`] | S20 | a session ends once, with all that is its own, and nothing comes after |
//! | [`client_order`] | S21 | replies come in order, time never runs back for a client, a request is done once |
//! | [`reads`] | S21 | what is read is the state of the moment that the reply names |
//! | [`real_time`] | S22 | a write that begins after another ended comes after it, and a sync sees it |
//! | [`watches`] | | a watch fires once, before anything that shows the change |
//! | [`majority`] | L1 | voters that are a quorum serve, whatever the others can still say or hear |
//! | [`liveness`] | L1 | once all is healed there is a leader, writes are done, and all agree |
//! | [`linearizability`] | | there is an order of all operations that explains all answers |
//!
//! The numbers S1 to S22 and L1 are those of the protocol's safety list, derived from "Zab:
//! High-performance broadcast for primary-backup systems" (Junqueira, Reed, Serafini, DSN 2011), from
//! the protocol specification of Apache `ZooKeeper` with its known gaps, and from the defects that its
//! servers had; each file names those that its law stands for.

#![expect(
    clippy::missing_errors_doc,
    reason = "a verdict is an error if and only if the law that the file is about is broken"
)]

pub mod acks;
pub mod client_order;
pub mod committed;
pub mod epochs;
pub mod linearizability;
pub mod liveness;
pub mod majority;
pub mod model;
pub mod one_leader;
pub mod past;
pub mod proposals;
pub mod reads;
pub mod real_time;
pub mod recency;
pub mod reconfig;
pub mod replicas;
pub mod sessions;
pub mod truncation;
pub mod watches;

pub use past::{Past, Pasts};

use std::fmt;

/// A law that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// Name of the law.
    pub law: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.what)
    }
}

/// What a law says to what happened.
pub type Verdict = Result<(), Violation>;

/// Objects, unless a condition holds.
fn hold(law: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        let what = what();
        Err(Violation { law, what })
    }
}

/// A member, by its place in the run.
pub type Member = u8;
