//! Servers and links that are slow, silent, gone, or not what they should be: nothing hangs, nothing
//! leaks, and every error tells the truth about what it left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use zk_client::{Change, Client, Error, ErrorKind, Outcome, Resolver, Update};
use zk_testkit::fault::{Direction, Proxy};

use self::common::{
    SOON, Setup, behind_proxy, fresh, not_sent, session_of, shared, soon, until, until_connected,
    until_suspended,
};

/// A session timeout that makes the client notice silence within a second.
const ALERT: Duration = Duration::from_secs(4);

#[track_caller]
fn unknown<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) -> Error {
    let error = result.expect_err("the answer is lost");
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (kind, Outcome::Unknown), "{error:?}");
    error
}

// --- names ------------------------------------------------------------------------------------

/// Answers of name servers, one after another; the last goes on.
#[derive(Debug, Clone)]
struct Names(Arc<Mutex<Vec<Option<SocketAddr>>>>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((host, port), ("zk.test", 4_181));
        let mut answers = self.0.lock().unwrap();
        let answer = match answers.len() {
            1 => answers.first().copied().flatten(),
            _ => answers.remove(0),
        };
        let none = || io::Error::new(io::ErrorKind::NotFound, "no such name today");
        Ok(vec![answer.ok_or_else(none)?])
    }
}

#[tokio::test]
async fn name_is_looked_up_before_every_attempt() {
    let servers = shared().await;
    let [old, new] = [
        Proxy::start(servers.addr(0)).await.unwrap(),
        Proxy::start(servers.addr(0)).await.unwrap(),
    ];
    let names = Names(Arc::new(Mutex::new(vec![None, Some(old.addr())])));
    let connect = format!("zk.test:4181{}", fresh());
    let zk = Client::builder(&connect).resolver(names.clone());
    let zk = zk.connect().await.unwrap();
    zk.ensure_path("/a").await.unwrap();
    let session = session_of(&zk);
    // The server moves; for a while nobody knows where to.
    *names.0.lock().unwrap() = vec![None, None, Some(new.addr())];
    drop(old);
    until_suspended(&zk).await;
    soon("it goes on", zk.set("/a", "x")).await.unwrap();
    assert_eq!(session_of(&zk), session);
}

#[tokio::test]
async fn name_without_address_is_told() {
    let names = Names(Arc::new(Mutex::new(vec![None])));
    let zk = Client::builder("zk.test:4181").resolver(names);
    let error = zk
        .connect_timeout(Duration::from_millis(200))
        .connect()
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns);
    assert!(error.to_string().contains("no such name today"), "{error}");
}

// --- silence ------------------------------------------------------------------------------------

#[tokio::test]
async fn paused_server_is_given_up_and_taken_again() {
    let servers = Setup::alone().start().await;
    let zk = servers.builder().session_timeout(ALERT).connect().await;
    let zk = zk.unwrap();
    let session = session_of(&zk);
    zk.create("/a", "").await.unwrap();
    servers.pause(0).await;
    let begun = Instant::now();
    let (set, get) = (zk.set("/a", "x").send(), zk.get("/a").send());
    unknown(soon("it fails", set).await, ErrorKind::Disconnected);
    // A quarter of the session timeout without an answer is too long; a busy machine is late to notice.
    assert!(begun.elapsed() < ALERT, "{:?}", begun.elapsed());
    servers.resume(0).await;
    let node = soon("the read is sent again", get).await.unwrap().unwrap();
    assert!(node.stat.version.get() <= 1);
    assert_eq!(session_of(&zk), session);
}

