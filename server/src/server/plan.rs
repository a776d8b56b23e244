//! What the configuration means for the parts of a server.

use std::fmt;
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::Semaphore;
use zk_core::conn::auth::{Access, AuthScheme, DigestScheme, IpScheme, SaslScheme, Schemes};
use zk_core::prep::PrepOptions;
use zk_core::session::{BoundsError, TimeoutBounds};
use zk_core::tree::{OwnerRules, TreeOptions};
use zk_core::wire::file_name::Compression;

use super::error::StartError;
use crate::config::{AuthProvider, Config, ListenAddress, Topology};
use crate::entropy::random;
use crate::net::sasl::Sasl;
use crate::net::tls::{Tls, TlsError, X509Scheme};
use crate::stage::apply::SnapshotPace;
use crate::storage::{DataDirs, LogOptions, RecoverOptions, Standing};

/// What is decided by the configuration before anything is touched.
pub(super) struct Plan {
    pub(super) dirs: DataDirs,
    pub(super) recover: RecoverOptions,
    pub(super) log: LogOptions,
}

impl Plan {
    pub(super) fn new(config: &Config) -> Result<Self, StartError> {
        let unsupported = |what| Err(StartError::Unsupported { what });
        if config.client_port.is_none() && config.secure_client_port.is_none() {
            return unsupported("a server without clientPort and secureClientPort");
        }
        bounds(config)?;
        let entry_bytes_max = entry_bytes_max(config);
        Ok(Self {
            dirs: DataDirs {
                data: config.data_dir.clone(),
                log: config.data_log_dir.clone(),
                autocreate: config.storage.data_dir_autocreate,
            },
            recover: RecoverOptions {
                tree: TreeOptions {
                    hash_seed: random(),
                    owners: OwnerRules {
                        extended_types: config.limits.extended_types_enabled,
                        emulate_353_ttl: false,
                    },
                    digest: config.storage.digest_enabled,
                },
                trust_empty: config.storage.snapshot_trust_empty,
                entry_bytes_max,
                standing: match config.topology {
                    Topology::Standalone => Standing::Alone,
                    Topology::Ensemble(_) => Standing::Member,
                },
                compression: compression(config),
            },
            log: LogOptions {
                preallocate_bytes: config
                    .storage
                    .pre_alloc_kib
                    .map_or(0, |kib| u64::from(kib.get()) << 10),
                file_bytes_max: config
                    .storage
                    .txn_log_size_limit_kib
                    .map(|kib| kib.get() << 10),
                sync: config.storage.force_sync,
                entry_bytes_max,
            },
        })
    }
}

/// Where to listen, in words for the system.
pub(super) struct SocketPlace {
    /// `None` is at every address of the machine, of IPv4 and of IPv6.
    pub(super) host: Option<String>,
    pub(super) port: u16,
}

impl SocketPlace {
    pub(super) fn new(address: &ListenAddress) -> Self {
        Self {
            host: address.host.clone(),
            port: address.port,
        }
    }
}

impl fmt::Display for SocketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or("0.0.0.0");
        write!(f, "{host}:{}", self.port)
    }
}

pub(super) fn bounds(config: &Config) -> Result<TimeoutBounds, BoundsError> {
    let millis = |time: &Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    let range = &config.session_timeout;
    TimeoutBounds::new(
        millis(&config.tick),
        Some(millis(range.start())),
        Some(millis(range.end())),
    )
}

/// An entry is a request and what the server puts around it.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `BinaryInputArchive#checkLength` and its `extraMaxBuffer`.
fn entry_bytes_max(config: &Config) -> usize {
    let frame = config.limits.jute_max_buffer;
    let extra = config.storage.jute_max_buffer_extra_bytes;
    let extra = extra.unwrap_or_else(|| frame.max(EXTRA_BYTES_MIN));
    let sum = frame.saturating_add(extra);
    // Lengths stand there with 31 bits.
    usize::try_from(sum.min(i32::MAX.cast_unsigned())).unwrap_or(usize::MAX)
}

/// Room for what the server puts around a request, however small requests have to be.
const EXTRA_BYTES_MIN: u32 = 1024;

