//! What comes out when nothing is wrong.

use super::*;
use crate::wire::txn::{CreateTxn, SetAclTxn, SetDataTxn};

#[test]
fn every_attempt_takes_the_next_zxid() {
    let mut world = World::new();
    let first = world.prep.last_zxid().get();
    world.ok(&create("/a"));
    world.err(&create("/a"));
    world.ask(&session(1), &multi([check("/none", 1)]));
    world.ok(&multi([]));
    let zxids: Vec<_> = world
        .queue
        .iter()
        .map(|e| e.header.zxid.get() - first)
        .collect();
    assert_eq!(zxids, [1, 2, 3, 4]);
    let digests: Vec<_> = world.queue.iter().map(|e| e.digest.is_some()).collect();
    assert_eq!(digests, [true, false, true, true]);
    world.settle();
    assert_eq!(world.tree.applied(), world.prep.last_zxid());
}

#[test]
fn header_says_who_asked_and_when() {
    let mut world = World::new();
    world.now = 1234;
    let entry = world.ask(&session(1), &create("/a")).entry;
    let header = TxnHeader {
        session: SessionId::new(1),
        cxid: Xid::new(7),
        zxid: Zxid::new(2),
        time: WallTime::from_millis(1234),
    };
    assert_eq!(entry.header, header);
}

#[test]
fn last_zxid_of_an_epoch_is_never_given_out() {
    let tree = Tree::new(TreeOptions::default());
    let last = Zxid::from_parts(Epoch::new(3), u32::MAX - 1);
    let options = |is_standalone| PrepOptions {
        is_standalone,
        ..PrepOptions::new(Access::new(Schemes::standard()))
    };
    let ask =
        |prep: &mut Prep| prep.prepare(WallTime::default(), &session(1), &create_session(), &tree);
    let mut prep = Prep::new(options(false), last);
    let epoch = Epoch::new(3);
    assert_eq!(ask(&mut prep), Err(EpochExhausted { epoch }));
    assert_eq!(prep.last_zxid(), last);
    // Where there are no epochs, the counter carries on.
    let mut prep = Prep::new(options(true), last);
    let zxids = [(); 3].map(|()| ask(&mut prep).unwrap().entry.header.zxid.get() - last.get());
    assert_eq!(zxids, [1, 2, 3]);
}

#[test]
fn transactions_hold_what_is_to_be_applied() {
    let mut world = World::new();
    let txn = world.ok(&Request::Create2(create_record("/a", 0)));
    let created = CreateTxn {
        path: "/a".into(),
        data: Some(Bytes::from_static(b"data")),
        acl: Some(open()),
        ephemeral: false,
        parent_cversion: Version::new(1),
    };
    assert_eq!(txn, Txn::Single(Op::Create2(created)));
    let txn = world.ok(&set_data("/a", "x", 0));
    let set = SetDataTxn {
        path: "/a".into(),
        data: Some(Bytes::from_static(b"x")),
        version: Version::new(1),
    };
    assert_eq!(txn, Txn::Single(Op::SetData(set)));
    let txn = world.ok(&set_acl("/a", Some([open(), open()].concat()), 0));
    let set = SetAclTxn {
        path: "/a".into(),
        acl: Some(open()),
        version: Version::new(1),
    };
    assert_eq!(txn, Txn::Single(Op::SetAcl(set)));
    let txn = world.ok(&multi([check("/a", 1)]));
    assert!(matches!(&txn, Txn::Multi(ops)
        if matches!(&ops[..], [Op::Check(r)] if r.version == Version::new(2))));
    world.settle();
}

#[test]
fn versions_wrap() {
    let mut world = World::new();
    world.ok(&create("/a"));
    world.settle();
    for (from, to) in [(i32::MAX, i32::MIN), (-2, -1), (-1, 0)] {
        let record = SetDataTxn {
            path: "/a".into(),
            data: None,
            version: Version::new(from),
        };
        let header = TxnHeader {
            zxid: world.tree.applied(),
            ..world.ask(&session(1), &create("/b")).entry.header
        };
        world.queue.clear();
        world.prep.release(Zxid::new(i64::MAX));
        world.tree.apply(&header, &Op::SetData(record).into());
        let txn = world.ok(&set_data("/a", "", from));
        assert!(matches!(&txn, Txn::Single(Op::SetData(r)) if r.version == Version::new(to)));
        world.queue.clear();
        world.prep.release(Zxid::new(i64::MAX));
    }
}

