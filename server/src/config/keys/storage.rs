//! Keys about the data directory: log, snapshots, purge.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::Kind::{Choice, Flag, Interval, Raised, YesNo};
use super::Twin::{None, Prefixed};
use super::{int, long};

settings! {
    /// How transactions are logged and snapshots taken.
    pub StorageSettings {
        /// Step by which a log file is preallocated, in KiB; `None` is off.
        pre_alloc_kib: Option<NonZeroU32> = "preAllocSize", Prefixed, int(65_536, -1);
        /// Transactions between snapshots; the real number is drawn between half of it and it.
        snap_count: u32 = "snapCount", Prefixed, Raised { default: 100_000, floor: 2, instead: 2 };
        /// Log KiB between snapshots, drawn likewise; `None` is off.
        snap_size_limit_kib: Option<NonZeroU64> = "snapSizeLimitInKb", Prefixed, long(4_194_304, -1);
        /// Log file size in KiB that starts the next file; `None` is off.
        txn_log_size_limit_kib: Option<NonZeroU64> = "txnLogSizeLimitInKb", Prefixed, long(-1, -1);
        /// Committed transactions kept in memory for DIFF syncs.
        commit_log_count: u32 = "commitLogCount", Prefixed,
            Raised { default: 500, floor: 500, instead: 500 };
        /// Compression of new snapshots: none, `gz` or `snappy`.
        snapshot_compression: String = "snapshot.compression.method", Prefixed,
            Choice { default: "", of: &["", "gz", "snappy"] };
        /// Starts with log files and no snapshot at all, as data of 3.4 may need once.
        snapshot_trust_empty: bool = "snapshot.trust.empty", Prefixed, Flag(false);
        /// Appends the last zxid to snapshots; admin snapshot and restore need it.
        serialize_last_processed_zxid: bool = "serializeLastProcessedZxid.enabled", Prefixed, Flag(true);
        /// Keeps a digest of the tree, and writes it to log and snapshots.
        digest_enabled: bool = "digest.enabled", Prefixed, Flag(true);
        /// Syncs the log to disk before acknowledging; `no` risks losing acknowledged writes.
        force_sync: bool = "forceSync", Prefixed, YesNo(true);
        /// Sync duration in ms above which a warning is logged.
        fsync_warning_threshold: Duration = "fsync.warningthresholdms", Prefixed, long(1000, 0);
        /// Longest wait in ms for more transactions before a sync; 0 waits for none.
        flush_delay: Duration = "flushDelay", Prefixed, int(0, 0);
        /// Longest single wait in ms of that kind; `None` is a third of `flushDelay`.
        max_write_queue_poll_time: Option<Duration> = "maxWriteQueuePollTime", Prefixed, int(-1, -1);
        /// Most transactions per sync.
        max_batch_size: u32 = "maxBatchSize", Prefixed, int(1000, 1);
        /// Creates missing data directories.
        data_dir_autocreate: bool = "datadir.autocreate", Prefixed, Flag(true);
        /// Bytes read beyond `jute.maxbuffer` in log, snapshot and quorum packets; `None` is
        /// `jute.maxbuffer`.
        jute_max_buffer_extra_bytes: Option<u32> = "jute.maxbuffer.extrasize", Prefixed,
            Raised { default: -1, floor: 1024, instead: 1024 };
    }
}

settings! {
    /// Which old files are deleted, and when.
    pub PurgeSettings {
        /// Newest snapshots kept.
        snap_retain_count: u32 = "autopurge.snapRetainCount", None,
            Raised { default: 3, floor: 3, instead: 3 };
        /// Hours between purges, the first one at start; 0 never purges.
        interval: Duration = "autopurge.purgeInterval", None,
            Interval { default_ms: 0, unit_ms: 3_600_000 };
        /// Bytes of log and snapshots above which older ones are purged; `None` is no limit.
        max_bytes: Option<NonZeroU64> = "autopurge.maxBytes", Prefixed, long(0, 0);
    }
}
