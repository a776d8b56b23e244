//! What the reference does and we do not: one test for each line of the module's list.

use super::*;

/// Apache checks against the list before, until the new one is applied.
#[test]
fn list_of_set_acl_counts_at_once() {
    let mut world = World::new();
    world.ok(&create("/a"));
    world.settle();
    world.ok(&set_acl("/a", Some(of_bob()), 0));
    assert_eq!(world.err(&create("/a/b")), ErrorCode::NoAuth);
    assert_eq!(world.err(&set_data("/a", "", -1)), ErrorCode::NoAuth);
    assert_eq!(world.ask(&bob(), &create("/a/b")).error(), None);
    world.settle();
}

/// Apache says NOTEMPTY until the end of the session is applied.
#[test]
fn parent_can_be_deleted_right_behind_the_end_of_a_session() {
    let mut world = World::new();
    world.ask(&session(2), &create_session());
    world.ok(&create("/p"));
    world.ask(&session(2), &ephemeral("/p/e"));
    world.settle();
    assert_eq!(world.err(&delete("/p", -1)), ErrorCode::NotEmpty);
    world.ask(&session(2), &Request::CloseSession);
    world.ok(&delete("/p", -1));
    world.settle();
}

/// Apache logs and proposes it, and nobody can read it.
#[test]
fn transaction_that_is_too_long_is_refused() {
    let mut world = World::with(|options| options.buffer_bytes_max = 1000, false);
    let users = (0..20).map(|n| Identity::new("digest", format!("user{n}:hash")));
    let many = Requester {
        identities: session(1).identities.with(users),
        ..session(1)
    };
    let auth = |perms: Perms| Acl::new(perms, Id::new("auth", ""));
    let all = vec![auth(Perms::ALL)];
    let each = vec![auth(Perms::READ), auth(Perms::WRITE)];
    let part = |path: &str| {
        MultiOp::Create(CreateRequest {
            acl: Some(all.clone()),
            ..create_record(path, 0)
        })
    };
    let long = || set_record("/one", &"x".repeat(1000), -1);
    assert_eq!(
        world
            .ask(&many, &create_acl("/one", Some(all.clone())))
            .error(),
        None
    );
    let state = format!("{:?}", world.prep.outstanding);
    for request in [
        create_acl("/two", Some(each.clone())),
        set_acl("/one", Some(each), -1),
        Request::SetData(long()),
        multi([part("/two"), part("/three")]),
        multi([MultiOp::SetData(long())]),
    ] {
        let error = world.err_of(&many, &request);
        assert_eq!(error, ErrorCode::MarshallingError, "{request:?}");
        let last = world.queue.back().unwrap();
        assert!(matches!(last.txn, Txn::Single(Op::Error(_))), "{last:?}");
        assert_eq!(format!("{:?}", world.prep.outstanding), state);
    }
    world.settle();
}

/// Its parts before the one that fails keep their transactions, and each part behind it is an error.
#[test]
fn multi_that_fails_is_refused_where_its_errors_are_too_long() {
    let mut world = World::with(|options| options.buffer_bytes_max = 1000, false);
    world.ok(&create("/a"));
    let mut fit = 0;
    for behind in 0..60 {
        let data = "x".repeat(500);
        let mut parts = vec![
            MultiOp::SetData(set_record("/a", &data, -1)),
            check("/missing", -1),
        ];
        parts.extend((0..behind).map(|_| check("/a", -1)));
        let prepared = world.ask(&session(1), &multi(parts));
        let len = world.queue.back().unwrap().to_bytes().len() + 8;
        assert!(len <= 1000, "{len} bytes with {behind} parts behind");
        if let Txn::Multi(_) = prepared.entry.txn {
            fit += 1;
        } else {
            assert_eq!(prepared.error(), Some(ErrorCode::MarshallingError));
        }
    }
    assert!((10..50).contains(&fit), "{fit}");
    world.settle();
}

/// To the byte, with the leader that INFORMANDACTIVATE puts before it.
#[test]
fn longest_transaction_fits_into_the_longest_buffer() {
    let mut world = World::with(|options| options.buffer_bytes_max = 1000, false);
    world.ok(&create("/a"));
    let longest = |world: &mut World, request: &dyn Fn(usize) -> Request| {
        let fits = |len: &usize| world.ask(&session(1), &request(*len)).error().is_none();
        let len = (1..1000).rev().find(fits).unwrap();
        assert!(len > 800, "{len}");
        let entry = world.queue.back().unwrap().to_bytes();
        assert_eq!(entry.len() + 8, 1000);
    };
    let data = |len| "x".repeat(len);
    longest(&mut world, &|len| set_data("/a", &data(len), -1));
    longest(&mut world, &|len| create_data("/b", &data(len)));
    longest(&mut world, &|len| {
        multi([
            MultiOp::SetData(set_record("/a", &data(len), -1)),
            check("/a", -1),
        ])
    });
    world.settle();
}

