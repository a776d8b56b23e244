//! Where the tests get their servers from, and how they wait.
//!
//! Tests say what they need with [`Setup`] and see [`Servers`]; which implementation that is is
//! decided here, by [`BACKEND`], and what it does differently from others is told by [`quirks`].
//!
//! The suite is compiled twice: as tests of this package it runs against Apache's server, as
//! `client_*` tests of `zk-server`, whose `Cargo.toml` lists the files, against our own. The tests of
//! `zkcli` run against ours as `zkcli_ours`.

#![allow(
    dead_code,
    reason = "every test binary has this module and uses a part of it"
)]

pub(crate) mod rotated;

use std::fmt;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use tokio::time::{Instant, interval, timeout};
use zk_client::{
    Builder, Client, ConnState, Error, ErrorKind, Outcome, SessionId, Watch, WatchEnd, WatchEvent,
    WatchItem, WatchStream,
};
use zk_server::Server;
use zk_testkit::ensemble::process::ZkServer;
use zk_testkit::ensemble::reference::Reference;
use zk_testkit::ensemble::{Ensemble, TlsFiles};
use zk_testkit::fault::Proxy;

/// Long enough for whatever is to happen soon, on a machine that has a lot else to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Session timeout of clients that are not to lose their session, nor to give up a slow server.
pub(crate) const CALM: Duration = Duration::from_secs(20);

/// Implementations that the tests can run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// Apache `ZooKeeper` 3.8.0, from Debian's package.
    Apache,
    /// Our own server, the binary at this path.
    ZkServer(&'static str),
    /// Our own server, in this process.
    Embedded,
}

/// The one that they do run against. Cargo names the binary to tests of the package that builds it.
const BACKEND: Backend = match option_env!("CARGO_BIN_EXE_zkserver") {
    Some(binary) => Backend::ZkServer(binary),
    None if is_ours(env!("CARGO_CRATE_NAME")) => Backend::Embedded,
    None => Backend::Apache,
};

const fn is_ours(test: &str) -> bool {
    matches!(test.as_bytes(), [.., b'_', b'o', b'u', b'r', b's'])
}

/// What implementations do differently.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quirks {
    /// Watch events carry the zxid of their transaction (3.9).
    pub(crate) events_have_zxids: bool,
    /// `exists` needs the permission to read (3.8.4, 3.9.2).
    pub(crate) exists_needs_read: bool,
    /// Identities of a connection include its address, and the scheme is shown with it.
    pub(crate) identities: &'static [&'static str],
    /// A server that is cut off from the others still has the sessions that only it knew before.
    pub(crate) keeps_local_sessions: bool,
    /// A TLS port tells a client that speaks no TLS so, instead of closing without a word.
    pub(crate) tells_of_tls: bool,
}

pub(crate) const fn quirks() -> Quirks {
    match BACKEND {
        Backend::Apache => Quirks {
            events_have_zxids: false,
            exists_needs_read: false,
            identities: &["ip"],
            keeps_local_sessions: false,
            tells_of_tls: false,
        },
        Backend::ZkServer(_) | Backend::Embedded => Quirks {
            events_have_zxids: true,
            exists_needs_read: true,
            identities: &["ip"],
            keeps_local_sessions: true,
            tells_of_tls: true,
        },
    }
}

/// Only one ensemble of several servers runs at a time: they take much of a small machine.
static ENSEMBLES: OnceCell<Arc<Mutex<()>>> = OnceCell::const_new();

/// The server of all tests that need nothing special.
static SHARED: OnceCell<Servers> = OnceCell::const_new();

/// Where embedded servers run: tests come and go with runtimes of their own.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Numbers chroots and files.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What servers a test needs.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    servers: usize,
    session_timeouts: (Duration, Duration),
    config: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    tls: Option<TlsFiles>,
    data_dir: Option<PathBuf>,
}

impl Setup {
    /// A server that stands alone.
    pub(crate) fn alone() -> Self {
        Self {
            servers: 1,
            session_timeouts: (Duration::from_millis(400), Duration::from_mins(1)),
            config: Vec::new(),
            properties: Vec::new(),
            tls: None,
            data_dir: None,
        }
    }

