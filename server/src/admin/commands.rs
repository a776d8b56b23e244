//! The commands of the admin server, by name.
//!
//! # Source
//!
//! Apache `ZooKeeper` 3.9, `Commands`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use zk_core::conn::handshake::ServingMode;

use super::Admin;
use super::ensemble::{leader, voting_view, zab_state};
use super::http::Asked;
use super::json::{Json, object};
use crate::config::{Origin, masked};
use crate::four_letter::{Sample, SessionsView};
use crate::net::connections::Conn;
use crate::net::gauges::gauges;
use crate::net::monitor::peer_state;
use crate::net::service::Service;
use crate::net::words;

/// How digests are computed: as every release does so far.
const DIGEST_VERSION: i64 = 2;

/// What the reference says while it serves nobody.
pub(super) const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// A command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    /// Its first name.
    pub(super) name: &'static str,
    /// Its other names.
    pub(super) aliases: &'static [&'static str],
    /// Whether it is asked with POST.
    pub(super) is_post: bool,
    /// Whether it needs a server that serves.
    pub(super) needs_service: bool,
}

const fn needs(name: &'static str, aliases: &'static [&'static str]) -> Command {
    Command {
        name,
        aliases,
        is_post: false,
        needs_service: true,
    }
}

const fn always(name: &'static str, aliases: &'static [&'static str]) -> Command {
    Command {
        needs_service: false,
        ..needs(name, aliases)
    }
}

/// All of them, sorted.
pub(super) const COMMANDS: &[Command] = &[
    needs("configuration", &["conf", "config"]),
    needs("connection_stat_reset", &["crst"]),
    needs("connections", &["cons"]),
    needs("dirs", &[]),
    needs("dump", &[]),
    always("effective_config", &["ecfg"]),
    always("environment", &["env", "envi"]),
    always("get_trace_mask", &["gtmk"]),
    needs("hash", &[]),
    needs("initial_configuration", &["icfg"]),
    needs("is_read_only", &["isro"]),
    needs("last_snapshot", &["lsnp"]),
    needs("leader", &["lead"]),
    needs("monitor", &["mntr"]),
    needs("observer_connection_stat_reset", &["orst"]),
    needs("observers", &["obsr"]),
    Command {
        is_post: true,
        ..needs("restore", &["rest"])
    },
    needs("ruok", &[]),
    needs("server_stats", &["srvr"]),
    always("set_trace_mask", &["stmk"]),
    needs("snapshot", &["snap"]),
    needs("stat_reset", &["srst"]),
    needs("stats", &["stat"]),
    always("system_properties", &["sysp"]),
    needs("voting_view", &[]),
    needs("watch_summary", &["wchs"]),
    needs("watches", &["wchc"]),
    needs("watches_by_path", &["wchp"]),
    always("zabstate", &[]),
];

/// The command with a name.
pub(super) fn find(name: &str) -> Option<Command> {
    COMMANDS
        .iter()
        .copied()
        .find(|command| command.name == name || command.aliases.contains(&name))
}

/// What a command has to say: members, or why it has nothing.
pub(super) type Outcome = Result<Vec<(String, Json)>, String>;

/// Runs a command.
pub(super) async fn run(admin: &Admin, name: &str, asked: &Asked) -> Outcome {
    let service = &*admin.service;
    let members = |json: Json| Ok(json.into_members());
    match name {
        "configuration" => members(configuration(service)),
        "connections" => members(connections(service)),
        "dirs" => {
            let conf = words::configuration(service);
            members(object([
                ("datadir_size", conf.data_dir_bytes.into()),
                ("logdir_size", conf.data_log_bytes.into()),
            ]))
        }
        "dump" => dump(service).await,
        "effective_config" => Ok(effective(admin)),
        "environment" => members(environment()),
        "get_trace_mask" => {
            let mask = service.tally.stats.trace_mask.load(Ordering::Relaxed);
            members(object([("tracemask", mask.into())]))
        }
        "set_trace_mask" => match asked.parameter("traceMask").map(str::parse::<i64>) {
            Some(Ok(mask)) => {
                service
                    .tally
                    .stats
                    .trace_mask
                    .store(mask, Ordering::Relaxed);
                members(object([("tracemask", mask.into())]))
            }
            Some(Err(_)) => {
                let got = asked.parameter("traceMask").unwrap_or_default();
                Err(format!(
                    "setTraceMask requires long traceMask argument, got {got}"
                ))
            }
            None => Err("setTraceMask requires long traceMask argument".to_owned()),
        },
        "hash" => members(object([("digests", digests(service))])),
        "initial_configuration" => {
            let text = masked(&admin.origin.text);
            members(object([("initial_configuration", text.into())]))
        }
        "is_read_only" => {
            let is_read_only = service.connections.mode() == ServingMode::ReadOnly;
            members(object([("read_only", is_read_only.into())]))
        }
        "last_snapshot" => {
            let last = service.metrics.last_snapshot();
            members(object([
                ("zxid", format!("{:x}", last.zxid.get()).into()),
                ("timestamp", (last.unix_ms / 1000).into()),
            ]))
        }
        "leader" => leader(service),
        "monitor" => Ok(monitor(service)),
        "observers" => members(object([
            (
                "synced_observers",
                service.status.lock().synced_observers.into(),
            ),
            ("observers", Json::Array(Vec::new())),
        ])),
        "observer_connection_stat_reset" | "ruok" => Ok(Vec::new()),
        "connection_stat_reset" => {
            for conn in service.connections.all() {
                conn.reset();
            }
            Ok(Vec::new())
        }
        "restore" => Err("not supported yet".to_owned()),
        "server_stats" => Ok(server_stats(service)),
        "stat_reset" => {
            service.tally.stats.reset();
            service.metrics.reset();
            Ok(Vec::new())
        }
        "stats" => {
            let mut members = server_stats(service);
            members.extend(connections(service).into_members());
            Ok(members)
        }
        "system_properties" => Ok(effective(admin)
            .into_iter()
            .map(|(key, _)| key)
            .zip(admin.origin.effective.iter())
            .map(|(key, setting)| (format!("zookeeper.{key}"), setting.value.clone().into()))
            .collect()),
        "voting_view" => members(object([("current_config", voting_view(service))])),
        "watch_summary" => {
            let report = service.tree.watches().report();
            members(object([
                ("num_connections", report.by_connection.len().into()),
                ("num_paths", report.by_path.len().into()),
                ("num_total_watches", report.total().into()),
            ]))
        }
        "watches" => members(watches(service)),
        "watches_by_path" => members(watches_by_path(service)),
        "zabstate" => members(zab_state(service)),
        other => Err(format!("Unknown command: {other}")),
    }
}

fn digests(service: &Service) -> Json {
    let digests = service.tree.digests().into_iter();
    let digests = digests.map(|(zxid, digest)| {
        object([
            ("zxid", zxid.get().into()),
            ("digest", digest.cast_signed().into()),
            ("digest_version", DIGEST_VERSION.into()),
        ])
    });
    Json::Array(digests.collect())
}

fn configuration(service: &Service) -> Json {
    let conf = words::configuration(service);
    let ms = |ms: u64| Json::from(ms);
    object([
        ("client_port", conf.client_port.into()),
        ("data_dir", conf.data_dir.into()),
        ("data_log_dir", conf.data_log_dir.into()),
        ("tick_time", conf.tick_time_ms.into()),
        ("max_client_cnxns", conf.max_client_cnxns.into()),
        ("min_session_timeout", ms(conf.min_session_timeout_ms)),
        ("max_session_timeout", ms(conf.max_session_timeout_ms)),
        ("server_id", conf.server_id.into()),
        ("client_port_listen_backlog", conf.listen_backlog.into()),
    ])
}

fn connections(service: &Service) -> Json {
    let (secure, plain): (Vec<_>, Vec<_>) = service
        .connections
        .all()
        .into_iter()
        .partition(|conn| conn.is_secure);
    let all = |conns: Vec<std::sync::Arc<Conn>>| {
        Json::Array(conns.iter().map(|conn| connection(conn)).collect())
    };
    object([
        ("connections", all(plain)),
        ("secure_connections", all(secure)),
    ])
}

fn connection(conn: &Conn) -> Json {
    let info = words::info(conn);
    let mut members = object([
        ("remote_socket_address", info.remote.to_string().into()),
        ("interest_ops", info.interest_ops.into()),
        ("outstanding_requests", info.queued.into()),
        ("packets_received", info.received.into()),
        ("packets_sent", info.sent.into()),
    ])
    .into_members();
    if let Some(session) = info.session {
        let of_session = object([
            ("session_id", session.id.get().into()),
            ("last_operation", session.last_operation.into()),
            ("established", session.established_ms.into()),
            ("session_timeout", session.timeout_ms.into()),
            ("last_cxid", session.last_cxid.into()),
            ("last_zxid", session.last_zxid.get().into()),
            ("last_response_time", session.last_response_ms.into()),
            ("last_latency", session.last_latency_ms.into()),
            ("min_latency", session.min_latency_ms.into()),
            ("avg_latency", session.avg_latency_ms.into()),
            ("max_latency", session.max_latency_ms.into()),
        ]);
        members.extend(of_session.into_members());
    }
    Json::Object(members)
}

async fn dump(service: &Service) -> Outcome {
    let Some(view) = words::sessions(service).await else {
        return Err(NOT_SERVING.to_owned());
    };
    let mut expiry = Vec::new();
    if let SessionsView::Tracked { global, .. } = view.sessions {
        for bucket in global {
            let ids = bucket.items.iter().map(|session| session.get().into());
            expiry.push((bucket.expires_ms.to_string(), Json::Array(ids.collect())));
        }
    }
    let paths = view.ephemerals.into_iter().map(|(session, paths)| {
        let paths = paths.into_iter().map(Json::from).collect();
        (session.get().to_string(), Json::Array(paths))
    });
    Ok(vec![
        (
            "expiry_time_to_session_ids".to_owned(),
            Json::Object(expiry),
        ),
        (
            "session_id_to_ephemeral_paths".to_owned(),
            Json::Object(paths.collect()),
        ),
    ])
}

/// Every key in effect, its value, and where it was written.
fn effective(admin: &Admin) -> Vec<(String, Json)> {
    let setting = |setting: &crate::config::Setting| {
        let origin = match &setting.origin {
            Origin::Default => "default".to_owned(),
            written @ (Origin::File { .. } | Origin::Environment(_)) => written.to_string(),
        };
        let value = object([
            ("value", setting.value.clone().into()),
            ("origin", origin.into()),
        ]);
        (setting.key.clone(), value)
    };
    admin.origin.effective.iter().map(setting).collect()
}

fn environment() -> Json {
    let variable = |name: &str| Json::from(std::env::var(name).unwrap_or_default());
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| Json::from(text.to_string_lossy().into_owned());
    let here = std::env::current_dir().unwrap_or_default();
    object([
        ("zookeeper.version", crate::VERSION.into()),
        ("host.name", text(system.nodename())),
        ("java.version", "<NA>".into()),
        ("os.name", text(system.sysname())),
        ("os.arch", text(system.machine())),
        ("os.version", text(system.release())),
        ("user.name", variable("USER")),
        ("user.home", variable("HOME")),
        ("user.dir", here.display().to_string().into()),
    ])
}

fn monitor(service: &Service) -> Vec<(String, Json)> {
    let mut members = vec![
        ("version".to_owned(), crate::VERSION.into()),
        (
            "server_state".to_owned(),
            words::status(service).mode.to_string().into(),
        ),
    ];
    let core = *service.status.lock();
    members.extend(peer_state(&core).map(|state| ("peer_state".to_owned(), state.into())));
    let samples = gauges(service).into_iter().chain(service.metrics.samples());
    members.extend(samples.map(|(name, sample)| {
        let value = match sample {
            Sample::Int(value) => Json::Int(value),
            Sample::Double(value) => Json::Double(value),
        };
        (name, value)
    }));
    members
}

fn server_stats(service: &Service) -> Vec<(String, Json)> {
    let status = words::status(service);
    let conf = words::configuration(service);
    let sizes = || {
        object([
            ("last_buffer_size", (-1_i64).into()),
            ("min_buffer_size", (-1_i64).into()),
            ("max_buffer_size", (-1_i64).into()),
        ])
    };
    let is_read_only = service.connections.mode() == ServingMode::ReadOnly;
    let figures = object([
        ("packets_sent", status.sent.into()),
        ("packets_received", status.received.into()),
        (
            "fsync_threshold_exceed_count",
            service.metrics.slow_syncs().into(),
        ),
        ("client_response_stats", sizes()),
        ("provider_null", false.into()),
        ("data_dir_size", conf.data_dir_bytes.into()),
        ("log_dir_size", conf.data_log_bytes.into()),
        ("last_processed_zxid", status.zxid.get().into()),
        ("outstanding_requests", status.outstanding.into()),
        ("server_state", status.mode.to_string().into()),
        (
            "avg_latency",
            Json::Double((status.latency.avg * 1e4).round() / 1e4),
        ),
        ("max_latency", status.latency.max.into()),
        ("min_latency", status.latency.min.into()),
        ("num_alive_client_connections", status.connections.into()),
        ("auth_failed_count", 0_i64.into()),
        ("non_mtlsremote_conn_count", 0_i64.into()),
        ("non_mtlslocal_conn_count", 0_i64.into()),
        ("uptime", (service.clock.time().as_micros() / 1000).into()),
    ]);
    let of_proposals = status.proposal_sizes.map(|sizes| {
        object([
            ("last_buffer_size", sizes.last.into()),
            ("min_buffer_size", sizes.min.into()),
            ("max_buffer_size", sizes.max.into()),
        ])
    });
    let mut members = vec![
        ("version".to_owned(), crate::VERSION.into()),
        ("read_only".to_owned(), is_read_only.into()),
        ("server_stats".to_owned(), figures),
        ("client_response".to_owned(), sizes()),
    ];
    members.extend(of_proposals.map(|sizes| ("proposal_stats".to_owned(), sizes)));
    members.push(("node_count".to_owned(), status.node_count.into()));
    members
}

fn watches(service: &Service) -> Json {
    let report = service.tree.watches().report();
    let mut by_session = BTreeMap::new();
    for (conn, paths) in report.by_connection {
        if let Some(session) = service
            .connections
            .get(conn)
            .and_then(|conn| conn.session())
        {
            let paths = paths.into_iter().map(|path| String::from(path).into());
            by_session.insert(session, Json::Array(paths.collect()));
        }
    }
    let members = by_session
        .into_iter()
        .map(|(session, paths)| (session.get().to_string(), paths));
    object([(
        "session_id_to_watched_paths",
        Json::Object(members.collect()),
    )])
}

fn watches_by_path(service: &Service) -> Json {
    let report = service.tree.watches().report();
    let session = |conn| {
        service
            .connections
            .get(conn)
            .and_then(|conn| conn.session())
    };
    let members = report.by_path.into_iter().map(|(path, conns)| {
        let sessions = conns.into_iter().filter_map(session);
        let sessions = sessions.map(|session| session.get().into()).collect();
        (String::from(path), Json::Array(sessions))
    });
    object([("path_to_session_ids", Json::Object(members.collect()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_sorted_and_no_name_means_two() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        let mut names: Vec<&str> = COMMANDS
            .iter()
            .flat_map(|command| command.aliases.iter().chain([&command.name]))
            .copied()
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(find("mntr").map(|command| command.name), Some("monitor"));
        assert!(find("nosuch").is_none());
    }
}
