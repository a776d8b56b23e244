//! Sessions on real servers: how they begin, move, end, and what ends with them.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, interval};
use zk_client::{
    Builder, Client, CloseReason, ConnState, ErrorKind, OnExpire, SessionId, WatchEnd, WatchItem,
    Zxid,
};
use zk_testkit::fault::{Direction, Proxy};

use self::common::{
    CALM, SOON, Servers, Setup, behind_proxy, fired, next, not_sent, session_of, shared, soon,
    told, until, until_state, until_suspended,
};

/// A session timeout that is over soon.
const SHORT: Duration = Duration::from_millis(600);

/// A proxy in front of the server, and how to connect through it with a short session.
async fn short_lived(servers: &Servers, chroot: &str) -> (Proxy, Builder) {
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let builder = Client::builder(&format!("{}{chroot}", proxy.addr())).session_timeout(SHORT);
    (proxy, builder)
}

/// Cuts a client off until the servers have let its session expire.
async fn outlive(servers: &Servers, proxy: &Proxy, session: SessionId) {
    proxy.refuse(true);
    proxy.cut_all();
    until("the session expires", async || {
        !servers.has_session(0, session).await
    })
    .await;
}

/// Waits until a server lists a session no longer.
///
/// Apache's may list one that is closed until its time is over: `SessionTrackerImpl#touchSession` puts it
/// back where `removeSession` comes between its look and its update.
async fn gone(servers: &Servers, session: SessionId) {
    let deadline = Instant::now() + CALM + SOON;
    let mut poll = interval(Duration::from_millis(10));
    while servers.has_session(0, session).await {
        assert!(Instant::now() < deadline, "{session} is still listed");
        poll.tick().await;
    }
}

// --- beginning ----------------------------------------------------------------------------------

#[tokio::test]
async fn session_timeout_is_what_the_server_grants() {
    let setup = Setup::alone().session_timeouts(Duration::from_secs(1), Duration::from_secs(30));
    let servers = setup.start().await;
    let secs = Duration::from_secs;
    for (asked, granted) in [
        (Duration::from_millis(1), secs(1)),
        (secs(7), secs(7)),
        (secs(3_600_000), secs(30)),
    ] {
        let zk = servers.builder().session_timeout(asked).connect().await;
        let zk = zk.unwrap();
        let session = zk.session().await.unwrap();
        assert_eq!(session.timeout(), granted, "{asked:?}");
        assert!(!session.is_read_only() && !session.is_over());
        let ConnState::Connected { timeout, .. } = zk.state().borrow().clone() else {
            panic!("connected");
        };
        assert_eq!(timeout, granted);
        assert_eq!(zk.session_token().unwrap().timeout, granted);
    }
}

#[tokio::test]
async fn idle_client_keeps_its_session_and_its_connection() {
    let servers = shared().await;
    let zk = servers.builder().session_timeout(SHORT).connect().await;
    let zk = zk.unwrap();
    let session = session_of(&zk);
    let sent = zk.stats().bytes_out;
    // A ping is 12 bytes, and one goes every third of the timeout.
    until("pings go", async || zk.stats().bytes_out >= sent + 12 * 12).await;
    assert_eq!(session_of(&zk), session);
    assert_eq!(zk.stats().expirations, 0);
}

#[tokio::test]
async fn start_returns_at_once_and_operations_wait_for_the_connection() {
    let servers = Setup::alone().start().await;
    servers.kill(0).await;
    let zk = servers.builder().start().unwrap();
    assert_eq!(*zk.state().borrow(), ConnState::Connecting);
    let create = zk.create("/a", "x").send();
    let get = zk.get("/a").send();
    servers.start(0).await;
    soon("the create is done", create).await.unwrap();
    assert_eq!(get.await.unwrap().unwrap().data, "x");
}

