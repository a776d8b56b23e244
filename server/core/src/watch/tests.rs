//! The table against a naive model, the rules one by one, and what a watch costs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use zk_proto::EventType::{self, NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use zk_proto::Zxid;
use zk_proto::request::WatcherType;

use crate::conn::ConnId;
use crate::conn::auth::{Access, Identities, Identity, Schemes};
use crate::tree::EffectKind as Effect;

use super::*;

const A: ConnId = ConnId::new(1);
const B: ConnId = ConnId::new(2);

/// What each connection gets, in order.
type Told = BTreeMap<ConnId, Vec<(EventType, String)>>;

fn told(notifications: &[Notification]) -> Told {
    let mut told = Told::new();
    for notification in notifications {
        for &conn in &notification.receivers {
            let events = told.entry(conn).or_default();
            events.push((notification.event, notification.path.to_string()));
        }
    }
    told
}

fn change(effect: Effect, path: &str) -> Change<'_> {
    Change {
        effect,
        path,
        znode_readers: Readers::Everyone,
        parent_readers: Readers::Everyone,
    }
}

fn fire(table: &mut WatchTable, effect: Effect, path: &str) -> Vec<Notification> {
    let mut out = Vec::new();
    trigger(table, &change(effect, path), &mut out);
    table.check();
    out
}

/// Events that one connection gets.
fn fire_one(
    table: &mut WatchTable,
    conn: ConnId,
    effect: Effect,
    path: &str,
) -> Vec<(EventType, String)> {
    told(&fire(table, effect, path))
        .remove(&conn)
        .unwrap_or_default()
}

fn event(event: EventType, path: &str) -> (EventType, String) {
    (event, path.to_owned())
}

fn table(watches: &[(ConnId, &str, WatchKind)]) -> WatchTable {
    let mut table = WatchTable::new(7);
    for &(conn, path, kind) in watches {
        table.register(conn, path, kind);
    }
    table.check();
    table
}

#[test]
fn data_watch_fires_once() {
    let mut table = table(&[(A, "/a", WatchKind::Data)]);
    assert_eq!(
        fire_one(&mut table, A, Effect::DataSet, "/a"),
        [event(NodeDataChanged, "/a")]
    );
    assert_eq!(fire(&mut table, Effect::DataSet, "/a"), []);
    assert_eq!(table.counts(), WatchCounts::default());
}

#[test]
fn child_watch_is_not_fired_by_set_data() {
    let mut table = table(&[(A, "/a", WatchKind::Child)]);
    assert_eq!(fire(&mut table, Effect::DataSet, "/a"), []);
    assert_eq!(
        fire_one(&mut table, A, Effect::Created, "/a/b"),
        [event(NodeChildrenChanged, "/a")]
    );
}

#[test]
fn deletion_is_told_once_to_a_connection_with_data_and_child_watch() {
    let mut table = table(&[
        (A, "/a", WatchKind::Data),
        (A, "/a", WatchKind::Exist),
        (A, "/a", WatchKind::Child),
        (B, "/a", WatchKind::Child),
    ]);
    let out = fire(&mut table, Effect::Deleted, "/a");
    assert_eq!(told(&out)[&A], [event(NodeDeleted, "/a")]);
    assert_eq!(told(&out)[&B], [event(NodeDeleted, "/a")]);
    assert_eq!(out.len(), 1, "one encoding for both tables");
    assert_eq!(table.counts().total(), 0);
}

#[test]
fn deletion_reaches_the_child_watch_of_the_parent_after_the_node() {
    let mut table = table(&[(A, "/a/b", WatchKind::Child), (A, "/a", WatchKind::Child)]);
    assert_eq!(
        fire_one(&mut table, A, Effect::Deleted, "/a/b"),
        [event(NodeDeleted, "/a/b"), event(NodeChildrenChanged, "/a")]
    );
}

