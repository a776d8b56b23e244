//! Keys about clients: limits, throttles, semantics.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Kind::{Flag, Float, Text, YesNo};
use super::Twin::{None, Prefixed, Raw};
use super::{int, long};

settings! {
    /// What clients may ask for, and how much of it.
    pub LimitSettings {
        /// Connections per client address; `None` is unlimited.
        max_client_cnxns: Option<NonZeroU32> = "maxClientCnxns", None, int(60, -1);
        /// Connections per listener; `None` is unlimited.
        max_cnxns: Option<NonZeroU32> = "maxCnxns", Prefixed, int(0, -1);
        /// Connections waiting to be accepted; `None` is the default of the system.
        listen_backlog: Option<u32> = "clientPortListenBacklog", None, int(-1, -1);
        /// Keep-alive probes on client sockets.
        client_tcp_keep_alive: bool = "clientTcpKeepAlive", Prefixed, Flag(false);
        /// Ms after which a socket without a session is closed.
        sessionless_timeout: Duration = "nio.sessionlessCnxnTimeout", Prefixed, int(10_000, 1);
        /// Largest request or record in bytes, inclusive; equal on servers and clients.
        jute_max_buffer: u32 = "jute.maxbuffer", Raw("jute.maxbuffer"), int(1_048_575, 1);
        /// Requests queued in the whole ensemble.
        global_outstanding_limit: u32 = "globalOutstandingLimit", Prefixed, int(1000, 1);
        /// Refuses writes above a hard quota.
        enforce_quota: bool = "enforceQuota", Prefixed, Flag(false);
        /// Allows TTL znodes; server ids must not exceed 254.
        extended_types_enabled: bool = "extendedTypesEnabled", Prefixed, Flag(false);
        /// Turns all access control off.
        skip_acl: bool = "skipACL", Prefixed, YesNo(false);
        /// Ms between looks for empty containers and expired TTL znodes.
        container_check_interval: Duration = "znode.container.checkIntervalMs",
            Raw("znode.container.checkIntervalMs"), int(60_000, 1);
        /// Containers deleted per minute at most.
        container_max_per_minute: u32 = "znode.container.maxPerMinute",
            Raw("znode.container.maxPerMinute"), int(10_000, 1);
        /// Ms after which a container that never had a child is deleted; 0 never.
        container_max_never_used: Duration = "znode.container.maxNeverUsedIntervalMs",
            Raw("znode.container.maxNeverUsedIntervalMs"), long(0, 0);
        /// Four-letter words answered besides `srvr`: comma separated, `*` for all.
        four_letter_whitelist: String = "4lw.commands.whitelist", Prefixed, Text("");
    }
}

settings! {
    /// How overload is shed.
    pub ThrottleSettings {
        /// Requests in flight on this member; `None` is unlimited.
        max_requests: Option<NonZeroU32> =
            "request_throttle_max_requests" or "requestThrottleLimit", Prefixed, int(0, 0);
        /// Ms that a request may wait to be let in; later it is answered that it was throttled. 0 is
        /// for ever.
        op_wait: Option<Duration> =
            "throttled_op_wait_time" or "throttledOpWaitTime", Prefixed, int(0, 0);
        /// Bytes of a request above which it is large; `None` takes none for large.
        large_request_threshold: Option<NonZeroU32> = "largeRequestThreshold", Prefixed, int(-1, -1);
        /// Bytes that large writes in the server may have together; what goes beyond is refused, and
        /// its connection closed.
        large_request_max_bytes: u32 = "largeRequestMaxBytes", Prefixed, int(104_857_600, 1);
        /// Bucket size of new sessions; `None` does not throttle.
        connection_tokens: Option<NonZeroU32> =
            "connection_throttle_tokens" or "connectionMaxTokens", Prefixed, int(0, 0);
        /// Ms between fills of the bucket.
        connection_fill_time: Duration =
            "connection_throttle_fill_time" or "connectionTokenFillTime", Prefixed, int(1, 1);
        /// Tokens per fill.
        connection_fill_count: u32 =
            "connection_throttle_fill_count" or "connectionTokenFillCount", Prefixed, int(1, 0);
        /// Ms between changes of the dropping probability; `None` never drops at random.
        connection_freeze_time: Option<Duration> =
            "connection_throttle_freeze_time" or "connectionFreezeTime", Prefixed, int(-1, -1);
        /// Added to the dropping probability when the bucket is empty.
        connection_drop_increase: f64 =
            "connection_throttle_drop_increase" or "connectionDropIncrease", Prefixed,
            Float { default: 0.02, min: 0.0, max: 1.0 };
        /// Taken from it when the bucket is full.
        connection_drop_decrease: f64 =
            "connection_throttle_drop_decrease" or "connectionDropDecrease", Prefixed,
            Float { default: 0.002, min: 0.0, max: 1.0 };
        /// Share of the bucket that must be left for taking from it.
        connection_decrease_ratio: f64 =
            "connection_throttle_decrease_ratio" or "connectionDecreaseRatio", Prefixed,
            Float { default: 0.0, min: 0.0, max: 1.0 };
        /// Charges sessions by kind.
        connection_weight_enabled: bool = "connection_throttle_weight_enabled", Prefixed, Flag(false);
        /// Tokens of a new global session.
        connection_global_weight: u32 =
            "connection_throttle_global_session_weight", Prefixed, int(3, 1);
        /// Tokens of a new local session.
        connection_local_weight: u32 = "connection_throttle_local_session_weight", Prefixed, int(1, 1);
        /// Tokens of a session that comes back.
        connection_renew_weight: u32 = "connection_throttle_renew_session_weight", Prefixed, int(2, 1);
    }
}
