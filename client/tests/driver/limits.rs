//! What is too much, or too long.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use tokio::time::sleep;
use zk_client::{ConnectErrorKind, ErrorKind, Outcome, WatchItem};
use zk_proto::OpCode;

use crate::script::{Mode, Script, connected};

#[tokio::test(start_paused = true)]
async fn more_than_may_be_under_way_is_refused_unsent() {
    let script = Script::default();
    let client = script.builder().max_in_flight(2).connect().await.unwrap();
    script.set(Mode::Silent);
    let (_first, _second) = (client.get("/a").send(), client.get("/a").send());
    let error = client.get("/a").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backpressure);
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[tokio::test(start_paused = true)]
async fn what_was_withdrawn_makes_room_while_nothing_else_happens() {
    let script = Script::default();
    let client = script.builder().max_in_flight(2).connect().await.unwrap();
    client.get("/a").await.unwrap();
    script.lock().seen.clear();
    drop((client.get("/a").send(), client.get("/a").send()));
    // The clock goes on when everybody is done.
    sleep(Duration::from_millis(1)).await;
    client.exists("/a").send().await.unwrap();
    assert_eq!(script.lock().seen, [OpCode::Exists]);
}

#[tokio::test(start_paused = true)]
async fn what_was_withdrawn_makes_room_without_a_connection_too() {
    for bytes in [1 << 20, 100] {
        let script = Script::default();
        let builder = script.builder().max_in_flight(3).max_in_flight_bytes(bytes);
        let client = builder.connect().await.unwrap();
        script.set(Mode::Unreachable(ConnectErrorKind::Io));
        script.cut();
        let mut state = client.state();
        state.wait_for(|state| !state.is_connected()).await.unwrap();
        drop([(); 3].map(|()| client.get("/a").send()));
        // Whoever finds no room has those looked for that nobody waits for.
        let error = client.exists("/a").send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backpressure);
        sleep(Duration::from_millis(1)).await;
        let waits = client.exists("/a").send();
        script.set(Mode::Serve);
        waits.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_no_server_would_take_is_not_sent() {
    let script = Script::default();
    let client = script.builder().frame_max(100).connect().await.unwrap();
    let error = client.set("/a", vec![0; 100]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataTooLarge);
    assert_eq!(error.outcome(), Outcome::NotSent);
    assert_eq!(error.path(), Some("/a"));
    assert!(!script.lock().seen.contains(&OpCode::SetData));
    client.set("/a", vec![0; 10]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn request_longer_than_lengths_can_say_is_refused_whatever_the_limit() {
    let script = Script::default();
    let client = script.builder().frame_max(usize::MAX).connect().await;
    let client = client.unwrap();
    // Never touched, so never there.
    let huge = Bytes::from(vec![0; 1 << 31]);
    let errors = [
        client.set("/a", huge.clone()).await.unwrap_err(),
        client.create("/a", huge.clone()).await.unwrap_err(),
        client.transaction().set("/a", huge, 0).await.unwrap_err(),
    ];
    for error in errors {
        let told = (error.kind(), error.outcome());
        assert_eq!(
            told,
            (ErrorKind::DataTooLarge, Outcome::NotSent),
            "{error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn reply_that_is_too_long_costs_the_connection_only() {
    let script = Script::default();
    let client = script.builder().reply_max(1_000).connect().await.unwrap();
    script.lock().data = Bytes::from(vec![7; 2_000]);
    let (long, short) = (client.get("/a").send(), client.exists("/a").send());
    let error = long.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReplyTooLarge);
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(
        error.to_string().contains("exceeds the limit of 1000"),
        "{error}"
    );
    assert!(!error.is_retryable());
    // What was behind it is done on the next connection.
    assert!(short.await.unwrap().is_some());
    assert_eq!(client.stats().disconnects, 1);
    script.lock().data = Bytes::from_static(b"short");
    assert_eq!(client.get("/a").await.unwrap().unwrap().data, "short");
}

#[tokio::test(start_paused = true)]
async fn stream_that_nobody_reads_holds_its_buffer_and_a_gap_with_its_end() {
    let (script, client) = connected().await;
    let mut stream = client.watch_node("/a").buffer(4).await.unwrap();
    script.lock().events = 10_000;
    client.sync("/a").await.unwrap();
    assert_eq!(client.stats().watch_events, 10_000);
    assert_eq!(client.stats().watch_overflows, 9_996);
    let mut items = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        items.push(item);
    }
    let events = items
        .iter()
        .filter(|item| matches!(item, WatchItem::Event(_)));
    assert_eq!(events.count(), 4);
    let is_told = matches!(
        items.as_slice(),
        [.., WatchItem::Gap { .. }, WatchItem::Armed { .. }]
    );
    assert!(is_told && items.len() == 6, "{items:?}");
    // There is room again.
    script.lock().events = 1;
    client.sync("/a").await.unwrap();
    assert!(matches!(stream.next().await, Some(WatchItem::Event(_))));
}