#[test]
fn persistent_watch_tells_everything_of_its_path_again_and_again() {
    let mut table = table(&[(A, "/a", WatchKind::Persistent)]);
    for _ in 0..2 {
        for (effect, path, expected) in [
            (Effect::Created, "/a", NodeCreated),
            (Effect::DataSet, "/a", NodeDataChanged),
            (Effect::Created, "/a/b", NodeChildrenChanged),
            (Effect::Deleted, "/a/b", NodeChildrenChanged),
            (Effect::Deleted, "/a", NodeDeleted),
        ] {
            assert_eq!(
                fire_one(&mut table, A, effect, path),
                [event(expected, "/a")]
            );
        }
        assert_eq!(fire(&mut table, Effect::DataSet, "/a/b"), []);
    }
}

/// ZOOKEEPER-4475, -4466: versions of the reference got this wrong.
#[test]
fn recursive_watch_never_gets_children_changed() {
    let mut table = table(&[(A, "/a", WatchKind::PersistentRecursive)]);
    for (effect, path, expected) in [
        (Effect::Created, "/a", NodeCreated),
        (Effect::Created, "/a/b", NodeCreated),
        (Effect::Created, "/a/b/c", NodeCreated),
        (Effect::DataSet, "/a/b/c", NodeDataChanged),
        (Effect::Deleted, "/a/b/c", NodeDeleted),
    ] {
        assert_eq!(
            fire_one(&mut table, A, effect, path),
            [event(expected, path)]
        );
    }
    assert_eq!(fire(&mut table, Effect::Created, "/ab"), []);
    assert_eq!(fire(&mut table, Effect::Created, "/"), []);
}

#[test]
fn recursive_watches_on_several_ancestors_tell_a_connection_once() {
    let mut table = table(&[
        (A, "/", WatchKind::PersistentRecursive),
        (A, "/a", WatchKind::PersistentRecursive),
        (A, "/a/b", WatchKind::Persistent),
        (A, "/a/b", WatchKind::Data),
    ]);
    assert_eq!(
        fire_one(&mut table, A, Effect::DataSet, "/a/b"),
        [event(NodeDataChanged, "/a/b")]
    );
}

#[test]
fn recursive_and_child_watch_get_created_then_children_changed() {
    let mut table = table(&[
        (A, "/a", WatchKind::PersistentRecursive),
        (A, "/a", WatchKind::Child),
    ]);
    assert_eq!(
        fire_one(&mut table, A, Effect::Created, "/a/b"),
        [event(NodeCreated, "/a/b"), event(NodeChildrenChanged, "/a")]
    );
}

/// In 3.6 to 3.8 the last mode replaced the others.
#[test]
fn modes_on_one_path_coexist() {
    let mut table = table(&[
        (A, "/a", WatchKind::Persistent),
        (A, "/a", WatchKind::Data),
        (A, "/a", WatchKind::PersistentRecursive),
        (A, "/a", WatchKind::Child),
    ]);
    for watcher_type in [
        WatcherType::Data,
        WatcherType::Children,
        WatcherType::Persistent,
        WatcherType::PersistentRecursive,
        WatcherType::Any,
    ] {
        assert!(table.has(A, "/a", watcher_type));
        assert!(!table.has(B, "/a", watcher_type));
    }
    fire(&mut table, Effect::DataSet, "/a");
    assert!(!table.has(A, "/a", WatcherType::Data));
    assert!(table.has(A, "/a", WatcherType::Children));
    assert!(table.has(A, "/a", WatcherType::Persistent));
}

/// ZOOKEEPER-4471.
#[test]
fn removing_the_child_watch_leaves_the_persistent_one() {
    let mut table = table(&[
        (A, "/a", WatchKind::Persistent),
        (A, "/a", WatchKind::Child),
    ]);
    assert!(table.remove(A, "/a", WatcherType::Children));
    assert!(!table.remove(A, "/a", WatcherType::Children));
    assert!(!table.remove(A, "/a", WatcherType::Data));
    assert_eq!(
        fire_one(&mut table, A, Effect::Created, "/a/b"),
        [event(NodeChildrenChanged, "/a")]
    );
    assert!(table.remove(A, "/a", WatcherType::Persistent));
    assert_eq!(fire(&mut table, Effect::Created, "/a/b"), []);
}