    /// Three servers.
    pub(crate) fn ensemble() -> Self {
        Self {
            servers: 3,
            ..Self::alone()
        }
    }

    /// Bounds of session timeouts; 400 ms and a minute by default.
    pub(crate) fn session_timeouts(mut self, min: Duration, max: Duration) -> Self {
        self.session_timeouts = (min, max);
        self
    }

    /// A line of the servers' `zoo.cfg`.
    pub(crate) fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A property of the servers' processes, for what `zoo.cfg` has no line for.
    pub(crate) fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A TLS port beside the plain one.
    pub(crate) fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    pub(crate) async fn start(self) -> Servers {
        let turn = if self.servers > 1 {
            let lock = ENSEMBLES.get_or_init(async || Arc::default()).await;
            Some(Arc::clone(lock).lock_owned().await)
        } else {
            None
        };
        let running = match BACKEND {
            Backend::Apache => {
                let (min, max) = self.session_timeouts;
                let mut builder = Reference::builder()
                    .servers(self.servers)
                    .session_timeouts(min, max);
                for (key, value) in &self.config {
                    builder = builder.config(key, value);
                }
                for (key, value) in &self.properties {
                    builder = builder.jvm_flag(format!("-D{key}={value}"));
                }
                if let Some(files) = self.tls {
                    builder = builder.tls(files);
                }
                if let Some(dir) = self.data_dir {
                    builder = builder.data_dir(dir);
                }
                Running::Processes(builder.start().await.expect("the servers start"))
            }
            Backend::ZkServer(binary) => {
                let (min, max) = self.session_timeouts;
                let mut builder = ZkServer::builder(binary)
                    .servers(self.servers)
                    .session_timeouts(min, max);
                for (key, value) in &self.config {
                    builder = builder.config(key, value);
                }
                for (key, value) in &self.properties {
                    builder = builder.property(key, value);
                }
                if let Some(files) = self.tls {
                    builder = builder.tls(files);
                }
                if let Some(dir) = self.data_dir {
                    builder = builder.data_dir(dir);
                }
                Running::Processes(builder.start().await.expect("the servers start"))
            }
            Backend::Embedded => Running::Embedded(Box::new(self.embed().await)),
        };
        Servers {
            running,
            _turn: turn,
        }
    }

    async fn embed(self) -> Server {
        assert_eq!(self.servers, 1, "an embedded server stands alone");
        let (min, max) = self.session_timeouts;
        let mut builder = Server::builder()
            .set("minSessionTimeout", min.as_millis())
            .set("maxSessionTimeout", max.as_millis())
            .set("4lw.commands.whitelist", "*");
        for (key, value) in &self.config {
            builder = builder.set(key, value);
        }
        for (key, value) in &self.properties {
            builder = builder.set(key.strip_prefix("zookeeper.").unwrap_or(key), value);
        }
        if let Some(files) = &self.tls {
            let need = if files.client_auth { "need" } else { "none" };
            builder = builder
                .set("secureClientPort", 0)
                .set("secureClientPortAddress", "127.0.0.1")
                .set("ssl.keyStore.location", files.keystore_pem.display())
                .set("ssl.trustStore.location", files.truststore_pem.display())
                .set("ssl.clientAuth", need);
        }
        let started = RUNTIME.spawn(builder.start()).await;
        started.expect("no panic").expect("the server starts")
    }
}

#[derive(Debug)]
enum Running {
    Processes(Ensemble),
    Embedded(Box<Server>),
}

impl Running {
    /// What can be killed and paused.
    fn processes(&self) -> &Ensemble {
        match self {
            Self::Processes(ensemble) => ensemble,
            Self::Embedded(_) => panic!("an embedded server is no process"),
        }
    }
}

