//! Where the tests get their servers from, what they do to them, and how they wait.

#![allow(
    dead_code,
    reason = "every test binary has this module and uses a part of it"
)]

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, interval, timeout};
use zk_client::{
    Client, ConnState, ConnectError, ConnectErrorKind, Connector, Io, OnExpire, Server, SessionId,
};
use zk_recipes::{Hold, LossReason};
use zk_testkit::ensemble::reference::{Ensemble, Reference};
use zk_testkit::fault::Proxy;

use crate::servers;

/// Long enough for whatever is to happen soon, on a machine that has a lot else to do.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// Session timeout of clients that are not to lose their session, nor their connection: they bear the
/// silence of a server for a quarter of it, which a busy machine may come to.
pub(crate) const CALM: Duration = Duration::from_mins(1);

/// Session timeout of clients that are to lose it soon.
pub(crate) const BRISK: Duration = Duration::from_secs(3);

static NEXT: AtomicU32 = AtomicU32::new(1);
static APACHE: OnceCell<Ensemble> = OnceCell::const_new();

/// Whatever must live for a server to go on.
pub(crate) type Alive = Box<dyn Any + Send + Sync>;

/// A server, and a path below which nobody else is. Each test binary says what its `servers` are.
#[derive(Debug)]
pub(crate) struct World {
    _alive: Alive,
    addr: SocketAddr,
    pub(crate) chroot: String,
}

impl World {
    pub(crate) async fn start() -> Self {
        let chroot = format!("/test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (alive, addr) = servers().await;
        let world = Self {
            _alive: alive,
            addr,
            chroot,
        };
        let root = Client::builder(&world.addr.to_string())
            .session_timeout(CALM)
            .connect()
            .await
            .expect("a client connects");
        root.ensure_path(&world.chroot)
            .await
            .expect("the chroot is made");
        root.close(Duration::from_secs(5)).await;
        world
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A calm client.
    pub(crate) async fn client(&self) -> Client {
        Client::builder(&format!("{}{}", self.addr, self.chroot))
            .session_timeout(CALM)
            .connect()
            .await
            .expect("a client connects")
    }

    /// A calm client whose turns are counted.
    pub(crate) async fn counted(&self) -> (Client, Arc<AtomicU32>) {
        let turns = Arc::new(AtomicU32::new(0));
        let client = Client::builder(&format!("{}{}", self.addr, self.chroot))
            .session_timeout(CALM)
            .connector(Counted(Arc::clone(&turns)))
            .connect()
            .await
            .expect("a client connects");
        (client, turns)
    }

    /// A client behind a proxy.
    pub(crate) async fn party(&self, session_timeout: Duration) -> Party {
        let proxy = Proxy::start(self.addr).await.expect("a proxy starts");
        let client = Client::builder(&format!("{}{}", proxy.addr(), self.chroot))
            .session_timeout(session_timeout)
            .connect()
            .await
            .expect("a client connects");
        Party {
            proxy,
            client,
            server: self.addr,
        }
    }
}

/// A server of ours in this process, one for each test.
pub(crate) async fn embedded() -> (Alive, SocketAddr) {
    let server = zk_server::Server::builder()
        .set("tickTime", 200)
        .set("minSessionTimeout", 400)
        .set("maxSessionTimeout", 60_000)
        .set("znode.container.checkIntervalMs", 500)
        // No recipe depends on the disk, but a disk that others keep busy makes a server silent for long.
        .set("forceSync", "no")
        .start()
        .await
        .expect("a server starts");
    let addr = server.client_address();
    (Box::new(server), addr)
}

/// Apache `ZooKeeper` 3.8.0, one for all tests.
pub(crate) async fn apache() -> (Alive, SocketAddr) {
    let start = async || {
        Reference::builder()
            .session_timeouts(Duration::from_millis(400), Duration::from_mins(1))
            .config("tickTime", 200)
            .config("maxClientCnxns", 0)
            .config("extendedTypesEnabled", "true")
            .start()
            .await
            .expect("Apache's server starts")
    };
    let ensemble = APACHE.get_or_init(start).await;
    (Box::new(()), ensemble.server(0).client_addr())
}

/// Makes connections whose turns are counted: how often something is sent behind something received.
#[derive(Debug)]
struct Counted(Arc<AtomicU32>);

#[async_trait]
impl Connector for Counted {
    async fn connect(&self, server: &Server, _: Duration) -> Result<Box<dyn Io>, ConnectError> {
        let addr = (server.host(), server.port());
        let socket = TcpStream::connect(addr).await.map_err(|error| {
            ConnectError::new(ConnectErrorKind::Io, format!("no connection: {error}"))
        })?;
        Ok(Box::new(CountedSocket {
            socket,
            has_received: true,
            turns: Arc::clone(&self.0),
        }))
    }
}

struct CountedSocket {
    socket: TcpStream,
    has_received: bool,
    turns: Arc<AtomicU32>,
}

impl AsyncRead for CountedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, out);
        self.has_received |= read.is_ready();
        read
    }
}

