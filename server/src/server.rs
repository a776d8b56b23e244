//! A whole server, as a value.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use zk_core::conn::auth::{Access, AuthScheme, DigestScheme, IpScheme, Schemes};
use zk_core::peer::{Peer, PeerOptions};
use zk_core::prep::PrepOptions;
use zk_core::session::{BoundsError, ServerIdError, TimeoutBounds};
use zk_core::tree::{OwnerRules, TreeOptions};
use zk_core::wire::file_name::Compression;
use zk_proto::{ServerId, Zxid};

use crate::config::{
    Config, ConfigError, ListenAddress, Properties, Sources, Strictness, Topology,
};
use crate::entropy::random;
use crate::net::client_listener;
use crate::net::connections::Connections;
use crate::net::service::{Service, Stats};
use crate::shared_tree::SharedTree;
use crate::stage::apply::{ApplyStage, SnapshotPace};
use crate::stage::clock::Clock;
use crate::stage::core::{CoreStage, MAILBOX_MAX};
use crate::stage::fail_stop::FailStop;
use crate::stage::heard::Heard;
use crate::stage::log::LogStage;
use crate::stage::mailbox::Mailbox;
use crate::stage::snapshot::SnapshotStage;
use crate::storage::{
    DataDirError, DataDirs, FileLog, LogError, LogOptions, RecoverError, RecoverOptions,
    RecoverReport, Standing, StdDisk, recover,
};

pub use crate::stage::fail_stop::StopCause;

/// How long connections may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not legal.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration asks for what this server cannot do.
    #[error("not supported yet: {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// Session timeouts make no sense.
    #[error(transparent)]
    Timeouts(#[from] BoundsError),
    /// The server id cannot stand in session ids.
    #[error(transparent)]
    ServerId(#[from] ServerIdError),
    /// A temporary directory could not be made.
    #[error("cannot create a temporary data directory")]
    Temporary(#[source] std::io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The state on disk cannot be used.
    #[error("cannot recover the state from disk")]
    Recover(#[from] RecoverError),
    /// The log cannot be appended to.
    #[error("cannot open the transaction log")]
    Log(#[from] LogError),
    /// The client port cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error(transparent)]
    Thread(#[from] StopCause),
}

impl StartError {
    /// Exit code of the process, as scripts around the reference expect it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Unsupported { .. } | Self::Timeouts(_) => 2,
            Self::DataDir(_) | Self::Temporary(_) => 3,
            Self::ServerId(_)
            | Self::Recover(_)
            | Self::Log(_)
            | Self::Listen { .. }
            | Self::Thread(_) => 1,
        }
    }
}

/// Sets up a server in this process.
#[derive(Debug, Default)]
pub struct Builder {
    config: Option<Config>,
    data_dir: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Keeps the data here instead of in a directory that goes with the server.
    #[must_use]
    pub fn data_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.data_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Sets a key of `zoo.cfg`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Takes a whole configuration, in place of all that is set otherwise.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Starts the server: it serves when this returns.
    ///
    /// Unless told otherwise it listens on a free port of the loopback address, and keeps its data in
    /// a temporary directory.
    ///
    /// # Errors
    ///
    /// [`StartError`], in the order of its variants.
    ///
    /// # Cancel safety
    ///
    /// A server whose start is cancelled is stopped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(self) -> Result<Server, StartError> {
        // Configurations are large, and whoever waits should not have to carry them.
        Box::pin(self.launch()).await
    }

    async fn launch(self) -> Result<Server, StartError> {
        let mut temporary = None;
        let config = if let Some(config) = self.config {
            config
        } else {
            let data_dir = if let Some(path) = self.data_dir {
                path
            } else {
                let made = tempfile::tempdir().map_err(StartError::Temporary)?;
                temporary.insert(made).path().to_owned()
            };
            embedded_config(&data_dir, &self.settings)?
        };
        let (server, listener, service) = Server::prepare(config, temporary).await?;
        let tasks = server.tasks.clone();
        server
            .tasks
            .spawn(client_listener::accept(listener, service, tasks));
        server.tasks.close();
        server.is_ready().await;
        Ok(server)
    }
}

/// The configuration of a server for a test or a program of its own.
fn embedded_config(data_dir: &Path, settings: &[(String, String)]) -> Result<Config, StartError> {
    let mut text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         preAllocSize=1024\n",
        data_dir.display()
    );
    for (key, value) in settings {
        text.extend([key, "=", value, "\n"]);
    }
    let strictness = Strictness::Normal;
    let main = Properties::parse("(embedded)", text.as_bytes(), strictness)?;
    let resolved = Config::resolve(Sources {
        main: &main,
        dynamic: None,
        environment: &[],
        my_id: None,
        strictness,
    })?;
    Ok(resolved.config)
}

/// A running server. Dropped, it stops; [`Server::shutdown`] also waits until it has.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = zk_server::Server::builder().start().await?;
/// let address = server.client_address();
/// assert!(address.ip().is_loopback() && address.port() != 0);
/// server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    fail_stop: Arc<FailStop>,
    connections: Arc<Connections>,
    tree: Arc<SharedTree>,
    tasks: TaskTracker,
    threads: Vec<JoinHandle<()>>,
    /// Removed with the server.
    temporary: Option<tempfile::TempDir>,
}

