//! From raw settings to a [`Config`]: parsing, defaults, and the rules between keys.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use zk_proto::ServerId;

use super::error::{ConfigError, Problem};
use super::jvm_flags;
use super::keys::{
    AdminSettings, AuthSettings, Basics, Disposition, EnsembleSettings, Kind, LimitSettings,
    MetricsSettings, PurgeSettings, QuorumAuthSettings, ServiceSettings, Side, StorageSettings,
    ThrottleSettings, TlsSettings, TlsSwitches, find, nearest,
};
use super::security::{AuthProvider, auth_providers, check_security};
use super::topology::{Topology, client_ports, topology};
use super::value::Values;
use super::zoo_cfg::{Level, Notice, Origin, Properties, Setting, Strictness};
use crate::four_letter::Whitelist;

/// Everything the server was told, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Directory of `version-2` with snapshots and epochs, and of `myid`.
    pub data_dir: PathBuf,
    /// Directory of `version-2` with the log.
    pub data_log_dir: PathBuf,
    /// Base time unit.
    pub tick: Duration,
    /// Session timeouts granted.
    pub session_timeout: RangeInclusive<Duration>,
    /// Plaintext client port.
    pub client_port: Option<ListenAddress>,
    /// TLS client port.
    pub secure_client_port: Option<ListenAddress>,
    /// Alone or with others.
    pub topology: Topology,
    /// Log and snapshots.
    pub storage: StorageSettings,
    /// Deletion of old files.
    pub purge: PurgeSettings,
    /// Dealings with other members.
    pub ensemble: EnsembleSettings,
    /// The file that it was read from, if it was.
    pub file: Option<PathBuf>,
    /// What clients may do.
    pub limits: LimitSettings,
    /// Four-letter words answered.
    pub four_letter: Whitelist,
    /// Shedding of overload.
    pub throttle: ThrottleSettings,
    /// Admin HTTP.
    pub admin: AdminSettings,
    /// Metrics exporter.
    pub metrics: MetricsSettings,
    /// Log and audit.
    pub service: ServiceSettings,
    /// Which ports speak TLS.
    pub tls: TlsSwitches,
    /// TLS with clients.
    pub client_tls: TlsSettings,
    /// TLS with members.
    pub quorum_tls: TlsSettings,
    /// Authentication of clients.
    pub auth: AuthSettings,
    /// Authentication schemes offered beside `ip` and `digest`.
    pub auth_providers: Vec<AuthProvider>,
    /// SASL ids that are the super user, beside the one of `auth`.
    pub sasl_super_users: Vec<String>,
    /// Authentication of members.
    pub quorum_auth: QuorumAuthSettings,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Name or address; all addresses when absent.
    pub host: Option<String>,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

/// A configuration with what there is to say about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// What the operator should know.
    pub notices: Vec<Notice>,
    /// Every key in effect with its value, secrets masked, and where it was written.
    pub effective: Vec<Setting>,
}

/// What a configuration is made of, already read.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `zoo.cfg`.
    pub main: &'a Properties,
    /// The dynamic file, when `zoo.cfg` names one: its version and content.
    pub dynamic: Option<(u64, &'a Properties)>,
    /// Environment variables of interest, see [`jvm_flags::VARIABLES`].
    pub environment: &'a [(String, String)],
    /// Content of the `myid` file, with its path; `None` when there is no such file.
    pub my_id: Option<(&'a str, &'a [u8])>,
    /// How forgiving to be.
    pub strictness: Strictness,
}

