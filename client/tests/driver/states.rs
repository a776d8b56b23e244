//! The states of a connection, and the end of a client.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use zk_client::{ConnState, ErrorKind, OnExpire, Outcome, SessionId};

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
