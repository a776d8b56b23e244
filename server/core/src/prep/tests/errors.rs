//! Which error wins: each row has the fault that is to be told, and others that are told later.

use zk_proto::acl::{Acl, Id};
use zk_proto::request::{MultiOp, SyncRequest};

use super::*;

const LIMITS: &str = "countHardLimit=2";

/// What the rows are about:
///
/// ```text
/// /open            anybody may do anything
/// /open/node       version 1
/// /open/parent     version 0, has a child
/// /closed          Bob only, has a child
/// /closed/node     Bob only, version 1
/// /ephemeral       of session 1
/// /full            two znodes, and no more
/// ```
fn world(is_pending: bool) -> World {
    let mut world = World::with(|options| options.enforces_quota = true, true);
    for path in ["/open", "/open/node", "/open/parent", "/open/parent/child"] {
        world.ok(&create(path));
    }
    world.ok(&set_data("/open/node", "v1", -1));
    world.ok(&create_acl("/closed", Some(open())));
    world.ok(&create_acl("/closed/node", Some(of_bob())));
    world.ask(&bob(), &set_data("/closed/node", "v1", 0));
    world.ok(&set_acl("/closed", Some(of_bob()), -1));
    world.ok(&ephemeral("/ephemeral"));
    world.ok(&create("/zookeeper/quota/full"));
    world.ok(&create("/full"));
    world.ok(&create_data(
        "/zookeeper/quota/full/zookeeper_limits",
        LIMITS,
    ));
    world.ok(&create_data("/zookeeper/quota/full/zookeeper_stats", ""));
    world.ok(&ephemeral("/full/ephemeral"));
    if !is_pending {
        world.settle();
    }
    world
}

const CLOSING: SessionFault = SessionFault::Closing;

/// Runs rows against an applied and an outstanding world, alone and, if that is possible, as part of
/// a multi.
fn check_rows(rows: &[(Requester, Request, ErrorCode)]) {
    for is_pending in [false, true] {
        for (from, request, expected) in rows {
            let mut world = world(is_pending);
            assert_eq!(world.err_of(from, request), *expected, "{request:?}");
            if let Some(multi) = in_multi(request) {
                assert_eq!(world.err_of(from, &multi), *expected, "{multi:?}");
            }
            world.settle();
        }
    }
}

#[test]
fn create_fails_in_order() {
    let null_acl = |path: &str, flags| {
        Request::Create2(CreateRequest {
            acl: None,
            ..create_record(path, flags)
        })
    };
    check_rows(&[
        (
            faulty(CLOSING),
            null_acl("none", 0),
            ErrorCode::SessionExpired,
        ),
        (session(1), null_acl("none", 0), ErrorCode::BadArguments),
        (
            session(1),
            null_acl("/no\0ne/a", 0),
            ErrorCode::BadArguments,
        ),
        (
            session(1),
            null_acl("/none/\u{1}", 0),
            ErrorCode::InvalidAcl,
        ),
        (session(1), create("/none/\u{1}"), ErrorCode::NoNode),
        (session(1), create("none/a"), ErrorCode::NoNode),
        (session(1), create("/closed/.."), ErrorCode::NoAuth),
        (session(1), create("/closed/node"), ErrorCode::NoAuth),
        (session(1), create("/ephemeral/.."), ErrorCode::BadArguments),
        (session(1), create("/open/"), ErrorCode::BadArguments),
        (session(1), create("//a"), ErrorCode::BadArguments),
        (session(1), create("/"), ErrorCode::NodeExists),
        (session(1), create("/full/ephemeral"), ErrorCode::NodeExists),
        (
            session(1),
            create("/full/ephemeral/a"),
            ErrorCode::NoChildrenForEphemerals,
        ),
        (session(1), create("/full/a"), ErrorCode::QuotaExceeded),
    ]);
}

#[test]
fn create_flags_come_first() {
    let mut world = world(false);
    let from = faulty(CLOSING);
    for (request, expected) in [
        (create_flags("none", 7), ErrorCode::BadArguments),
        (create_flags("none", -1), ErrorCode::BadArguments),
        (create_container("none", 9), ErrorCode::BadArguments),
        (create_ttl("none", 9, 5), ErrorCode::BadArguments),
        (create_flags("none", 5), ErrorCode::BadArguments),
        (create_container("none", 6), ErrorCode::BadArguments),
        (create_ttl("none", 5, 0), ErrorCode::BadArguments),
        (create_ttl("none", 6, -1), ErrorCode::BadArguments),
        (create_ttl("none", 5, 1 << 40), ErrorCode::BadArguments),
        (create_ttl("none", 0, 5), ErrorCode::BadArguments),
        (create_ttl("none", 5, 1), ErrorCode::SessionExpired),
        (
            create_ttl("none", 6, (1 << 40) - 1),
            ErrorCode::SessionExpired,
        ),
    ] {
        assert_eq!(world.err_of(&from, &request), expected, "{request:?}");
    }
}