#[tokio::test]
async fn half_open_link_is_noticed_whichever_way_it_is_dead() {
    let servers = shared().await;
    for way in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        let proxy = Proxy::start(servers.addr(0)).await.unwrap();
        let connect = format!("{}{}", proxy.addr(), fresh());
        let zk = Client::builder(&connect).session_timeout(ALERT).connect();
        let zk = zk.await.unwrap();
        zk.ensure_path("/a").await.unwrap();
        let session = session_of(&zk);
        proxy.stall(way, true);
        let begun = Instant::now();
        let set = zk.set("/a", "x").await;
        unknown(set, ErrorKind::Disconnected);
        assert!(begun.elapsed() < ALERT, "{way:?} {:?}", begun.elapsed());
        proxy.heal();
        until_connected(&zk).await;
        assert_eq!(session_of(&zk), session);
        let version = zk.get("/a").await.unwrap().unwrap().stat.version.get();
        assert!(version <= 1, "{way:?} {version}");
        // An idle link is noticed as well, by the ping that is not answered.
        proxy.drop_bytes(way, true);
        until_suspended(&zk).await;
        proxy.cut_all();
        proxy.heal();
        until_connected(&zk).await;
        assert_eq!(session_of(&zk), session);
    }
}

#[tokio::test]
async fn operations_end_at_their_deadline() {
    let servers = shared().await;
    let path = fresh();
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    zk.create(&path, "").await.unwrap();
    let quick = zk.with_timeout(Duration::from_millis(100));
    proxy.stall(Direction::ToClient, true);
    let begun = Instant::now();
    unknown(quick.set(&path, "1").await, ErrorKind::Timeout);
    unknown(quick.get(&path).watch().await, ErrorKind::Timeout);
    let short = Duration::from_millis(50);
    unknown(zk.exists(&path).timeout(short).await, ErrorKind::Timeout);
    unknown(
        zk.transaction().check(&path, 0).timeout(short).await,
        ErrorKind::Timeout,
    );
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // The answers that come late go nowhere, and the connection is as good as before.
    proxy.heal();
    zk.sync("/").await.unwrap();
    assert_eq!(zk.get(&path).await.unwrap().unwrap().data, "1");
    assert_eq!((zk.stats().disconnects, zk.stats().watches), (0, 0));

    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    not_sent(quick.set(&path, "2").await, ErrorKind::Timeout);
    not_sent(quick.get(&path).await, ErrorKind::Timeout);
    not_sent(quick.wait_connected(short).await, ErrorKind::Timeout);
    not_sent(quick.wait_for(&path, short).await, ErrorKind::Timeout);
    let update = quick.update(&path, |_| Change::Delete).await;
    not_sent(update, ErrorKind::Timeout);
    let session = quick.session();
    drop(session);
    proxy.heal();
    assert_eq!(zk.get(&path).await.unwrap().unwrap().data, "1");
    assert_eq!(zk.stats().outstanding, 0);
}

#[tokio::test]
async fn slow_link_is_no_dead_link() {
    let servers = shared().await;
    let path = fresh();
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let zk = Client::builder(&proxy.addr().to_string()).session_timeout(2 * ALERT);
    let zk = zk.connect().await.unwrap();
    let large = vec![7; 900_000];
    zk.create(&path, large.clone()).await.unwrap();
    proxy.delay(Direction::Both, ALERT / 10);
    for _ in 0..3 {
        zk.exists(&path).await.unwrap();
    }
    proxy.heal();
    // The reply takes longer than that of a ping may.
    proxy.throttle(Direction::ToClient, Some(300_000));
    let node = zk.get(&path).await.unwrap().unwrap();
    assert_eq!(node.data.len(), large.len());
    assert_eq!(zk.stats().disconnects, 0);
}

// --- nobody there -------------------------------------------------------------------------------

/// An address that lets nobody connect, and does not refuse either.
async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // Nobody accepts: when the queue is full, the kernel stops to answer.
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(addr)).await {
        waiting.push(stream);
    }
    (addr, listener, waiting)
}

