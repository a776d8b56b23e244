//! The law of the module: how far the tree lags behind changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;
use zk_proto::sequence_number;

use super::*;
use crate::wire::snapshot::StoredStat;

/// A request, and how much is applied before the next one.
#[derive(Debug, Clone)]
struct Step {
    from: Requester,
    request: Request,
    sleep_ms: i64,
    apply: usize,
}

const PATHS: &[&str] = &[
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/d",
    "/e",
    "/e/f",
    "/",
    "/zookeeper",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/b",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/b/zookeeper_limits",
    "/zookeeper/quota/a/b/zookeeper_stats",
    "/a/",
    "//",
    "a",
];

const DATA: &[&str] = &[
    "",
    "four",
    "countHardLimit=4",
    "byteHardLimit=30,count=2",
    "count=1,bytes=3",
    "count=x",
];

fn path() -> impl Strategy<Value = &'static str> {
    // Those in front more often.
    prop_oneof![12 => select(&PATHS[..6]), 4 => select(&PATHS[8..14]), 1 => select(PATHS)]
}

fn acl() -> impl Strategy<Value = Option<Vec<Acl>>> {
    let reader = vec![Acl::new(Perms::READ | Perms::ADMIN, Id::ANYONE)];
    prop_oneof![
        30 => Just(Some(open())),
        1 => Just(Some(of_bob())),
        1 => Just(Some(vec![Acl::new(Perms::ALL, Id::AUTH)])),
        1 => Just(Some(reader)),
        1 => Just(None),
    ]
}

/// Lists that shut somebody out, as often as not.
fn tight_acl() -> impl Strategy<Value = Option<Vec<Acl>>> {
    prop_oneof![1 => acl(), 1 => Just(Some(of_bob()))]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 2 => 0..3, 1 => Just(-2)]
}

fn create_any() -> impl Strategy<Value = CreateRequest> {
    let flags = prop_oneof![9 => Just(0), 4 => Just(1), 4 => 2..4, 2 => Just(4), 1 => -1..8];
    (path(), select(DATA), acl(), flags).prop_map(|(path, data, acl, flags)| CreateRequest {
        path: Some(path.into()),
        data: Some(Bytes::from_static(data.as_bytes())),
        acl,
        flags,
    })
}

fn ttl_any() -> impl Strategy<Value = CreateTtlRequest> {
    let flags = prop_oneof![4 => 5..7, 1 => -1..8];
    (create_any(), flags, -1i64..300).prop_map(|(r, flags, ttl_ms)| CreateTtlRequest {
        path: r.path,
        data: r.data,
        acl: r.acl,
        flags,
        ttl_ms,
    })
}

fn part() -> impl Strategy<Value = MultiOp> {
    prop_oneof![
        8 => create_any().prop_map(MultiOp::Create),
        2 => create_any().prop_map(MultiOp::Create2),
        1 => create_any().prop_map(MultiOp::CreateContainer),
        1 => ttl_any().prop_map(MultiOp::CreateTtl),
        3 => (path(), version()).prop_map(|(p, v)| MultiOp::Delete(delete_record(p, v))),
        3 => (path(), select(DATA), version())
            .prop_map(|(p, d, v)| MultiOp::SetData(set_record(p, d, v))),
        1 => (path(), version()).prop_map(|(p, v)| check(p, v)),
    ]
}

fn alone(part: MultiOp) -> Request {
    match part {
        MultiOp::Create(r) => Request::Create(r),
        MultiOp::Create2(r) => Request::Create2(r),
        MultiOp::CreateContainer(r) => Request::CreateContainer(r),
        MultiOp::CreateTtl(r) => Request::CreateTtl(r),
        MultiOp::Delete(r) => Request::Delete(r),
        MultiOp::SetData(r) => Request::SetData(r),
        other @ (MultiOp::Check(_) | MultiOp::GetData(_) | MultiOp::GetChildren(_)) => {
            multi([other])
        }
    }
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        16 => part().prop_map(alone),
        4 => proptest::collection::vec(part(), 0..4).prop_map(multi),
        2 => (path(), tight_acl(), version()).prop_map(|(p, a, v)| set_acl(p, a, v)),
        1 => path().prop_map(delete_container),
        3 => Just(create_session()),
        1 => Just(Request::CloseSession),
    ]
}

fn requester() -> impl Strategy<Value = Requester> {
    let standing = prop_oneof![
        20 => Just(Ok(SessionKind::Global)),
        1 => Just(Ok(SessionKind::Local)),
        1 => select(vec![SessionFault::Closing, SessionFault::Moved]).prop_map(Err),
    ];
    (1i64..4, any::<bool>(), standing).prop_map(|(id, is_bob, standing)| Requester {
        session: SessionId::new(id),
        identities: if is_bob { bob() } else { session(1) }.identities,
        standing,
        ..session(1)
    })
}