impl Config {
    /// Combines the sources.
    ///
    /// # Errors
    ///
    /// Every problem found, not only the first; problems between keys only once each key by
    /// itself is good.
    pub fn resolve(sources: Sources<'_>) -> Result<Resolved, ConfigError> {
        let mut notices = sources.main.notices().to_vec();
        let values = collect(sources, &mut notices)?;
        let mut problems = Vec::new();

        let basics = Basics::take(&values);
        let limits = LimitSettings::take(&values);
        let data_dir = data_dir(&basics, &values, &mut notices, &mut problems);
        let data_log_dir = match basics.data_log_dir.as_str() {
            "" => data_dir.clone(),
            _ => directory("dataLogDir", &basics.data_log_dir, &values, &mut notices),
        };
        let session_timeout = session_timeout(&basics, &values, &mut problems);
        let topology = topology(
            &basics,
            limits.extended_types_enabled,
            &values,
            sources,
            &mut notices,
            &mut problems,
        );
        let (client_port, secure_client_port) =
            client_ports(&basics, &topology, &values, &mut problems);
        let ensemble = EnsembleSettings::take(&values);
        let four_letter = Whitelist::parse(&limits.four_letter_whitelist, ensemble.read_only_mode);
        let config = Self {
            data_dir,
            data_log_dir,
            tick: Duration::from_millis(basics.tick_time_ms.into()),
            session_timeout,
            client_port,
            secure_client_port,
            topology,
            storage: StorageSettings::take(&values),
            purge: PurgeSettings::take(&values),
            ensemble,
            file: None,
            limits,
            four_letter,
            throttle: ThrottleSettings::take(&values),
            admin: AdminSettings::take(&values),
            metrics: MetricsSettings::take(&values),
            service: ServiceSettings::take(&values),
            tls: TlsSwitches::take(&values),
            client_tls: TlsSettings::take(&values, Side::Client),
            quorum_tls: TlsSettings::take(&values, Side::Quorum),
            auth: AuthSettings::take(&values),
            auth_providers: auth_providers(&values, &mut problems),
            sasl_super_users: values
                .family("superUser.")
                .map(|setting| setting.value.clone())
                .collect(),
            quorum_auth: QuorumAuthSettings::take(&values),
        };
        check_security(&config, &values, &mut problems);
        config.remark(&values, &mut notices);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        Ok(Resolved {
            config,
            notices,
            effective: values.effective(),
        })
    }

    /// Says what is legal and unwise.
    fn remark(&self, values: &Values, notices: &mut Vec<Notice>) {
        let mut warn = |key: &str, text: &str| {
            let origin = values.origin(key).cloned().unwrap_or(Origin::Default);
            notices.push(Notice {
                level: Level::Warn,
                origin,
                text: format!("{key}: {text}"),
            });
        };
        if self.purge.interval.is_zero() {
            warn(
                "autopurge.purgeInterval",
                "old log files and snapshots are never deleted",
            );
        }
        if !self.storage.force_sync {
            warn(
                "forceSync",
                "a crash of the machine can lose acknowledged writes",
            );
        }
        if self.limits.skip_acl {
            warn("skipACL", "anyone may read and change everything");
        }
        if self.storage.snapshot_trust_empty {
            warn(
                "snapshot.trust.empty",
                "meant for one start after an upgrade from 3.4",
            );
        }
    }
}

impl Config {
    /// Fewest voters that an ensemble of servers like this one may have.
    pub(crate) fn voters_min(&self) -> usize {
        match &self.topology {
            Topology::Ensemble(ensemble) => ensemble.voters_min,
            Topology::Standalone => 2,
        }
    }
}

impl Properties {
    /// Path of the dynamic file, as written.
    pub fn dynamic_config_file(&self) -> Option<&str> {
        self.get("dynamicConfigFile")
            .map(|setting| &*setting.value)
            .filter(|path| !path.is_empty())
    }
}

