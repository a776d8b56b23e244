//! Whom a server does not want to lead for a while: a leader that it could not follow.
//!
//! Votes and the packets of a leader take different ways, and one may be open where the other is not.
//! Then a server that is best by its vote would be elected again and again, and a quorum that could do
//! without it would never serve. So who could not get in step with a leader, or heard nothing of it any
//! more, does not vote for it for a while, if there is a quorum without it. It may be followed all the
//! same when others elect it.
//!
//! # Source
//! Apache `ZooKeeper` 3.9 has nothing like it; there such a quorum waits until the way is open.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::ServerId;

use crate::time::Time;

/// How a leader could not be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// Nothing came of it, or nothing any more.
    Silent,
    /// It closed the connection, or took none, before this server was in step. Once that means little:
    /// it has heard of a better one, or starts anew.
    Refused,
}

/// Leaders that could not be followed.
#[derive(Debug, Default)]
pub(super) struct Distrusted {
    /// Those that are not to be voted for.
    passed_over: BTreeMap<ServerId, Distrust>,
    /// Those that refused once.
    refused: BTreeSet<ServerId>,
}

#[derive(Debug, Clone, Copy)]
struct Distrust {
    /// When it may be joined, if others have elected it.
    join_from: Time,
    /// When it may be voted for.
    until: Time,
}

impl Distrusted {
    /// A leader could not be followed.
    pub(super) fn add(&mut self, leader: ServerId, failed: Failed, join_from: Time, until: Time) {
        let join_from = match failed {
            Failed::Silent => join_from,
            Failed::Refused if self.refused.insert(leader) => return,
            Failed::Refused => Time::ZERO,
        };
        self.passed_over
            .insert(leader, Distrust { join_from, until });
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.passed_over.clear();
        self.refused.clear();
    }

    /// Forgets those whose time is over, and all of them if those others of whom is heard are no
    /// quorum. Tells whether it did the latter.
    pub(super) fn forget_unless(
        &mut self,
        now: Time,
        are_quorum: impl Fn(&dyn Fn(&&ServerId) -> bool) -> bool,
    ) -> bool {
        let passed_over = &mut self.passed_over;
        passed_over.retain(|_, distrust| now < distrust.until);
        if passed_over.is_empty() || are_quorum(&|id| !passed_over.contains_key(id)) {
            return false;
        }
        passed_over.clear();
        true
    }

    /// Whether this server may be voted for.
    pub(super) fn may_lead(&self, now: Time, id: ServerId) -> bool {
        let distrust = self.passed_over.get(&id);
        distrust.is_none_or(|distrust| now >= distrust.until)
    }

    /// Whether this server may be followed when others have elected it.
    pub(super) fn may_be_joined(&self, now: Time, id: ServerId) -> bool {
        let distrust = self.passed_over.get(&id);
        distrust.is_none_or(|distrust| now >= distrust.join_from)
    }
}
