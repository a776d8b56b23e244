//! Keys about members, election and synchronisation.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Kind::{Flag, Raised, YesNo};
use super::Twin::{None, Prefixed, Raw};
use super::int;

settings! {
    /// How this member deals with the others.
    pub EnsembleSettings {
        /// Allows changing the members at run time; equal on all members.
        reconfig_enabled: bool = "reconfigEnabled", None, Flag(false);
        /// Dynamic configuration files kept beside the one in use.
        dynamic_config_retain: u32 = "dynamicConfig.retain", Prefixed, int(5, 1);
        /// Whether the leader takes clients.
        leader_serves: bool = "leaderServes", Prefixed, YesNo(true);
        /// Allows sessions known to one member only.
        local_sessions_enabled: bool = "localSessionsEnabled", None, Flag(false);
        /// Turns such a session into a global one when it needs to be.
        local_sessions_upgrading_enabled: bool = "localSessionsUpgradingEnabled", None, Flag(false);
        /// Binds quorum and election ports on all addresses.
        quorum_listen_on_all_ips: bool = "quorumListenOnAllIPs", None, Flag(false);
        /// Tries the addresses of a member before choosing one.
        multi_address_reachability_check: bool =
            "multiAddress.reachabilityCheckEnabled", Prefixed, Flag(true);
        /// Longest such try, in ms.
        multi_address_reachability_check_timeout: Duration =
            "multiAddress.reachabilityCheckTimeoutMs", Prefixed, int(1000, 1);
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
        /// Longest wait of an elected leader for the epoch votes, in ms; `None` is `initLimit`.
        max_time_to_wait_for_epoch: Option<Duration> =
            "leader.maxTimeToWaitForEpoch" or "maxTimeToWaitForEpoch", Prefixed, int(-1, -1);
        /// Learners synced by snapshot at once.
        max_concurrent_snap_syncs: u32 =
            "leader.maxConcurrentSnapSyncs" or "maxConcurrentSnapSyncs", Prefixed, int(10, 1);
        /// Learners synced by difference at once.
        max_concurrent_diff_syncs: u32 =
            "leader.maxConcurrentDiffSyncs" or "maxConcurrentDiffSyncs", Prefixed, int(100, 1);
        /// Pause between attempts to connect to the leader, in ms.
        leader_connect_delay: Duration = "leaderConnectDelayDuringRetryMs", Prefixed, int(100, 0);
        /// Longest random pause of an observer before reconnecting, in ms.
        observer_reconnect_delay: Duration = "observer.reconnectDelayMs", Prefixed, int(0, 0);
        /// Wait of an observer between election attempts, in ms.
        observer_election_delay: Duration = "observer.election.DelayMs", Prefixed, int(200, 0);
        /// Always syncs learners by snapshot; a test aid.
        force_snapshot_sync: bool = "forceSnapshotSync", Prefixed, Flag(false);
        /// Keep-alive probes on election sockets.
        tcp_keep_alive: bool = "tcpKeepAlive", Prefixed, Flag(false);
        /// Sends small packets of the leader at once.
        leader_no_delay: bool = "leader.nodelay", Raw("leader.nodelay"), Flag(true);
        /// Sends small packets of a learner at once.
        follower_no_delay: bool = "follower.nodelay", Raw("follower.nodelay"), Flag(true);
        /// Serves reads to clients that allow it while there is no quorum.
        read_only_mode: bool = "readonlymode.enabled", Raw("readonlymode.enabled"), Flag(false);
        /// Log every nth acknowledgement of a learner; 0 logs none.
        ack_logging_frequency: Option<NonZeroU32> = "leader.ackLoggingFrequency", Prefixed, int(1000, 0);
    }
}
