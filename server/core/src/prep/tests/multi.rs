//! All or nothing.

use super::*;

fn set(path: &str, version: i32) -> MultiOp {
    MultiOp::SetData(set_record(path, "x", version))
}

fn new(path: &str, flags: i32) -> MultiOp {
    MultiOp::Create(create_record(path, flags))
}

fn gone(path: &str) -> MultiOp {
    MultiOp::Delete(delete_record(path, -1))
}

#[test]
fn parts_see_those_before_them() {
    let mut world = World::new();
    world.ok(&multi([
        new("/a", 0),
        new("/a/b", 0),
        set("/a/b", 0),
        set("/a/b", 1),
        check("/a/b", 2),
        gone("/a/b"),
        gone("/a"),
        new("/a", 1),
    ]));
    world.settle();
    let znode = world.tree.get("/a").unwrap();
    assert_eq!(znode.stored_stat().owner, SessionId::new(1));
}

#[test]
fn first_failure_is_told_and_those_behind_it_are_not_looked_at() {
    let mut world = World::new();
    let prepared = world.ask(
        &session(1),
        &multi([
            new("/a", 0),
            new("/none/b", 0),
            new("/none/c", 0),
            set("", 0),
        ]),
    );
    let Txn::Multi(ops) = &prepared.entry.txn else {
        panic!("it stays a multi");
    };
    let types: Vec<_> = ops.iter().map(Op::type_code).collect();
    assert_eq!(types, [1, -1, -1, -1]);
    let codes = ops.iter().filter_map(|op| {
        if let Op::Error(record) = op {
            Some(record.err)
        } else {
            None
        }
    });
    assert_eq!(codes.collect::<Vec<_>>(), [-101, -2, -2]);
    assert_eq!(prepared.error(), Some(ErrorCode::NoNode));
    let applied = world.apply_one().unwrap();
    let codes = vec![0, -101, -2, -2];
    assert_eq!(applied.result, TxnResult::MultiFailed(codes));
}

#[test]
fn failed_multi_leaves_no_trace() {
    let mut world = World::new();
    world.ok(&create("/a"));
    world.ok(&ephemeral("/e"));
    world.ok(&create("/a/n"));
    let state = format!("{:?}", world.prep.outstanding);
    for fault in [gone("/none"), set("/a", 9), new("/a", 0), new("/e/x", 0)] {
        let parts = [
            new("/a/s-", 2),
            new("/a/t-", 3),
            set("/a/n", 0),
            gone("/a/n"),
            gone("/e"),
            new("/e", 1),
            new("/b", 1),
            fault,
        ];
        let prepared = world.ask(&session(1), &multi(parts));
        assert!(prepared.error().is_some());
        assert_eq!(format!("{:?}", world.prep.outstanding), state);
        assert_eq!(
            prepared.entry.digest.unwrap().known(),
            world.prep.outstanding.digest()
        );
    }
    // Numbers that were taken are given back.
    assert_eq!(world.created(&create_flags("/a/s-", 2)), "/a/s-0000000001");
    world.settle();
    let paths = world.tree.ephemerals(SessionId::new(1)).collect::<Vec<_>>();
    assert_eq!(paths, ["/e"]);
}

#[test]
fn records_of_earlier_requests_come_back() {
    let mut world = World::new();
    world.ok(&create("/a"));
    world.ok(&set_data("/a", "pending", 0));
    world.ask(&session(1), &multi([set("/a", 1), gone("/a"), gone("/a")]));
    assert_eq!(world.err(&set_data("/a", "", 0)), ErrorCode::BadVersion);
    world.ok(&set_data("/a", "", 1));
    world.settle();
}

#[test]
fn empty_multi_succeeds() {
    let mut world = World::new();
    assert_eq!(world.ok(&multi([])), Txn::Multi(Vec::new()));
    world.settle();
}
