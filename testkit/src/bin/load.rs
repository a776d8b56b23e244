//! Load on servers that run already, standalone or an ensemble.
//!
//! ```sh
//! cargo run --release -p zk-testkit --bin load -- get 127.0.0.1:2181
//! cargo run --release -p zk-testkit --bin load -- set 127.0.0.1:2181,127.0.0.1:2182 \
//!     connections=60 in_flight=1 seconds=5 pids=4711,4712
//! ```
//!
//! Connections are spread over the servers in turn. The processor time of the processes `pids` is
//! told for each request.

#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it measured"
)]

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use zk_testkit::load::{Load, Op, memory, prepare, run};

const USAGE: &str = "load get|set|create|create-delete|multi|mixed HOST:PORT[,HOST:PORT…] \
                     [connections=8] [in_flight=256] [seconds=3] [warm_up=1] [pids=PID[,PID…]]";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or(USAGE)?;
    let op = Op::ALL.into_iter().find(|op| op.name() == name);
    let servers = addresses(&args.next().ok_or(USAGE)?)?;
    let mut load = Load {
        op: op.ok_or(USAGE)?,
        connections: 8,
        in_flight: 256,
        warm_up: Duration::from_secs(1),
        span: Duration::from_secs(3),
    };
    let mut pids: Vec<u32> = Vec::new();
    for arg in args {
        let (key, value) = arg.split_once('=').ok_or(USAGE)?;
        match key {
            "connections" => load.connections = value.parse()?,
            "in_flight" => load.in_flight = value.parse()?,
            "seconds" => load.span = Duration::try_from_secs_f64(value.parse()?)?,
            "warm_up" => load.warm_up = Duration::try_from_secs_f64(value.parse()?)?,
            "pids" => pids = list(value)?,
            _ => return Err(USAGE.into()),
        }
    }
    prepare(*servers.first().ok_or(USAGE)?)?;
    let sample = run(&load, &servers, &pids)?;
    println!(
        "{name}, {} connections, {} in flight on each: {:.0} a second",
        load.connections,
        load.in_flight,
        sample.rate()
    );
    let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    for (quantile, share) in quantiles {
        println!("  {quantile:<6} {:>10.1} µs", sample.latency_us(share));
    }
    println!(
        "  servers   {:>7.2} µs of processor a request, {:.2} of it outside the kernel",
        sample.server_us(),
        sample.server_user_us()
    );
    println!("  generator {:>7.2} µs", sample.generator_us());
    for pid in pids {
        println!("  {pid}: {} KiB resident", memory(pid)?.resident >> 10);
    }
    Ok(())
}

/// The first address of each host.
fn addresses(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    text.split(',')
        .map(|host| {
            let mut found = host.to_socket_addrs()?;
            found
                .next()
                .ok_or_else(|| format!("{host} has no address").into())
        })
        .collect()
}

fn list<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, T::Err> {
    text.split(',').map(str::parse).collect()
}
