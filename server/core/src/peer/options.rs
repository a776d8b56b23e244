//! What a server is told once.

use std::sync::Arc;
use std::time::Duration;

use zk_proto::{Epoch, ServerId};

use crate::ensemble::EnsembleConfig;
use crate::prep::PrepOptions;

/// What a server is told once.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// Its id; 1 for one on its own.
    pub server: ServerId,
    /// Width of the ticks in which sessions expire, and unit of the limits of a member.
    pub tick: Duration,
    /// Random bits for the first session id.
    pub session_salt: u16,
    /// How requests are judged.
    pub prep: PrepOptions,
    /// Time between looks for containers and TTL znodes whose time is over.
    pub reap_interval: Duration,
    /// Most of them deleted at a time.
    pub reap_max: usize,
}

/// What a member of an ensemble is told beside.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the configuration"
)]
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// Who the members are.
    pub config: Arc<EnsembleConfig>,
    /// Ticks within which a learner must be connected and synchronised, and a leader must have a
    /// quorum (`initLimit`).
    pub init_limit: u32,
    /// Ticks after which who says nothing is given up (`syncLimit`).
    pub sync_limit: u32,
    /// Ticks within which a learner must be connected; 0 is `init_limit`
    /// (`connectToLearnerMasterLimit`).
    pub connect_limit: u32,
    /// Silence after which an election with a quorum of agreeing votes is decided.
    pub finalize_wait: Duration,
    /// Time until votes are sent again, and what it grows to
    /// (`fastleader.minNotificationInterval`, `fastleader.maxNotificationInterval`).
    pub notification_interval: (Duration, Duration),
    /// Most committed transactions kept for learners.
    pub history_count_max: usize,
    /// Most bytes of them.
    pub history_bytes_max: usize,
    /// Most bytes of the log read to synchronise one learner, with what each entry costs beside its own,
    /// beyond which it gets the tree.
    pub log_sync_bytes_max: usize,
    /// Whether a leader serves clients (`leaderServes`).
    pub leader_serves: bool,
    /// Whether it serves reads while it looks for a leader (`readonlymode.enabled`).
    pub read_only: bool,
    /// Whether new sessions are local (`localSessionsEnabled`).
    pub local_sessions: bool,
    /// Whether a local session becomes a global one when it needs to
    /// (`localSessionsUpgradingEnabled`).
    pub local_sessions_upgrading: bool,
    /// Whether every learner gets the whole tree (`forceSnapshotSync`).
    pub force_snapshot: bool,
    /// Random bits, for pauses.
    pub seed: u64,
}

impl MemberOptions {
    /// What a member has unless it is told otherwise.
    pub fn new(config: Arc<EnsembleConfig>) -> Self {
        Self {
            config,
            init_limit: 10,
            sync_limit: 5,
            connect_limit: 0,
            finalize_wait: Duration::from_millis(200),
            notification_interval: (Duration::from_millis(200), Duration::from_mins(1)),
            history_count_max: 10_000,
            history_bytes_max: 32 << 20,
            log_sync_bytes_max: 32 << 20,
            leader_serves: true,
            read_only: false,
            local_sessions: false,
            local_sessions_upgrading: false,
            force_snapshot: false,
            seed: 0,
        }
    }
}

/// The epoch files of a member, as they were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveredEpochs {
    /// `acceptedEpoch`: the last one promised.
    pub accepted: Epoch,
    /// `currentEpoch`: the last one whose initial history is here.
    pub current: Epoch,
}
