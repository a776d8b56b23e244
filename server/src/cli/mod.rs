//! The command line: the verbs of `zkServer.sh`, with its output and its exit codes.
//!
//! | verb | file |
//! |---|---|
//! | `start`, `restart` | `start` |
//! | `start-foreground` | `foreground` |
//! | `stop` | `stop` |
//! | `status` | `status`, `endpoint` |
//! | `print-cmd`, `version`, `check` | here |
//!
//! As there, what the script says goes to standard output, and which configuration it means to
//! standard error. What differs: whoever does not get what he asked for is told why.

mod endpoint;
mod foreground;
mod log_format;
mod pid_file;
mod place;
mod start;
mod status;
mod stop;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::place::Place;

/// What the script says when it is asked for something it has not.
const USAGE: &str = "[--config <conf-dir>] \
     {start|start-foreground|stop|version|restart|status|print-cmd|check} [<config>]";

/// A ZooKeeper server.
#[derive(Debug, Parser)]
#[command(name = "zkserver", disable_version_flag = true)]
struct Arguments {
    /// Directory of the configuration file, instead of `ZOOCFGDIR`.
    #[arg(long = "config", value_name = "CONF-DIR")]
    config_dir: Option<std::path::PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Starts a server in the background.
    Start(StartArguments),
    /// Serves until it is interrupted or terminated.
    StartForeground {
        /// The configuration: a name in the configuration directory, or a path.
        config: Option<String>,
        /// Leaves the terminal it was started from.
        #[arg(long, hide = true)]
        detach: bool,
    },
    /// Stops the server that `start` started.
    Stop(StopArguments),
    /// Stops the server and starts it again.
    Restart(StartArguments),
    /// Tells whether the server serves, and in which role.
    Status {
        /// The configuration: a name in the configuration directory, or a path.
        config: Option<String>,
    },
    /// Tells the version.
    Version {
        /// Not looked at.
        config: Option<String>,
    },
    /// Shows the command that `start` runs.
    PrintCmd {
        /// The configuration: a name in the configuration directory, or a path.
        config: Option<String>,
    },
    /// Reads the configuration, says what is wrong with it, and starts nothing.
    Check {
        /// The configuration: a name in the configuration directory, or a path.
        config: Option<String>,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct StartArguments {
    /// The configuration: a name in the configuration directory, or a path.
    config: Option<String>,
    /// Returns only when the server serves, or after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

#[derive(Clone, Debug, clap::Args)]
struct StopArguments {
    /// The configuration: a name in the configuration directory, or a path.
    config: Option<String>,
    /// Seconds that the server may take to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

/// Does what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            say(error);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(error);
            complain(format_args!("Usage: {} {USAGE}", name()));
            return ExitCode::from(2);
        }
    };
    let place = |config: Option<&String>| {
        let place = Place::find(arguments.config_dir.as_deref(), config.map(String::as_str));
        complain(format_args!("Using config: {}", place.config.display()));
        place
    };
    let code = match &arguments.verb {
        Verb::Start(start) => {
            let place = place(start.config.as_ref());
            start::start(&place, start.wait.map(Duration::from_secs))
        }
        Verb::StartForeground { config, detach } => {
            if *detach {
                // Fails only for the leader of a process group, which has no terminal to leave.
                rustix::process::setsid().ok();
            }
            foreground::start(&place(config.as_ref()))
        }
        Verb::Stop(stop) => {
            let place = place(stop.config.as_ref());
            stop::stop(&place, Duration::from_secs(stop.timeout))
        }
        Verb::Restart(start) => {
            let place = place(start.config.as_ref());
            match stop::stop(&place, stop::PATIENCE) {
                0 => start::start(&place, start.wait.map(Duration::from_secs)),
                code => code,
            }
        }
        Verb::Status { config } => status::status(&place(config.as_ref())),
        Verb::Version { config: _ } => {
            say(format_args!(
                "Apache ZooKeeper, version {}",
                zk_server::VERSION
            ));
            0
        }
        Verb::PrintCmd { config } => {
            say(start::command_line(&place(config.as_ref())));
            0
        }
        Verb::Check { config } => foreground::check(&place(config.as_ref())),
    };
    ExitCode::from(code)
}

/// How this program was called.
fn name() -> String {
    std::env::args()
        .next()
        .unwrap_or_else(|| "zkserver".to_owned())
}

/// A line on standard output. Whoever closed it does not want to know.
fn say(text: impl std::fmt::Display) {
    writeln!(std::io::stdout(), "{text}").ok();
}

/// The beginning of a line that says what is being done.
fn say_begun(text: &str) {
    let mut out = std::io::stdout();
    write!(out, "{text} ... ").and_then(|()| out.flush()).ok();
}

/// A line on standard error.
fn complain(text: impl std::fmt::Display) {
    writeln!(std::io::stderr(), "{text}").ok();
}