impl AsyncWrite for CountedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_ready() && std::mem::take(&mut self.has_received) {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A client behind a proxy of its own.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) proxy: Proxy,
    pub(crate) client: Client,
    server: SocketAddr,
}

impl Deref for Party {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Party {
    /// Ends the session for certain, behind the client's back, and waits until it knows.
    pub(crate) async fn expire(&self) {
        let session = self.session_id();
        self.end_session().await;
        self.proxy.refuse(false);
        let mut states = self.client.state();
        let is_over = |state: &ConnState| matches!(state, ConnState::Connected { session: now, .. } if *now != session);
        soon("a new session", states.wait_for(is_over))
            .await
            .expect("the driver lives");
    }

    /// Ends the session at the server and keeps the client away from it.
    pub(crate) async fn end_session(&self) {
        let token = self.client.session_token().expect("there is a session");
        self.proxy.refuse(true);
        self.proxy.cut_all();
        let thief = Client::builder(&self.server.to_string())
            .resume(token)
            .on_expire(OnExpire::Stop)
            .connect()
            .await
            .expect("the session can be resumed");
        thief.close(Duration::from_secs(10)).await;
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.client.state().borrow().session().expect("in session")
    }

    pub(crate) async fn reconnected(&self) {
        self.client.wait_connected(SOON).await.expect("connected");
    }

    /// Cuts the connection and waits until the client has noticed.
    pub(crate) async fn cut(&self) {
        self.proxy.refuse(true);
        self.proxy.cut_all();
        let mut states = self.client.state();
        let is_suspended = |state: &ConnState| matches!(state, ConnState::Suspended { .. });
        soon("the loss is noticed", states.wait_for(is_suspended))
            .await
            .expect("the driver lives");
    }
}

/// What is held strictly stays while the connection does, and no longer.
pub(crate) async fn ends_with_the_connection(party: &Party, hold: &Hold) {
    let stays = hold.run(tokio::time::sleep(Duration::from_millis(50)));
    assert!(stays.await.is_ok());
    party.cut().await;
    let lost = soon("it is told", hold.lost()).await;
    assert_eq!(lost, LossReason::PresumedExpired);
}

/// Awaits what is to come soon.
pub(crate) async fn soon<F: IntoFuture>(what: &str, future: F) -> F::Output {
    let output = timeout(SOON, future).await;
    output.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + SOON;
    let mut poll = interval(Duration::from_millis(5));
    loop {
        poll.tick().await;
        if holds().await {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
    }
}

/// Names of children, none without the znode.
pub(crate) async fn children(client: &Client, path: &str) -> Vec<String> {
    let mut names = client
        .children(path)
        .await
        .expect("a list")
        .unwrap_or_default();
    names.sort();
    names
}

/// Waits until so many children are there.
pub(crate) async fn until_children(client: &Client, path: &str, count: usize) {
    until(&format!("{path} has {count} children"), async || {
        children(client, path).await.len() == count
    })
    .await;
}

/// Polls a future at most so often, then drops it. Tells whether it was done.
pub(crate) async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    struct Polled<F> {
        future: Pin<Box<F>>,
        left: usize,
    }
    impl<F: Future> Future for Polled<F> {
        type Output = Option<F::Output>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            match self.future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if self.left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        }
    }
    let future = Box::pin(future);
    Polled {
        future,
        left: times,
    }
    .await
}
