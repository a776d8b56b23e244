//! `conf`: the configuration in effect, in the few lines the reference shows.

use std::fmt;
use std::fmt::Write as _;

use super::render::render;
use crate::config::{Ensemble, Role};

/// What `conf` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfView {
    /// Plaintext client port; -1 when there is none.
    pub client_port: i32,
    /// TLS client port; -1 when there is none.
    pub secure_client_port: i32,
    /// Directory of snapshots, `version-2` included.
    pub data_dir: String,
    /// Bytes in it.
    pub data_dir_bytes: u64,
    /// Directory of the log, `version-2` included.
    pub data_log_dir: String,
    /// Bytes in it.
    pub data_log_bytes: u64,
    /// Base time unit, in ms.
    pub tick_time_ms: u32,
    /// Connections per client address; 0 is unlimited.
    pub max_client_cnxns: u32,
    /// Smallest session timeout, in ms.
    pub min_session_timeout_ms: u64,
    /// Largest session timeout, in ms.
    pub max_session_timeout_ms: u64,
    /// Connections waiting to be accepted; -1 is the default of the system.
    pub listen_backlog: i32,
    /// Id of this server; 0 when alone.
    pub server_id: i64,
    /// More of it for a member of an ensemble.
    pub member: Option<MemberConf>,
}

/// What a member of an ensemble shows more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConf {
    /// Ticks to connect and sync.
    pub init_limit: u32,
    /// Ticks between request and answer.
    pub sync_limit: u32,
    /// Election ports, one per address.
    pub election_ports: Vec<u16>,
    /// Quorum ports, one per address.
    pub quorum_ports: Vec<u16>,
    /// Whether it has no vote.
    pub is_observer: bool,
    /// Member lines and their version; a read-only server shows none.
    pub membership: Option<(Vec<String>, u64)>,
}

impl MemberConf {
    /// What a configuration tells of a member.
    pub fn of(ensemble: &Ensemble) -> Self {
        let me = ensemble.members.get(ensemble.my_id);
        let addresses = me.map(|me| &*me.addresses).unwrap_or_default();
        Self {
            init_limit: ensemble.init_limit.get(),
            sync_limit: ensemble.sync_limit.get(),
            election_ports: addresses.iter().map(|one| one.election_port).collect(),
            quorum_ports: addresses.iter().map(|one| one.quorum_port).collect(),
            is_observer: ensemble.role == Role::Observer,
            membership: Some((ensemble.members.lines(), ensemble.version)),
        }
    }
}

/// The answer.
pub fn conf(view: &ConfView) -> String {
    render(|out| view.write(out))
}

impl ConfView {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "clientPort={}", self.client_port)?;
        writeln!(out, "secureClientPort={}", self.secure_client_port)?;
        writeln!(out, "dataDir={}", self.data_dir)?;
        writeln!(out, "dataDirSize={}", self.data_dir_bytes)?;
        writeln!(out, "dataLogDir={}", self.data_log_dir)?;
        writeln!(out, "dataLogSize={}", self.data_log_bytes)?;
        writeln!(out, "tickTime={}", self.tick_time_ms)?;
        writeln!(out, "maxClientCnxns={}", self.max_client_cnxns)?;
        writeln!(out, "minSessionTimeout={}", self.min_session_timeout_ms)?;
        writeln!(out, "maxSessionTimeout={}", self.max_session_timeout_ms)?;
        writeln!(out, "clientPortListenBacklog={}", self.listen_backlog)?;
        writeln!(out, "serverId={}", self.server_id)?;
        match &self.member {
            Some(member) => member.write(out),
            None => Ok(()),
        }
    }
}

impl MemberConf {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "initLimit={}", self.init_limit)?;
        writeln!(out, "syncLimit={}", self.sync_limit)?;
        writeln!(out, "electionAlg=3")?;
        writeln!(out, "electionPort={}", joined(&self.election_ports))?;
        writeln!(out, "quorumPort={}", joined(&self.quorum_ports))?;
        writeln!(out, "peerType={}", u8::from(self.is_observer))?;
        if let Some((lines, version)) = &self.membership {
            writeln!(out, "membership: ")?;
            for line in lines {
                writeln!(out, "{line}")?;
            }
            write!(out, "version={version:x}")?;
        }
        Ok(())
    }
}

/// Ports as they are written side by side.
fn joined(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join("|")
}
