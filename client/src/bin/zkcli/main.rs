//! `zkcli`: a command line for ZooKeeper servers, with the commands, options and texts of Apache's
//! `zkCli.sh`.
//!
//! ```text
//! zkcli [-server host:port[,…][/chroot]] [-timeout ms] [-r] [-waitforconnection]
//!       [-client-configuration file] [command …]
//! ```
//!
//! With a command it does that and ends: 0 if it went well, 1 if not, 127 if there is no such command.
//! Without, it reads commands from the terminal or from standard input. It differs from `zkCli.sh` where
//! that is a trap: sessions are closed at the end, wrong options are errors, no stack traces.

mod args;
mod commands;
mod editor;
mod failure;
mod options;
mod properties;
mod shell;
mod show;
mod words;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use self::args::Invocation;
use self::failure::Failure;
use self::shell::Shell;
use self::show::{complain, say};

fn main() -> ExitCode {
    let invocation = match Invocation::parse(std::env::args().skip(1)) {
        Ok(invocation) => invocation,
        Err(message) => {
            complain(&message);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(err) => {
            complain(&format!("cannot start: {err}"));
            return ExitCode::FAILURE;
        }
    };
    let mut shell = Shell::new(&invocation);
    let code = if invocation.command.is_empty() {
        say(&format!("Connecting to {}", invocation.server));
        say("Welcome to ZooKeeper!");
        editor::run(&runtime, &mut shell, std::io::stdin().is_terminal())
    } else {
        runtime.block_on(once(&mut shell, &invocation))
    };
    runtime.block_on(shell.close());
    ExitCode::from(code)
}

/// Does one command.
async fn once(shell: &mut Shell, invocation: &Invocation) -> u8 {
    let result = match shell.open(invocation.is_patient).await {
        Ok(()) => shell.execute(&invocation.command).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) | Err(Failure::Quit) => 0,
        Err(failure) => {
            complain(&failure.to_string());
            failure.exit_code()
        }
    }
}