#[test]
fn sequential_names_count_creations_of_any_kind() {
    for is_pending in [false, true] {
        let mut world = World::with(|_| {}, true);
        world.ok(&create("/q"));
        world.ok(&create("/q/plain"));
        world.ok(&delete("/q/plain", -1));
        let mut names = Vec::new();
        for request in [
            create_flags("/q/a-", 2),
            create_flags("/q/b-", 3),
            create_ttl("/q/c-", 6, 50),
            create_container("/q/d-", 2),
            create_flags("/q/", 2),
            create_flags("/q/.", 2),
        ] {
            names.push(world.created(&request));
            world.err(&create_flags("/q/x/y", 2));
            if !is_pending {
                world.settle();
            }
        }
        let expected = [
            "/q/a-0000000001",
            "/q/b-0000000002",
            "/q/c-0000000003",
            "/q/d-0000000004",
            "/q/0000000005",
            "/q/.0000000006",
        ];
        assert_eq!(names, expected);
        world.settle();
    }
}

/// A parent whose counter is at its end.
#[test]
fn counter_of_names_sticks_at_its_end() {
    for is_pending in [false, true] {
        let mut world = World::new();
        world.ok(&create("/q"));
        world.settle();
        let record = CreateTxn {
            path: "/q/first".into(),
            data: None,
            acl: None,
            ephemeral: false,
            parent_cversion: Version::new(i32::MAX),
        };
        let header = world.ask(&session(1), &create("/unused")).entry.header;
        world.queue.clear();
        world.tree.apply(&header, &Op::Create(record).into());
        assert_eq!(world.created(&create_flags("/q/n-", 2)), "/q/n-2147483647");
        let settle = |world: &mut World| {
            if !is_pending {
                world.settle();
            }
        };
        settle(&mut world);
        assert_eq!(world.err(&create_flags("/q/n-", 2)), ErrorCode::NodeExists);
        assert_eq!(world.created(&create_flags("/q/m-", 2)), "/q/m-2147483647");
        settle(&mut world);
        world.ok(&create("/q/plain"));
        world.settle();
        let stat = world.tree.get("/q").unwrap().stored_stat();
        assert_eq!((stat.cversion.get(), stat.pzxid), (i32::MAX, header.zxid));
    }
}

#[test]
fn negative_numbers_are_padded_too() {
    let mut world = World::new();
    world.ok(&create("/q"));
    world.settle();
    let digits = format!("/q/n-{:010}", -3);
    assert_eq!(digits, "/q/n--000000003");
}

#[test]
fn kinds_of_znodes_are_what_was_asked_for() {
    let mut world = World::with(|_| {}, true);
    for (request, type_name) in [
        (create("/a"), "create"),
        (Request::Create2(create_record("/b", 0)), "create2"),
        (create_container("/c", 4), "createContainer"),
        (create_container("/d", 0), "createContainer"),
        (create_ttl("/e", 5, 7), "createTTL"),
        (ephemeral("/f"), "create"),
    ] {
        assert_eq!(world.ok(&request).type_name(), type_name);
    }
    // In a multi, flags decide.
    let ops = [
        (MultiOp::CreateTtl(ttl_record("/g", 0, 7)), 1),
        (MultiOp::CreateTtl(ttl_record("/h", 4, 7)), 19),
        (MultiOp::CreateTtl(ttl_record("/i", 5, 7)), 21),
        (MultiOp::Create2(create_record("/j", 4)), 19),
        (MultiOp::Create2(create_record("/k", 1)), 15),
        (MultiOp::CreateContainer(create_record("/l", 1)), 19),
    ];
    let (parts, types): (Vec<_>, Vec<_>) = ops.into_iter().unzip();
    let Txn::Multi(ops) = world.ok(&multi(parts)) else {
        panic!("a multi is one");
    };
    assert_eq!(ops.iter().map(Op::type_code).collect::<Vec<_>>(), types);
    world.settle();
}

#[test]
fn what_is_applied_is_forgotten() {
    let mut world = World::new();
    world.ok(&create("/a"));
    world.ok(&set_data("/a", "x", -1));
    world.ask(&session(2), &create_session());
    assert_eq!(world.prep.outstanding(), 3);
    world.apply_one();
    world.prep.release(world.tree.applied());
    assert_eq!(world.prep.outstanding(), 2, "the root is, /a is not");
    world.settle();
    world.prep.release(world.tree.applied());
    assert_eq!(world.prep.outstanding(), 0);
    assert!(
        world
            .prep
            .outstanding
            .owned_by(SessionId::new(1))
            .next()
            .is_none()
    );
}

#[test]
fn without_a_digest_none_is_told() {
    let tree = Tree::new(TreeOptions {
        digest: false,
        ..TreeOptions::default()
    });
    let mut prep = Prep::new(
        PrepOptions::new(Access::new(Schemes::standard())),
        Zxid::ZERO,
    );
    let prepared = prep.prepare(WallTime::default(), &session(1), &create_session(), &tree);
    assert_eq!(prepared.unwrap().entry.digest, None);
}
