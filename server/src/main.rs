//! `zkserver`: a server with a configuration file around it, started and stopped as `zkServer.sh`
//! does it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
