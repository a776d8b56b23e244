//! What `envi`, `hash` and `mntr` tell that nobody else does.

use std::env;
use std::fs;
use std::path::PathBuf;

use zk_core::peer::{PeerStatus, Phase, Role};

use super::service::Service;
use crate::VERSION;
use crate::four_letter::{DigestAt, EnvironmentView};

/// Role and phase of a member.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `QuorumPeer#getDetailedState`.
pub(crate) fn peer_state(core: &PeerStatus) -> Option<String> {
    let role = match core.role {
        Role::Alone | Role::Stopped => return None,
        Role::Looking => "looking",
        Role::Leading => "leading",
        Role::Following => "following",
        Role::Observing => "observing",
    };
    let phase = match core.phase {
        Phase::Draining | Phase::Election => " - election",
        Phase::Discovery => " - discovery",
        Phase::Synchronization => " - synchronization",
        Phase::Broadcast => " - broadcast",
        Phase::Stopping => "",
    };
    Some(format!("{role}{phase}"))
}

/// Digests of the tree at every so many transactions, and the last one.
pub(super) fn digests(service: &Service) -> Vec<DigestAt> {
    let digests = service.tree.digests().into_iter();
    digests
        .map(|(zxid, digest)| DigestAt {
            zxid,
            digest: digest.cast_signed(),
        })
        .collect()
}

/// The machine and the process. What only a JVM has is left out.
pub(super) fn environment() -> EnvironmentView {
    let file = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let path = |path: PathBuf| path.display().to_string();
    let memory = file("/proc/meminfo").unwrap_or_default();
    let mega = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    };
    EnvironmentView {
        version: VERSION.to_owned(),
        host_name: file("/proc/sys/kernel/hostname").unwrap_or_default(),
        java_version: None,
        java_vendor: None,
        java_home: None,
        java_class_path: None,
        java_library_path: None,
        tmp_dir: path(env::temp_dir()),
        java_compiler: None,
        os_name: file("/proc/sys/kernel/ostype").unwrap_or_else(|| env::consts::OS.to_owned()),
        os_arch: env::consts::ARCH.to_owned(),
        os_version: file("/proc/sys/kernel/osrelease").unwrap_or_default(),
        user_name: variable("USER"),
        user_home: variable("HOME"),
        user_dir: env::current_dir().map(path).unwrap_or_default(),
        memory_free_mb: mega("MemAvailable"),
        memory_max_mb: mega("MemTotal"),
        memory_total_mb: mega("MemTotal"),
    }
}
