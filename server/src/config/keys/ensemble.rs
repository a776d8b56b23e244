//! Keys about members, election and synchronisation.

use std::time::Duration;

use super::Kind::{Flag, Raised, YesNo};
use super::Twin::{None, Prefixed, Raw};
use super::int;

settings! {
    /// How this member deals with the others.
    pub EnsembleSettings {
        /// Whether the leader takes clients.
        leader_serves: bool = "leaderServes", Prefixed, YesNo(true);
        /// Allows sessions known to one member only.
        local_sessions_enabled: bool = "localSessionsEnabled", None, Flag(false);
        /// Turns such a session into a global one when it needs to be.
        local_sessions_upgrading_enabled: bool = "localSessionsUpgradingEnabled", None, Flag(false);
        /// Binds quorum and election ports on all addresses.
        quorum_listen_on_all_ips: bool = "quorumListenOnAllIPs", None, Flag(false);
        /// Longest connect on the election port, in ms.
        cnx_timeout: Duration = "cnxTimeout", Prefixed, int(5000, 1);
        /// Longest silence while reading on the election port, in ms; `None` is `syncLimit`.
        quorum_cnxn_timeout: Option<Duration> = "quorumCnxnTimeoutMs", Prefixed, int(-1, -1);
        /// Attempts to bind the election port, a second apart; 0 tries for ever.
        election_port_bind_retry: u32 = "electionPortBindRetry", Prefixed,
            Raised { default: 3, floor: 0, instead: 3 };
        /// First wait for votes before repeating ours, in ms.
        min_notification_interval: Duration =
            "fastleader.minNotificationInterval", Prefixed, int(200, 1);
        /// Longest such wait, in ms.
        max_notification_interval: Duration =
            "fastleader.maxNotificationInterval", Prefixed, int(60_000, 1);
        /// Always syncs learners by snapshot; a test aid.
        force_snapshot_sync: bool = "forceSnapshotSync", Prefixed, Flag(false);
        /// Lets the members be changed while they run; to be the same on all of them.
        reconfig_enabled: bool = "reconfigEnabled", None, Flag(false);
        /// Files with earlier members that are kept.
        dynamic_retain: u32 = "dynamicConfig.retain", Prefixed, int(5, 1);
        /// Serves reads to clients that allow it while there is no quorum.
        read_only_mode: bool = "readonlymode.enabled", Raw("readonlymode.enabled"), Flag(false);
    }
}
