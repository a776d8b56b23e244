//! Keys that set nothing here: families read as a whole elsewhere, keys refused, keys ignored.

use super::Disposition::{Honoured, Ignored, Refused};
use super::Twin::{None, Prefixed, Raw};
use super::{Disposition, Key, Kind, Twin};

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
        reason,
    }
}

const fn ignored(name: &'static str, twin: Twin, reason: &'static str) -> Key {
    row(name, twin, Ignored, reason)
}

const fn refused(
    name: &'static str,
    twin: Twin,
    harmless: &'static str,
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
const PIPELINE: &str = "switches a stage of the JVM server's pipeline";

/// Keys whose effect is missing, and missing it would break a promise.
pub(super) const REFUSED: &[Key] = &[
    refused(
        "oraclePath",
        None,
        "",
        "a two-member oracle would decide quorums we do not implement",
    ),
    refused(
        "emulate353TTLNodes",
        Prefixed,
        "false",
        "the TTL encoding of 3.5.3 in the data directory is not supported",
    ),
    refused("observerMasterPort", None, "0", OBSERVER_MASTER),
    refused("ssl.crl", Prefixed, "false", REVOCATION),
    refused("ssl.ocsp", Prefixed, "false", REVOCATION),
    refused("ssl.quorum.crl", Prefixed, "false", REVOCATION),
    refused("ssl.quorum.ocsp", Prefixed, "false", REVOCATION),
    refused(
        "kerberos.removeHostFromPrincipal",
        Prefixed,
        "false",
        KERBEROS,
    ),
    refused(
        "kerberos.removeRealmFromPrincipal",
        Prefixed,
        "false",
        KERBEROS,
    ),
    refused(
        "kerberos.canonicalizeHostNames",
        Prefixed,
        "false",
        KERBEROS,
    ),
    refused(
        "ensembleAuthName",
        Prefixed,
        "",
        "the scheme `ensemble` is not offered",
    ),
];

/// Keys without effect.
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
