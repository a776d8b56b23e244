//! Keys that set nothing here: families read as a whole elsewhere, keys refused, keys without effect.

use super::Disposition::{Honoured, Ignored, Refused};
use super::Kind::Flag;
use super::Twin::{None, Prefixed, Raw};
use super::{Disposition, Key, Kind, Twin, int, long, port};

const fn row(
    name: &'static str,
    twin: Twin,
    disposition: Disposition,
    reason: &'static str,
) -> Key {
    Key {
        name,
        aliases: &[],
        twin,
        kind: Kind::Free,
        disposition,
        field: Option::None,
        reason,
    }
}

/// A key without effect whose value has a form.
const fn unread(
    name: &'static str,
    aliases: &'static [&'static str],
    twin: Twin,
    kind: Kind,
    reason: &'static str,
) -> Key {
    Key {
        name,
        aliases,
        twin,
        kind,
        disposition: Ignored,
        field: Option::None,
        reason,
    }
}

const fn ignored(name: &'static str, twin: Twin, reason: &'static str) -> Key {
    row(name, twin, Ignored, reason)
}

const fn refused(
    name: &'static str,
    twin: Twin,
    harmless: &'static [&'static str],
    reason: &'static str,
) -> Key {
    row(name, twin, Refused { harmless }, reason)
}

/// Families honoured as a whole.
pub(super) const FAMILIES: &[Key] = &[
    row(
        "server.*",
        None,
        Honoured,
        "A member: `host:port:port[:role][;[host:]port]`.",
    ),
    row(
        "group.*",
        None,
        Honoured,
        "Members of a group of a hierarchical quorum, joined by `:`.",
    ),
    row(
        "weight.*",
        None,
        Honoured,
        "Votes of a member within its group; 1 when absent.",
    ),
    row(
        "authProvider.*",
        Prefixed,
        Honoured,
        "Class name of an authentication scheme to offer.",
    ),
    row(
        "superUser.*",
        Prefixed,
        Honoured,
        "Further SASL ids that are the super user.",
    ),
];

const OBSERVER_MASTER: &str = "followers do not serve observers; observers connect to the leader";
const KERBEROS: &str = "Kerberos is not supported; SASL is DIGEST-MD5 only";
const REVOCATION: &str = "certificates are not checked for revocation";
const RUNTIME: &str = "tunes threads of the JVM server; this one sizes itself";
const NETTY: &str = "one network layer serves plaintext and TLS";
const WATCHES: &str = "tunes a watch table of the JVM server";
const JVM: &str = "there is no JVM to watch";
const TRACE: &str = "debug statistics of the JVM server";
const CACHE: &str = "replies are encoded once per event without a cache";
const ADMIN_TLS: &str =
    "the admin server speaks no TLS; it listens on the loopback address unless told otherwise";
const BACKUP: &str = "the command restore is not there yet";
const ADDRESSES: &str = "whichever address of a member answers is taken";
const SYNCS: &str = "learners are synchronised as they come";
const PAUSES: &str = "pauses between attempts are fixed";
const THROTTLED: &str =
    "a request that has to wait is not read from its connection before its turn";
const PIPELINE: &str = "switches a stage of the JVM server's pipeline";

/// Keys whose effect is missing, and missing it would break a promise.
pub(super) const REFUSED: &[Key] = &[
    refused(
        "oraclePath",
        None,
        &[""],
        "a two-member oracle would decide quorums we do not implement",
    ),
    refused(
        "emulate353TTLNodes",
        Prefixed,
        &["false"],
        "the TTL encoding of 3.5.3 in the data directory is not supported",
    ),
    refused("observerMasterPort", None, &["0"], OBSERVER_MASTER),
    refused("ssl.crl", Prefixed, &["false"], REVOCATION),
    refused("ssl.ocsp", Prefixed, &["false"], REVOCATION),
    refused("ssl.quorum.crl", Prefixed, &["false"], REVOCATION),
    refused("ssl.quorum.ocsp", Prefixed, &["false"], REVOCATION),
    refused(
        "kerberos.removeHostFromPrincipal",
        Prefixed,
        &["false"],
        KERBEROS,
    ),
    refused(
        "kerberos.removeRealmFromPrincipal",
        Prefixed,
        &["false"],
        KERBEROS,
    ),
    refused(
        "kerberos.canonicalizeHostNames",
        Prefixed,
        &["false"],
        KERBEROS,
    ),
    refused(
        "ensembleAuthName",
        Prefixed,
        &[""],
        "the scheme `ensemble` is not offered",
    ),
    refused(
        "DigestAuthenticationProvider.digestAlg",
        Prefixed,
        &["SHA1", "SHA-1"],
        "ids of the scheme digest are hashed with SHA-1 only",
    ),
    refused(
        "ssl.authProvider",
        Prefixed,
        &["x509"],
        "certificates are taken by the scheme x509 only",
    ),
    refused(
        "db.autocreate",
        Prefixed,
        &["true"],
        "a member with an empty database always takes part in elections",
    ),
];