/// Servers that run. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    running: Running,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Servers {
    /// Addresses of all servers, as clients take them.
    pub(crate) fn connect_string(&self) -> String {
        match &self.running {
            Running::Processes(ensemble) => ensemble.connect_string(),
            Running::Embedded(server) => server.client_address().to_string(),
        }
    }

    /// How many there are, running or not.
    pub(crate) fn count(&self) -> usize {
        self.running.processes().servers().len()
    }

    pub(crate) fn addr(&self, i: usize) -> SocketAddr {
        match &self.running {
            Running::Processes(ensemble) => ensemble.server(i).client_addr(),
            Running::Embedded(server) => server.client_address(),
        }
    }

    /// Where server `i` speaks TLS.
    pub(crate) fn secure_addr(&self, i: usize) -> SocketAddr {
        let address = match &self.running {
            Running::Processes(ensemble) => ensemble.server(i).secure_addr(),
            Running::Embedded(server) => server.secure_client_address(),
        };
        address.expect("the setup asked for TLS")
    }

    /// SIGKILL.
    pub(crate) async fn kill(&self, i: usize) {
        self.running
            .processes()
            .kill(i)
            .await
            .expect("the server is killed");
    }

    /// SIGSTOP.
    pub(crate) async fn pause(&self, i: usize) {
        self.running
            .processes()
            .pause(i)
            .await
            .expect("the server is paused");
    }

    /// SIGCONT.
    pub(crate) async fn resume(&self, i: usize) {
        self.running
            .processes()
            .resume(i)
            .await
            .expect("the server goes on");
    }

    /// Starts a server that was killed; does not wait until it serves.
    pub(crate) async fn start(&self, i: usize) {
        self.running
            .processes()
            .start_server(i)
            .await
            .expect("the server starts");
    }

    pub(crate) fn is_running(&self, i: usize) -> bool {
        self.running.processes().server(i).pid().is_some()
    }

    pub(crate) fn is_paused(&self, i: usize) -> bool {
        self.running.processes().server(i).is_paused()
    }

    /// Waits until a server serves.
    pub(crate) async fn serving(&self, i: usize) {
        self.running
            .processes()
            .wait_serving(i, Duration::from_mins(1))
            .await
            .expect("the server serves");
    }

    /// Waits until a server leads.
    pub(crate) async fn leader(&self) -> usize {
        self.running
            .processes()
            .wait_for_leader(Duration::from_mins(1))
            .await
            .expect("a server leads")
    }

    /// A server that follows.
    pub(crate) async fn follower(&self) -> usize {
        let followers = self.running.processes().followers().await;
        *followers.first().expect("a server follows")
    }

    /// What server `i` answers to a four-letter word.
    pub(crate) async fn four_letter(&self, i: usize, word: &str) -> String {
        self.running
            .processes()
            .four_letter(i, word)
            .await
            .expect("the server answers")
    }

    /// The paths that a session watches at server `i`, but for lists of children.
    pub(crate) async fn watched(&self, i: usize, session: SessionId) -> Vec<String> {
        let text = self.four_letter(i, "wchc").await;
        let wanted = format!("0x{:x}", session.get());
        let mut paths = Vec::new();
        let mut is_ours = false;
        for line in text.lines() {
            if let Some(path) = line.strip_prefix('\t') {
                if is_ours {
                    paths.push(path.to_owned());
                }
            } else {
                is_ours = line.trim() == wanted;
            }
        }
        paths
    }

    /// How many paths are watched at server `i`, counted once for data and once for children.
    pub(crate) async fn watch_count(&self, i: usize) -> usize {
        let text = self.four_letter(i, "mntr").await;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("zk_watch_count\t"));
        let count = count.and_then(|count| count.trim().parse().ok());
        count.expect("mntr tells the number of watches")
    }

    /// Whether the servers have a session.
    pub(crate) async fn has_session(&self, i: usize, session: SessionId) -> bool {
        let dump = self.four_letter(i, "dump").await;
        dump.contains(&format!("0x{:x}", session.get()))
    }

    /// A calm client of all servers.
    pub(crate) fn builder(&self) -> Builder {
        builder(&self.connect_string())
    }

    /// A calm client that has a new chroot of its own, which exists.
    pub(crate) async fn client(&self) -> Client {
        self.client_below(&fresh()).await
    }

    /// A calm client below `chroot`, which is made.
    pub(crate) async fn client_below(&self, chroot: &str) -> Client {
        let client = builder(&format!("{}{chroot}", self.connect_string()))
            .connect()
            .await
            .expect("the client connects");
        client.ensure_path("/").await.expect("the chroot is made");
        client
    }
}

/// A calm client of the servers named.
pub(crate) fn builder(servers: &str) -> Builder {
    Client::builder(servers).session_timeout(CALM)
}

