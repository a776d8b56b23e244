//! Decides what an ensemble looks like and starts it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::config::Properties;
use super::install::{Installation, JAR_DIR};
use super::ports::free_port;
use super::server::{Launch, Server};
use super::{Ensemble, LaunchError};

/// How often the ensemble is started on other ports when somebody else takes one of them.
const ATTEMPTS_MAX: usize = 4;

/// The largest number of voters.
const VOTERS_MAX: usize = 5;

/// The largest number of observers.
const OBSERVERS_MAX: usize = 16;

/// Collects what an ensemble shall look like.
///
/// The defaults are for tests: small ticks, small heaps, quick start-up, all four-letter words, TTL
/// znodes allowed.
#[derive(Debug, Clone)]
pub struct Builder {
    voters: usize,
    observers: usize,
    tick_time: Duration,
    session_timeouts: Option<(Duration, Duration)>,
    start_within: Duration,
    config: Properties,
    is_tuned: bool,
    heap_mb: Option<u32>,
    jvm_flags: Vec<String>,
    log_level: LogLevel,
    data_dir: Option<PathBuf>,
    jar_dir: PathBuf,
    preload: Option<PathBuf>,
    tls: Option<TlsFiles>,
}

/// Files for the TLS client port of each server.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM file with the server's certificate chain and its private key (PKCS#8, not encrypted).
    pub keystore_pem: PathBuf,
    /// PEM file with the certificates that clients' certificates must chain to.
    pub truststore_pem: PathBuf,
    /// Whether clients must show a certificate.
    pub client_auth: bool,
}

