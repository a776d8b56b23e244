//! A good history that every law lets pass, and one bad history or more for each law.

use std::collections::BTreeSet;

use zk_proto::{SessionId, Stat, Version, Zxid};

use super::judge;
use crate::torture::history::{
    Action, Answer, Ephemeral, Item, Listing, Look, NEVER, Numbered, NumberedOutcome, Operation,
    Pair, Seen, Slice, Stream, Tree, Watched,
};

/// The number of a znode that nobody deletes, and of one that is deleted now and then.
const KEPT: u64 = 2;
const DELETED: u64 = 3;

const ROOT: &str = "/torture/s0";

fn seen(value: u64, zxid: i64, created: i64, version: i32) -> Seen {
    Seen {
        value,
        zxid,
        created,
        version,
    }
}

fn create(value: u64, zxid: i64) -> (Action, Answer) {
    let seen = seen(value, zxid, zxid, 0);
    (Action::Create(value), Answer::Wrote(seen))
}

fn set(value: u64, zxid: i64, created: i64, version: i32) -> (Action, Answer) {
    let seen = seen(value, zxid, created, version);
    (Action::Set(value), Answer::Wrote(seen))
}

fn synced(seen: Option<Seen>) -> (Action, Answer) {
    (Action::SyncedRead, Answer::Saw(seen))
}

fn read(seen: Option<Seen>) -> (Action, Answer) {
    (Action::Read, Answer::Saw(seen))
}

const UNKNOWN_DELETE: (Action, Answer) = (Action::Delete, Answer::Unknown);

/// A slice of requests about one register: session, begin, end, what was asked and told.
fn slice(key: u64, requests: &[(i64, u64, u64, (Action, Answer))]) -> Slice {
    let operations = (0..).zip(requests);
    let operations = operations.map(
        |(order, (session, begin, end, (action, answer)))| Operation {
            session: *session,
            order,
            key,
            begin: *begin,
            end: *end,
            action: *action,
            answer: *answer,
        },
    );
    Slice {
        root: ROOT.to_owned(),
        operations: operations.collect(),
        ..Slice::default()
    }
}

/// The laws that object.
fn broken(slice: &Slice) -> BTreeSet<&'static str> {
    let violations = judge(slice).violations;
    violations.iter().map(|violation| violation.law).collect()
}

fn assert_broken(slice: &Slice, law: &str) {
    let violations = judge(slice).violations;
    let laws: Vec<_> = violations.iter().map(|violation| violation.law).collect();
    assert!(laws.contains(&law), "{law} is not among {violations:?}");
}

fn assert_good(slice: &Slice) {
    assert_eq!(judge(slice).violations, []);
}

#[test]
fn a_good_history_passes_every_law() {
    let mut slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, set(11, 6, 5, 1)),
            (1, 5, 9, (Action::Set(12), Answer::Unknown)),
            (2, 6, 8, (Action::Set(13), Answer::Rejected)),
            (2, 10, 12, synced(Some(seen(12, 8, 5, 2)))),
            (1, 11, 14, read(Some(seen(11, 6, 5, 1)))),
            (2, 15, 16, set(14, 9, 5, 3)),
            (1, 17, 18, synced(Some(seen(14, 9, 5, 3)))),
        ],
    );
    slice.numbered = vec![
        numbered(100, (20, 21), Some((0, 20))),
        numbered(101, (22, 24), Some((2, 22))),
        numbered(102, (20, 24), None),
    ];
    slice.ephemerals = vec![ephemeral(1, 2)];
    slice.listings = vec![listing(4, 6, &["e"])];
    slice.looks = vec![look(
        data(Some(seen(10, 5, 5, 0))),
        data(Some(seen(11, 6, 5, 1))),
        true,
    )];
    slice.streams = vec![stream(&[
        event(5),
        event(6),
        event(8),
        Item::Gap(8),
        Item::Armed(9),
    ])];
    let both = Some(seen(1, 30, 3, 1));
    slice.pairs = vec![Pair {
        first: both,
        second: both,
        end: 31,
    }];
    let tree = tree(&[
        ("q/s-0000000000", "100", 20, 0),
        ("q/s-0000000001", "102", 21, 0),
        ("q/s-0000000002", "101", 22, 0),
        ("e", "", 4, 77),
    ]);
    slice.quiet.trees = vec![(0, tree.clone()), (1, tree)];
    slice.quiet.alive = BTreeSet::from([77]);
    let judgement = judge(&slice);
    assert_eq!(judgement.violations, []);
    assert_eq!(judgement.explained, 1);
    assert_eq!(judgement.resolved, 1);
    assert_eq!(judgement.told, 2);
}

