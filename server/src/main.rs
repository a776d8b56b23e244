//! `zkserver`: a server with a configuration file around it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use zk_server::config::{Config, Level, Strictness};
use zk_server::{Server, StartError};

/// A ZooKeeper server.
#[derive(Debug, Parser)]
#[command(name = "zkserver", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is interrupted or terminated.
    StartForeground {
        /// The configuration file.
        #[arg(default_value = "zoo.cfg")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::StartForeground { config } = Arguments::parse().command;
    match start_foreground(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.error);
            ExitCode::from(failure.code)
        }
    }
}

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
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = error.exit_code();
        Self::new(error, code)
    }
}

fn start_foreground(path: &std::path::Path) -> Result<(), Failure> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let resolved = Config::load(path, &environment, Strictness::Normal)
        .map_err(|error| Failure::new(error, 2))?;
    let level = EnvFilter::new(&resolved.config.service.log_level);
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    for notice in &resolved.notices {
        match notice.level {
            Level::Warn => tracing::warn!("{}", notice.text),
            Level::Info => tracing::info!("{}", notice.text),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error, 1))?;
    runtime.block_on(serve(resolved.config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::new(error, 1))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::new(error, 1))?;
    let server = Server::builder().config(config).start().await?;
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

/// Tells the whole chain of causes to whoever started the process.
#[expect(clippy::print_stderr, reason = "the log may not be set up yet")]
fn complain(error: &anyhow::Error) {
    eprintln!("zkserver: {error:#}");
}