/// Apache has two records for the root, and logs a digest that is wrong.
#[test]
fn root_has_one_record() {
    let mut world = World::new();
    world.ok(&set_data("/", "x", 0));
    world.ok(&create("/a"));
    world.ok(&set_acl("/", Some(open()), 0));
    world.ok(&set_data("/", "y", 1));
    world.ok(&delete("/a", -1));
    // Applying compares the digests.
    world.settle();
}

/// Apache 3.9 logs it under a zxid that is taken.
#[test]
fn undecodable_request_takes_a_zxid_of_its_own() {
    let mut world = World::new();
    let (now, code) = (WallTime::default(), ErrorCode::MarshallingError);
    let last = world.prep.last_zxid().get();
    let refused = world
        .prep
        .refuse(now, &session(1), code, &world.tree)
        .unwrap();
    assert_eq!(refused.entry.header.zxid.get(), last + 1);
    assert_eq!(refused.error(), Some(code));
}

/// Apache makes a persistent znode of it, with the digest of something else.
#[test]
fn create_with_the_flags_of_a_container_makes_one() {
    let mut world = World::new();
    for request in [
        create_flags("/a", 4),
        Request::Create2(create_record("/b", 4)),
    ] {
        assert_eq!(world.ok(&request).type_name(), "createContainer");
    }
    world.settle();
}

/// Apache accepts it, fails to apply it, and cannot start from its log again.
#[test]
fn create_ttl_without_its_flags_is_refused_whatever_its_time() {
    for extended_types in [false, true] {
        let mut world = World::with(|_| {}, extended_types);
        for flags in 0..=4 {
            for ttl in [i64::MIN, -1, 0, 1] {
                let error = world.err(&create_ttl("/a", flags, ttl));
                assert_eq!(error, ErrorCode::BadArguments);
            }
        }
    }
}

/// Apache makes a container, with the digest of something else.
#[test]
fn create_container_with_other_flags_makes_one() {
    let mut world = World::new();
    for flags in 0..=4 {
        let path = world.created(&create_container("/c", flags));
        world.settle();
        let owner = world.tree.get(&path).unwrap().owner();
        assert_eq!(owner.get(), i64::MIN);
        world.ok(&delete(&path, -1));
    }
    world.settle();
}

/// Apache asks for no permission at all.
#[test]
fn delete_container_of_a_client_needs_permission() {
    let mut world = World::new();
    world.ok(&create_acl("/closed", Some(open())));
    world.ok(&create_container("/closed/c", 4));
    world.ok(&set_acl("/closed", Some(of_bob()), 0));
    let request = delete_container("/closed/c");
    assert_eq!(world.err(&request), ErrorCode::NoAuth);
    let gone = world.ask(&bob(), &request);
    assert_eq!(gone.entry.txn.type_name(), "deleteContainer");
    world.settle();
}

/// Apache deletes whatever stands there by then, if it has no children.
#[test]
fn delete_container_of_the_server_looks_again() {
    let mut world = World::with(|_| {}, true);
    world.ok(&create_ttl("/t", 5, 500));
    world.ok(&create_container("/c", 4));
    world.now += 501;
    world.ok(&set_data("/t", "", -1));
    let request = delete_container("/t");
    assert_eq!(world.err_of(&server(), &request), ErrorCode::BadVersion);
    world.now += 501;
    assert_eq!(world.ask(&server(), &request).error(), None);
    world.ok(&create("/t"));
    assert_eq!(world.err_of(&server(), &request), ErrorCode::BadVersion);
    // A container that never had a child stays, one that lost it goes.
    let request = delete_container("/c");
    assert_eq!(world.err_of(&server(), &request), ErrorCode::BadVersion);
    world.ok(&create("/c/x"));
    world.ok(&delete("/c/x", -1));
    assert_eq!(world.ask(&server(), &request).error(), None);
    world.settle();
}

/// Apache compares with what is applied, so that requests behind each other go beyond a limit.
#[test]
fn outstanding_changes_count_for_quotas() {
    let mut world = World::with(|options| options.enforces_quota = true, false);
    world.ok(&create("/q"));
    world.ok(&create("/zookeeper/quota/q"));
    world.ok(&create_data(
        "/zookeeper/quota/q/zookeeper_limits",
        "countHardLimit=3",
    ));
    world.ok(&create_data("/zookeeper/quota/q/zookeeper_stats", ""));
    world.settle();
    world.ok(&create("/q/a"));
    let parts = ["/q/b", "/q/c"].map(|path| MultiOp::Create(create_record(path, 0)));
    assert_eq!(world.err(&multi(parts)), ErrorCode::QuotaExceeded);
    world.ok(&create("/q/b"));
    assert_eq!(world.err(&create("/q/c")), ErrorCode::QuotaExceeded);
    world.ok(&delete("/q/a", -1));
    world.ok(&create("/q/c"));
    world.settle();
}
