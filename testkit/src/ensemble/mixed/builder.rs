//! Decides what a mixed ensemble looks like and starts it.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::layout::{Layout, Program};
use super::super::process::Binary;
use super::super::reference::{self, Java};
use super::super::server::Launch;
use super::super::{Ensemble, LaunchError};
use super::Kind;

/// Collects what a mixed ensemble shall look like.
///
/// The defaults are those of the reference's builder.
#[derive(Debug, Clone)]
pub struct Builder {
    layout: Layout,
    reference: reference::Builder,
    binary: PathBuf,
    kinds: Vec<Kind>,
    /// Flags of our servers, quoted.
    flags: Vec<String>,
}

impl Builder {
    pub(super) fn new(binary: PathBuf, voters: &[Kind]) -> Self {
        let mut layout = Layout::new();
        layout.voters = voters.len();
        layout.config.set("admin.enableServer", false);
        layout.config.set("4lw.commands.whitelist", "*");
        layout.config.set("extendedTypesEnabled", true);
        Self {
            layout,
            reference: reference::Reference::builder(),
            binary,
            kinds: voters.to_vec(),
            flags: Vec::new(),
        }
    }

    /// Adds an observer behind the voters and observers that there are.
    #[must_use]
    pub fn observer(mut self, kind: Kind) -> Self {
        self.layout.observers += 1;
        self.kinds.push(kind);
        self
    }

    /// Adds a line to every server's `zoo.cfg`, or replaces one of ours.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.layout.config.set(key, value);
        self
    }

    /// Sets a property as a flag of a JVM does, for both kinds: `name` is `zookeeper.…` for most.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        self.reference = self.reference.jvm_flag(format!("-D{name}={value}"));
        self.flags.push(format!("'-D{name}={value}'"));
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

    /// Starts the ensemble; returns when every server serves clients.
    ///
    /// # Errors
    /// See [`LaunchError`]; no process is left behind.
    ///
    /// # Cancel safety
    /// Dropping the future ends the servers.
    pub async fn start(mut self) -> Result<Ensemble, LaunchError> {
        self.layout.check()?;
        self.layout
            .env
            .push(("SERVER_JVMFLAGS", self.flags.join(" ")));
        let program = Both {
            java: self.reference.program()?,
            binary: Binary { path: self.binary },
        };
        let kinds = self.kinds;
        self.layout
            .start_as(&program, |ensemble| {
                for (index, kind) in kinds.iter().enumerate() {
                    ensemble.become_at_start(index, *kind);
                }
            })
            .await
    }
}

/// Both ways of starting a server, in the order of [`Kind::index`].
struct Both {
    java: Java,
    binary: Binary,
}

impl Program for Both {
    const PREFIX: &'static str = "zk-mixed-";

    fn prepare(&self, dir: &Path, config_file: &Path) -> Result<Vec<Launch>, LaunchError> {
        let mut programs = self.java.prepare(dir, config_file)?;
        programs.extend(self.binary.prepare(dir, config_file)?);
        Ok(programs)
    }
}
