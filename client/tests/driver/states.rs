//! The states of a connection, and the end of a client.

use std::time::Duration;

use futures_util::future::{FutureExt as _, TryFutureExt as _};
use futures_util::poll;
use tokio::time::{Instant, sleep};
use zk_client::{ConnState, ErrorKind, OnExpire, Outcome, SessionId};
use zk_proto::{ErrorCode, OpCode};

use crate::script::{Mode, SOON, Script, connected, until};

#[tokio::test(start_paused = true)]
async fn states_come_in_order_and_none_is_left_out() {
    let (script, client) = connected().await;
    let mut events = client.events();
    script.cut();
    assert!(matches!(
        events.next().await,
        Some(ConnState::Suspended { .. })
    ));
    assert!(
        matches!(events.next().await, Some(ConnState::Connected { session, .. }) if session == SessionId::new(1))
    );
    script.lock().is_expired = true;
    script.cut();
    assert!(matches!(
        events.next().await,
        Some(ConnState::Suspended { .. })
    ));
    assert!(
        matches!(events.next().await, Some(ConnState::Expired { session }) if session == SessionId::new(1))
    );
    assert!(
        matches!(events.next().await, Some(ConnState::Connected { session, .. }) if session == SessionId::new(2))
    );
    client.close(SOON).await;
    assert!(matches!(events.next().await, Some(ConnState::Closing)));
    assert!(matches!(events.next().await, Some(ConnState::Closed(_))));
    assert_eq!(events.next().await, None);
    assert!(client.state().borrow().is_closed());
}

#[tokio::test(start_paused = true)]
async fn expiry_closes_a_client_that_is_told_to_stop_then() {
    let script = Script::default();
    let builder = script.builder().on_expire(OnExpire::Stop);
    let client = builder.connect().await.unwrap();
    script.lock().is_expired = true;
    script.cut();
    client.closed().await;
    let error = client.get("/a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionExpired);
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[tokio::test(start_paused = true)]
async fn ephemeral_znode_that_takes_several_requests_appears_in_no_other_session() {
    for (is_set, refusal) in [
        (false, (OpCode::Create2, ErrorCode::NoNode)),
        (true, (OpCode::Create2, ErrorCode::NodeExists)),
    ] {
        let (script, client) = connected().await;
        script.lock().refusals = vec![refusal, (OpCode::SetData, ErrorCode::NoNode)];
        let create = client.create("/a/b", "x").ephemeral();
        let mut created = if is_set {
            create.or_set().into_future().map_ok(drop).boxed()
        } else {
            create.parents().into_future().map_ok(drop).boxed()
        };
        // The session ends between the first request and the next.
        assert!(poll!(&mut created).is_pending());
        until(
            || script.lock().seen.contains(&OpCode::Create2),
            || "not asked for".into(),
        )
        .await;
        script.lock().is_expired = true;
        script.cut();
        let mut events = client.events();
        let is_next = |state: &ConnState| state.session() == Some(SessionId::new(2));
        while !events.next().await.is_some_and(|state| is_next(&state)) {}
        let error = created.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SessionExpired, "{error:?}");
        let seen = script.lock().seen.clone();
        let creations = seen.iter().filter(|op| **op == OpCode::Create2);
        assert_eq!(creations.count(), 1, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn closing_does_what_was_submitted_before_and_closes_the_session() {
    let (script, client) = connected().await;
    let write = client.set("/a", "x").send();
    client.close(SOON).await;
    write.await.unwrap();
    assert_eq!(script.lock().closed, 1);
    let error = client.get("/a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(error.outcome(), Outcome::NotSent);
    // Once more does no harm.
    client.close(SOON).await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_in_time_under_a_silent_server() {
    let (script, client) = connected().await;
    script.set(Mode::Silent);
    let start = Instant::now();
    client.close(Duration::from_secs(1)).await;
    assert!(
        start.elapsed() <= Duration::from_millis(1_100),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn last_handle_closes_the_session() {
    let (script, client) = connected().await;
    let view = client.chroot("/x").unwrap();
    drop(client);
    view.sync("/").await.unwrap();
    assert_eq!(script.lock().closed, 0);
    drop(view);
    until(|| script.lock().closed == 1, || "not closed".into()).await;
}

#[tokio::test(start_paused = true)]
async fn detached_session_is_left_alone() {
    let (script, client) = connected().await;
    client.detach().await;
    let other = Script::default();
    let detaching = other.builder().detach_on_drop(true).connect().await;
    drop(detaching.unwrap());
    sleep(SOON).await;
    assert_eq!(script.lock().closed, 0);
    assert_eq!(other.lock().closed, 0);
}