/// Parses every setting of file and environment.
fn collect(sources: Sources<'_>, notices: &mut Vec<Notice>) -> Result<Values, ConfigError> {
    let mut values = Values::default();
    let mut problems = Vec::new();
    let mut flags = Vec::new();
    for variable in jvm_flags::VARIABLES {
        let set = sources
            .environment
            .iter()
            .filter(|(name, _)| name == variable);
        for (_, text) in set {
            flags.extend(jvm_flags::parse(variable, text, notices));
        }
    }
    if sources
        .environment
        .iter()
        .any(|(name, value)| name == "ZOO_DATADIR_AUTOCREATE_DISABLE" && !value.is_empty())
    {
        flags.push(Setting {
            key: "datadir.autocreate".to_owned(),
            value: "false".to_owned(),
            origin: Origin::Environment("ZOO_DATADIR_AUTOCREATE_DISABLE".into()),
        });
    }
    // The file wins over flags.
    for setting in flags.iter().chain(sources.main.settings()) {
        read(setting, &mut values, notices, &mut problems);
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

/// Parses one setting into `values`.
fn read(
    setting: &Setting,
    values: &mut Values,
    notices: &mut Vec<Notice>,
    problems: &mut Vec<Problem>,
) {
    let Setting { key, value, origin } = setting;
    let mut say = |level, text: String| {
        notices.push(Notice {
            level,
            origin: origin.clone(),
            text,
        });
    };
    let Some(row) = find(key) else {
        let hint = nearest(key)
            .map(|name| format!(", did you mean {name}?"))
            .unwrap_or_default();
        say(Level::Warn, format!("{key}: unknown key{hint}"));
        return;
    };
    let shown = if row.is_secret() { "***" } else { value };
    match row.disposition {
        Disposition::Ignored if row.kind == Kind::Free => {
            say(
                Level::Info,
                format!("{key}={shown}: ignored, {}", row.reason),
            );
        }
        Disposition::Ignored => match row.parse(value) {
            Ok(parsed) if row.is_default(&parsed.value) => {}
            Ok(_) => say(
                Level::Warn,
                format!("{key}={shown}: without effect, {}", row.reason),
            ),
            Err(reason) => {
                let problem = Problem::new(Some(origin.clone()), key, reason);
                problems.push(problem.with_value(shown));
            }
        },
        Disposition::Refused { harmless } => {
            let is_harmless = |word: &&str| value.eq_ignore_ascii_case(word);
            if !harmless.iter().any(is_harmless) {
                problems
                    .push(Problem::new(Some(origin.clone()), key, row.reason).with_value(shown));
            }
        }
        Disposition::Honoured if row.kind == Kind::Free => values.add(setting.clone()),
        Disposition::Honoured => {
            if row.name != key {
                say(
                    Level::Warn,
                    format!(
                        "{key}: a label of the documentation, the key is {}",
                        row.name
                    ),
                );
            }
            match row.parse(value) {
                Ok(parsed) => {
                    if let Some(remark) = parsed.remark {
                        say(Level::Warn, format!("{key}={shown}: {remark}"));
                    }
                    values.set(row, parsed.value, origin.clone());
                }
                Err(reason) => {
                    let problem = Problem::new(Some(origin.clone()), key, reason);
                    problems.push(problem.with_value(shown));
                }
            }
        }
    }
}

fn data_dir(
    basics: &Basics,
    values: &Values,
    notices: &mut Vec<Notice>,
    problems: &mut Vec<Problem>,
) -> PathBuf {
    if basics.data_dir.is_empty() {
        problems.push(Problem::new(
            values.origin("dataDir").cloned(),
            "",
            "dataDir is not set",
        ));
    }
    directory("dataDir", &basics.data_dir, values, notices)
}

/// A directory, with a notice when it depends on where the server is started.
fn directory(key: &str, path: &str, values: &Values, notices: &mut Vec<Notice>) -> PathBuf {
    let sure = path.is_empty() || path.starts_with(['/', '.']);
    if !sure {
        notices.push(Notice {
            level: Level::Warn,
            origin: values.origin(key).cloned().unwrap_or(Origin::Default),
            text: format!("{key}: {path} is relative. Prepend ./ to indicate that you're sure!"),
        });
    }
    PathBuf::from(path)
}

fn session_timeout(
    basics: &Basics,
    values: &Values,
    problems: &mut Vec<Problem>,
) -> RangeInclusive<Duration> {
    let or_ticks = |ms: i32, ticks: u64| match u64::try_from(ms) {
        Ok(ms) => Duration::from_millis(ms),
        Err(_) => Duration::from_millis(ticks * u64::from(basics.tick_time_ms)),
    };
    let min = or_ticks(basics.min_session_timeout_ms, 2);
    let max = or_ticks(basics.max_session_timeout_ms, 20);
    if min > max {
        let written = ["minSessionTimeout", "maxSessionTimeout"];
        let origin = written.iter().find_map(|key| values.origin(key)).cloned();
        problems.push(Problem::new(
            origin,
            "",
            format!(
                "minSessionTimeout ({} ms) must not be larger than maxSessionTimeout ({} ms)",
                min.as_millis(),
                max.as_millis()
            ),
        ));
    }
    min..=max
}

/// A required number of ticks.
pub(super) fn required_ticks(
    key: &str,
    ticks: Option<NonZeroU32>,
    values: &Values,
    problems: &mut Vec<Problem>,
) -> NonZeroU32 {
    ticks.unwrap_or_else(|| {
        problems.push(Problem::new(
            values.origin(key).cloned(),
            "",
            format!("{key} is not set"),
        ));
        NonZeroU32::MIN
    })
}

/// The id of this member, from its `myid` file.
pub(super) fn my_id(sources: Sources<'_>, basics: &Basics) -> Result<ServerId, Problem> {
    match sources.my_id {
        Some((path, content)) => super::my_id::parse(path, content),
        None => Err(Problem::new(
            None,
            "",
            format!(
                "myid file is missing: no file myid in dataDir {}",
                basics.data_dir
            ),
        )),
    }
}