impl Server {
    /// Sets up a server in this process.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where clients connect to.
    pub fn client_address(&self) -> SocketAddr {
        self.address
    }

    /// Last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.tree.applied()
    }

    /// Completes when the server stops, by itself or because it was told to.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn stopped(&self) {
        self.fail_stop.stopping().cancelled().await;
    }

    /// Stops the server and waits until its threads are gone and its files are closed. What was
    /// acknowledged is on disk in any case.
    ///
    /// # Errors
    ///
    /// If the server had stopped by itself: why.
    ///
    /// # Cancel safety
    ///
    /// The server stops all the same.
    pub async fn shutdown(mut self) -> Result<(), Arc<StopCause>> {
        self.fail_stop.stop();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            let count = self.tasks.len();
            tracing::warn!(count, "connections did not end in time");
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || join(threads)).await;
        if joined.is_err() {
            tracing::warn!("the threads of the server could not be joined");
        }
        match self.fail_stop.cause() {
            Some(cause) => Err(cause),
            None => Ok(()),
        }
    }

    async fn is_ready(&self) {
        use zk_core::conn::handshake::ServingMode;
        let stopping = self.fail_stop.stopping();
        while self.connections.mode() == ServingMode::NotServing && !stopping.is_cancelled() {
            tokio::task::yield_now().await;
        }
    }

    /// Everything but the acceptance of clients.
    async fn prepare(
        config: Config,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<(Self, TcpListener, Arc<Service>), StartError> {
        let plan = Plan::new(&config)?;
        let listener = listen(&plan.listen).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: plan.listen.to_string(),
            source,
        })?;

        // Reading a large state takes long, and blocks.
        let recovering = tokio::task::spawn_blocking(move || {
            let disk = StdDisk::open(&plan.dirs)?;
            let recovered = recover(&disk, &plan.recover)?;
            let log = FileLog::open(disk.clone(), plan.log, recovered.tree.applied())?;
            Ok::<_, StartError>((disk, recovered, log))
        });
        let (disk, recovered, log) = match recovering.await {
            Ok(recovered) => recovered?,
            Err(_panic) => return Err(StopCause::Panic { thread: "recovery" }.into()),
        };
        report(&recovered.report);

        let clock = Clock::start();
        let access = access(&config);
        let options = PeerOptions {
            server: ServerId::new(1),
            tick: config.tick,
            session_salt: u16::try_from(random() & 0xffff).unwrap_or(0),
            prep: prep_options(&config, access.clone()),
            reap_interval: config.limits.container_check_interval,
            reap_max: reap_max(&config),
        };
        let tree = recovered.tree;
        let peer = Peer::new(options, clock.now(), &tree)?;
        let status = Arc::new(Mutex::new(peer.status()));
        let tree = Arc::new(SharedTree::new(tree, random()));
        let connections = Arc::new(Connections::new());
        let heard = Arc::new(Heard::default());
        let limit = usize::try_from(config.limits.global_outstanding_limit).unwrap_or(1000);
        let permits = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let fail_stop = Arc::new(FailStop::new());

        let core_box = Arc::new(Mailbox::new(MAILBOX_MAX));
        // These take from the core only, which takes no more in than its own bound and the permits.
        let log_box = Arc::new(Mailbox::new(usize::MAX));
        let apply_box = Arc::new(Mailbox::new(usize::MAX));
        let snapshot_box = Arc::new(Mailbox::new(1));
        let boxes = (
            Arc::clone(&core_box),
            Arc::clone(&log_box),
            Arc::clone(&apply_box),
            Arc::clone(&snapshot_box),
        );
        fail_stop.on_stop(move || {
            boxes.0.close();
            boxes.1.close();
            boxes.2.close();
            boxes.3.close();
        });

        let snapshot_stage = SnapshotStage {
            disk,
            tree: Arc::clone(&tree),
            mailbox: Arc::clone(&snapshot_box),
            apply: Arc::clone(&apply_box),
            compression: compression(&config),
        };
        let log_stage = LogStage {
            log,
            mailbox: Arc::clone(&log_box),
            core: Arc::clone(&core_box),
            slow: config.storage.fsync_warning_threshold,
        };
        let apply_stage = ApplyStage {
            tree: Arc::clone(&tree),
            mailbox: Arc::clone(&apply_box),
            core: Arc::clone(&core_box),
            log: Arc::clone(&log_box),
            snapshots: snapshot_box,
            connections: Arc::clone(&connections),
            access: access.clone(),
            permits: Arc::clone(&permits),
            pace: snapshot_pace(&config),
            is_capturing: false,
        };
        let core_stage = CoreStage {
            peer,
            tree: Arc::clone(&tree),
            mailbox: Arc::clone(&core_box),
            log: log_box,
            apply: apply_box,
            heard: Arc::clone(&heard),
            connections: Arc::clone(&connections),
            status: Arc::clone(&status),
            clock,
        };
        let service = Arc::new(Service {
            port: address.port(),
            bounds: bounds(&config)?,
            access,
            wanted_schemes: wanted_schemes(&config),
            tree: Arc::clone(&tree),
            core: core_box,
            heard,
            connections: Arc::clone(&connections),
            permits,
            status,
            fail_stop: Arc::clone(&fail_stop),
            clock,
            stats: Stats::default(),
            config,
        });
        // From here on dropping the server stops what runs already.
        let mut server = Self {
            address,
            fail_stop: Arc::clone(&fail_stop),
            connections,
            tree,
            tasks: TaskTracker::new(),
            threads: Vec::new(),
            temporary,
        };
        let stopping = fail_stop.stopping().clone();
        let is_stopping = move || stopping.is_cancelled();
        let snapshot = fail_stop.spawn("snapshot", move || snapshot_stage.run(is_stopping))?;
        server.threads.push(snapshot);
        server
            .threads
            .push(fail_stop.spawn("log", move || log_stage.run())?);
        server
            .threads
            .push(fail_stop.spawn("apply", move || apply_stage.run())?);
        server
            .threads
            .push(fail_stop.spawn("core", move || core_stage.run())?);
        tracing::info!(%address, zxid = %server.last_zxid(), "serving");
        Ok((server, listener, service))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.fail_stop.stop();
        join(std::mem::take(&mut self.threads));
        drop(self.temporary.take());
    }
}