/// How much the servers log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogLevel {
    /// Warnings and errors.
    #[default]
    Warn,
    /// Also what an operator would want to know.
    Info,
    /// Everything but packets.
    Debug,
}

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    secure: Option<u16>,
    quorum: u16,
    election: u16,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            voters: 1,
            observers: 0,
            tick_time: Duration::from_millis(200),
            session_timeouts: None,
            start_within: Duration::from_mins(1),
            config: Properties::default(),
            is_tuned: false,
            heap_mb: None,
            jvm_flags: Vec::new(),
            log_level: LogLevel::Warn,
            data_dir: None,
            jar_dir: PathBuf::from(JAR_DIR),
            preload: None,
            tls: None,
        }
    }

    /// Number of voters, 1 to 5; 1 unless told otherwise.
    ///
    /// One voter without observers runs standalone, without a quorum.
    #[must_use]
    pub fn servers(mut self, voters: usize) -> Self {
        self.voters = voters;
        self
    }

    /// Number of observers, at most 16; none unless told otherwise.
    ///
    /// They come after the voters in [`Ensemble::servers`].
    #[must_use]
    pub fn observers(mut self, observers: usize) -> Self {
        self.observers = observers;
        self
    }

    /// Adds a line to every server's `zoo.cfg`, or replaces one of ours.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.config.set(key, value);
        self
    }

    /// The tick, 200 ms unless told otherwise: session timeouts are bounded to 2 to 20 ticks.
    ///
    /// `initLimit` and `syncLimit` follow it, so that learners always have 30 s to join and
    /// followers 4 s to answer.
    #[must_use]
    pub fn tick_time(mut self, tick: Duration) -> Self {
        self.tick_time = tick;
        self
    }

    /// Bounds of negotiated session timeouts, in place of 2 and 20 ticks.
    #[must_use]
    pub fn session_timeouts(mut self, min: Duration, max: Duration) -> Self {
        self.session_timeouts = Some((min, max));
        self
    }

    /// How long the whole ensemble may take until it serves; 60 s unless told otherwise.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = limit;
        self
    }

    /// Adds a flag for every server's JVM, after ours, so that it wins over them.
    #[must_use]
    pub fn jvm_flag(mut self, flag: impl Into<String>) -> Self {
        self.jvm_flags.push(flag.into());
        self
    }

    /// Heap of each server in MiB; 128 unless told otherwise, 1024 when tuned.
    #[must_use]
    pub fn heap_mb(mut self, heap: u32) -> Self {
        self.heap_mb = Some(heap);
        self
    }

    /// Leaves the JVM its full optimiser and collector and gives it a larger heap.
    ///
    /// For benchmarks: servers start more slowly and become faster.
    #[must_use]
    pub fn jvm_tuned(mut self) -> Self {
        self.is_tuned = true;
        self
    }

    /// How much the servers log; warnings and errors unless told otherwise.
    #[must_use]
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// Keeps everything in `dir/server-<id>` in place of a temporary directory, and leaves it there.
    ///
    /// Data found there is used. The directory is created if need be.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Looks for the jars elsewhere than in `/usr/share/java`.
    #[must_use]
    pub fn jar_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.jar_dir = dir.into();
        self
    }

    /// Loads a library into every server before all others, in front of its C library.
    #[must_use]
    pub fn preload(mut self, library: impl Into<PathBuf>) -> Self {
        self.preload = Some(library.into());
        self
    }

    /// Gives each server a TLS client port beside the plain one; both use Netty then.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Starts the ensemble; returns when every server serves clients.
    ///
    /// # Errors
    /// See [`LaunchError`]. When somebody else takes a port first, other ports are tried before
    /// [`LaunchError::PortTaken`] is returned. No process is left behind.
    ///
    /// # Cancel safety
    /// Dropping the future ends the servers.
    pub async fn start(self) -> Result<Ensemble, LaunchError> {
        self.check_layout()?;
        let installation = Installation::find(&self.jar_dir)?;
        let mut attempt = 1;
        loop {
            let ensemble = self.prepare(&installation)?;
            match ensemble.start_all(self.start_within).await {
                Ok(()) => return Ok(ensemble),
                Err(err @ LaunchError::PortTaken { .. }) if attempt < ATTEMPTS_MAX => {
                    tracing::info!(attempt, err = %err, "starting again on other ports");
                    attempt += 1;
                }
                Err(err) => return Err(err),
            }
        }
    }

    fn check_layout(&self) -> Result<(), LaunchError> {
        let reason = if self.voters == 0 || self.voters > VOTERS_MAX {
            "there must be 1 to 5 voters"
        } else if self.observers > OBSERVERS_MAX {
            "there can be at most 16 observers"
        } else if self.tick_time < Duration::from_millis(1) {
            "the tick must be at least 1 ms"
        } else {
            return Ok(());
        };
        Err(LaunchError::Layout {
            voters: self.voters,
            observers: self.observers,
            reason,
        })
    }

    /// Chooses ports and writes the files of all servers.
    fn prepare(&self, installation: &Installation) -> Result<Ensemble, LaunchError> {
        let (base, temp_dir) = self.base_dir()?;
        let ports = self.choose_ports()?;
        let servers = (1..)
            .zip(&ports)
            .map(|(id, own)| self.prepare_server(installation, &base, id, *own, &ports))
            .collect::<Result<_, _>>()?;
        Ok(Ensemble::new(servers, temp_dir))
    }

    fn base_dir(&self) -> Result<(PathBuf, Option<TempDir>), LaunchError> {
        if let Some(dir) = &self.data_dir {
            create_dir(dir)?;
            // The servers run in directories of their own, so a relative path would not do.
            let dir = dir
                .canonicalize()
                .map_err(|source| unprepared(dir, source))?;
            return Ok((dir, None));
        }
        let temp = TempDir::with_prefix("zk-reference-")
            .map_err(|source| unprepared(&std::env::temp_dir(), source))?;
        Ok((temp.path().to_path_buf(), Some(temp)))
    }

    fn choose_ports(&self) -> Result<Vec<Ports>, LaunchError> {
        (0..self.voters + self.observers)
            .map(|_| {
                Ok(Ports {
                    client: free_port()?,
                    secure: self.tls.as_ref().map(|_| free_port()).transpose()?,
                    quorum: free_port()?,
                    election: free_port()?,
                })
            })
            .collect()
    }

    fn prepare_server(
        &self,
        installation: &Installation,
        base: &Path,
        id: u32,
        own: Ports,
        all: &[Ports],
    ) -> Result<Server, LaunchError> {
        let dir = base.join(format!("server-{id}"));
        let data_dir = dir.join("data");
        create_dir(&data_dir)?;
        create_dir(&dir.join("tmp"))?;
        write(&data_dir.join("myid"), &format!("{id}\n"))?;
        write(&dir.join("log4j.properties"), &self.log4j_properties())?;
        let config_file = dir.join("zoo.cfg");
        write(&config_file, &self.zoo_cfg(&data_dir, own, all).to_string())?;
        let command = self.command(installation, &dir, &config_file);
        let addrs = (loopback(own.client), own.secure.map(loopback));
        Ok(Server::new(
            id,
            addrs,
            data_dir,
            dir.join("server.log"),
            command,
        ))
    }

    fn zoo_cfg(&self, data_dir: &Path, own: Ports, all: &[Ports]) -> Properties {
        let mut cfg = Properties::default();
        cfg.set("tickTime", self.tick_time.as_millis());
        cfg.set("initLimit", self.ticks_in(Duration::from_secs(30)));
        cfg.set("syncLimit", self.ticks_in(Duration::from_secs(4)));
        cfg.set("dataDir", data_dir.display());
        // Four-letter words count as connections, and tests open many from one address.
        cfg.set("maxClientCnxns", 0);
        // A server that looks for a leader for long falls back to asking once a minute.
        cfg.set("fastleader.maxNotificationInterval", 1000);
        if let Some((min, max)) = self.session_timeouts {
            cfg.set("minSessionTimeout", min.as_millis());
            cfg.set("maxSessionTimeout", max.as_millis());
        }
        if let (Some(tls), Some(port)) = (&self.tls, own.secure) {
            cfg.set("secureClientPort", port);
            cfg.set("secureClientPortAddress", Ipv4Addr::LOCALHOST);
            cfg.set(
                "serverCnxnFactory",
                "org.apache.zookeeper.server.NettyServerCnxnFactory",
            );
            cfg.set("ssl.keyStore.location", tls.keystore_pem.display());
            cfg.set("ssl.keyStore.type", "PEM");
            cfg.set("ssl.trustStore.location", tls.truststore_pem.display());
            cfg.set("ssl.trustStore.type", "PEM");
            cfg.set(
                "ssl.clientAuth",
                if tls.client_auth { "need" } else { "none" },
            );
            cfg.set("ssl.enabledProtocols", "TLSv1.3,TLSv1.2");
        }
        if all.len() == 1 {
            cfg.set("clientPort", own.client);
            cfg.set("clientPortAddress", Ipv4Addr::LOCALHOST);
        } else {
            // Refused by the server only for one voter with observers, which is legal without it.
            cfg.set("standaloneEnabled", self.voters > 1);
            for (index, ports) in all.iter().enumerate() {
                let role = if index < self.voters {
                    "participant"
                } else {
                    "observer"
                };
                let Ports {
                    client,
                    quorum,
                    election,
                    ..
                } = ports;
                let host = Ipv4Addr::LOCALHOST;
                cfg.set(
                    format!("server.{}", index + 1),
                    format!("{host}:{quorum}:{election}:{role};{host}:{client}"),
                );
            }
        }
        cfg.set_all(&self.config);
        cfg
    }

    /// Whole ticks in `time`, but some at least.
    fn ticks_in(&self, time: Duration) -> u128 {
        (time.as_millis() / self.tick_time.as_millis().max(1)).max(5)
    }

    fn log4j_properties(&self) -> String {
        let level = match self.log_level {
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
        };
        format!(
            "log4j.rootLogger={level}, OUT\n\
             log4j.appender.OUT=org.apache.log4j.ConsoleAppender\n\
             log4j.appender.OUT.layout=org.apache.log4j.PatternLayout\n\
             log4j.appender.OUT.layout.ConversionPattern=\
             %d{{ISO8601}} [myid:%X{{myid}}] - %-5p [%t:%C{{1}}@%L] - %m%n\n"
        )
    }

    fn command(&self, installation: &Installation, dir: &Path, config_file: &Path) -> Launch {
        let mut args: Vec<OsString> = Vec::new();
        let program = match &installation.setpriv {
            // The kernel then ends the server when we die in a way that runs no drop.
            Some(setpriv) => {
                args.extend(["--pdeathsig", "KILL"].map(OsString::from));
                args.push(installation.java.clone().into());
                setpriv.clone()
            }
            None => installation.java.clone(),
        };
        if !self.is_tuned {
            args.extend(
                [
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-Xshare:auto",
                ]
                .map(OsString::from),
            );
        }
        let heap_mb = self
            .heap_mb
            .unwrap_or(if self.is_tuned { 1024 } else { 128 });
        args.extend(
            [
                format!("-Xmx{heap_mb}m"),
                "-XX:-UsePerfData".into(),
                format!("-Djava.io.tmpdir={}", dir.join("tmp").display()),
                format!(
                    "-Dlog4j.configuration=file:{}",
                    dir.join("log4j.properties").display()
                ),
                "-Dzookeeper.jmx.log4j.disable=true".into(),
                "-Dzookeeper.admin.enableServer=false".into(),
                "-Dzookeeper.4lw.commands.whitelist=*".into(),
                "-Dzookeeper.extendedTypesEnabled=true".into(),
                // A slow disk is not what the tests are about; the log shall show what is.
                "-Dzookeeper.fsync.warningthresholdms=10000".into(),
            ]
            .map(OsString::from),
        );
        args.extend(self.jvm_flags.iter().map(OsString::from));
        args.push("-cp".into());
        args.push(installation.class_path.clone());
        args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
        args.push(config_file.into());
        Launch {
            program,
            args,
            dir: dir.to_path_buf(),
            preload: self.preload.clone(),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn create_dir(path: &Path) -> Result<(), LaunchError> {
    fs::create_dir_all(path).map_err(|source| unprepared(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), LaunchError> {
    fs::write(path, text).map_err(|source| unprepared(path, source))
}

fn unprepared(path: &Path, source: std::io::Error) -> LaunchError {
    LaunchError::Prepare {
        path: path.to_path_buf(),
        source,
    }
}
