//! Limits of subtrees.

use super::*;

const LIMITS: &str = "/zookeeper/quota/q/zookeeper_limits";
const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

/// `/q` with `/q/a`, 8 bytes in all.
fn world(limits: &str) -> World {
    let mut world = World::with(|options| options.enforces_quota = true, false);
    world.ok(&create("/q"));
    world.ok(&create("/q/a"));
    world.ok(&create("/zookeeper/quota/q"));
    world.ok(&create_data(LIMITS, limits));
    world.ok(&create_data(STATS, ""));
    world
}

fn usage(world: &mut World) -> String {
    world.settle();
    let stats = world.tree.get(STATS).unwrap();
    String::from_utf8(stats.data().unwrap().to_vec()).unwrap()
}

#[test]
fn hard_limits_refuse() {
    let mut world_of_count = world("countHardLimit=3");
    world_of_count.ok(&create("/q/b"));
    assert_eq!(
        world_of_count.err(&create("/q/a/c")),
        ErrorCode::QuotaExceeded
    );
    world_of_count.ok(&create("/qq"));
    world_of_count.ok(&set_data("/q/a", "any length", -1));
    assert_eq!(usage(&mut world_of_count), "count=3,bytes=18");

    let mut world_of_bytes = world("byteHardLimit=10");
    assert_eq!(
        world_of_bytes.err(&create("/q/b")),
        ErrorCode::QuotaExceeded
    );
    world_of_bytes.ok(&create_data("/q/b", "12"));
    let longer = set_data("/q/a", "12345", -1);
    assert_eq!(world_of_bytes.err(&longer), ErrorCode::QuotaExceeded);
    world_of_bytes.ok(&set_data("/q/a", "1234", -1));
    assert_eq!(usage(&mut world_of_bytes), "count=3,bytes=10");
}

#[test]
fn soft_limits_warn_unless_there_is_a_hard_one() {
    let mut soft = world("count=2,bytes=9");
    let warnings = soft.ask(&session(1), &create("/q/b")).warnings;
    let warning = |resource, usage, limit| QuotaWarning {
        path: "/q".to_owned(),
        resource,
        usage,
        limit,
    };
    let expected = [
        warning(QuotaResource::Count, 3, 2),
        warning(QuotaResource::Bytes, 12, 9),
    ];
    assert_eq!(warnings, expected);
    let mut both = world("count=1,bytes=-1=;countHardLimit=9");
    assert_eq!(both.ask(&session(1), &create("/q/b")).warnings, []);
}

#[test]
fn what_is_not_changed_is_not_looked_at() {
    let mut world = world("countHardLimit=1,byteHardLimit=1");
    world.ok(&set_data("/q/a", "same", -1));
    let shorter = set_data("/q/a", "less"[..3].as_ref(), -1);
    assert_eq!(
        world.err(&shorter),
        ErrorCode::QuotaExceeded,
        "still too much"
    );
    world.ok(&delete("/q/a", -1));
    assert_eq!(usage(&mut world), "count=1,bytes=4");
}

#[test]
fn deepest_quota_counts_alone() {
    let mut world = world("countHardLimit=2");
    world.ok(&create("/zookeeper/quota/q/a"));
    world.ok(&create_data(
        "/zookeeper/quota/q/a/zookeeper_limits",
        "countHardLimit=5",
    ));
    world.ok(&create_data("/zookeeper/quota/q/a/zookeeper_stats", ""));
    world.ok(&create("/q/a/b"));
    assert_eq!(world.err(&create("/q/b")), ErrorCode::QuotaExceeded);
    world.ok(&delete("/zookeeper/quota/q/a/zookeeper_limits", -1));
    assert_eq!(world.err(&create("/q/a/c")), ErrorCode::QuotaExceeded);
    world.settle();
}

#[test]
fn text_that_is_no_limit_stops_creation() {
    let mut world = world("countHardLimit=3");
    world.ok(&set_data(LIMITS, "countHardLimit=many", -1));
    assert_eq!(world.err(&create("/q/b")), ErrorCode::MarshallingError);
    world.ok(&set_data(LIMITS, "countHardLimit=3", -1));
    world.ok(&set_data(STATS, "count=0,bytes=0", -1));
    world.ok(&create("/q/b"));
    assert_eq!(usage(&mut world), "count=1,bytes=4");
}

#[test]
fn limits_without_usage_limit_nothing() {
    let mut world = world("countHardLimit=1");
    world.ok(&delete(STATS, -1));
    world.ok(&create("/q/b"));
    world.settle();
}

#[test]
fn nothing_is_refused_unless_quotas_are_enforced() {
    let mut world = World::new();
    world.ok(&create("/q"));
    world.ok(&create("/zookeeper/quota/q"));
    world.ok(&create_data(LIMITS, "countHardLimit=1"));
    world.ok(&create_data(STATS, ""));
    world.ok(&create("/q/a"));
    assert_eq!(usage(&mut world), "count=2,bytes=8");
}