#[test]
fn times_to_live_may_be_switched_off() {
    let mut world = World::new();
    let from = faulty(CLOSING);
    for request in [
        create_flags("none", 5),
        create_flags("none", 6),
        create_container("none", 5),
        create_ttl("none", 5, 1),
        create_ttl("none", 6, -1),
    ] {
        assert_eq!(world.err_of(&from, &request), ErrorCode::Unimplemented);
    }
    let plain = create_ttl("none", 0, 5);
    assert_eq!(world.err_of(&from, &plain), ErrorCode::BadArguments);
}

#[test]
fn delete_fails_in_order() {
    check_rows(&[
        (
            faulty(CLOSING),
            delete("none", 5),
            ErrorCode::SessionExpired,
        ),
        (session(1), delete("none", 5), ErrorCode::BadArguments),
        (session(1), delete("", 5), ErrorCode::BadArguments),
        (session(1), delete("/no\0ne", 5), ErrorCode::BadArguments),
        (session(1), delete("/", 5), ErrorCode::BadArguments),
        (session(1), delete("/zookeeper", 5), ErrorCode::BadArguments),
        (
            session(1),
            delete("/zookeeper/quota", 5),
            ErrorCode::BadArguments,
        ),
        (
            session(1),
            delete("/zookeeper/config", 5),
            ErrorCode::BadArguments,
        ),
        (session(1), delete("/none/a", 5), ErrorCode::NoNode),
        (session(1), delete("/closed/none", 5), ErrorCode::NoAuth),
        (session(1), delete("/closed/node", 5), ErrorCode::NoAuth),
        (session(1), delete("/open/none", 5), ErrorCode::NoNode),
        (session(1), delete("/open/", 5), ErrorCode::NoNode),
        (session(1), delete("/open/parent", 5), ErrorCode::BadVersion),
        (
            session(1),
            delete("/open/parent", -2),
            ErrorCode::BadVersion,
        ),
        (session(1), delete("/open/parent", 0), ErrorCode::NotEmpty),
        (session(1), delete("/open/parent", -1), ErrorCode::NotEmpty),
    ]);
}

#[test]
fn set_data_fails_in_order() {
    let mut rows = vec![
        (
            faulty(CLOSING),
            set_data("none", "", 5),
            ErrorCode::SessionExpired,
        ),
        (session(1), set_data("", "", 5), ErrorCode::BadArguments),
        (
            session(1),
            set_data("/open/", "", 5),
            ErrorCode::BadArguments,
        ),
        (session(1), set_data("/open/none", "", 5), ErrorCode::NoNode),
        (
            session(1),
            set_data("/closed/node", "", 5),
            ErrorCode::NoAuth,
        ),
        (
            session(1),
            set_data("/open/node", "", 5),
            ErrorCode::BadVersion,
        ),
        (
            session(1),
            set_data("/open/node", "", 0),
            ErrorCode::BadVersion,
        ),
        (
            bob(),
            set_data("/closed/node", "", 0),
            ErrorCode::BadVersion,
        ),
    ];
    check_rows(&rows);
    rows.clear();
    for is_pending in [false, true] {
        let mut world = world(is_pending);
        let limits = set_data(
            "/zookeeper/quota/full/zookeeper_limits",
            "byteHardLimit=9",
            -1,
        );
        world.ok(&limits);
        let long = set_data("/full", "0123456789", 5);
        assert_eq!(world.err(&long), ErrorCode::QuotaExceeded);
        assert_eq!(
            world.err(&set_data("/full", "same", 5)),
            ErrorCode::BadVersion
        );
    }
}

#[test]
fn set_acl_fails_in_order() {
    let nobody = vec![Acl::new(Perms::ALL, Id::AUTH)];
    check_rows(&[
        (
            faulty(CLOSING),
            set_acl("none", None, 5),
            ErrorCode::SessionExpired,
        ),
        (
            session(1),
            set_acl("none", None, 5),
            ErrorCode::BadArguments,
        ),
        (session(1), set_acl("/none", None, 5), ErrorCode::InvalidAcl),
        (
            session(1),
            set_acl("/none", Some(nobody), 5),
            ErrorCode::InvalidAcl,
        ),
        (
            session(1),
            set_acl("/none", Some(open()), 5),
            ErrorCode::NoNode,
        ),
        (
            session(1),
            set_acl("/closed/node", Some(open()), 5),
            ErrorCode::NoAuth,
        ),
        (
            session(1),
            set_acl("/open/node", Some(open()), 1),
            ErrorCode::BadVersion,
        ),
        (
            bob(),
            set_acl("/closed", Some(open()), 0),
            ErrorCode::BadVersion,
        ),
    ]);
}

#[test]
fn check_fails_in_order() {
    let check = |path: &str| multi([check(path, 5)]);
    check_rows(&[
        (faulty(CLOSING), check("none"), ErrorCode::SessionExpired),
        (session(1), check("/open/"), ErrorCode::BadArguments),
        (session(1), check("/open/none"), ErrorCode::NoNode),
        (session(1), check("/closed/node"), ErrorCode::NoAuth),
        (session(1), check("/open/node"), ErrorCode::BadVersion),
        (bob(), check("/closed/node"), ErrorCode::BadVersion),
    ]);
}

