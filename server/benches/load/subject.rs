//! The servers that are compared.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zk_testkit::ensemble::reference::{Ensemble, Reference};
use zk_testkit::load::{Session, Zkserver};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Apache,
    Ours,
}

/// What is configured beside what both need.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings<'a> {
    /// `snapCount`, or its default.
    pub(crate) snap_count: Option<u32>,
    /// A library to be loaded before all others.
    pub(crate) preload: Option<&'a Path>,
}

/// How long a server may take to serve.
const SERVING: Duration = Duration::from_mins(5);
/// Time between two tries to reach a server that starts.
const RETRY: Duration = Duration::from_micros(100);

/// A server, running.
pub(crate) enum Subject {
    Apache {
        runtime: Runtime,
        ensemble: Ensemble,
    },
    Ours {
        server: Zkserver,
        /// Removed after the server is gone.
        _directory: TempDir,
    },
}

impl Subject {
    /// Starts one on an empty directory.
    pub(crate) fn start(which: Which, settings: &Settings<'_>) -> anyhow::Result<Self> {
        let subject = match which {
            Which::Apache => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                let mut builder = Reference::builder()
                    .jvm_tuned()
                    .tick_time(Duration::from_secs(2))
                    .session_timeouts(Duration::from_secs(4), Duration::from_hours(1));
                if let Some(count) = settings.snap_count {
                    builder = builder.jvm_flag(format!("-Dzookeeper.snapCount={count}"));
                }
                if let Some(library) = settings.preload {
                    builder = builder.preload(library);
                }
                let ensemble = runtime.block_on(builder.start())?;
                Self::Apache { runtime, ensemble }
            }
            Which::Ours => {
                let directory = TempDir::with_prefix("zk-load-")?;
                let lines = settings
                    .snap_count
                    .map(|count| format!("snapCount={count}"))
                    .unwrap_or_default();
                let program = Path::new(env!("CARGO_BIN_EXE_zkserver"));
                let mut server = Zkserver::new(program, directory.path(), &lines)?;
                if let Some(library) = settings.preload {
                    server.set_env("LD_PRELOAD", &library.display().to_string());
                }
                server.launch()?;
                Self::Ours {
                    server,
                    _directory: directory,
                }
            }
        };
        subject.first_session()?;
        Ok(subject)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Apache { ensemble, .. } => ensemble.server(0).client_addr(),
            Self::Ours { server, .. } => server.address(),
        }
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        let pid = match self {
            Self::Apache { ensemble, .. } => ensemble.server(0).pid(),
            Self::Ours { server, .. } => server.pid(),
        };
        pid.context("the server does not run")
    }

    /// Waits for the server to grant a session.
    pub(crate) fn first_session(&self) -> anyhow::Result<Session> {
        let begun = Instant::now();
        loop {
            match Session::open(self.address()) {
                Ok(session) => return Ok(session),
                Err(error) if begun.elapsed() > SERVING => {
                    let log = match self {
                        Self::Apache { ensemble, .. } => ensemble.logs(0),
                        Self::Ours { server, .. } => server.log(),
                    };
                    bail!("no session after {SERVING:?}: {error}\n{log}")
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Apache { runtime, ensemble } => runtime.block_on(ensemble.kill(0))?,
            Self::Ours { server, .. } => server.kill(),
        }
        Ok(())
    }

    /// Starts the process again; does not wait.
    pub(crate) fn launch(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Apache { runtime, ensemble } => runtime.block_on(ensemble.start_server(0))?,
            Self::Ours { server, .. } => server.launch()?,
        }
        Ok(())
    }
}
