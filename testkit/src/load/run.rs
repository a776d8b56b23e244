//! Keeps requests in flight on a number of connections, and measures meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use super::connection::Connection;
use super::error::LoadError;
use super::op::{Op, Requests, next_run};
use super::process::{Cpu, cpu, thread_cpu};
use super::session::{SILENCE, Session};

/// Longest latency told apart: 60 s, in nanoseconds.
const LATENCY_MAX: u64 = 60_000_000_000;

/// What is asked, and how.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// What.
    pub op: Op,
    /// On how many connections.
    pub connections: usize,
    /// With how many requests in flight on each.
    pub in_flight: usize,
    /// How long before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub span: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Requests answered.
    pub ops: u64,
    /// In this time.
    pub elapsed: Duration,
    /// Time that the servers took meanwhile.
    pub servers: Cpu,
    /// Time that the generator took.
    pub generator: Duration,
    /// How long answers took, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Sample {
    /// Requests answered in a second.
    pub fn rate(&self) -> f64 {
        as_f64(self.ops) / self.elapsed.as_secs_f64()
    }

    /// Microseconds of the servers' processors for a request.
    pub fn server_us(&self) -> f64 {
        self.servers.total().as_secs_f64() * 1e6 / as_f64(self.ops.max(1))
    }

    /// The part of [`Self::server_us`] outside the kernel.
    pub fn server_user_us(&self) -> f64 {
        self.servers.user.as_secs_f64() * 1e6 / as_f64(self.ops.max(1))
    }

    /// Microseconds of the generator's processor for a request.
    pub fn generator_us(&self) -> f64 {
        self.generator.as_secs_f64() * 1e6 / as_f64(self.ops.max(1))
    }

    /// Microseconds within which this share of the answers came.
    pub fn latency_us(&self, share: f64) -> f64 {
        as_f64(self.latency.value_at_quantile(share)) / 1e3
    }
}

#[expect(clippy::cast_precision_loss, reason = "ratios for people")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Applies a load to servers, the connections spread over them in turn, and measures the time that
/// the processes `pids` take for it.
///
/// # Errors
/// [`LoadError`]; an answer that is an error is one.
pub fn run(load: &Load, servers: &[SocketAddr], pids: &[u32]) -> Result<Sample, LoadError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut latency = Histogram::new_with_max(LATENCY_MAX, 3)
        .map_err(|_| std::io::Error::other("no such histogram"))?;
    let run = next_run();
    let mut connections = Vec::with_capacity(load.connections);
    for (at, &server) in (0..load.connections).zip(servers.iter().cycle()) {
        let session = Session::open(server)?;
        let number = u32::try_from(at).unwrap_or(u32::MAX);
        let requests = Requests::new(load.op, run, number);
        let token = Token(at);
        connections.push(Connection::new(
            session,
            requests,
            load.in_flight,
            poll.registry(),
            token,
        )?);
    }
    let now = Instant::now();
    for connection in &mut connections {
        connection.send(usize::MAX, now)?;
    }

    let counting = now + load.warm_up;
    let end = counting + load.span;
    let mut start = None;
    let mut ops = 0;
    let sample = loop {
        ops += turn(&mut poll, &mut events, &mut connections, &mut latency, true)?;
        let now = Instant::now();
        match start {
            None if now >= counting => {
                latency.reset();
                ops = 0;
                start = Some((now, cpu_of(pids)?, thread_cpu()?));
            }
            Some((started, servers, generator)) if now >= end => {
                break Sample {
                    ops: u64::try_from(ops).unwrap_or(u64::MAX),
                    elapsed: now.duration_since(started),
                    servers: cpu_of(pids)? - servers,
                    generator: thread_cpu()?.saturating_sub(generator),
                    latency: latency.clone(),
                };
            }
            None | Some(_) => {}
        }
    };
    // What is in flight is waited for, so that nothing is left to do while others are measured.
    while connections.iter().any(|it| it.in_flight() > 0) {
        turn(
            &mut poll,
            &mut events,
            &mut connections,
            &mut latency,
            false,
        )?;
    }
    Ok(sample)
}

/// Waits for the sockets and serves those that are ready; returns how many answers came.
fn turn(
    poll: &mut Poll,
    events: &mut Events,
    connections: &mut [Connection],
    latency: &mut Histogram<u64>,
    is_going_on: bool,
) -> Result<usize, LoadError> {
    match poll.poll(events, Some(SILENCE)) {
        Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    if events.is_empty() {
        return Err(LoadError::Silence(SILENCE));
    }
    let mut count = 0;
    for event in events.iter() {
        let Some(connection) = connections.get_mut(event.token().0) else {
            continue;
        };
        if event.is_readable() {
            let answered = connection.receive(latency)?;
            count += answered;
            if is_going_on {
                connection.send(answered, Instant::now())?;
            }
        }
        if event.is_writable() {
            connection.flush()?;
        }
    }
    Ok(count)
}

fn cpu_of(pids: &[u32]) -> Result<Cpu, LoadError> {
    pids.iter().map(|&pid| cpu(pid)).sum()
}