fn step() -> impl Strategy<Value = Step> {
    let from = prop_oneof![20 => requester(), 1 => Just(server())];
    (from, request(), 0i64..200, 0usize..4).prop_map(|(from, request, sleep_ms, apply)| {
        // The server itself asks for this only.
        let request = match request {
            request if from.session != SessionId::NONE => request,
            _ => delete_container("/a/b/c"),
        };
        Step {
            from,
            request,
            sleep_ms,
            apply,
        }
    })
}

fn world(enforces_quota: bool) -> World {
    let mut world = World::with(|options| options.enforces_quota = enforces_quota, true);
    for request in [
        create("/a"),
        create("/a/b"),
        create("/zookeeper/quota/a"),
        create_data("/zookeeper/quota/a/zookeeper_limits", "countHardLimit=4"),
        create_data("/zookeeper/quota/a/zookeeper_stats", ""),
    ] {
        world.ok(&request);
    }
    world.ask(&session(2), &create_session());
    world.settle();
    world
}

type Contents = BTreeMap<String, (StoredStat, Option<Vec<u8>>, Vec<Acl>, usize)>;

fn contents(tree: &Tree) -> Contents {
    let mut contents = BTreeMap::new();
    tree.each_znode(|path, znode| {
        let data = znode.data().map(<[u8]>::to_vec);
        let rest = (
            znode.stored_stat(),
            data,
            znode.acl().to_vec(),
            znode.child_count(),
        );
        contents.insert(path.to_owned(), rest);
    });
    contents
}

/// Names that were made by counting, of all transactions that happened.
fn counted(entry: &TxnEntry, request: &Request) -> Option<(String, i32)> {
    let (Txn::Single(op), Request::Create(CreateRequest { path, .. })) = (&entry.txn, request)
    else {
        return None;
    };
    let number = sequence_number(path.as_ref()?, op.path()?)?;
    let (parent, _) = op.path()?.rsplit_once('/')?;
    Some((parent.to_owned(), number))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn lag_of_the_tree_changes_nothing(
        steps in proptest::collection::vec(step(), 0..60),
        enforces_quota in any::<bool>(),
    ) {
        let (mut prompt, mut late) = (world(enforces_quota), world(enforces_quota));
        for step in &steps {
            let expected = prompt.ask(&step.from, &step.request);
            prompt.settle();
            let prepared = late.ask(&step.from, &step.request);
            prop_assert_eq!(prepared, expected, "{:?}", step);
            for _ in 0..step.apply {
                late.apply_one();
            }
            for world in [&mut prompt, &mut late] {
                world.now += step.sleep_ms;
            }
            prop_assert_eq!(late.prep.outstanding.digest(), prompt.tree.digest());
        }
        late.settle();
        prop_assert_eq!(late.tree.recompute_digest(), late.tree.digest().unwrap());
        prop_assert_eq!(contents(&late.tree), contents(&prompt.tree));
        prop_assert!(late.tree.sessions().eq(prompt.tree.sessions()));
        let known: BTreeSet<_> = late.tree.sessions().map(|(id, _)| id).collect();
        prop_assert!(late.tree.ephemeral_owners().all(|owner| known.contains(&owner)));
        late.prep.release(late.tree.applied());
        let mut nothing = Outstanding::default();
        nothing.catch_up(&late.tree);
        prop_assert_eq!(format!("{:?}", late.prep.outstanding), format!("{nothing:?}"));
    }

    #[test]
    fn numbers_of_sequential_names_only_go_up(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut world = world(false);
        let mut last: BTreeMap<String, i32> = BTreeMap::new();
        for step in &steps {
            let prepared = world.ask(&step.from, &step.request);
            if let Some((parent, number)) = counted(&prepared.entry, &step.request) {
                prop_assert!(last.get(&parent).is_none_or(|&last| last < number));
                last.insert(parent, number);
            }
            for _ in 0..step.apply {
                world.apply_one();
            }
            // A parent that is made anew begins anew.
            let outstanding = &world.prep.outstanding;
            last.retain(|parent, _| {
                let at = outstanding.locate(&world.tree, parent);
                outstanding.see(&world.tree, at).is_some()
            });
        }
    }

    #[test]
    fn failed_multi_changes_nothing_outstanding(
        steps in proptest::collection::vec(step(), 0..30),
        parts in proptest::collection::vec(part(), 0..8),
    ) {
        let mut world = world(true);
        for step in &steps {
            world.ask(&step.from, &step.request);
        }
        world.prep.release(world.tree.applied());
        let before = format!("{:?}", world.prep.outstanding);
        let failing = parts.into_iter().chain([check("/none", 0)]);
        let prepared = world.ask(&session(1), &multi(failing.collect::<Vec<_>>()));
        prop_assert!(prepared.error().is_some());
        prop_assert_eq!(format!("{:?}", world.prep.outstanding), before);
        world.settle();
    }
}