#[test]
fn removing_any_removes_all_kinds_of_that_path_only() {
    let mut table = table(&[
        (A, "/a", WatchKind::Persistent),
        (A, "/a", WatchKind::Child),
        (A, "/a", WatchKind::PersistentRecursive),
        (A, "/a/b", WatchKind::Data),
        (B, "/a", WatchKind::Data),
    ]);
    assert!(table.remove(A, "/a", WatcherType::Any));
    assert!(!table.has(A, "/a", WatcherType::Any));
    assert!(table.has(A, "/a/b", WatcherType::Any) && table.has(B, "/a", WatcherType::Any));
    table.check();
}

#[test]
fn event_without_read_permission_is_dropped_and_the_watch_consumed() {
    let mut table = table(&[(A, "/a/b", WatchKind::Data), (B, "/a/b", WatchKind::Data)]);
    let mut out = Vec::new();
    let change = Change {
        znode_readers: Readers::Those(&|conn| conn == B),
        ..change(Effect::DataSet, "/a/b")
    };
    trigger(&mut table, &change, &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].receivers, [B]);
    assert!(!table.has(A, "/a/b", WatcherType::Any));
}

/// CVE-2024-23944: the paths of children that a connection may not read leaked to it.
#[test]
fn recursive_watch_tells_nothing_of_children_that_may_not_be_read() {
    let mut table = table(&[(A, "/a", WatchKind::PersistentRecursive)]);
    for effect in [Effect::Created, Effect::DataSet, Effect::Deleted] {
        let mut out = Vec::new();
        let change = Change {
            znode_readers: Readers::Those(&|_| false),
            ..change(effect, "/a/secret")
        };
        trigger(&mut table, &change, &mut out);
        assert_eq!(out, []);
    }
}

#[test]
fn children_changed_asks_for_the_acl_of_the_parent() {
    let mut table = table(&[(A, "/a", WatchKind::Child), (A, "/a/b", WatchKind::Exist)]);
    let mut out = Vec::new();
    let change = Change {
        znode_readers: Readers::Those(&|_| false),
        ..change(Effect::Created, "/a/b")
    };
    trigger(&mut table, &change, &mut out);
    assert_eq!(told(&out)[&A], [event(NodeChildrenChanged, "/a")]);
}

#[test]
fn effect_of_the_tree_is_told_to_those_whom_its_lists_let_read() {
    use zk_proto::{Acl, Id, Perms};
    let watches = [A, B].map(|conn| {
        [
            (conn, "/a/b", WatchKind::Exist),
            (conn, "/a", WatchKind::Child),
        ]
    });
    let mut table = table(&watches.concat());
    let effect = crate::tree::Effect {
        kind: Effect::Created,
        path: "/a/b".into(),
        acl: [Acl::new(Perms::READ, Id::new("digest", "bob:hash"))].into(),
        parent_acl: [Acl::new(Perms::ALL, Id::ANYONE)].into(),
    };
    let who = |conn| {
        let bob = (conn == B).then(|| Identity::new("digest", "bob:hash"));
        Some(Identities::collected(bob))
    };
    let mut out = Vec::new();
    let access = Access::new(Schemes::standard());
    trigger_effect(&mut table, &effect, &access, &who, &mut out);
    assert_eq!(told(&out)[&A], [event(NodeChildrenChanged, "/a")]);
    let both = [event(NodeCreated, "/a/b"), event(NodeChildrenChanged, "/a")];
    assert_eq!(told(&out)[&B], both);
    assert_eq!(table.counts().total(), 0);
}

#[test]
fn empty_path_is_the_root() {
    let mut table = table(&[(A, "", WatchKind::Child)]);
    assert!(table.has(A, "/", WatcherType::Children));
    assert_eq!(
        fire_one(&mut table, A, Effect::Created, "/a"),
        [event(NodeChildrenChanged, "/")]
    );
}