/// A proxy in front of server `i`, and a calm client behind it, below a chroot that exists.
pub(crate) async fn behind_proxy(servers: &Servers, i: usize, chroot: &str) -> (Proxy, Client) {
    let proxy = Proxy::start(servers.addr(i)).await.expect("a proxy starts");
    let client = builder(&format!("{}{chroot}", proxy.addr()))
        .connect()
        .await
        .expect("the client connects");
    (proxy, client)
}

/// A path that no other test uses.
pub(crate) fn fresh() -> String {
    format!("/test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The server of all tests that need nothing special. It ends with the process.
pub(crate) async fn shared() -> &'static Servers {
    SHARED
        .get_or_init(async || {
            let mut setup = Setup::alone();
            setup.data_dir = Some(shared_dir());
            setup.start().await
        })
        .await
}

/// A directory for the shared server, which is never dropped: the next run tidies up.
fn shared_dir() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("zk-shared-"));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another process may tidy up at the same time.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    base.join(format!("zk-shared-{}", std::process::id()))
}

/// Awaits what is to come soon.
pub(crate) async fn soon<F: IntoFuture>(what: &str, future: F) -> F::Output {
    let output = timeout(SOON, future).await;
    output.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + SOON;
    let mut poll = interval(Duration::from_millis(10));
    loop {
        poll.tick().await;
        if holds().await {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
    }
}

/// Waits until a client is where it is to be.
pub(crate) async fn until_state(
    client: &Client,
    what: &str,
    is_wanted: impl FnMut(&ConnState) -> bool,
) -> ConnState {
    let mut states = client.state();
    let found = soon(what, states.wait_for(is_wanted)).await;
    found.expect("the driver lives").clone()
}

pub(crate) async fn until_connected(client: &Client) {
    client.wait_connected(SOON).await.expect("connected");
}

/// Waits until trouble of this kind with connecting is told, and returns it.
pub(crate) async fn until_trouble(client: &Client, kind: ErrorKind) -> Error {
    let is_wanted = |error: &Error| error.kind() == kind;
    until_state(client, "trouble is told", |_| {
        client.trouble().as_ref().is_some_and(is_wanted)
    })
    .await;
    client
        .trouble()
        .expect("trouble does not go away by itself")
}

pub(crate) async fn until_suspended(client: &Client) {
    until_state(client, "the connection is lost", |state| {
        matches!(state, ConnState::Suspended { .. })
    })
    .await;
}

/// The session that a client is in.
pub(crate) fn session_of(client: &Client) -> SessionId {
    client.state().borrow().session().expect("in session")
}

/// The event that ends a one-shot watch soon.
pub(crate) async fn fired(watch: Watch) -> WatchEvent {
    let end = soon("the watch fires", watch).await;
    let WatchEnd::Event(event) = end else {
        panic!("the watch ends with {end:?}");
    };
    event
}

/// Asserts that a server said no, and why.
#[track_caller]
pub(crate) fn rejected<T: fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) -> Error {
    let error = result.expect_err("the server refuses it");
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (kind, Outcome::Rejected), "{error:?}");
    error
}

/// Asserts that nothing was sent, and why.
#[track_caller]
pub(crate) fn not_sent<T: fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) -> Error {
    let error = result.expect_err("it is not sent");
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (kind, Outcome::NotSent), "{error:?}");
    error
}

/// The next item of a stream, soon.
pub(crate) async fn next(stream: &mut WatchStream) -> WatchItem {
    soon("the stream tells something", stream.next())
        .await
        .expect("the stream goes on")
}

/// The next event of a stream, without what tells about connections.
pub(crate) async fn next_event(stream: &mut WatchStream) -> WatchEvent {
    loop {
        let item = next(stream).await;
        if let WatchItem::Event(event) = item {
            return event;
        }
        let is_end = matches!(item, WatchItem::SessionEnded(_) | WatchItem::Closed(_));
        assert!(!is_end, "the stream ends with {item:?}");
    }
}

/// `kind path`, for short comparisons.
pub(crate) fn told(event: &WatchEvent) -> String {
    format!("{:?} {}", event.kind, event.path)
}