#[test]
fn a_history_with_deletes_passes() {
    assert_good(&slice(
        DELETED,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, (Action::Delete, Answer::Deleted)),
            (2, 5, 6, synced(None)),
            (2, 7, 8, create(11, 7)),
            (1, 9, 12, UNKNOWN_DELETE),
            (2, 13, 14, synced(None)),
            (1, 15, 16, create(12, 9)),
            (1, 17, 18, (Action::Set(13), Answer::Unknown)),
            (1, 19, 20, set(14, 12, 9, 2)),
        ],
    ));
}

// --- real time ----------------------------------------------------------------------------------

#[test]
fn a_write_with_an_earlier_transaction_than_one_before_it_is_found() {
    let mut slice = slice(KEPT, &[(1, 1, 2, create(10, 5))]);
    let other = Operation {
        key: KEPT + 2,
        begin: 3,
        end: 4,
        session: 2,
        order: 0,
        action: Action::Create(11),
        answer: Answer::Wrote(seen(11, 4, 4, 0)),
    };
    slice.operations.push(other);
    assert_eq!(broken(&slice), BTreeSet::from(["real time (S22)"]));
}

#[test]
fn a_write_before_what_earlier_slices_acknowledged_is_found() {
    let mut slice = slice(KEPT, &[(1, 1, 2, create(10, 5))]);
    slice.floor = 5;
    assert_broken(&slice, "real time (S22)");
}

#[test]
fn an_unanswered_write_that_came_before_it_was_asked_is_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (2, 1, 4, set(11, 9, 5, 2)),
            (1, 5, 6, (Action::Set(12), Answer::Unknown)),
            (1, 7, 8, read(Some(seen(12, 7, 5, 1)))),
        ],
    );
    assert_broken(&slice, "real time (S22)");
}

// --- registers ----------------------------------------------------------------------------------

#[test]
fn two_states_of_one_transaction_are_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 9, (Action::Set(11), Answer::Unknown)),
            (2, 4, 5, read(Some(seen(11, 5, 5, 0)))),
        ],
    );
    assert_broken(&slice, "registers");
}

#[test]
fn a_lost_write_whose_version_is_given_again_is_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, set(11, 6, 5, 1)),
            (2, 5, 6, set(12, 7, 5, 1)),
        ],
    );
    assert_broken(&slice, "registers");
}

#[test]
fn a_request_that_is_done_twice_is_found() {
    let again = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, set(11, 6, 5, 1)),
            (1, 5, 6, read(Some(seen(11, 7, 5, 2)))),
        ],
    );
    assert_broken(&again, "registers");
    let unseen = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, set(11, 6, 5, 1)),
            (1, 5, 6, set(12, 8, 5, 3)),
        ],
    );
    assert_broken(&unseen, "registers");
}

#[test]
fn a_value_that_was_rejected_never_sent_or_never_written_is_found() {
    for answer in [Answer::Rejected, Answer::NotSent] {
        let slice = slice(
            KEPT,
            &[
                (1, 1, 2, create(10, 5)),
                (1, 3, 4, (Action::Set(11), answer)),
                (1, 5, 6, read(Some(seen(11, 6, 5, 1)))),
            ],
        );
        assert_broken(&slice, "registers");
    }
    let nobody = slice(KEPT, &[(1, 5, 6, read(Some(seen(11, 6, 6, 0))))]);
    assert_broken(&nobody, "registers");
}

#[test]
fn a_write_that_is_shown_as_another_transaction_is_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (2, 3, 4, read(Some(seen(10, 6, 6, 0)))),
        ],
    );
    assert_broken(&slice, "registers");
}

#[test]
fn a_swap_of_another_version_is_found() {
    let old = seen(10, 5, 5, 0);
    let swap = (
        Action::Swap { old, new: 11 },
        Answer::Wrote(seen(11, 7, 5, 2)),
    );
    let slice = slice(KEPT, &[(1, 1, 2, create(10, 5)), (1, 3, 4, swap)]);
    assert_broken(&slice, "registers");
}

