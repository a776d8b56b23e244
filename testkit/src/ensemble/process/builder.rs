//! Decides what an ensemble of our own servers looks like and starts it.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::layout::{Layout, Program, TlsFiles, find_program, tied_to_us};
use super::super::server::Launch;
use super::super::{Ensemble, LaunchError};

/// Collects what an ensemble of our own servers shall look like.
///
/// The defaults are those of the reference's builder.
#[derive(Debug, Clone)]
pub struct Builder {
    layout: Layout,
    binary: PathBuf,
    /// Properties, as a JVM would be given them.
    properties: Vec<(String, String)>,
}

impl Builder {
    pub(super) fn new(binary: PathBuf) -> Self {
        let mut layout = Layout::new();
        layout.config.set("admin.enableServer", false);
        layout.config.set("4lw.commands.whitelist", "*");
        layout.config.set("extendedTypesEnabled", true);
        Self {
            layout,
            binary,
            properties: Vec::new(),
        }
    }

    /// Number of servers that vote, 1 to 5; 1 unless told otherwise.
    #[must_use]
    pub fn servers(mut self, voters: usize) -> Self {
        self.layout.voters = voters;
        self
    }

    /// Number of observers, at most 16; none unless told otherwise.
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

    /// Sets a property as a flag of a JVM does: `name` is `zookeeper.…` for most.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl Display) -> Self {
        self.properties.push((name.to_owned(), value.to_string()));
        self
    }

    /// The tick, 200 ms unless told otherwise: session timeouts are bounded to 2 to 20 ticks.
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

    /// Keeps everything in `dir/server-<id>` in place of a temporary directory, and leaves it there.
    ///
    /// Data found there is used. The directory is created if need be.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.layout.data_dir = Some(dir.into());
        self
    }

    /// Loads a library into every server before all others, in front of its C library.
    #[must_use]
    pub fn preload(mut self, library: impl Into<PathBuf>) -> Self {
        let value = library.into().display().to_string();
        self.layout.env.push(("LD_PRELOAD", value));
        self
    }

    /// Lets server `from` look for server `to` (indexes) at these ports for quorum and election, in
    /// place of its own: those of proxies.
    #[must_use]
    pub fn dial(mut self, from: usize, to: usize, (quorum, election): (u16, u16)) -> Self {
        self.layout.dials.insert((from, to), (quorum, election));
        self
    }

    /// Gives each server a TLS client port beside the plain one.
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
        self.start_as(|_| ()).await
    }

    /// As [`Self::start`], after a last look at the ensemble.
    pub(crate) async fn start_as(self, look: impl Fn(&Ensemble)) -> Result<Ensemble, LaunchError> {
        let (layout, program) = self.finish()?;
        layout.start_as(&program, look).await
    }

    /// Prepares the ensemble and starts none of its servers: [`Ensemble::start_server`] does.
    ///
    /// # Errors
    /// See [`LaunchError`]. Nobody looks whether the ports that were free stay so.
    pub fn lay_out(self) -> Result<Ensemble, LaunchError> {
        let (layout, program) = self.finish()?;
        layout.prepare(&program)
    }

    fn finish(mut self) -> Result<(Layout, Binary), LaunchError> {
        self.layout.check()?;
        let flags = self.properties.iter();
        let flags = flags.map(|(name, value)| format!("'-D{name}={value}'"));
        let flags = flags.collect::<Vec<_>>().join(" ");
        self.layout.env.push(("SERVER_JVMFLAGS", flags));
        Ok((self.layout, Binary { path: self.binary }))
    }
}

/// How our servers are started.
pub(in crate::ensemble) struct Binary {
    pub(in crate::ensemble) path: PathBuf,
}

impl Program for Binary {
    const PREFIX: &'static str = "zk-process-";

    fn prepare(&self, dir: &Path, config_file: &Path) -> Result<Vec<Launch>, LaunchError> {
        let setpriv = find_program("setpriv");
        let (program, mut args) = tied_to_us(&self.path, setpriv.as_deref());
        if let Some(env) = find_program("env").filter(|_| setpriv.is_some()) {
            // A file that may not grow is to be an error, as on a full disk, and no signal.
            let own = args.pop();
            args.extend([env.into(), OsString::from("--ignore-signal=XFSZ")]);
            args.extend(own);
        }
        args.extend([OsString::from("start-foreground"), config_file.into()]);
        Ok(vec![Launch {
            program,
            args,
            dir: dir.to_path_buf(),
        }])
    }
}
