//! How a learner is synchronised, for every end of its log.

use zk_proto::{Bytes, Epoch, Zxid};

use super::sync::{Decision, decide};
use crate::zab::history::History;

fn zxid(epoch: i32, counter: u32) -> Zxid {
    Zxid::from_parts(Epoch::new(epoch), counter)
}

/// 1:3 has fallen out; 1:4, 1:5, 3:1 and 3:2 are there. Epoch 2 had no transaction.
fn history() -> History {
    let mut history = History::new(zxid(1, 3), 100, 1000);
    for zxid in [zxid(1, 4), zxid(1, 5), zxid(3, 1), zxid(3, 2)] {
        history.push(zxid, Bytes::new());
    }
    history
}

#[test]
fn decision_for_every_end_of_a_log() {
    let history = history();
    let table = [
        // What is known.
        (zxid(3, 2), Decision::Diff(zxid(3, 2))),
        (zxid(3, 1), Decision::Diff(zxid(3, 1))),
        (zxid(1, 5), Decision::Diff(zxid(1, 5))),
        (zxid(1, 3), Decision::Diff(zxid(1, 3))),
        // Before what is known.
        (zxid(1, 2), Decision::ReadLog),
        (zxid(1, 0), Decision::Snap),
        (Zxid::ZERO, Decision::Snap),
        // The tree is asked for.
        (Zxid::new(-1), Decision::Snap),
        // An epoch's beginning: all before it, and nothing of it.
        (zxid(2, 0), Decision::Diff(zxid(2, 0))),
        (zxid(3, 0), Decision::Diff(zxid(3, 0))),
        (zxid(4, 0), Decision::Snap),
        // What nobody else has.
        (zxid(1, 6), Decision::Trunc(zxid(1, 5))),
        (zxid(2, 7), Decision::Trunc(zxid(1, 5))),
        (zxid(3, 3), Decision::Trunc(zxid(3, 2))),
        (zxid(9, 5), Decision::Trunc(zxid(3, 2))),
    ];
    for (last, expected) in table {
        assert_eq!(decide(last, true, &history), expected, "{last}");
        // Servers of others do not cut as they should.
        let of_others = match expected {
            Decision::Trunc(_) => Decision::Snap,
            Decision::Diff(_) | Decision::Snap | Decision::ReadLog => expected,
        };
        assert_eq!(decide(last, false, &history), of_others, "{last}");
    }
}

/// Whatever the end of its log: with what it keeps and what it is sent, a learner ends with the
/// leader's history.
#[test]
fn every_decision_ends_with_the_history_of_the_leader() {
    let ours: Vec<Zxid> = history().after(zxid(1, 3)).map(|one| one.zxid).collect();
    let history = history();
    for epoch in 0..5 {
        for counter in 0..7 {
            let last = zxid(epoch, counter);
            let (kept, from) = match decide(last, true, &history) {
                Decision::Diff(from) => (last, from),
                Decision::Trunc(target) => (target, target),
                Decision::Snap | Decision::ReadLog => continue,
            };
            assert!(kept >= history.base(), "{last}");
            // It keeps nothing that is not in the history, and lacks nothing before.
            let has = |one: &&Zxid| **one <= kept;
            let mut end: Vec<Zxid> = ours.iter().filter(has).copied().collect();
            assert!(
                history.knows(kept) || kept.counter() == 0,
                "{last} keeps {kept}"
            );
            end.extend(history.after(from).map(|one| one.zxid));
            assert_eq!(end, ours, "{last}");
        }
    }
}

#[test]
fn history_of_nothing_serves_who_has_the_same() {
    let history = History::new(zxid(2, 4), 100, 1000);
    assert_eq!(
        decide(zxid(2, 4), true, &history),
        Decision::Diff(zxid(2, 4))
    );
    assert_eq!(decide(zxid(2, 3), true, &history), Decision::ReadLog);
    assert_eq!(
        decide(zxid(2, 5), true, &history),
        Decision::Trunc(zxid(2, 4))
    );
}