#[test]
fn delete_container_of_a_client_fails_in_order() {
    check_rows(&[
        (
            faulty(CLOSING),
            delete_container("none"),
            ErrorCode::SessionExpired,
        ),
        (
            session(1),
            delete_container("none"),
            ErrorCode::BadArguments,
        ),
        (
            session(1),
            delete_container("/zookeeper"),
            ErrorCode::BadArguments,
        ),
        (session(1), delete_container("/none/a"), ErrorCode::NoNode),
        (
            session(1),
            delete_container("/closed/none"),
            ErrorCode::NoAuth,
        ),
        (
            session(1),
            delete_container("/open/none"),
            ErrorCode::NoNode,
        ),
        (
            session(1),
            delete_container("/open/parent"),
            ErrorCode::NotEmpty,
        ),
        (
            session(1),
            delete_container("/ephemeral"),
            ErrorCode::BadVersion,
        ),
    ]);
}

#[test]
fn delete_container_of_the_server_fails_in_order() {
    check_rows(&[
        (server(), delete_container("none"), ErrorCode::BadArguments),
        (server(), delete_container("/none/a"), ErrorCode::NoNode),
        (server(), delete_container("/open/none"), ErrorCode::NoNode),
        (server(), delete_container("/closed"), ErrorCode::NotEmpty),
        (
            server(),
            delete_container("/ephemeral"),
            ErrorCode::BadVersion,
        ),
        (
            server(),
            delete_container("/open/node"),
            ErrorCode::BadVersion,
        ),
    ]);
}

#[test]
fn sessions_are_refused_as_the_tracker_says() {
    for (fault, is_standalone, expected) in [
        (SessionFault::Unknown, true, ErrorCode::UnknownSession),
        (SessionFault::Unknown, false, ErrorCode::SessionExpired),
        (SessionFault::Closing, true, ErrorCode::SessionExpired),
        (SessionFault::Moved, false, ErrorCode::SessionMoved),
    ] {
        let mut world = World::with(|options| options.is_standalone = is_standalone, false);
        for request in [create("/a"), delete("/a", -1), multi([check("/a", 0)])] {
            assert_eq!(world.err_of(&faulty(fault), &request), expected);
        }
    }
}

#[test]
fn sessions_that_no_transaction_began_are_unknown() {
    let mut world = World::new();
    let error = world.err_of(&session(99), &create("/a"));
    assert_eq!(error, ErrorCode::SessionExpired);
}

#[test]
fn local_sessions_write_but_own_nothing() {
    let mut world = World::new();
    let local = Requester {
        standing: Ok(SessionKind::Local),
        ..session(99)
    };
    assert_eq!(world.ask(&local, &create("/a")).error(), None);
    for request in [ephemeral("none"), create_flags("none", 3)] {
        let expected = ErrorCode::EphemeralOnLocalSession;
        assert_eq!(world.err_of(&local, &request), expected);
        assert_eq!(world.err_of(&local, &in_multi(&request).unwrap()), expected);
    }
    world.settle();
}

#[test]
fn null_paths_and_illegal_parts_of_a_multi_do_not_decode() {
    let mut world = World::new();
    let no_path = CreateRequest {
        path: None,
        ..create_record("", 0)
    };
    let unknown_flags = MultiOp::Create(create_record("/a", 9));
    let ttl_flags = MultiOp::CreateContainer(create_record("/a", 5));
    for request in [
        multi([MultiOp::Create(no_path.clone())]),
        multi([unknown_flags]),
        multi([ttl_flags]),
    ] {
        let refused = world.ask(&faulty(CLOSING), &request);
        let error = ErrorTxn {
            err: ErrorCode::MarshallingError.code(),
        };
        assert_eq!(refused.entry.txn, Txn::Single(Op::Error(error)));
    }
    // Alone, a path is looked at in its turn.
    let request = Request::Create(no_path);
    assert_eq!(world.err(&request), ErrorCode::MarshallingError);
    let refused = world.ask(&faulty(CLOSING), &request);
    assert_eq!(refused.error(), Some(ErrorCode::SessionExpired));
    for request in [
        Request::SetData(SetDataRequest::default()),
        Request::SetAcl(SetAclRequest::default()),
    ] {
        assert_eq!(world.err(&request), ErrorCode::BadArguments);
    }
    // Flags of createTTL are looked at one by one.
    let ttl = MultiOp::CreateTtl(ttl_record("/a", 9, 5));
    let refused = world.ask(&session(1), &multi([ttl, check("/", -1)]));
    assert!(matches!(refused.entry.txn, Txn::Multi(_)));
    assert_eq!(refused.error(), Some(ErrorCode::BadArguments));
}

#[test]
fn what_is_no_write_is_not_implemented() {
    let mut world = World::new();
    let sync = Request::Sync(SyncRequest { path: None });
    for request in [Request::Ping, Request::WhoAmI, sync] {
        assert_eq!(world.err(&request), ErrorCode::Unimplemented);
    }
}
