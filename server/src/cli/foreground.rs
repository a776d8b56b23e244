//! `start-foreground`: the server itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use zk_server::config::{Config, ConfigError, Level, Resolved, Strictness, Topology};
use zk_server::{AUDIT_TARGET, Server, StartError};

use super::log_format::{JsonFormat, TextFormat};
use super::place::Place;
use super::start::REASON;
use super::{complain, say};

/// Why the process ends, and with which code.
struct Failure {
    error: anyhow::Error,
    code: u8,
}

impl Failure {
    fn new(error: impl Into<anyhow::Error>, code: u8) -> Self {
        Self {
            error: error.into(),
            code,
        }
    }

    /// Tells the whole chain of causes to whoever started the process, behind the sentence of the
    /// reference that scripts know.
    fn tell(&self) -> u8 {
        match self.code {
            2 => complain("Invalid config, exiting abnormally"),
            3 => complain("Unable to access datadir, exiting abnormally"),
            4 => complain("Unable to start AdminServer, exiting abnormally"),
            _ => {}
        }
        complain(format_args!("{REASON}{:#}", self.error));
        self.code
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = error.exit_code();
        Self::new(error, code)
    }
}

/// Serves until the process is interrupted or terminated.
pub(super) fn start(place: &Place) -> u8 {
    match run(place) {
        Ok(()) => 0,
        Err(failure) => failure.tell(),
    }
}

/// Reads the configuration and tells what is to be told about it.
pub(super) fn check(place: &Place) -> u8 {
    match load(place) {
        Ok(resolved) => {
            for notice in &resolved.notices {
                let level = match notice.level {
                    Level::Warn => "warning",
                    Level::Info => "note",
                };
                say(format_args!("{level}: {}: {}", notice.origin, notice.text));
            }
            say(format_args!("{}: good", place.config.display()));
            0
        }
        Err(error) => Failure::new(error, 2).tell(),
    }
}

fn load(place: &Place) -> Result<Resolved, ConfigError> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Config::load(&place.config, &environment, Strictness::Normal)
}

fn run(place: &Place) -> Result<(), Failure> {
    let resolved = load(place).map_err(|error| Failure::new(error, 2))?;
    log(&resolved.config);
    raise_descriptor_limit();
    for notice in &resolved.notices {
        match notice.level {
            Level::Warn => tracing::warn!("{}: {}", notice.origin, notice.text),
            Level::Info => tracing::info!("{}: {}", notice.origin, notice.text),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error, 1))?;
    let text = std::fs::read_to_string(&place.config).unwrap_or_default();
    runtime.block_on(serve(resolved, &text))
}

/// Takes all the file descriptors that the system grants, as a JVM does (`-XX:+MaxFDLimit`): what it
/// gives a service at first, 1024, is few for a server with many clients.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(err = %error, limit = limit.current, "cannot have more file descriptors");
    }
}

/// Sets up the log.
fn log(config: &Config) {
    let service = &config.service;
    let my_id = match &config.topology {
        Topology::Standalone => None,
        Topology::Ensemble(ensemble) => Some(ensemble.my_id),
    };
    let mut filter = service.log_level.clone();
    if service.audit_enabled {
        // Whatever the level of the rest.
        filter.extend([",", AUDIT_TARGET, "=info"]);
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(std::io::stderr);
    if service.log_format == "json" {
        subscriber.event_format(JsonFormat { my_id }).init();
    } else {
        subscriber.event_format(TextFormat { my_id }).init();
    }
}

async fn serve(resolved: Resolved, text: &str) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::new(error, 1))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::new(error, 1))?;
    let builder = Server::builder().config(resolved.config);
    let server = builder.shown(text, resolved.effective).start().await?;
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("interrupted"),
        _ = terminate.recv() => tracing::info!("terminated"),
        () = server.stopped() => {}
    }
    server
        .shutdown()
        .await
        .map_err(|cause| Failure::new(cause, 10))
}
