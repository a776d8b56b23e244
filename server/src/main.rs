//! `zkserver`: a server with a configuration file around it, started and stopped as `zkServer.sh`
//! does it.

mod cli;

/// Requests are taken in on one thread and let go of on another, which the allocator of the C library
/// slow at. Without huge pages, which would double the memory of an idle server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
