//! Sessions that begin and end while others ask.

use super::*;

fn paths(txn: &Txn) -> Vec<String> {
    let Txn::CloseSession(record) = txn else {
        panic!("{txn:?}");
    };
    let paths = record.paths.as_ref().unwrap().iter();
    paths.map(ToString::to_string).collect()
}

#[test]
fn end_of_a_session_deletes_what_it_owns_and_nothing_else() {
    for applied in 0..9 {
        let mut world = World::new();
        world.ask(&session(2), &create_session());
        world.ok(&create("/p"));
        world.ok(&ephemeral("/p/applied"));
        world.ok(&ephemeral("/p/deleted"));
        world.ok(&delete("/p/deleted", -1));
        world.ok(&ephemeral("/p/outstanding"));
        world.ok(&set_data("/p/outstanding", "x", 0));
        world.ask(&session(2), &ephemeral("/p/other"));
        world.ok(&ephemeral("/taken"));
        world.ok(&delete("/taken", -1));
        world.ask(&session(2), &ephemeral("/taken"));
        for _ in 0..applied {
            world.apply_one();
        }
        let txn = world.ok(&Request::CloseSession);
        assert_eq!(paths(&txn), ["/p/applied", "/p/outstanding"]);
        world.settle();
        let left: Vec<_> = world.tree.ephemerals(SessionId::new(2)).collect();
        assert_eq!(left.len(), 2);
        assert_eq!(world.tree.ephemeral_count(), 2);
    }
}

/// What is not listed is what the session still owns when it is applied.
#[test]
fn session_with_more_than_a_record_may_list_ends_all_the_same() {
    for applied in 0..60 {
        let mut world = World::with(|options| options.buffer_bytes_max = 200, false);
        world.ask(&session(2), &create_session());
        for parent in ["/p", "/q", "/r"] {
            world.ok(&create(parent));
            for n in 0..10 {
                world.ok(&ephemeral(&format!("{parent}/e{n}")));
            }
        }
        world.ok(&delete("/p/e3", -1));
        world.ok(&ephemeral("/taken"));
        world.ok(&delete("/taken", -1));
        world.ask(&session(2), &ephemeral("/taken"));
        for _ in 0..applied {
            world.apply_one();
        }
        let prepared = world.ask(&session(1), &Request::CloseSession);
        assert!(prepared.entry.to_bytes().len() <= 200 - 8);
        // Of each parent one, then whatever fits.
        let listed = paths(&prepared.entry.txn);
        assert_eq!(listed[..4], ["/p/e0", "/q/e0", "/r/e0", "/p/e1"]);
        assert!((8..29).contains(&listed.len()), "{listed:?}");
        // Prepared on top of all that goes, before any of it has gone; applying compares the digests.
        world.ask(&session(2), &create("/r/e9"));
        world.ask(&session(2), &delete("/q", -1));
        world.settle();
        assert_eq!(world.tree.ephemeral_count(), 1);
        let left: Vec<_> = world.tree.ephemerals(SessionId::new(2)).collect();
        assert_eq!(left, ["/taken"]);
        assert!(world.tree.get("/q").is_none());
    }
}

#[test]
fn closing_session_asks_for_nothing_more() {
    let mut world = World::new();
    world.ok(&Request::CloseSession);
    assert_eq!(world.err(&create("/a")), ErrorCode::SessionExpired);
    let again = world.ok(&Request::CloseSession);
    assert_eq!(paths(&again), [""; 0]);
    world.settle();
    assert_eq!(world.err(&create("/a")), ErrorCode::SessionExpired);
}

#[test]
fn session_asks_before_its_beginning_is_applied() {
    let mut world = World::new();
    world.ask(&session(2), &create_session());
    assert_eq!(world.ask(&session(2), &ephemeral("/a")).error(), None);
    assert_eq!(world.ask(&session(2), &Request::CloseSession).error(), None);
    world.settle();
    assert!(world.tree.get("/a").is_none());
    assert_eq!(world.tree.session_timeout(SessionId::new(2)), None);
}

#[test]
fn local_session_becomes_global() {
    let mut world = World::new();
    world.ask(&session(5), &create_session());
    let prepared = world.ask(&session(5), &ephemeral("/a"));
    assert_eq!(prepared.error(), None);
    world.settle();
}

#[test]
fn expired_session_is_closed_though_it_is_closing() {
    let mut world = World::new();
    world.ok(&ephemeral("/a"));
    let expired = Requester {
        cxid: Xid::new(0),
        ..faulty(SessionFault::Closing)
    };
    let prepared = world.ask(&expired, &Request::CloseSession);
    assert_eq!(paths(&prepared.entry.txn), ["/a"]);
    world.settle();
}

#[test]
fn connection_left_behind_cannot_end_its_session() {
    let mut world = World::new();
    let error = world.err_of(&faulty(SessionFault::Moved), &Request::CloseSession);
    assert_eq!(error, ErrorCode::SessionMoved);
    world.ok(&ephemeral("/a"));
}