#[test]
fn dropped_connection_leaves_nothing_behind() {
    let mut table = WatchTable::new(1);
    for n in 0..1000 {
        table.register(A, &format!("/p{n}"), WatchKind::PersistentRecursive);
        table.register(B, &format!("/p{}", n * 2), WatchKind::Persistent);
    }
    table.drop_connection(A);
    table.check();
    assert_eq!(table.paths_watched_by(A), 0);
    assert_eq!(
        table.counts(),
        WatchCounts {
            data: 1000,
            child: 1000,
            recursive: 0
        }
    );
    table.drop_connection(B);
    table.check();
    assert_eq!(table.counts(), WatchCounts::default());
}

#[test]
fn reports_count_as_the_reference_does() {
    let table = table(&[
        (A, "/a", WatchKind::Persistent),
        (A, "/b", WatchKind::Child),
        (B, "/a", WatchKind::Data),
    ]);
    assert_eq!(table.counts().total(), 4);
    let mut report = WatchReport::default();
    report.add(&table);
    assert_eq!(report.total(), 2);
    assert_eq!(report.by_connection.len(), 2);
    assert_eq!(
        report
            .by_path
            .keys()
            .map(|path| &**path)
            .collect::<Vec<_>>(),
        ["/a"]
    );
}

#[test]
fn event_frame_is_the_reference_bytes() {
    let notification = Notification {
        event: NodeCreated,
        path: "/g/later".into(),
        receivers: vec![A],
    };
    let hex: String = notification
        .frame(Zxid::new(16))
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    assert_eq!(
        hex,
        "00000024ffffffff0000000000000010000000000000000100000003000000082f672f6c61746572"
    );
}

/// Connection and path of the n-th watch.
type Shape = fn(u32) -> (u32, u32);

#[test]
fn watch_costs_at_most_24_bytes_beyond_its_path() {
    let shapes: [(&str, Shape); 4] = [
        ("one path, many connections", |n| (n, 0)),
        ("one connection, many paths", |n| (0, n)),
        ("each connection its own path", |n| (n, n)),
        ("both at random", |n| {
            let mixed = n.wrapping_mul(0x9e37_79b9);
            (mixed >> 20, mixed % 997)
        }),
    ];
    for (shape, of) in shapes {
        let mut table = WatchTable::new(1);
        for n in 0..50_000 {
            let (conn, path) = of(n);
            table.register(
                ConnId::new(conn),
                &format!("/app/node-{path}"),
                WatchKind::Data,
            );
        }
        let (bytes, watches) = (table.heap_bytes(), table.counts().total());
        println!(
            "{shape}: {}.{} bytes a watch",
            bytes / watches,
            bytes * 10 / watches % 10
        );
        assert!(
            bytes <= 24 * watches,
            "{shape}: {bytes} bytes for {watches} watches"
        );
    }
}

#[test]
fn ten_thousand_watchers_of_a_path_cost_one_notification() {
    let mut table = WatchTable::new(1);
    for n in 0..10_000 {
        table.register(ConnId::new(n), "/app/config", WatchKind::Data);
    }
    let out = fire(&mut table, Effect::DataSet, "/app/config");
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].receivers.len(), 10_000);
    assert_eq!(table.counts().total(), 0);
}

/// Two maps of sets, as the rules are written down.
#[derive(Debug, Default)]
struct Model {
    data: BTreeMap<String, BTreeMap<ConnId, BTreeSet<u8>>>,
    child: BTreeMap<String, BTreeMap<ConnId, BTreeSet<u8>>>,
}

const STANDARD: u8 = 0;
const PERSISTENT: u8 = 1;
const RECURSIVE: u8 = 2;

impl Model {
    fn register(&mut self, conn: ConnId, path: &str, kind: WatchKind) {
        let mut add = |child: bool, mode| {
            let side = if child {
                &mut self.child
            } else {
                &mut self.data
            };
            let conns = side.entry(path.to_owned()).or_default();
            conns.entry(conn).or_default().insert(mode);
        };
        match kind {
            WatchKind::Data | WatchKind::Exist => add(false, STANDARD),
            WatchKind::Child => add(true, STANDARD),
            WatchKind::Persistent => {
                add(false, PERSISTENT);
                add(true, PERSISTENT);
            }
            WatchKind::PersistentRecursive => add(false, RECURSIVE),
        }
    }

