//! Servers that cannot be reached, fall silent, or speak in tongues; old ones.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use zk_client::{
    Change, Client, ConnState, ConnectErrorKind, CredentialProvider, Credentials, Error, ErrorKind,
    Outcome, ReadResult, Server,
};
use zk_proto::{ErrorCode, OpCode};

use crate::script::{Mode, Script, connected};

#[tokio::test(start_paused = true)]
async fn connect_reports_what_the_trouble_is() {
    let cases = [
        (Mode::Unreachable(ConnectErrorKind::Dns), ErrorKind::Dns),
        (Mode::Unreachable(ConnectErrorKind::Io), ErrorKind::Io),
        (Mode::Unreachable(ConnectErrorKind::Tls), ErrorKind::Tls),
        (
            Mode::Unreachable(ConnectErrorKind::Timeout),
            ErrorKind::Timeout,
        ),
        (Mode::Garbage, ErrorKind::Protocol),
        (Mode::Silent, ErrorKind::Timeout),
        (Mode::HangUp, ErrorKind::Io),
    ];
    for (mode, kind) in cases {
        let script = Script::default();
        script.set(mode);
        let error = script.builder().connect().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{mode:?}: {error}");
        assert_eq!(error.outcome(), Outcome::NotSent);
    }
}

/// Has nothing to say, ever.
#[derive(Debug)]
struct Hanging;

#[async_trait]
impl CredentialProvider for Hanging {
    async fn credentials(
        &self,
        _: &Server,
    ) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn provider_that_hangs_is_given_up_and_told_of() {
    let script = Script::default();
    let error = script.builder().credentials(Hanging).connect().await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    let told = "the provider did not answer within 5s";
    assert!(error.to_string().contains(told), "{error}");
}

#[tokio::test(start_paused = true)]
async fn garbage_costs_the_connection_and_leaves_writes_unknown() {
    let (script, client) = connected().await;
    script.set(Mode::Garbage);
    let write = client.set("/a", "x").send();
    let error = write.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.outcome(), Outcome::Unknown);
    script.set(Mode::Serve);
    client.get("/a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn server_that_falls_silent_is_left_before_the_session_ends() {
    let (script, client) = connected().await;
    script.set(Mode::Silent);
    let start = Instant::now();
    let mut state = client.state();
    state.wait_for(|state| !state.is_connected()).await.unwrap();
    let ConnState::Suspended { safe_until, .. } = state.borrow().clone() else {
        panic!("{:?}", state.borrow());
    };
    // A ping within a third of ten seconds, and a quarter to wait for its answer.
    assert!(
        start.elapsed() <= Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    assert!(safe_until >= Instant::now().into_std());
}

/// What an operation comes to that is answered only when it is sent again, and then with this error.
async fn answered_the_second_time<T>(
    ask: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    refusal: (OpCode, ErrorCode),
) -> Result<T, Error> {
    let (script, client) = connected().await;
    script.set(Mode::Silent);
    let loses_the_first = async {
        sleep(Duration::from_millis(10)).await;
        script.set(Mode::Serve);
        script.lock().refusals.push(refusal);
        script.cut();
    };
    let (result, ()) = tokio::join!(ask(&client), loses_the_first);
    assert!(script.lock().refusals.is_empty(), "it was not sent again");
    result
}

#[tokio::test(start_paused = true)]
async fn error_of_a_write_that_was_sent_again_says_nothing_of_its_first_attempt() {
    let refusal = (OpCode::SetData, ErrorCode::BadVersion);
    let set = async |client: &Client| client.set("/a", "x").version(0).idempotent().await;
    let error = answered_the_second_time(set, refusal).await.unwrap_err();
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (ErrorKind::BadVersion, Outcome::Unknown));

    let refusal = (OpCode::Delete, ErrorCode::NoNode);
    let delete = async |client: &Client| client.delete("/a").idempotent().await;
    let error = answered_the_second_time(delete, refusal).await.unwrap_err();
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (ErrorKind::NoNode, Outcome::Unknown));

    let delete = async |client: &Client| client.delete("/a").idempotent().if_exists().await;
    let there = answered_the_second_time(delete, refusal).await.unwrap();
    assert!(!there);
}

#[tokio::test(start_paused = true)]
async fn error_of_a_write_that_was_sent_once_and_of_any_read_is_final() {
    let (script, client) = connected().await;
    let refusal = (OpCode::SetData, ErrorCode::BadVersion);
    script.lock().refusals.push(refusal);
    let error = client.set("/a", "x").idempotent().await.unwrap_err();
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (ErrorKind::BadVersion, Outcome::Rejected));

    let refusal = (OpCode::GetData, ErrorCode::NoAuth);
    let get = async |client: &Client| client.get("/a").await;
    let error = answered_the_second_time(get, refusal).await.unwrap_err();
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (ErrorKind::NoAuth, Outcome::Rejected));
}

#[tokio::test(start_paused = true)]
async fn update_whose_change_is_lost_says_so_whatever_fails_behind_it() {
    let script = Script::default();
    let timeout = Duration::from_secs(3);
    let client = script
        .builder()
        .op_timeout(timeout)
        .connect()
        .await
        .unwrap();
    let update = client.update("/a", |_| {
        script.set(Mode::Silent);
        Change::Set(Bytes::from_static(b"x"))
    });
    let error = update.await.unwrap_err();
    assert_eq!(error.op(), Some(OpCode::SetData), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn request_longer_than_all_together_may_be_goes_alone() {
    let script = Script::default();
    let client = script.builder().max_in_flight_bytes(100).connect();
    let client = client.await.unwrap();
    client.set("/a", vec![0; 1_000]).send().await.unwrap();
    let (long, next) = (
        client.set("/a", vec![0; 1_000]).send(),
        client.get("/a").send(),
    );
    assert_eq!(next.await.unwrap_err().kind(), ErrorKind::Backpressure);
    long.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn server_before_3_6_reads_many_one_by_one() {
    let (script, client) = connected().await;
    script.lock().is_old = true;
    script.lock().data = Bytes::from_static(b"x");
    let below = client.chroot("/below").unwrap();
    for _ in 0..2 {
        let reads = below.read_many().get("/a").children("/b").await.unwrap();
        let [ReadResult::Node(node), ReadResult::Children(names)] = reads.as_slice() else {
            panic!("{reads:?}");
        };
        assert_eq!(node.data, "x");
        assert!(names.is_empty());
    }
    // It was asked for all at once only the first time.
    let seen = script.lock().seen.clone();
    let many = seen.iter().filter(|op| **op == OpCode::MultiRead);
    assert_eq!(
        (many.count(), client.stats().disconnects),
        (1, 1),
        "{seen:?}"
    );
    assert!(below.read_many().get("no path").await.is_err());
}
