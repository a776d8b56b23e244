//! `srvr`: the server in ten lines, without its clients.

use std::fmt;
use std::fmt::Write as _;

use zk_proto::Zxid;

use super::java::java_average;
use super::render::render;
use super::role::Mode;

/// What a server is about, as `srvr` and `stat` tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerStatus {
    /// Version, such as `3.9.3-<commit>, built on 2024-10-17 23:21 UTC`.
    pub version: String,
    /// Latency of requests since the last reset.
    pub latency: Latency,
    /// Packets received, this word included.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Client connections, this one included.
    pub connections: u64,
    /// Requests being worked on.
    pub outstanding: u64,
    /// Last transaction applied.
    pub zxid: Zxid,
    /// Role.
    pub mode: Mode,
    /// Znodes; an empty tree counts 5.
    pub node_count: u64,
    /// Sizes of proposals; a leader has them.
    pub proposal_sizes: Option<ProposalSizes>,
}

/// Latencies in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Smallest.
    pub min: u64,
    /// Mean.
    pub avg: f64,
    /// Largest.
    pub max: u64,
}

/// Sizes of proposals in bytes; -1 before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposalSizes {
    /// Of the last one.
    pub last: i64,
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
}

/// The answer.
pub fn srvr(status: &ServerStatus) -> String {
    render(|out| {
        status.write_head(out)?;
        status.write_rest(out)
    })
}

impl ServerStatus {
    /// Version, and what comes before everything else on a read-only server.
    pub(super) fn write_head(&self, out: &mut String) -> fmt::Result {
        let read_only = match self.mode {
            Mode::ReadOnly => "READ-ONLY mode; serving only read-only clients\n",
            Mode::Standalone | Mode::Leader | Mode::Follower | Mode::Observer => "",
        };
        write!(out, "Zookeeper version: {}\n{read_only}", self.version)
    }

    /// Everything from the latencies on.
    pub(super) fn write_rest(&self, out: &mut String) -> fmt::Result {
        let Latency { min, avg, max } = self.latency;
        writeln!(
            out,
            "Latency min/avg/max: {min}/{}/{max}",
            java_average(avg)
        )?;
        writeln!(out, "Received: {}", self.received)?;
        writeln!(out, "Sent: {}", self.sent)?;
        writeln!(out, "Connections: {}", self.connections)?;
        writeln!(out, "Outstanding: {}", self.outstanding)?;
        writeln!(out, "Zxid: {}", self.zxid)?;
        writeln!(out, "Mode: {}", self.mode)?;
        writeln!(out, "Node count: {}", self.node_count)?;
        if let Some(ProposalSizes { last, min, max }) = self.proposal_sizes {
            writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
        }
        Ok(())
    }
}