    fn fire(&mut self, child: bool, path: &str) -> BTreeSet<ConnId> {
        let side = if child {
            &mut self.child
        } else {
            &mut self.data
        };
        let mut told = BTreeSet::new();
        for (conn, modes) in side.get_mut(path).into_iter().flatten() {
            if !modes.is_empty() {
                told.insert(*conn);
            }
            modes.remove(&STANDARD);
        }
        let mut at = path.to_owned();
        while at != "/" {
            at.truncate(at.rfind('/').unwrap().max(1));
            for (conn, modes) in side.get(&at).into_iter().flatten() {
                if modes.contains(&RECURSIVE) {
                    told.insert(*conn);
                }
            }
        }
        told
    }

    fn change(&mut self, effect: Effect, path: &str) -> Told {
        let mut told = Told::new();
        let mut tell = |conns: &BTreeSet<ConnId>, event: EventType, path: &str| {
            for conn in conns {
                told.entry(*conn)
                    .or_default()
                    .push((event, path.to_owned()));
            }
        };
        let data = self.fire(false, path);
        let parent = match path.rfind('/').unwrap() {
            0 => "/",
            at => &path[..at],
        };
        match effect {
            Effect::DataSet => tell(&data, NodeDataChanged, path),
            Effect::Created => {
                tell(&data, NodeCreated, path);
                tell(&self.fire(true, parent), NodeChildrenChanged, parent);
            }
            Effect::Deleted => {
                tell(&data, NodeDeleted, path);
                let child = self.fire(true, path);
                tell(
                    &child.difference(&data).copied().collect(),
                    NodeDeleted,
                    path,
                );
                tell(&self.fire(true, parent), NodeChildrenChanged, parent);
            }
        }
        told
    }

    fn modes(&self, child: bool, conn: ConnId, path: &str) -> BTreeSet<u8> {
        let side = if child { &self.child } else { &self.data };
        let modes = side.get(path).and_then(|conns| conns.get(&conn));
        modes.cloned().unwrap_or_default()
    }

    fn has(&self, conn: ConnId, path: &str, watcher_type: WatcherType) -> bool {
        let data = self.modes(false, conn, path);
        let child = self.modes(true, conn, path);
        match watcher_type {
            WatcherType::Children => child.contains(&STANDARD),
            WatcherType::Data => data.contains(&STANDARD),
            WatcherType::Any => !data.is_empty() || !child.is_empty(),
            WatcherType::Persistent => data.contains(&PERSISTENT),
            WatcherType::PersistentRecursive => data.contains(&RECURSIVE),
        }
    }

    fn remove(&mut self, conn: ConnId, path: &str, watcher_type: WatcherType) -> bool {
        let had = self.has(conn, path, watcher_type);
        let (data, child): (&[u8], &[u8]) = match watcher_type {
            WatcherType::Children => (&[], &[STANDARD]),
            WatcherType::Data => (&[STANDARD], &[]),
            WatcherType::Any => (&[0, 1, 2], &[0, 1, 2]),
            WatcherType::Persistent => (&[PERSISTENT], &[PERSISTENT]),
            WatcherType::PersistentRecursive => (&[RECURSIVE], &[]),
        };
        for (side, modes) in [(&mut self.data, data), (&mut self.child, child)] {
            if let Some(set) = side.get_mut(path).and_then(|conns| conns.get_mut(&conn)) {
                set.retain(|mode| !modes.contains(mode));
            }
        }
        had
    }

    fn drop_connection(&mut self, conn: ConnId) {
        for conns in self.data.values_mut().chain(self.child.values_mut()) {
            conns.remove(&conn);
        }
    }