#[test]
fn a_synced_read_of_an_old_state_is_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, set(11, 6, 5, 1)),
            (2, 5, 6, synced(Some(seen(10, 5, 5, 0)))),
        ],
    );
    let laws = broken(&slice);
    assert_eq!(laws, BTreeSet::from(["registers", "linearizability"]));
}

#[test]
fn an_acknowledged_creation_that_is_gone_is_found() {
    let gone = slice(
        DELETED,
        &[(1, 1, 2, create(10, 5)), (2, 5, 6, synced(None))],
    );
    assert_broken(&gone, "registers");
    let deleted_before = slice(
        DELETED,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, (Action::Delete, Answer::Deleted)),
            (1, 5, 6, create(11, 8)),
            (2, 7, 8, synced(None)),
        ],
    );
    assert_broken(&deleted_before, "registers");
}

#[test]
fn a_life_within_another_is_found() {
    let slice = slice(
        DELETED,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 9, set(11, 9, 5, 1)),
            (2, 3, 9, create(12, 7)),
            (2, 3, 9, UNKNOWN_DELETE),
        ],
    );
    assert_broken(&slice, "registers");
}

// --- linearizability ----------------------------------------------------------------------------

#[test]
fn a_deleted_znode_that_a_synced_read_shows_is_found() {
    let slice = slice(
        DELETED,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 4, (Action::Delete, Answer::Deleted)),
            (2, 5, 6, synced(Some(seen(10, 5, 5, 0)))),
        ],
    );
    assert_broken(&slice, "linearizability");
}

#[test]
fn two_swaps_of_one_value_are_found() {
    let old = seen(10, 5, 5, 0);
    let swap = |new, zxid| {
        let action = Action::Swap { old, new };
        (action, Answer::Wrote(seen(new, zxid, 5, 1)))
    };
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 6, swap(11, 6)),
            (2, 3, 6, swap(12, 7)),
        ],
    );
    assert_broken(&slice, "linearizability");
}

// --- session order ------------------------------------------------------------------------------

#[test]
fn a_session_that_does_not_see_its_own_write_is_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 6, set(11, 6, 5, 1)),
            (1, 4, 6, read(Some(seen(10, 5, 5, 0)))),
        ],
    );
    assert_eq!(broken(&slice), BTreeSet::from(["session order"]));
}

#[test]
fn a_session_that_is_shown_less_than_before_is_found() {
    let mut slice = slice(
        KEPT,
        &[
            (1, 1, 2, create(10, 5)),
            (1, 3, 6, set(11, 6, 5, 1)),
            (2, 7, 8, read(Some(seen(11, 6, 5, 1)))),
            (2, 9, 10, read(Some(seen(10, 5, 5, 0)))),
        ],
    );
    assert_eq!(broken(&slice), BTreeSet::from(["session order"]));
    // The same, when it had been shown that moment in an earlier slice, or by another znode.
    slice.operations.remove(2);
    assert_good(&slice);
    slice.floors.insert(2, 6);
    assert_eq!(broken(&slice), BTreeSet::from(["session order"]));
}

#[test]
fn a_znode_that_vanishes_for_a_session_is_found() {
    let slice = slice(KEPT, &[(1, 1, 2, create(10, 5)), (1, 3, 4, read(None))]);
    assert_eq!(broken(&slice), BTreeSet::from(["session order"]));
}

#[test]
fn writes_of_a_session_in_another_order_are_found() {
    let slice = slice(
        KEPT,
        &[
            (1, 1, 9, create(10, 5)),
            (1, 2, 9, set(11, 7, 5, 2)),
            (1, 3, 9, set(12, 6, 5, 1)),
        ],
    );
    assert_eq!(broken(&slice), BTreeSet::from(["session order"]));
}

// --- sequence -----------------------------------------------------------------------------------

fn numbered(value: u64, (begin, end): (u64, u64), created: Option<(i32, i64)>) -> Numbered {
    let outcome = match created {
        Some((number, zxid)) => NumberedOutcome::Created { number, zxid },
        None => NumberedOutcome::Unknown,
    };
    Numbered {
        value,
        begin,
        end,
        outcome,
    }
}

fn with_numbered(numbered: Vec<Numbered>) -> Slice {
    Slice {
        root: ROOT.to_owned(),
        numbered,
        ..Slice::default()
    }
}

#[test]
fn a_number_that_is_given_twice_is_found() {
    let slice = with_numbered(vec![
        numbered(100, (1, 5), Some((3, 20))),
        numbered(101, (1, 5), Some((3, 21))),
    ]);
    assert_broken(&slice, "sequence");
}