#[tokio::test]
async fn connect_says_why_nobody_is_there() {
    let (hole, _listener, _waiting) = black_hole().await;
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    for (servers, kind) in [
        (refused.to_string(), ErrorKind::Io),
        ("does-not-exist.invalid".to_owned(), ErrorKind::Dns),
        (hole.to_string(), ErrorKind::Timeout),
        (format!("{refused},127.0.0.1:1"), ErrorKind::Io),
    ] {
        let begun = Instant::now();
        let within = Duration::from_millis(1_500);
        let connect = Client::builder(&servers)
            .session_timeout(Duration::from_secs(1))
            .connect_timeout(within);
        let error = not_sent(connect.connect().await, kind);
        let elapsed = begun.elapsed();
        assert!(elapsed >= within && elapsed < SOON, "{elapsed:?}");
        assert!(
            error
                .to_string()
                .contains(servers.split([':', ',']).next().unwrap()),
            "{error}"
        );
        assert!(error.is_retryable());

        let zk = Client::builder(&servers)
            .op_timeout(within / 5)
            .start()
            .unwrap();
        not_sent(zk.create("/a", "").await, ErrorKind::Timeout);
        not_sent(zk.get("/a").await, ErrorKind::Timeout);
        assert!(zk.stats().connects == 0 && zk.stats().outstanding == 0);
    }
}

#[tokio::test]
async fn illegal_settings_are_refused_at_once() {
    for text in [
        "",
        ",",
        "host:0",
        "host:port",
        "h:1:2",
        "[::1",
        "a b",
        "/only",
        "h/a//b",
        "x://h",
    ] {
        not_sent(Client::connect(text).await, ErrorKind::ConnectString);
    }
    let zero = Client::builder("h").session_timeout(Duration::ZERO).start();
    not_sent(zero, ErrorKind::Config);
    not_sent(
        Client::builder("h").max_in_flight(0).start(),
        ErrorKind::Config,
    );
    let zk = Client::builder("127.0.0.1:1").start().unwrap();
    assert_eq!(
        zk.set_servers("").unwrap_err().kind(),
        ErrorKind::ConnectString
    );
}

#[tokio::test]
async fn one_good_server_among_bad_ones_is_enough() {
    let servers = shared().await;
    let (hole, _listener, _waiting) = black_hole().await;
    let (garbage, _server) = impostor(|mut stream| {
        async move {
            stream.write_all(&[0xff; 64]).await.ok();
        }
        .boxed()
    })
    .await;
    let connect = format!(
        "{},{hole},does-not-exist.invalid,127.0.0.1:1,{garbage}",
        servers.addr(0)
    );
    for seed in 0..5 {
        let zk = Client::builder(&connect).session_timeout(ALERT).seed(seed);
        let zk = soon("it finds the good one", zk.connect()).await.unwrap();
        zk.sync("/").await.unwrap();
    }
}

// --- strangers ----------------------------------------------------------------------------------

/// Something that listens and is no `ZooKeeper` server.
async fn impostor(
    serve: impl Fn(TcpStream) -> BoxFuture<'static, ()> + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (addr, task)
}

/// Answers every connection with these bytes, whatever it is told, and holds it open.
async fn says(bytes: Vec<u8>) -> (SocketAddr, JoinHandle<()>) {
    impostor(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            stream.write_all(&bytes).await.ok();
            let mut ignored = Vec::new();
            stream.read_to_end(&mut ignored).await.ok();
        }
        .boxed()
    })
    .await
}

#[tokio::test]
async fn who_does_not_speak_the_protocol_is_found_out_at_once() {
    let mut rng = Rng::with_seed(7);
    let mut random: Vec<u8> = (0..4_096).map(|_| rng.u8(..)).collect();
    random[0] = 0x9e;
    let mut framed = vec![0, 0, 0, 37];
    framed.extend((0..37).map(|_| rng.u8(..)));
    for (what, bytes) in [
        ("random bytes", random),
        ("a frame of random bytes", framed),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("an over-long frame", vec![0x7f, 0xff, 0xff, 0xff, 0]),
        ("a negative length", vec![0xff, 0xff, 0xff, 0xff, 0]),
        ("an empty frame", vec![0, 0, 0, 0]),
        ("a short frame", vec![0, 0, 0, 3, 1, 2, 3]),
    ] {
        let (addr, _server) = says(bytes).await;
        let connect = Client::builder(&addr.to_string())
            .connect_timeout(SOON)
            .connect();
        let begun = Instant::now();
        let error = connect.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{what}: {error:?}");
        assert!(begun.elapsed() < SOON / 4, "{what}: {:?}", begun.elapsed());
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }
}