/// Waits for threads; their panics were reported by themselves.
fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().ok();
    }
}

/// What is decided by the configuration before anything is touched.
struct Plan {
    listen: SocketPlace,
    dirs: DataDirs,
    recover: RecoverOptions,
    log: LogOptions,
}

impl Plan {
    fn new(config: &Config) -> Result<Self, StartError> {
        let unsupported = |what| Err(StartError::Unsupported { what });
        match config.topology {
            Topology::Standalone => {}
            Topology::Ensemble(_) => return unsupported("members of an ensemble"),
        }
        if config.secure_client_port.is_some() {
            return unsupported("secureClientPort");
        }
        if !config.auth_providers.is_empty() {
            return unsupported("authProvider");
        }
        if config.auth.session_require_client_sasl {
            return unsupported("sessionRequireClientSASLAuth");
        }
        let Some(listen) = config.client_port.as_ref().map(SocketPlace::new) else {
            return unsupported("a server without clientPort");
        };
        bounds(config)?;
        let entry_bytes_max = entry_bytes_max(config);
        Ok(Self {
            listen,
            dirs: DataDirs {
                data: config.data_dir.clone(),
                log: config.data_log_dir.clone(),
                autocreate: config.storage.data_dir_autocreate,
            },
            recover: RecoverOptions {
                tree: TreeOptions {
                    hash_seed: random(),
                    owners: OwnerRules {
                        extended_types: config.limits.extended_types_enabled,
                        emulate_353_ttl: false,
                    },
                    digest: config.storage.digest_enabled,
                },
                trust_empty: config.storage.snapshot_trust_empty,
                entry_bytes_max,
                standing: Standing::Alone,
                compression: compression(config),
            },
            log: LogOptions {
                preallocate_bytes: config
                    .storage
                    .pre_alloc_kib
                    .map_or(0, |kib| u64::from(kib.get()) << 10),
                file_bytes_max: config
                    .storage
                    .txn_log_size_limit_kib
                    .map(|kib| kib.get() << 10),
                sync: config.storage.force_sync,
                entry_bytes_max,
            },
        })
    }
}