/// Keys whose values are looked at, and have no effect so far: one that is not the default is told of.
pub(super) const UNREAD: &[Key] = &[
    unread(
        "electionAlg",
        &[],
        None,
        Kind::Int {
            default: 3,
            min: 3,
            max: 3,
        },
        "there is one election algorithm",
    ),
    unread(
        "multiAddress.reachabilityCheckEnabled",
        &[],
        Prefixed,
        Flag(true),
        ADDRESSES,
    ),
    unread(
        "multiAddress.reachabilityCheckTimeoutMs",
        &[],
        Prefixed,
        int(1000, 1),
        ADDRESSES,
    ),
    unread(
        "leader.maxTimeToWaitForEpoch",
        &["maxTimeToWaitForEpoch"],
        Prefixed,
        int(-1, -1),
        "a leader gives up at once when its voters look for another",
    ),
    unread(
        "leader.maxConcurrentSnapSyncs",
        &["maxConcurrentSnapSyncs"],
        Prefixed,
        int(10, 1),
        SYNCS,
    ),
    unread(
        "leader.maxConcurrentDiffSyncs",
        &["maxConcurrentDiffSyncs"],
        Prefixed,
        int(100, 1),
        SYNCS,
    ),
    unread(
        "leaderConnectDelayDuringRetryMs",
        &[],
        Prefixed,
        int(100, 0),
        PAUSES,
    ),
    unread(
        "observer.reconnectDelayMs",
        &[],
        Prefixed,
        int(0, 0),
        PAUSES,
    ),
    unread(
        "observer.election.DelayMs",
        &[],
        Prefixed,
        int(200, 0),
        PAUSES,
    ),
    unread(
        "tcpKeepAlive",
        &[],
        Prefixed,
        Flag(false),
        "connections for votes are not probed; one that is dead is noticed when it is used",
    ),
    unread(
        "leader.nodelay",
        &[],
        Raw("leader.nodelay"),
        Flag(true),
        "small packets are always sent at once",
    ),
    unread(
        "follower.nodelay",
        &[],
        Raw("follower.nodelay"),
        Flag(true),
        "small packets are always sent at once",
    ),
    unread(
        "leader.ackLoggingFrequency",
        &[],
        Prefixed,
        int(1000, 0),
        "acknowledgements are not logged",
    ),
    unread(
        "syncEnabled",
        &["observer.syncEnabled"],
        Prefixed,
        Flag(true),
        "observers always keep log and snapshots",
    ),
    unread(
        "snapshotSizeFactor",
        &[],
        Prefixed,
        Kind::Float {
            default: 0.33,
            min: -1.0,
            max: 1.0,
        },
        "learners are synchronised from up to 32 MiB of the log on disk, whatever the tree takes",
    ),
    unread(
        "closeSessionTxn.enabled",
        &[],
        Prefixed,
        Flag(true),
        "the ephemerals of a closed session are always listed; every release reads that",
    ),
    unread(
        "autopurge.maxAge",
        &[],
        Prefixed,
        Kind::Interval {
            default_ms: 0,
            unit_ms: 3_600_000,
        },
        "files are purged by number and by size only",
    ),
    unread(
        "enableEagerACLCheck",
        &[],
        Prefixed,
        Flag(false),
        "lists are checked by the leader, with the same answers",
    ),
    unread(
        "memory.limit",
        &[],
        Prefixed,
        long(0, 0),
        "memory is bounded by the limits of connections and requests only",
    ),
    unread(
        "request_throttle_stall_time",
        &["requestThrottleStallTime"],
        Prefixed,
        int(100, 1),
        THROTTLED,
    ),
    unread(
        "request_throttle_drop_stale",
        &["requestThrottleDropStale"],
        Prefixed,
        Flag(true),
        THROTTLED,
    ),
    unread(
        "request_stale_connection_check",
        &["requestStaleConnectionCheck"],
        Prefixed,
        Flag(true),
        THROTTLED,
    ),
    unread(
        "request_stale_latency_check",
        &["requestStaleLatencyCheck"],
        Prefixed,
        Flag(false),
        THROTTLED,
    ),
    unread(
        "request_throttler.shutdownTimeout",
        &[],
        Prefixed,
        int(10_000, 0),
        "a server that stops has two seconds to finish what it has begun",
    ),
    unread(
        "admin.portUnification",
        &[],
        Prefixed,
        Flag(false),
        ADMIN_TLS,
    ),
    unread("admin.forceHttps", &[], Prefixed, Flag(false), ADMIN_TLS),
    unread(
        "admin.needClientAuth",
        &[],
        Prefixed,
        Flag(false),
        ADMIN_TLS,
    ),
    unread("admin.restore.enabled", &[], Prefixed, Flag(true), BACKUP),
    unread(
        "admin.requireAuth",
        &[],
        Prefixed,
        Flag(false),
        "the command that shows data asks in any case, and none changes any",
    ),
    unread(
        "metricsProvider.httpsPort",
        &[],
        None,
        port(-1),
        "metrics are exported without TLS",
    ),
    unread(
        "ssl.hostnameVerification",
        &[],
        Prefixed,
        Flag(true),
        "a server connects to no client",
    ),
    unread(
        "ssl.clientHostnameVerification",
        &[],
        Prefixed,
        Flag(false),
        "names are never looked up from addresses",
    ),
    unread(
        "IPAuthenticationProvider.usexforwardedfor",
        &[],
        Prefixed,
        Flag(false),
        "the admin server does not ask who it serves",
    ),
];

