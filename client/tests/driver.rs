//! The driver over connections in memory, in paused time, with a scripted server on the other side:
//! what dropped futures leave behind, limits, broken servers, the order of states.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of a test may panic, and the server knows few operations"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep};
use zk_client::{
    Auth, Builder, Change, Client, ConnState, ConnectError, ConnectErrorKind, Connector,
    CredentialProvider, Credentials, ErrorKind, EventType, Io, OnExpire, Outcome, ReadResult,
    Server, SessionId, Stat, Stats, WatchItem, Zxid,
};
use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::request::Request;
use zk_proto::response::{
    CreateResponse, ErrorResponse, ExistsResponse, GetChildrenResponse, GetDataResponse,
    MultiResponse, Response, SetDataResponse, SyncResponse,
};
use zk_proto::{ErrorCode, OpCode, Xid, frame};

/// Longer than anything takes here but what is to time out.
const SOON: Duration = Duration::from_mins(1);
/// Polls after which every operation is done.
const POLLS_MAX: usize = 60;

// --- dropping -----------------------------------------------------------------------------------

type Operation = fn(Client) -> BoxFuture<'static, ()>;

/// Every kind of public future that may have something registered.
const OPERATIONS: &[(&str, Operation)] = &[
    ("get", |zk| async move { drop(zk.get("/a").await) }.boxed()),
    ("get with a watch", |zk| {
        async move { drop(zk.get("/a").watch().await) }.boxed()
    }),
    ("exists with a watch", |zk| {
        async move { drop(zk.exists("/a").watch().await) }.boxed()
    }),
    ("children with a watch", |zk| {
        async move { drop(zk.children("/a").watch().await) }.boxed()
    }),
    ("watch_node", |zk| {
        async move { drop(zk.watch_node("/a").await) }.boxed()
    }),
    ("watch_tree", |zk| {
        async move { drop(zk.watch_tree("/a").await) }.boxed()
    }),
    ("a watch that is waited for", |zk| {
        async move {
            let (_, watch) = zk.get("/a").watch().await.unwrap();
            watch.await;
        }
        .boxed()
    }),
    ("a stream that is read", |zk| {
        async move {
            let mut stream = zk.watch_tree("/a").await.unwrap();
            stream.next().await;
        }
        .boxed()
    }),
    ("observe", |zk| {
        async move {
            let mut states = zk.observe("/a");
            states.next().await;
            states.next().await;
        }
        .boxed()
    }),
    ("set", |zk| {
        async move { drop(zk.set("/a", "x").await) }.boxed()
    }),
    ("create", |zk| {
        async move { drop(zk.create("/a/b", "x").await) }.boxed()
    }),
    ("sync", |zk| {
        async move { drop(zk.sync("/a").await) }.boxed()
    }),
    ("a transaction", |zk| {
        async move { drop(zk.transaction().create("/a/b", "x").await) }.boxed()
    }),
    ("session", |zk| {
        async move { drop(zk.session().await) }.boxed()
    }),
];