    fn counts(&self) -> WatchCounts {
        type Side = BTreeMap<String, BTreeMap<ConnId, BTreeSet<u8>>>;
        let pairs = |side: &Side, which: &dyn Fn(&BTreeSet<u8>) -> bool| {
            side.values()
                .flat_map(BTreeMap::values)
                .filter(|modes| which(modes))
                .count()
        };
        WatchCounts {
            data: pairs(&self.data, &|modes| !modes.is_empty()),
            child: pairs(&self.child, &|modes| !modes.is_empty()),
            recursive: pairs(&self.data, &|modes| modes.contains(&RECURSIVE)),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Register(u32, usize, WatchKind),
    Remove(u32, usize, WatcherType),
    Drop(u32),
    Fire(Effect, usize),
}

const PATHS: &[&str] = &["/", "/a", "/a/b", "/a/b/c", "/a/x", "/ab", "/z"];

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(WatchKind::Data),
        Just(WatchKind::Exist),
        Just(WatchKind::Child),
        Just(WatchKind::Persistent),
        Just(WatchKind::PersistentRecursive),
    ];
    let watcher_type = (1..=5).prop_map(|code| WatcherType::from_code(code).unwrap());
    let effect = prop_oneof![
        Just(Effect::Created),
        Just(Effect::Deleted),
        Just(Effect::DataSet)
    ];
    prop_oneof![
        6 => (0u32..5, 0..PATHS.len(), kind).prop_map(|(c, p, k)| Step::Register(c, p, k)),
        2 => (0u32..5, 0..PATHS.len(), watcher_type).prop_map(|(c, p, t)| Step::Remove(c, p, t)),
        1 => (0u32..5).prop_map(Step::Drop),
        4 => (effect, 1..PATHS.len()).prop_map(|(e, p)| Step::Fire(e, p)),
    ]
}

/// Several tables, each with the paths that hash to it.
struct Sharded(Vec<WatchTable>);

impl Sharded {
    fn at(&mut self, path: &str) -> &mut WatchTable {
        let len = self.0.len();
        &mut self.0[usize::try_from(path_hash(3, path) % len as u64).unwrap()]
    }
}

impl WatchShards for Sharded {
    fn with(&mut self, path: &str, visit: &mut dyn FnMut(&mut WatchTable)) {
        visit(self.at(path));
    }

    fn has_recursive(&self) -> bool {
        self.0.iter().any(WatchTable::has_recursive)
    }
}

proptest! {
    #[test]
    fn watch_tables_do_what_the_rules_say(
        seed in any::<u64>(),
        shards in 1usize..4,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut tables = Sharded(vec![WatchTable::new(seed); shards]);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Register(conn, path, kind) => {
                    let (conn, path) = (ConnId::new(conn), PATHS[path]);
                    tables.at(path).register(conn, path, kind);
                    model.register(conn, path, kind);
                }
                Step::Remove(conn, path, watcher_type) => {
                    let (conn, path) = (ConnId::new(conn), PATHS[path]);
                    let had = tables.at(path).has(conn, path, watcher_type);
                    prop_assert_eq!(had, model.has(conn, path, watcher_type));
                    let removed = tables.at(path).remove(conn, path, watcher_type);
                    prop_assert_eq!(removed, model.remove(conn, path, watcher_type));
                }
                Step::Drop(conn) => {
                    let conn = ConnId::new(conn);
                    for table in &mut tables.0 {
                        table.drop_connection(conn);
                    }
                    model.drop_connection(conn);
                }
                Step::Fire(effect, path) => {
                    let path = PATHS[path];
                    let mut out = Vec::new();
                    trigger(&mut tables, &change(effect, path), &mut out);
                    for notification in &out {
                        prop_assert!(notification.receivers.is_sorted_by(|a, b| a < b));
                    }
                    prop_assert_eq!(told(&out), model.change(effect, path));
                }
            }
            for table in &tables.0 {
                table.check();
            }
            let counts = tables.0.iter().map(WatchTable::counts);
            prop_assert_eq!(counts.fold(WatchCounts::default(), |a, b| a + b), model.counts());
        }
    }
}