#[tokio::test]
async fn who_closes_or_never_answers_is_given_the_time_allowed() {
    let within = Duration::from_millis(1_500);
    let (closes, _closer) = impostor(|stream| async move { drop(stream) }.boxed()).await;
    let (silent, _silent) = says(Vec::new()).await;
    let (slow, _slow) = says(vec![0, 0]).await;
    for (addr, kind) in [
        (closes, ErrorKind::Io),
        (silent, ErrorKind::Timeout),
        (slow, ErrorKind::Timeout),
    ] {
        let connect = Client::builder(&addr.to_string())
            .session_timeout(Duration::from_secs(1))
            .connect_timeout(within);
        let begun = Instant::now();
        not_sent(connect.connect().await, kind);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn replies_that_nobody_asked_for_cost_the_connection_and_nothing_else() {
    // A proper handshake, then nonsense.
    let mut hello = vec![
        0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 0, 9,
    ];
    hello.extend([0, 0, 0, 16]);
    hello.extend([1; 16]);
    hello.push(0);
    let header = |xid: i32, err: i32| {
        let mut frame = vec![0, 0, 0, 16];
        frame.extend(xid.to_be_bytes());
        frame.extend([0; 8]);
        frame.extend(err.to_be_bytes());
        frame
    };
    for nonsense in [
        header(77, 0),
        header(0, 0),
        header(-77, -101),
        vec![0xff; 4],
        vec![0, 0, 0, 2, 1, 1],
        // A watch event without a body.
        header(-1, 0),
        // Answers to a ping and to a registration of watches that were never sent.
        header(-2, 0),
        header(-8, 0),
    ] {
        let mut bytes = hello.clone();
        bytes.extend(&nonsense);
        let (addr, _server) = says(bytes).await;
        let zk = Client::builder(&addr.to_string()).start().unwrap();
        until("it is given up", async || zk.stats().disconnects > 0).await;
        let get = zk.get("/a").timeout(Duration::from_millis(100)).await;
        assert_eq!(get.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(zk.stats().outstanding, 0);
    }
}

// --- cuts ---------------------------------------------------------------------------------------

#[tokio::test]
async fn exchange_that_is_cut_anywhere_tells_the_truth() {
    let servers = shared().await;
    let judge = servers.client().await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let connect = format!("{}{}", proxy.addr(), judge.chroot_path());
    let mut counts = [0; 3];
    for way in [Direction::ToServer, Direction::ToClient] {
        for bytes in 0.. {
            let path = format!("/{way:?}-{bytes}");
            until("the last one has gone", async || proxy.connections() == 0).await;
            proxy.cut_after(way, bytes);
            let zk = common::builder(&connect).start().unwrap();
            let create = zk.create(&path, "data").send();
            let get = zk.get(&path).send();
            let create = soon("it ends", create).await;
            let get = soon("it ends", get).await.unwrap();
            let is_there = judge.exists(&path).await.unwrap().is_some();
            let count = match create {
                Ok(_) => {
                    assert!(is_there && get.is_some(), "{path}");
                    0
                }
                Err(error) if error.outcome() == Outcome::Unknown => {
                    assert_eq!(error.kind(), ErrorKind::Disconnected);
                    1
                }
                Err(error) => {
                    assert!(!is_there && get.is_none(), "{path}: {error:?}");
                    2
                }
            };
            counts[count] += 1;
            let stats = zk.stats();
            zk.detach().await;
            if stats.connects == 1 && stats.attempts_failed == 0 && stats.disconnects == 0 {
                // All of the exchange fits before the cut.
                proxy.heal();
                break;
            }
        }
    }
    assert!(counts[0] > 50 && counts[1] > 50, "{counts:?}");
}

#[tokio::test]
async fn update_settles_what_a_cut_left_open() {
    let servers = shared().await;
    let path = fresh();
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    zk.create(&path, "0").await.unwrap();
    let mut probable = 0;
    for n in 1..=30_i32 {
        proxy.cut_after(Direction::ToClient, fastrand::u64(..220));
        let update = zk.update(&path, |node| {
            let text = std::str::from_utf8(&node.unwrap().data).unwrap();
            let count: i32 = text.parse().unwrap();
            Change::Set((count + 1).to_string().into())
        });
        let update = soon("it ends", update).await.unwrap();
        assert_ne!(update, Update::Kept);
        probable += i32::from(update == Update::Probable);
        let node = zk.get(&path).await.unwrap().unwrap();
        assert_eq!(node.data, n.to_string());
        assert_eq!(node.stat.version.get(), n);
    }
    assert!(probable > 0, "no cut came between a write and its answer");
}

#[tokio::test]
async fn idempotent_writes_are_sent_again_until_they_are_answered() {
    let servers = shared().await;
    let path = fresh();
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    zk.create(&path, "").await.unwrap();
    for n in 0..10 {
        proxy.cut_after(Direction::ToClient, 1);
        let set = zk.set(&path, n.to_string()).idempotent();
        soon("it is done", set).await.unwrap();
        let node = zk.get(&path).await.unwrap().unwrap();
        assert_eq!(node.data, n.to_string());
    }
    proxy.cut_after(Direction::ToClient, 1);
    let deleted = zk.delete(&path).idempotent().if_exists();
    soon("it is done", deleted).await.unwrap();
    assert_eq!(zk.exists(&path).await.unwrap(), None);
}

// --- limits and leaks ---------------------------------------------------------------------------

#[tokio::test]
async fn send_refuses_what_is_beyond_the_limits_and_await_waits() {
    let servers = shared().await;
    let chroot = fresh();
    let judge = servers.client_below(&chroot).await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let connect = format!("{}{chroot}", proxy.addr());
    let zk = common::builder(&connect).max_in_flight(10).connect().await;
    let zk = zk.unwrap();
    proxy.stall(Direction::ToClient, true);
    let paths: Vec<_> = (0..15).map(|n| format!("/{n}")).collect();
    let sent: Vec<_> = paths[..10]
        .iter()
        .map(|path| zk.create(path, "").send())
        .collect();
    let error = not_sent(
        zk.create(&paths[10], "").send().await,
        ErrorKind::Backpressure,
    );
    assert_eq!(error.path(), Some("/10"));
    assert!(error.is_retryable());
    not_sent(zk.create(&paths[11], "").detach(), ErrorKind::Backpressure);
    let waiting = zk.create(&paths[12], "").into_future();
    let mut waiting = Box::pin(waiting);
    assert!((&mut waiting).now_or_never().is_none());
    proxy.heal();
    for sent in sent {
        soon("it is done", sent).await.unwrap();
    }
    soon("it is done", waiting).await.unwrap();
    assert_eq!(judge.children("/").await.unwrap().unwrap().len(), 11);

    let zk = common::builder(&connect)
        .max_in_flight_bytes(10_000)
        .connect();
    let zk = zk.await.unwrap();
    proxy.stall(Direction::ToClient, true);
    let first = zk.set("/1", vec![0; 6_000]).send();
    let second = zk.set("/2", vec![0; 6_000]).send();
    not_sent(second.await, ErrorKind::Backpressure);
    proxy.heal();
    soon("it is done", first).await.unwrap();
    // One that is larger than the limit goes when it is awaited.
    let large = zk.set("/2", vec![0; 20_000]);
    soon("it is done", large).await.unwrap();
    assert_eq!(zk.stats().outstanding_bytes, 0);
}

#[tokio::test]
async fn dropping_a_pending_write_withdraws_it_while_it_is_not_sent() {
    let servers = shared().await;
    let judge = servers.client().await;
    let (proxy, zk) = behind_proxy(servers, 0, judge.chroot_path()).await;
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    let dropped: Vec<_> = (0..10).map(|n| format!("/{n}")).collect();
    let dropped: Vec<_> = dropped
        .iter()
        .map(|path| zk.create(path, "").send())
        .collect();
    let kept = zk.create("/kept", "").send();
    zk.create("/detached", "").detach().unwrap();
    drop(dropped);
    proxy.heal();
    soon("it is done", kept).await.unwrap();
    zk.sync("/").await.unwrap();
    let mut names = judge.children("/").await.unwrap().unwrap();
    names.sort_unstable();
    assert_eq!(names, ["detached", "kept"]);
}

type Begin = fn(&Client) -> BoxFuture<'_, ()>;

#[tokio::test]
async fn futures_dropped_at_any_point_leave_nothing_behind() {
    let servers = Setup::alone().start().await;
    let zk = servers.client_below("/drop").await;
    zk.create("/a", "").await.unwrap();
    let beginnings: [Begin; 14] = [
        |zk| async { drop(zk.get("/a").watch().await) }.boxed(),
        |zk| async { drop(zk.exists("/b").watch().await) }.boxed(),
        |zk| async { drop(zk.children("/a").watch().await) }.boxed(),
        |zk| async { drop(zk.watch_node("/a").await) }.boxed(),
        |zk| async { drop(zk.watch_tree("/a").await) }.boxed(),
        |zk| async { drop(zk.set("/a", "").await) }.boxed(),
        |zk| async { drop(zk.create("/a/s-", "").sequential().await) }.boxed(),
        |zk| async { drop(zk.transaction().check("/a", 0).await) }.boxed(),
        |zk| async { drop(zk.ensure_path("/a/b/c").await) }.boxed(),
        |zk| async { drop(zk.update("/a", |_| Change::Set("".into())).await) }.boxed(),
        |zk| async { drop(zk.wait_for("/never", SOON).await) }.boxed(),
        |zk| {
            async {
                let mut states = zk.observe("/a");
                while states.next().await.is_some() {}
            }
            .boxed()
        },
        |zk| async { drop(zk.session().await) }.boxed(),
        |zk| async { drop(zk.delete_tree("/a/b").await) }.boxed(),
    ];
    for (number, begin) in beginnings.into_iter().enumerate() {
        for polls in 0..12 {
            let mut future = begin(&zk);
            for _ in 0..polls {
                if (&mut future).now_or_never().is_some() {
                    break;
                }
                // The driver gets a turn, and sometimes the server's answer is there after it.
                tokio::task::yield_now().await;
                if polls % 3 == 0 {
                    zk.exists("/a").await.unwrap();
                }
            }
            drop(future);
        }
        zk.sync("/").await.unwrap();
        until("nothing is under way", async || {
            let stats = zk.stats();
            (stats.outstanding, stats.outstanding_bytes, stats.watches) == (0, 0, 0)
        })
        .await;
        until("the server has no watch", async || {
            servers.watch_count(0).await == 0
        })
        .await;
        assert_eq!(zk.stats().disconnects, 0, "case {number}");
    }
}

#[tokio::test]
async fn order_is_kept_over_reconnects() {
    let servers = shared().await;
    let judge = servers.client().await;
    let (proxy, zk) = behind_proxy(servers, 0, judge.chroot_path()).await;
    let paths: Vec<_> = (0..600).map(|n| format!("/{n:04}")).collect();
    let mut pending = Vec::new();
    for (burst, paths) in paths.chunks(50).enumerate() {
        if burst % 3 == 1 {
            proxy.cut_after(Direction::Both, 700);
        }
        pending.extend(paths.iter().map(|path| zk.create(path, "").send()));
        // A read that goes behind them, whatever becomes of them.
        soon("it is answered", zk.exists("/")).await.unwrap();
    }
    let results = soon("all end", join_all(pending)).await;
    let unknown = results.iter().filter(|result| result.is_err()).count();
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    }
    assert!(zk.stats().disconnects > 0 && unknown < 600, "{unknown}");
    let mut last = None;
    for path in &paths {
        let Some(stat) = judge.exists(path).await.unwrap() else {
            continue;
        };
        assert!(
            last < Some(stat.czxid),
            "{path} came before one sent earlier"
        );
        last = Some(stat.czxid);
    }
    assert_eq!(zk.stats().expirations, 0);
}