#[tokio::test(start_paused = true)]
async fn dropping_any_future_at_any_poll_leaves_nothing() {
    let (script, client) = connected().await;
    for (name, operation) in OPERATIONS {
        for polls in 0..POLLS_MAX {
            let mut future = operation(client.clone());
            for _ in 0..polls {
                if poll!(&mut future).is_ready() {
                    break;
                }
                sleep(Duration::from_micros(100)).await;
            }
            drop(future);
            let is_tidy = || {
                let stats = client.stats();
                stats.outstanding == 0 && stats.watches == 0 && script.lock().watches.is_empty()
            };
            until(is_tidy, || {
                format!("{name} after {polls}: {:?}", client.stats())
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_futures_of_a_cut_off_client_leaves_nothing() {
    let (script, client) = connected().await;
    script.set(Mode::Unreachable(ConnectErrorKind::Io));
    script.cut();
    until(
        || !client.state().borrow().is_connected(),
        || "connected".into(),
    )
    .await;
    for (_, operation) in OPERATIONS {
        let mut future = operation(client.clone());
        assert!(poll!(&mut future).is_pending());
        drop(future);
    }
    script.set(Mode::Serve);
    let is_tidy = || {
        let Stats {
            outstanding,
            watches,
            ..
        } = client.stats();
        outstanding == 0 && watches == 0
    };
    until(is_tidy, || format!("{:?}", client.stats())).await;
    assert!(client.get("/a").await.unwrap().unwrap().data.is_empty());
    assert!(!script.lock().seen.contains(&OpCode::SetData), "withdrawn");
}

#[tokio::test(start_paused = true)]
async fn connect_that_is_dropped_leaves_no_session() {
    for polls in 0..POLLS_MAX {
        let script = Script::default();
        let mut connecting = script.builder().connect().boxed();
        for _ in 0..polls {
            if poll!(&mut connecting).is_ready() {
                break;
            }
            sleep(Duration::from_micros(100)).await;
        }
        drop(connecting);
        sleep(SOON).await;
        let state = script.lock();
        assert_eq!(state.begun, state.closed, "after {polls} polls");
    }
}

// --- limits -------------------------------------------------------------------------------------

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
async fn stream_that_nobody_reads_holds_its_buffer_and_a_gap() {
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
    assert!(
        matches!(items.last(), Some(WatchItem::Gap { .. })),
        "{items:?}"
    );
    // There is room again.
    script.lock().events = 1;
    client.sync("/a").await.unwrap();
    assert!(matches!(stream.next().await, Some(WatchItem::Event(_))));
}

// --- servers that are none ----------------------------------------------------------------------

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

// --- states -------------------------------------------------------------------------------------

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

// --- what is told of it -------------------------------------------------------------------------

/// Where a subscriber writes.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_traced_and_neither_data_nor_credentials_are() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let script = Script::default();
    let builder = script.builder().session_timeout(Duration::from_mins(10));
    script.lock().timeout_ms = Some(10_000);
    let client = builder
        .auth(Auth::digest("user", "canary-password"))
        .connect()
        .await
        .unwrap();
    client.set("/traced", "canary-data").await.unwrap();
    script.set(Mode::HangUp);
    let lost = client.set("/traced", "canary-data").await.unwrap_err();
    assert_eq!(lost.outcome(), Outcome::Unknown);
    assert!(!format!("{client:?} {lost:?}").contains("canary"));
    script.set(Mode::Serve);
    client.get("/traced").await.unwrap();
    client.close(SOON).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for wanted in [
        "INFO zk_client::driver: connected server=server:2181 session=0x1",
        "WARN zk_client::driver: session timeout was cut session=0x1 timeout=10s asked=600s",
        "INFO zk_client::driver: connection lost session=0x1",
        "request op=\"setData\" path=\"/traced\" xid=1 ",
        "outcome=\"ok\"",
        "outcome=\"unknown\" err=Disconnected",
        "INFO zk_client::driver: client closed reason=Requested",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(!text.contains("canary"), "{text}");
}

#[cfg(feature = "metrics")]
mod metered {
    use std::collections::BTreeMap;

    use metrics::{
        Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
        Unit,
    };

    use super::*;

    /// Numbers by name and labels; of histograms, how many there were.
    #[derive(Debug, Clone, Default)]
    struct Numbers(Arc<Mutex<BTreeMap<String, Arc<Cell>>>>);

    #[derive(Debug, Default)]
    struct Cell(std::sync::atomic::AtomicU64);

    impl Cell {
        fn add(&self, count: u64) {
            self.0
                .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        }
    }

    impl metrics::CounterFn for Cell {
        fn increment(&self, value: u64) {
            self.add(value);
        }

        fn absolute(&self, _: u64) {}
    }

    impl metrics::GaugeFn for Cell {
        fn increment(&self, _: f64) {
            self.add(1);
        }

        fn decrement(&self, _: f64) {
            self.add(u64::MAX);
        }

        fn set(&self, _: f64) {}
    }

    impl HistogramFn for Cell {
        fn record(&self, value: f64) {
            assert!((0.0..1_000.0).contains(&value), "{value} s");
            self.add(1);
        }
    }

    impl Numbers {
        fn cell(&self, key: &Key) -> Arc<Cell> {
            let labels: Vec<_> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            let name = format!("{} {}", key.name(), labels.join(" "));
            let mut cells = self.0.lock().unwrap();
            Arc::clone(cells.entry(name.trim().to_owned()).or_default())
        }

        fn get(&self, name: &str) -> u64 {
            let cells = self.0.lock().unwrap();
            let cell = cells
                .get(name)
                .unwrap_or_else(|| panic!("no {name} in {cells:?}"));
            cell.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    impl Recorder for Numbers {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.cell(key))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn recorder_is_told_of_requests_connections_and_watches() {
        let numbers = Numbers::default();
        let _recorder = metrics::set_default_local_recorder(&numbers);
        let (script, client) = connected().await;
        let (_, watch) = client.get("/a").watch().await.unwrap();
        client.sync("/a").await.unwrap();
        assert_eq!(numbers.get("zk_client_watches"), 1);
        drop(watch);
        script.set(Mode::HangUp);
        client.set("/a", "x").await.unwrap_err();
        script.set(Mode::Serve);
        client.wait_connected(SOON).await.unwrap();
        sleep(Duration::from_mins(1)).await;
        for (name, wanted) in [
            ("zk_client_requests_total op=getData result=ok", 1),
            ("zk_client_requests_total op=setData result=unknown", 1),
            ("zk_client_requests_total op=sync result=ok", 1),
            ("zk_client_queue_seconds op=getData", 1),
            ("zk_client_answer_seconds op=getData", 1),
            ("zk_client_suspended_seconds", 1),
            ("zk_client_connects_total", 2),
            ("zk_client_connections_lost_total cause=ended", 1),
            ("zk_client_watches", 0),
            ("zk_client_outstanding", 0),
        ] {
            assert_eq!(numbers.get(name), wanted, "{name}");
        }
        assert!(numbers.get("zk_client_ping_seconds") > 3);
        assert!(numbers.get("zk_client_bytes_in_total") > 50);
    }
}

// --- the server ---------------------------------------------------------------------------------

/// What servers do from now on, on every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Serve,
    /// Reads, and says nothing.
    Silent,
    /// Answers whatever comes with what nobody understands.
    Garbage,
    /// Closes the connection at the first byte.
    HangUp,
    /// There is no connection.
    Unreachable(ConnectErrorKind),
}

/// One server, told by the test what to do.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    /// Connections made before this was raised are cut.
    generation: u64,
    /// Whether it knows nothing that came with 3.6.
    is_old: bool,
    /// Whether the session is gone at the next look.
    is_expired: bool,
    /// What it grants, if not what is asked for.
    timeout_ms: Option<i32>,
    /// Sessions begun, and closed by their clients.
    begun: i64,
    closed: i64,
    data: Bytes,
    /// Events to be sent before the next answer.
    events: usize,
    /// Watches of the connection: path, kind.
    watches: BTreeSet<(String, i32)>,
    seen: Vec<OpCode>,
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn set(&self, mode: Mode) {
        self.lock().mode = mode;
    }

    fn cut(&self) {
        self.lock().generation += 1;
    }

    fn builder(&self) -> Builder {
        Client::builder("server").connector(self.clone()).seed(7)
    }

    async fn serve(self, mut io: DuplexStream) -> Option<()> {
        let generation = self.lock().generation;
        let mut input = BytesMut::new();
        let mut is_granted = false;
        loop {
            let Ok(Some(payload)) = frame::take(&mut input, 1 << 20) else {
                tokio::select! {
                    read = io.read_buf(&mut input) => {
                        if read.ok()? == 0 {
                            return None;
                        }
                    }
                    () = sleep(Duration::from_millis(1)) => {}
                }
                if self.lock().generation != generation {
                    return None;
                }
                continue;
            };
            sleep(Duration::from_micros(700)).await;
            let mut output = BytesMut::new();
            let mode = self.lock().mode;
            match mode {
                Mode::Silent => continue,
                Mode::HangUp | Mode::Unreachable(_) => return None,
                Mode::Garbage => output.extend_from_slice(&[0, 0, 0, 3, 1, 2, 3]),
                Mode::Serve if is_granted => self.answer(&payload, &mut output),
                Mode::Serve => {
                    is_granted = true;
                    self.grant(&payload, &mut output);
                }
            }
            // Two writes: frames come in pieces.
            let (head, tail) = output.split_at(output.len() / 2);
            io.write_all(head).await.ok()?;
            io.write_all(tail).await.ok()?;
        }
    }

    fn grant(&self, payload: &Bytes, output: &mut BytesMut) {
        let request = ConnectRequest::decode(&mut Reader::shared(payload)).unwrap();
        let mut state = self.lock();
        state.watches.clear();
        if request.session_id != SessionId::NONE && std::mem::take(&mut state.is_expired) {
            frame::write(output, &[&ConnectResponse::refused(true)]);
            return;
        }
        let session_id = if request.session_id == SessionId::NONE {
            state.begun += 1;
            SessionId::new(state.begun)
        } else {
            request.session_id
        };
        let granted = ConnectResponse {
            protocol_version: 0,
            timeout_ms: state.timeout_ms.unwrap_or(request.timeout_ms),
            session_id,
            password: Some(Bytes::from_static(&[1; PASSWORD_LEN])),
            read_only: Some(false),
        };
        frame::write(output, &[&granted]);
    }

    fn answer(&self, payload: &Bytes, output: &mut BytesMut) {
        let mut reader = Reader::shared(payload);
        let header = RequestHeader::decode(&mut reader).unwrap();
        let request = Request::decode(header.op().unwrap(), &mut reader).unwrap();
        let mut state = self.lock();
        state.seen.push(request.op());
        if state.is_old && request.op() == OpCode::MultiRead {
            let err = ErrorCode::Unimplemented.code();
            let (xid, zxid) = (header.xid, Zxid::new(-1));
            frame::write(output, &[&ReplyHeader { xid, zxid, err }]);
            state.generation += 1;
            return;
        }
        for _ in 0..std::mem::take(&mut state.events) {
            let event = zk_proto::WatcherEvent {
                event_type: EventType::NodeDataChanged.code(),
                state: 3,
                path: Some("/a".into()),
            };
            let header = ReplyHeader {
                xid: Xid::NOTIFICATION,
                zxid: Zxid::new(2),
                err: 0,
            };
            frame::write(output, &[&header, &event]);
        }
        let stat = Stat::default();
        let mut watch = |path: &Option<_>, kind| {
            let path: &zk_proto::ByteString = path.as_ref().unwrap();
            state.watches.insert((path.to_string(), kind))
        };
        let response = match &request {
            Request::GetData(read) => {
                if read.watch {
                    watch(&read.path, 2);
                }
                let data = Some(state.data.clone());
                Response::GetData(GetDataResponse { data, stat })
            }
            Request::Exists(read) => {
                if read.watch {
                    watch(&read.path, 2);
                }
                Response::Exists(ExistsResponse { stat })
            }
            Request::GetChildren(read) => {
                if read.watch {
                    watch(&read.path, 1);
                }
                let children = Vec::new();
                Response::GetChildren(GetChildrenResponse { children })
            }
            Request::AddWatch(add) => {
                watch(&add.path, 4 + add.mode);
                Response::AddWatch(ErrorResponse { err: 0 })
            }
            Request::RemoveWatches(removal) => {
                let path = removal.path.as_ref().unwrap().to_string();
                state.watches.remove(&(path, removal.watcher_type));
                Response::Empty
            }
            Request::SetData(_) => Response::SetData(SetDataResponse { stat }),
            Request::Create(create) => {
                let path = create.path.clone().unwrap();
                Response::Create(CreateResponse { path })
            }
            Request::Create2(create) => {
                let path = create.path.clone().unwrap();
                Response::Create2(zk_proto::response::Create2Response { path, stat })
            }
            Request::Sync(sync) => {
                let path = sync.path.clone();
                Response::Sync(SyncResponse { path })
            }
            Request::Multi(_) => Response::Multi(MultiResponse::default()),
            Request::CloseSession => {
                state.closed += 1;
                Response::Empty
            }
            _ => Response::Empty,
        };
        let header = ReplyHeader {
            xid: header.xid,
            zxid: Zxid::new(2),
            err: 0,
        };
        let body = response.to_bytes();
        if body.is_empty() {
            frame::write(output, &[&header]);
        } else {
            frame::write(output, &[&header, &response]);
        }
    }
}

#[async_trait]
impl Connector for Script {
    async fn connect(&self, _: &Server, within: Duration) -> Result<Box<dyn Io>, ConnectError> {
        let mode = self.lock().mode;
        if let Mode::Unreachable(kind) = mode {
            let wait = match kind {
                ConnectErrorKind::Timeout => within,
                _ => Duration::from_millis(1),
            };
            sleep(wait).await;
            return Err(ConnectError::new(kind, "not today"));
        }
        sleep(Duration::from_micros(300)).await;
        let (client, server) = duplex(4 * 1024);
        tokio::spawn(self.clone().serve(server));
        Ok(Box::new(client))
    }
}

async fn connected() -> (Script, Client) {
    let script = Script::default();
    let client = script.builder().connect().await.unwrap();
    (script, client)
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool, explain: impl Fn() -> String) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "{}", explain());
        sleep(Duration::from_millis(1)).await;
    }
}
