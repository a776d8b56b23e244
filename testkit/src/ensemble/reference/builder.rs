//! Decides what an ensemble looks like and starts it.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::layout::{Layout, Program, TlsFiles, create_dir, tied_to_us, write};
use super::super::server::Launch;
use super::super::{Ensemble, LaunchError};
use super::install::{Installation, JAR_DIR};

/// Collects what an ensemble shall look like.
///
/// The defaults are for tests: small ticks, small heaps, quick start-up, all four-letter words, TTL
/// znodes allowed.
#[derive(Debug, Clone)]
pub struct Builder {
    layout: Layout,
    is_tuned: bool,
    heap_mb: Option<u32>,
    jvm_flags: Vec<String>,
    log_level: LogLevel,
    jar_dir: PathBuf,
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

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            layout: Layout::new(),
            is_tuned: false,
            heap_mb: None,
            jvm_flags: Vec::new(),
            log_level: LogLevel::Warn,
            jar_dir: PathBuf::from(JAR_DIR),
        }
    }

    /// Number of voters, 1 to 5; 1 unless told otherwise.
    ///
    /// One voter without observers runs standalone, without a quorum.
    #[must_use]
    pub fn servers(mut self, voters: usize) -> Self {
        self.layout.voters = voters;
        self
    }

    /// Number of observers, at most 16; none unless told otherwise.
    ///
    /// They come after the voters in [`Ensemble::servers`].
    #[must_use]
    pub fn observers(mut self, observers: usize) -> Self {
        self.layout.observers = observers;
        self
    }

    /// Adds a line to every server's `zoo.cfg`, or replaces one of ours.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.layout.config.set(key, value);
        self
    }

    /// The tick, 200 ms unless told otherwise: session timeouts are bounded to 2 to 20 ticks.
    ///
    /// `initLimit` and `syncLimit` follow it, so that learners always have 30 s to join and
    /// followers 4 s to answer.
    #[must_use]
    pub fn tick_time(mut self, tick: Duration) -> Self {
        self.layout.tick_time = tick;
        self
    }

    /// Bounds of negotiated session timeouts, in place of 2 and 20 ticks.
    #[must_use]
    pub fn session_timeouts(mut self, min: Duration, max: Duration) -> Self {
        self.layout.session_timeouts = Some((min, max));
        self
    }

    /// How long the whole ensemble may take until it serves; 60 s unless told otherwise.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.layout.start_within = limit;
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
        self.layout.data_dir = Some(dir.into());
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
        let value = library.into().display().to_string();
        self.layout.env.push(("LD_PRELOAD", value));
        self
    }

    /// Gives each server a TLS client port beside the plain one; both use Netty then.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.layout.tls = Some(files);
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
        self.layout.check()?;
        self.layout.start(&self.program()?).await
    }

    /// How its servers are started.
    pub(in crate::ensemble) fn program(&self) -> Result<Java, LaunchError> {
        Ok(Java {
            installation: Installation::find(&self.jar_dir)?,
            flags: self.flags(),
            log4j_properties: self.log4j_properties(),
        })
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

    /// Flags of the JVM that are the same for all servers.
    fn flags(&self) -> Vec<OsString> {
        let mut flags = Vec::new();
        if !self.is_tuned {
            let quick = [
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xshare:auto",
            ];
            flags.extend(quick.map(String::from));
        }
        let heap_mb = self
            .heap_mb
            .unwrap_or(if self.is_tuned { 1024 } else { 128 });
        flags.push(format!("-Xmx{heap_mb}m"));
        let properties = [
            "-XX:-UsePerfData",
            "-Dzookeeper.jmx.log4j.disable=true",
            "-Dzookeeper.admin.enableServer=false",
            "-Dzookeeper.4lw.commands.whitelist=*",
            "-Dzookeeper.extendedTypesEnabled=true",
            // A slow disk is not what the tests are about; the log shall show what is.
            "-Dzookeeper.fsync.warningthresholdms=10000",
        ];
        flags.extend(properties.map(String::from));
        flags.extend(self.jvm_flags.iter().cloned());
        flags.into_iter().map(OsString::from).collect()
    }
}

/// How Debian's servers are started.
pub(in crate::ensemble) struct Java {
    installation: Installation,
    flags: Vec<OsString>,
    log4j_properties: String,
}

impl Program for Java {
    const PREFIX: &'static str = "zk-reference-";

    fn prepare(&self, dir: &Path, config_file: &Path) -> Result<Vec<Launch>, LaunchError> {
        let (temp, log4j) = (dir.join("tmp"), dir.join("log4j.properties"));
        create_dir(&temp)?;
        write(&log4j, &self.log4j_properties)?;
        let installation = &self.installation;
        let setpriv = installation.setpriv.as_deref();
        let (program, mut args) = tied_to_us(&installation.java, setpriv);
        args.push(format!("-Djava.io.tmpdir={}", temp.display()).into());
        args.push(format!("-Dlog4j.configuration=file:{}", log4j.display()).into());
        args.extend(self.flags.iter().cloned());
        args.push("-cp".into());
        args.push(installation.class_path.clone());
        args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
        args.push(config_file.into());
        Ok(vec![Launch {
            program,
            args,
            dir: dir.to_path_buf(),
        }])
    }
}