#[test]
fn numbers_against_the_order_of_transactions_or_time_are_found() {
    let zxids = with_numbered(vec![
        numbered(100, (1, 5), Some((3, 21))),
        numbered(101, (1, 5), Some((4, 20))),
    ]);
    assert_broken(&zxids, "sequence");
    let time = with_numbered(vec![
        numbered(100, (3, 4), Some((3, 20))),
        numbered(101, (1, 2), Some((4, 21))),
    ]);
    assert_broken(&time, "sequence");
}

#[test]
fn sequential_znodes_that_are_lost_doubled_or_made_of_nothing_are_found() {
    let certain = numbered(100, (1, 2), Some((0, 20)));
    let unknown = numbered(101, (3, 4), None);
    let mut failed = unknown;
    failed.outcome = NumberedOutcome::Failed;
    let one = ("q/s-0000000000", "100", 20, 0);
    for (asked, there) in [
        (vec![certain], vec![]),
        (vec![certain], vec![one, ("q/s-0000000001", "100", 21, 0)]),
        (
            vec![certain, unknown],
            vec![
                one,
                ("q/s-0000000001", "101", 21, 0),
                ("q/s-0000000002", "101", 22, 0),
            ],
        ),
        (
            vec![certain, failed],
            vec![one, ("q/s-0000000001", "101", 21, 0)],
        ),
        (vec![certain], vec![one, ("q/s-0000000001", "7", 21, 0)]),
        (vec![certain], vec![one, ("q/s-x", "7", 21, 0)]),
    ] {
        let mut slice = with_numbered(asked);
        slice.quiet.trees = vec![(0, tree(&there))];
        assert_eq!(broken(&slice), BTreeSet::from(["sequence"]));
    }
}

// --- ephemerals ---------------------------------------------------------------------------------

fn ephemeral(session: i64, end: u64) -> Ephemeral {
    Ephemeral {
        name: "e".to_owned(),
        session,
        end,
        released: NEVER,
    }
}