/// Where to listen, in words for the system.
struct SocketPlace {
    host: String,
    port: u16,
}

impl SocketPlace {
    fn new(address: &ListenAddress) -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED).to_string();
        Self {
            host: address.host.clone().unwrap_or(any),
            port: address.port,
        }
    }
}

impl fmt::Display for SocketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

async fn listen(place: &SocketPlace) -> Result<TcpListener, StartError> {
    TcpListener::bind((place.host.as_str(), place.port))
        .await
        .map_err(|source| StartError::Listen {
            address: place.to_string(),
            source,
        })
}

/// Tells the operator what recovery found.
fn report(report: &RecoverReport) {
    let snapshot = report.snapshot.map(|name| name.to_string());
    let snapshot = snapshot.as_deref().unwrap_or("none");
    tracing::info!(snapshot, count = report.replayed, "state recovered");
    for error in &report.skipped {
        tracing::warn!(err = %crate::stage::fail_stop::chain(error), "snapshot passed over");
    }
    if let Some((name, offset, damage)) = &report.tail.torn {
        tracing::warn!(%name, offset, err = %damage, "torn end of the log passed over");
    }
    if let Some(mismatch) = &report.mismatch {
        tracing::error!(zxid = %mismatch.zxid, "digest of the tree differs from the log's");
    }
    if report.orphans > 0 {
        tracing::warn!(
            count = report.orphans,
            "ephemeral znodes without a session deleted"
        );
    }
}

fn bounds(config: &Config) -> Result<TimeoutBounds, BoundsError> {
    let millis = |time: &Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let range = &config.session_timeout;
    TimeoutBounds::new(
        millis(&config.tick),
        Some(millis(range.start())),
        Some(millis(range.end())),
    )
}

/// An entry is a request and what the server puts around it.
fn entry_bytes_max(config: &Config) -> usize {
    let frame = config.limits.jute_max_buffer;
    let extra = config.storage.jute_max_buffer_extra_bytes.unwrap_or(frame);
    usize::try_from(u64::from(frame) + u64::from(extra)).unwrap_or(usize::MAX)
}

fn access(config: &Config) -> Access {
    let mut schemes: Vec<Box<dyn AuthScheme>> = vec![Box::new(IpScheme)];
    if config.auth.digest_enabled {
        let super_digest = config.auth.super_digest.as_ref();
        let super_digest = super_digest.map(|digest| ByteString::from(digest.expose()));
        schemes.push(Box::new(DigestScheme::new(super_digest)));
    }
    Access {
        is_skipped: config.limits.skip_acl,
        ..Access::new(Schemes::new(schemes))
    }
}

fn wanted_schemes(config: &Config) -> Vec<ByteString> {
    if !config.auth.enforce_enabled {
        return Vec::new();
    }
    let schemes = config.auth.enforce_schemes.split(',').map(str::trim);
    schemes
        .filter(|scheme| !scheme.is_empty())
        .map(ByteString::from)
        .collect()
}

fn prep_options(config: &Config, access: Access) -> PrepOptions {
    let never_used = config.limits.container_max_never_used.as_millis();
    PrepOptions {
        enforces_quota: config.limits.enforce_quota,
        is_standalone: true,
        never_used_ms: i64::try_from(never_used).unwrap_or(i64::MAX),
        ..PrepOptions::new(access)
    }
}

/// Deletions at a time, so that no minute has more than allowed.
fn reap_max(config: &Config) -> usize {
    let per_minute = u128::from(config.limits.container_max_per_minute);
    let interval = config.limits.container_check_interval.as_millis();
    usize::try_from((per_minute * interval / 60_000).max(1)).unwrap_or(usize::MAX)
}

fn snapshot_pace(config: &Config) -> SnapshotPace {
    let bytes = config
        .storage
        .snap_size_limit_kib
        .map(|kib| kib.get().saturating_mul(1024));
    SnapshotPace::new(u64::from(config.storage.snap_count), bytes, random())
}

fn compression(config: &Config) -> Compression {
    match config.storage.snapshot_compression.as_str() {
        "gz" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        _ => Compression::None,
    }
}