/// Keys about what is not here at all: their values are not looked at.
pub(super) const IGNORED: &[Key] = &[
    ignored(
        "intBufferStartingSizeBytes",
        Prefixed,
        "buffers grow as needed",
    ),
    ignored("observerMaster.sizeLimit", Prefixed, OBSERVER_MASTER),
    ignored(
        "quorum.cnxn.threads.size",
        None,
        "connections between members need no thread pool",
    ),
    ignored(
        "leader.closeSocketAsync",
        Prefixed,
        "sockets always close in the background",
    ),
    ignored(
        "learner.closeSocketAsync",
        Prefixed,
        "sockets always close in the background",
    ),
    ignored(
        "learner.asyncSending",
        Prefixed,
        "learners always send in the background",
    ),
    ignored(
        "forward_learner_requests_to_commit_processor_disabled",
        Prefixed,
        PIPELINE,
    ),
    ignored(
        "follower.skipLearnerRequestToNextProcessor",
        Prefixed,
        PIPELINE,
    ),
    ignored("maxResponseCacheSize", Prefixed, CACHE),
    ignored("maxGetChildrenResponseCacheSize", Prefixed, CACHE),
    ignored(
        "advancedFlowControlEnabled",
        Prefixed,
        "read by no release; flow control is always on",
    ),
    ignored("nio.*", Prefixed, RUNTIME),
    ignored("commitProcessor.*", Prefixed, RUNTIME),
    ignored("serverCnxnFactory", Prefixed, NETTY),
    ignored("netty.*", Prefixed, NETTY),
    ignored("watchManagerName", Prefixed, WATCHES),
    ignored("watcherClean*", Prefixed, WATCHES),
    ignored("maxInProcessingDeadWatchers", Prefixed, WATCHES),
    ignored("bitHashCacheSize", Prefixed, WATCHES),
    ignored("jvm.pause.*", None, JVM),
    ignored("messageTracker.*", Prefixed, TRACE),
    ignored("pathStats.*", Prefixed, TRACE),
    ignored("admin.httpVersion", Prefixed, "HTTP/1.1 is always spoken"),
    ignored("metricsProvider.numWorkerThreads", None, RUNTIME),
    ignored("metricsProvider.maxQueueSize", None, RUNTIME),
    ignored("metricsProvider.workerShutdownTimeoutMs", None, RUNTIME),
    ignored(
        "metricsProvider.ssl.*",
        None,
        "metrics are exported without TLS so far",
    ),
    ignored("audit.impl.class", Prefixed, "there is one audit log"),
    ignored(
        "ssl.context.supplier.class",
        Prefixed,
        "Java classes cannot be loaded",
    ),
    ignored(
        "ssl.quorum.context.supplier.class",
        Prefixed,
        "Java classes cannot be loaded",
    ),
    ignored("ssl.sslProvider", Prefixed, NETTY),
    ignored("ssl.quorum.sslProvider", Prefixed, NETTY),
    ignored(
        "ssl.allowReverseDnsLookup",
        Prefixed,
        "names are never looked up from addresses",
    ),
    ignored(
        "ssl.quorum.allowReverseDnsLookup",
        Prefixed,
        "names are never looked up from addresses",
    ),
    ignored(
        "netty.server.earlyDropSecureConnectionHandshakes",
        Prefixed,
        NETTY,
    ),
    ignored("quorum.auth.kerberos.servicePrincipal", None, KERBEROS),
    ignored("kerberos.*", Prefixed, KERBEROS),
    ignored(
        "java.security.krb5.conf",
        Raw("java.security.krb5.conf"),
        KERBEROS,
    ),
    ignored("sasl.client", Prefixed, "a property of clients"),
    ignored("client.secure", Prefixed, "a property of clients"),
    ignored("clientCnxnSocket", Prefixed, "a property of clients"),
    ignored("jmx.*", Prefixed, JVM),
];