#[tokio::test]
async fn connect_that_is_dropped_leaves_no_session() {
    let servers = Setup::alone().start().await;
    let sessions = async || {
        let dump = servers.four_letter(0, "dump").await;
        dump.matches("\t0x").count()
    };
    for polls in 0..12 {
        let mut connect = Box::pin(servers.builder().connect());
        for _ in 0..polls {
            if let Some(zk) = (&mut connect).now_or_never() {
                drop(zk.unwrap());
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(connect);
    }
    until("all sessions are closed", async || sessions().await == 0).await;
}

// --- expiry -------------------------------------------------------------------------------------

#[tokio::test]
async fn expired_session_is_renewed_and_its_watches_say_so() {
    let servers = shared().await;
    let other = servers.client().await;
    let (proxy, builder) = short_lived(servers, other.chroot_path()).await;
    let zk = builder.connect().await.unwrap();
    let mut events = zk.events();
    let old = session_of(&zk);
    zk.create("/e", "").ephemeral().await.unwrap();
    other.create("/a", "").await.unwrap();
    let (_, watch) = zk.get("/a").watch().await.unwrap();
    let (_, waiting) = zk.exists("/b").watch().await.unwrap();
    let mut stream = zk.watch_node("/a").await.unwrap();
    outlive(servers, &proxy, old).await;
    assert_eq!(other.exists("/e").await.unwrap(), None);
    proxy.heal();
    let new = until_state(&zk, "it connects", |state| {
        state.is_connected() && state.session() != Some(old)
    });
    let new = new.await.session().unwrap();
    assert_ne!(new, old);
    for watch in [watch, waiting] {
        let end = soon("the watch ends", watch).await;
        assert_eq!(end, WatchEnd::SessionEnded(old));
    }
    assert!(matches!(next(&mut stream).await, WatchItem::Gap { .. }));
    assert!(matches!(next(&mut stream).await, WatchItem::Armed { .. }));
    other.set("/a", "").await.unwrap();
    let WatchItem::Event(event) = next(&mut stream).await else {
        panic!("the stream goes on");
    };
    assert_eq!(told(&event), "NodeDataChanged /a");
    assert_eq!(zk.stats().expirations, 1);

    let mut states = Vec::new();
    while let Some(state) = events.next().now_or_never() {
        states.push(state.unwrap());
    }
    assert!(matches!(&states[0], ConnState::Suspended { session, .. } if *session == old));
    let expired = ConnState::Expired { session: old };
    let at = states.iter().position(|state| *state == expired);
    let at = at.expect("expiry is told");
    assert!(matches!(&states[at + 1], ConnState::Connected { session, .. } if *session != old));
}

#[tokio::test]
async fn what_belongs_to_a_session_does_not_outlive_it() {
    let servers = shared().await;
    let other = servers.client().await;
    let (proxy, builder) = short_lived(servers, other.chroot_path()).await;
    let zk = builder.connect().await.unwrap();
    let session = zk.session().await.unwrap();
    session.create("/mine", "").ephemeral().await.unwrap();
    let mut stream = session.watch_node("/a").await.unwrap();
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    // While there is no connection, all of these wait.
    let ephemeral = zk.create("/ephemeral", "").ephemeral().send();
    let sequential = zk.create("/s-", "").sequential().ephemeral().send();
    let transaction = zk.transaction();
    let mode = zk_client::CreateMode::Ephemeral;
    let transaction = transaction.create_with("/multi", "", mode, None).send();
    let pinned = session.create("/pinned", "").send();
    let read = session.get("/a").send();
    let free = zk.create("/free", "").send();
    assert!(!session.is_over());
    outlive(servers, &proxy, session.id()).await;
    proxy.heal();
    for error in [
        soon("it ends", ephemeral).await.unwrap_err(),
        soon("it ends", sequential).await.unwrap_err(),
        soon("it ends", transaction).await.unwrap_err(),
        soon("it ends", pinned).await.unwrap_err(),
        soon("it ends", read).await.unwrap_err(),
    ] {
        assert_eq!(error.session(), session.id(), "{error:?}");
        assert!(error.is_session_fatal());
        not_sent(Err::<(), _>(error), ErrorKind::SessionExpired);
    }
    // What belongs to nobody goes on.
    soon("it is done", free).await.unwrap();
    soon("the session is over", session.over()).await;
    assert!(session.is_over());
    let late = session.create("/late", "").await;
    not_sent(late, ErrorKind::SessionExpired);
    not_sent(session.get("/free").await, ErrorKind::SessionExpired);
    not_sent(session.watch_node("/a").await, ErrorKind::SessionExpired);
    not_sent(
        session.chroot("/x").unwrap().get("/").await,
        ErrorKind::SessionExpired,
    );
    assert_eq!(
        next(&mut stream).await,
        WatchItem::SessionEnded(session.id())
    );
    assert_eq!(stream.next().await, None);
    let left = other.children("/").await.unwrap().unwrap();
    assert_eq!(left, ["free"]);
    // The next session is another.
    let next = zk.session().await.unwrap();
    assert_ne!(next.id(), session.id());
    next.create("/mine", "").ephemeral().await.unwrap();
}

#[tokio::test]
async fn client_that_is_to_stop_closes_when_its_session_has_expired() {
    let servers = shared().await;
    let other = servers.client().await;
    let (proxy, builder) = short_lived(servers, other.chroot_path()).await;
    let zk = builder.on_expire(OnExpire::Stop).connect().await.unwrap();
    let (_, watch) = zk.exists("/a").watch().await.unwrap();
    let session = session_of(&zk);
    outlive(servers, &proxy, session).await;
    let connects = zk.stats().connects;
    let waiting = zk.create("/b", "").send();
    proxy.heal();
    soon("it closes", zk.closed()).await;
    let closed = ConnState::Closed(CloseReason::SessionExpired);
    assert_eq!(*zk.state().borrow(), closed);
    not_sent(waiting.await, ErrorKind::SessionExpired);
    not_sent(zk.get("/a").await, ErrorKind::SessionExpired);
    let late = zk.wait_connected(SOON).await;
    not_sent(late, ErrorKind::SessionExpired);
    let end = soon("the watch ends", watch).await;
    assert_eq!(end, WatchEnd::SessionEnded(session));
    assert_eq!(zk.stats().connects, connects, "no session after it");
}

#[tokio::test]
async fn session_lives_through_a_disconnect_shorter_than_its_timeout() {
    let servers = shared().await;
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    let session = session_of(&zk);
    let path = common::fresh();
    zk.create(&path, "").ephemeral().await.unwrap();
    for _ in 0..5 {
        proxy.cut_all();
        until_suspended(&zk).await;
        let waiting = zk.exists(&path).send();
        assert!(waiting.await.unwrap().is_some());
        assert_eq!(session_of(&zk), session);
    }
    assert_eq!((zk.stats().connects, zk.stats().disconnects), (6, 5));
}

#[tokio::test]
async fn suspended_state_tells_until_when_the_session_is_safe() {
    let servers = shared().await;
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    let before = std::time::Instant::now();
    zk.sync("/").await.unwrap();
    proxy.refuse(true);
    proxy.cut_all();
    let state = until_state(&zk, "it is suspended", |state| {
        matches!(state, ConnState::Suspended { .. })
    });
    let ConnState::Suspended {
        since, safe_until, ..
    } = state.await
    else {
        unreachable!("waited for");
    };
    let after = std::time::Instant::now();
    assert!(before <= since && since <= after);
    assert!(safe_until >= before + CALM && safe_until <= after + CALM);
}

// --- resumption ---------------------------------------------------------------------------------

#[tokio::test]
async fn another_client_goes_on_with_a_session() {
    let servers = shared().await;
    let first = servers.client().await;
    let chroot = first.chroot_path().to_owned();
    let connect = format!("{}{chroot}", servers.connect_string());
    first.create("/e", "").ephemeral().await.unwrap();
    let session = session_of(&first);
    let token = first.session_token().unwrap();
    assert_eq!(token.id, session);
    assert!(!format!("{token:?}").contains("password"), "{token:?}");
    first.detach().await;
    assert_eq!(first.state().borrow().closed(), Some(CloseReason::Detached));
    not_sent(first.get("/e").await, ErrorKind::Closed);

    let builder = common::builder(&connect).on_expire(OnExpire::Stop);
    let second = builder.resume(token).connect().await.unwrap();
    assert_eq!(session_of(&second), session);
    assert_eq!(second.ephemerals("/").await.unwrap(), ["/e"]);
    let (_, watch) = second.get("/e").watch().await.unwrap();
    second.set("/e", "").await.unwrap();
    fired(watch).await;
    second.close(SOON).await;
    let other = servers.client_below(&chroot).await;
    assert_eq!(other.exists("/e").await.unwrap(), None);
    gone(servers, session).await;
}

#[tokio::test]
async fn session_with_a_wrong_password_or_that_is_over_is_expired() {
    let servers = shared().await;
    let zk = servers.client().await;
    let mut wrong = zk.session_token().unwrap();
    wrong.password.fill(7);
    let over = zk.session_token().unwrap();
    let session = session_of(&zk);
    for (token, close) in [(wrong, false), (over, true)] {
        if close {
            zk.close(SOON).await;
        }
        let stop = servers.builder().on_expire(OnExpire::Stop);
        let stopped = stop.resume(token.clone()).connect().await;
        not_sent(stopped, ErrorKind::SessionExpired);
        let renewed = servers.builder().resume(token).connect().await.unwrap();
        assert_ne!(session_of(&renewed), session);
        assert_eq!(renewed.stats().expirations, 1);
        renewed.sync("/").await.unwrap();
    }
}

#[tokio::test]
async fn session_whose_token_was_taken_outlives_fifty_rapid_cuts() {
    let servers = shared().await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let builder = Client::builder(&proxy.addr().to_string());
    let builder = builder.session_timeout(Duration::from_secs(3));
    let zk = builder.on_expire(OnExpire::Stop).connect().await.unwrap();
    let session = session_of(&zk);
    // From here on somebody else might be to blame.
    assert_eq!(zk.session_token().unwrap().id, session);
    for cut in 0..50 {
        let before = zk.stats().disconnects;
        if cut % 2 == 0 {
            proxy.cut_all();
        } else {
            // Within the next reply.
            proxy.cut_after(Direction::ToClient, 1 + cut % 15);
        }
        let synced = soon("it goes on", zk.sync("/")).await;
        synced.unwrap_or_else(|error| panic!("cut {cut}: {error:?}"));
        assert!(zk.stats().disconnects > before, "cut {cut} was none");
    }
    assert_eq!(session_of(&zk), session);
    assert_eq!(zk.stats().expirations, 0);
    zk.close(SOON).await;
}

#[tokio::test]
async fn server_that_is_behind_is_not_taken() {
    let servers = shared().await;
    let zk = servers.client().await;
    let mut token = zk.session_token().unwrap();
    assert!(token.last_zxid > Zxid::ZERO);
    token.last_zxid = Zxid::new(i64::MAX);
    let builder = servers
        .builder()
        .connect_timeout(Duration::from_millis(300));
    let refused = builder.resume(token).connect().await;
    not_sent(refused, ErrorKind::Io);
    zk.sync("/").await.unwrap();
}

// --- ending -------------------------------------------------------------------------------------

#[tokio::test]
async fn close_does_what_was_asked_before_and_deletes_ephemerals() {
    let servers = shared().await;
    let zk = servers.client().await;
    let other = servers.client_below(zk.chroot_path()).await;
    let session = session_of(&zk);
    zk.create("/e", "").ephemeral().await.unwrap();
    let creates: Vec<_> = (0..100)
        .map(|n| format!("/p-{n}"))
        .map(|path| zk.create(&path, "").send())
        .collect();
    zk.close(SOON).await;
    for create in creates {
        create.await.unwrap();
    }
    assert_eq!(zk.state().borrow().closed(), Some(CloseReason::Requested));
    gone(servers, session).await;
    let left = other.children("/").await.unwrap().unwrap();
    assert_eq!(left.len(), 100);
    not_sent(zk.create("/late", "").await, ErrorKind::Closed);
    not_sent(zk.wait_connected(SOON).await, ErrorKind::Closed);
    let error = zk.get("/p-1").await.unwrap_err();
    assert!(error.is_client_fatal() && !error.is_retryable());
    zk.close(SOON).await;
    assert_eq!((zk.stats().outstanding, zk.stats().watches), (0, 0));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_in_the_background() {
    let servers = shared().await;
    let zk = servers.client().await;
    let session = session_of(&zk);
    zk.create("/e", "").ephemeral().await.unwrap();
    let view = zk.chroot("/view").unwrap();
    let pinned = zk.session().await.unwrap();
    let watch = zk.exists("/a").watch().await.unwrap();
    drop((zk, pinned));
    view.sync("/").await.unwrap();
    assert!(servers.has_session(0, session).await);
    drop(view);
    gone(servers, session).await;
    // A watch does not keep a client open.
    let end = soon("the watch ends", watch.1).await;
    assert_eq!(end, WatchEnd::Closed(CloseReason::Requested));
}

#[tokio::test]
async fn dropping_a_client_that_detaches_leaves_the_session() {
    let servers = shared().await;
    let chroot = common::fresh();
    let other = servers.client_below(&chroot).await;
    let connect = format!("{}{chroot}", servers.connect_string());
    let zk = common::builder(&connect).detach_on_drop(true);
    let zk = zk.connect().await.unwrap();
    zk.create("/e", "").ephemeral().await.unwrap();
    let token = zk.session_token().unwrap();
    let session = token.id;
    let mut state = zk.state();
    drop(zk);
    soon("it is detached", state.wait_for(ConnState::is_closed))
        .await
        .unwrap();
    assert!(other.exists("/e").await.unwrap().is_some());
    let next = common::builder(&connect).resume(token).connect().await;
    let next = next.unwrap();
    assert_eq!(session_of(&next), session);
    next.close(SOON).await;
    assert_eq!(other.exists("/e").await.unwrap(), None);
}

#[tokio::test]
async fn close_without_a_server_ends_in_time_and_at_once_without_a_session() {
    let servers = shared().await;
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    let waiting = zk.get("/").send();
    let begun = Instant::now();
    let within = Duration::from_millis(200);
    soon("it closes", zk.close(within)).await;
    assert!(begun.elapsed() >= within);
    not_sent(waiting.await, ErrorKind::Closed);

    let never = common::builder("127.0.0.1:1").start().unwrap();
    let waiting = never.get("/").send();
    soon("it closes", never.close(Duration::MAX)).await;
    not_sent(waiting.await, ErrorKind::Closed);
}
