//! Watches that come and go on a connection, and go along to the next.

use super::*;

#[test]
fn change_of_a_list_is_told_while_one_recursive_watch_goes_and_the_next_comes() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.add_watch(1, AddWatchMode::Persistent);
    bench.add_watch(2, AddWatchMode::PersistentRecursive);
    bench.add_watch(3, AddWatchMode::PersistentRecursive);
    for xid in 1..=2 {
        bench.added(xid);
    }
    bench.handle(Event::Unsubscribe(WatchId(2)));
    // A server before 3.9 has the recursive watch only, and says no more than this.
    let event = WatcherEvent {
        event_type: EventType::NodeCreated.code(),
        state: 3,
        path: Some("/a/b".into()),
    };
    let actions = bench.reply(Xid::NOTIFICATION, 1, 0, &event.to_bytes());
    let is_told = |action: &Action<Ticket, u32>| {
        let Action::Deliver(1, Delivery::Event { kind, path, .. }) = action else {
            return false;
        };
        *kind == EventType::NodeChildrenChanged && path == "/a"
    };
    assert!(actions.iter().any(is_told), "{actions:?}");
}

/// While some are under way, the zxid that the next connection begins with stands still.
#[test]
fn registrations_of_one_path_that_were_put_off_together_are_all_made() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let answer = |bench: &mut Bench, xid| {
        let actions = bench.added(xid);
        assert!(bench.core.is_connected(), "{actions:?}");
    };
    assert_eq!(
        bench.add_watch(1, AddWatchMode::Persistent),
        [OpCode::AddWatch]
    );
    answer(&mut bench, 1);
    // Each of two goes while the next is being added.
    bench.add_watch(2, AddWatchMode::PersistentRecursive);
    bench.handle(Event::Unsubscribe(WatchId(1)));
    assert_eq!(bench.sent().0, [OpCode::RemoveWatches]);
    bench.add_watch(3, AddWatchMode::Persistent);
    answer(&mut bench, 2);
    bench.handle(Event::Unsubscribe(WatchId(2)));
    assert_eq!(bench.sent().0, [OpCode::RemoveWatches]);
    for xid in 3..=5 {
        answer(&mut bench, xid);
    }
    assert_eq!(bench.sent().0, [OpCode::SetWatches2, OpCode::SetWatches2]);
    for xid in 6..=7 {
        answer(&mut bench, xid);
    }
    assert_eq!((bench.core.rearming, bench.core.exposed), (0, 0));
    assert_eq!(bench.core.watched_zxid, Zxid::new(7));
}

/// Another server may not have got there, and would be read from as it was before.
#[test]
fn what_an_event_tells_of_is_not_read_of_from_a_server_that_is_behind_it() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    let event = WatcherEvent {
        event_type: EventType::NodeDataChanged.code(),
        state: 3,
        path: Some("/a".into()),
    };
    bench.reply(Xid::NOTIFICATION, 9, 0, &event.to_bytes());
    bench.lose();
    bench.now = bench.now.max(bench.core.next_deadline());
    bench.handle(Event::Tick);
    bench.handle(Event::Dialed);
    let mut wire = BytesMut::new();
    bench.core.transmit(bench.now, &mut wire);
    let payload = frame::take(&mut wire, frame::DEFAULT_FRAME_MAX)
        .unwrap()
        .unwrap();
    let request = ConnectRequest::decode(&mut Reader::shared(&payload)).unwrap();
    assert_eq!(request.last_zxid_seen, Zxid::new(9));
}