pub(super) fn access(config: &Config) -> Access {
    let mut schemes: Vec<Box<dyn AuthScheme>> = vec![Box::new(IpScheme)];
    if config.auth.digest_enabled {
        let super_digest = config.auth.super_digest.as_ref();
        let super_digest = super_digest.map(|digest| ByteString::from(digest.expose()));
        schemes.push(Box::new(DigestScheme::new(super_digest)));
    }
    if speaks_tls(config) {
        schemes.push(Box::new(X509Scheme));
    }
    if config.auth_providers.contains(&AuthProvider::Sasl) {
        let any_user_passes = Some(&config.auth.let_any_sasl_user_do);
        let any_user_passes = any_user_passes.filter(|user| !user.is_empty());
        schemes.push(Box::new(SaslScheme {
            any_user_passes: any_user_passes.map(|user| ByteString::from(user.as_str())),
        }));
    }
    Access {
        is_skipped: config.limits.skip_acl,
        ..Access::new(Schemes::new(schemes))
    }
}

pub(super) fn wanted_schemes(config: &Config) -> Vec<ByteString> {
    let auth = &config.auth;
    let schemes = auth.enforce_schemes.split(',').map(str::trim);
    let schemes = schemes.filter(|scheme| auth.enforce_enabled && !scheme.is_empty());
    let sasl = auth.session_require_client_sasl.then_some("sasl");
    schemes.chain(sasl).map(ByteString::from).collect()
}

pub(super) fn sasl(config: &Config) -> Result<Option<Sasl>, StartError> {
    let is_demanded = wanted_schemes(config).iter().any(|scheme| scheme == "sasl");
    Ok(Sasl::new(config, is_demanded)?)
}

pub(super) fn prep_options(config: &Config, access: Access) -> PrepOptions {
    let never_used = config.limits.container_max_never_used.as_millis();
    PrepOptions {
        enforces_quota: config.limits.enforce_quota,
        is_standalone: config.topology == Topology::Standalone,
        reconfig_enabled: config.ensemble.reconfig_enabled,
        voters_min: config.voters_min(),
        never_used_ms: i64::try_from(never_used).unwrap_or(i64::MAX),
        buffer_bytes_max: entry_bytes_max(config),
        ..PrepOptions::new(access)
    }
}

/// Requests that may be on their way to be decided and applied.
pub(super) fn in_flight_max(config: &Config) -> usize {
    let ensemble = config.limits.global_outstanding_limit;
    let here = config.throttle.max_requests.map_or(ensemble, u32::from);
    let limit = usize::try_from(ensemble.min(here)).unwrap_or(usize::MAX);
    limit.min(Semaphore::MAX_PERMITS)
}

/// Deletions at a time, so that no minute has more than allowed.
pub(super) fn reap_max(config: &Config) -> usize {
    let per_minute = u128::from(config.limits.container_max_per_minute);
    let interval = config.limits.container_check_interval.as_millis();
    usize::try_from((per_minute * interval / 60_000).max(1)).unwrap_or(usize::MAX)
}

pub(super) fn snapshot_pace(config: &Config) -> SnapshotPace {
    let bytes = config
        .storage
        .snap_size_limit_kib
        .map(|kib| kib.get().saturating_mul(1024));
    SnapshotPace::new(u64::from(config.storage.snap_count), bytes, random())
}

pub(super) fn compression(config: &Config) -> Compression {
    match config.storage.snapshot_compression.as_str() {
        "gz" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        _ => Compression::None,
    }
}

/// How often old files are purged, if they are, and how many snapshots stay.
pub(super) fn purge(config: &Config) -> Option<(Duration, usize)> {
    let interval = config.purge.interval;
    let retain = usize::try_from(config.purge.snap_retain_count).unwrap_or(usize::MAX);
    (!interval.is_zero()).then_some((interval, retain))
}

/// Whether a client port speaks TLS.
fn speaks_tls(config: &Config) -> bool {
    config.secure_client_port.is_some() || config.tls.client_port_unification
}

/// TLS of the client ports, if any of them speaks it.
pub(super) fn tls(config: &Config) -> Result<Option<Tls>, TlsError> {
    if !speaks_tls(config) {
        return Ok(None);
    }
    let is_watched = config.tls.client_cert_reload;
    Tls::new(config.client_tls.clone(), "ssl.", is_watched).map(Some)
}