fn listing(begin: u64, end: u64, names: &[&str]) -> Listing {
    Listing {
        begin,
        end,
        only: None,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn an_ephemeral_that_its_live_session_loses_is_found() {
    let mut slice = slice(KEPT, &[(1, 8, 9, create(10, 5))]);
    slice.ephemerals = vec![ephemeral(1, 2)];
    slice.listings = vec![listing(4, 6, &["other"])];
    assert_eq!(broken(&slice), BTreeSet::from(["ephemerals"]));
    // Not lost: released before, or nothing was heard of the session since, or another was looked for.
    slice.ephemerals[0].released = 5;
    assert_good(&slice);
    slice.ephemerals = vec![ephemeral(2, 2)];
    assert_good(&slice);
    slice.ephemerals = vec![ephemeral(1, 2)];
    slice.listings[0].only = Some("other".to_owned());
    assert_good(&slice);
    slice.listings[0].only = Some("e".to_owned());
    assert_broken(&slice, "ephemerals");
}

#[test]
fn an_ephemeral_that_outlives_its_session_is_found() {
    let mut slice = slice(KEPT, &[]);
    slice.quiet.trees = vec![(0, tree(&[("e", "", 5, 77)]))];
    slice.quiet.alive = BTreeSet::from([78]);
    assert_eq!(broken(&slice), BTreeSet::from(["ephemerals"]));
}

// --- watches ------------------------------------------------------------------------------------

fn data(seen: Option<Seen>) -> Watched {
    Watched::Data(KEPT, seen)
}

fn look(before: Watched, now: Watched, has_fired: bool) -> Look {
    Look {
        session: 1,
        before,
        now,
        has_fired,
        is_synced: has_fired,
        end: 5,
    }
}

#[test]
fn a_change_that_is_shown_before_its_event_is_found() {
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        Watched::Children(names.collect())
    };
    let one = data(Some(seen(10, 5, 5, 0)));
    for (before, now) in [
        (one.clone(), data(Some(seen(11, 6, 5, 1)))),
        (one.clone(), data(None)),
        (data(None), one),
        (names(&["a"]), names(&["a", "b"])),
    ] {
        let mut slice = slice(KEPT, &[]);
        slice.looks = vec![look(before.clone(), now.clone(), false)];
        assert_eq!(broken(&slice), BTreeSet::from(["watches"]));
        slice.looks = vec![look(before.clone(), now, true)];
        assert_good(&slice);
        slice.looks = vec![look(before.clone(), before, false)];
        assert_good(&slice);
    }
}

#[test]
fn an_event_without_a_change_is_found() {
    let one = data(Some(seen(10, 5, 5, 0)));
    let mut slice = slice(KEPT, &[]);
    slice.looks = vec![look(one.clone(), one, true)];
    assert_eq!(broken(&slice), BTreeSet::from(["watches"]));
}

// --- stream -------------------------------------------------------------------------------------

fn event(zxid: i64) -> Item {
    let path = format!("{ROOT}/r{KEPT}");
    Item::Event { path, zxid }
}

fn stream(items: &[Item]) -> Stream {
    Stream {
        begin: 0,
        end: 100,
        items: items.to_vec(),
    }
}

#[test]
fn a_change_that_a_stream_does_not_tell_is_found() {
    let requests = [
        (1, 1, 2, create(10, 5)),
        (1, 3, 4, set(11, 6, 5, 1)),
        (1, 5, 6, set(12, 7, 5, 2)),
    ];
    for (items, is_good) in [
        (&[event(5), event(6), event(7)][..], true),
        (&[event(5), event(7)], false),
        (&[event(5), Item::Gap(5), Item::Armed(6), event(7)], true),
        (&[event(5), Item::Gap(6), Item::Armed(6), event(7)], false),
        (&[event(5), Item::Gap(5), Item::Armed(5), event(7)], false),
        (&[event(5), Item::Gap(5), Item::Armed(6)], false),
        (&[event(5), Item::Gap(5)], true),
    ] {
        let mut slice = slice(KEPT, &requests);
        slice.streams = vec![stream(items)];
        let laws = broken(&slice);
        assert_eq!(laws.is_empty(), is_good, "{items:?}");
        assert!(is_good || laws == BTreeSet::from(["stream"]), "{laws:?}");
    }
}

#[test]
fn events_twice_or_in_another_order_are_found() {
    let requests = [(1, 1, 2, create(10, 5)), (1, 3, 4, set(11, 6, 5, 1))];
    for items in [
        [event(6), event(5)].to_vec(),
        vec![event(5), event(5), event(6)],
    ] {
        let mut slice = slice(KEPT, &requests);
        slice.streams = vec![stream(&items)];
        assert_eq!(broken(&slice), BTreeSet::from(["stream"]));
    }
}

#[test]
fn an_event_of_a_transaction_that_nobody_made_is_found() {
    let mut slice = slice(KEPT, &[(1, 1, 2, create(10, 5))]);
    slice.streams = vec![stream(&[event(5), event(6)])];
    assert_eq!(broken(&slice), BTreeSet::from(["stream"]));
}

// --- pairs, trees -------------------------------------------------------------------------------

#[test]
fn half_a_transaction_is_found() {
    let mut slice = slice(KEPT, &[]);
    slice.pairs = vec![Pair {
        first: Some(seen(1, 30, 3, 1)),
        second: Some(seen(0, 3, 3, 0)),
        end: 31,
    }];
    assert_eq!(broken(&slice), BTreeSet::from(["pairs"]));
}

/// A tree below the folder: name, data, zxid, owner.
fn tree(znodes: &[(&str, &str, i64, i64)]) -> Tree {
    let znodes = znodes.iter().map(|(name, data, zxid, owner)| {
        let stat = Stat {
            czxid: Zxid::new(*zxid),
            mzxid: Zxid::new(*zxid),
            version: Version::new(0),
            ephemeral_owner: SessionId::new(*owner),
            ..Stat::default()
        };
        (format!("{ROOT}/{name}"), (data.as_bytes().to_vec(), stat))
    });
    znodes.collect()
}

#[test]
fn trees_that_differ_are_found() {
    let one = [("a", "x", 5, 0), ("b", "x", 6, 0)];
    for other in [
        &[("a", "x", 5, 0)][..],
        &[("a", "x", 5, 0), ("b", "y", 6, 0)],
        &[("a", "x", 5, 0), ("b", "x", 7, 0)],
        &[("a", "x", 5, 0), ("b", "x", 6, 0), ("c", "x", 7, 0)],
    ] {
        let mut slice = slice(KEPT, &[]);
        slice.quiet.trees = vec![(0, tree(&one)), (2, tree(other))];
        assert_eq!(broken(&slice), BTreeSet::from(["trees"]));
    }
}
