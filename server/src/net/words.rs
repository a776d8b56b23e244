//! Four-letter words on a live server.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use zk_core::conn::handshake::ServingMode;
use zk_core::ensemble::EnsembleConfig;
use zk_core::peer::{Peer, PeerStatus, Role};
use zk_core::time::{Now, Time};
use zk_proto::{SessionId, Zxid};

use super::connections::Conn;
use super::gauges::gauges;
use super::monitor::{digests, environment, peer_state};
use super::service::Service;
use crate::VERSION;
use crate::config::Topology;
use crate::four_letter::{
    ConfView, ConnectionInfo, DumpView, ExpiryBucket, MemberConf, Mode, MonitorView, ProposalSizes,
    ServerStatus, SessionsView, WithoutService, Word, conf, cons, crst, dirs, dump, envi, gtmk,
    hash, isro, mntr, ruok, srst, srvr, stat, stmk, trace_mask_argument, wchc, wchp, wchs,
};

/// Answers a word and ends the connection.
pub(crate) async fn answer(
    word: Word,
    socket: &mut (impl AsyncWrite + Unpin),
    input: BytesMut,
    remote: SocketAddr,
    service: &Service,
) -> std::io::Result<()> {
    service.tally.stats.received.fetch_add(1, Ordering::Relaxed);
    // The asking connection is one of those that are listed.
    let asker = ConnectionInfo {
        remote,
        interest_ops: 0,
        queued: 0,
        received: 1,
        sent: 0,
        session: None,
    };
    if let Some(text) = text(word, &input, asker, service).await {
        socket.write_all(text.as_bytes()).await?;
    }
    socket.shutdown().await
}

async fn text(
    word: Word,
    input: &[u8],
    asker: ConnectionInfo,
    service: &Service,
) -> Option<String> {
    if word == Word::TelnetClose {
        return None;
    }
    if !service.config.four_letter.allows(word) {
        return Some(word.refusal());
    }
    if service.connections.mode() == ServingMode::NotServing
        && let WithoutService::Say(text) = word.without_service()
    {
        return Some(text.to_owned());
    }
    Some(match word {
        Word::Ruok => ruok().to_owned(),
        Word::Isro => isro(service.connections.mode() == ServingMode::ReadOnly).to_owned(),
        Word::Srvr => srvr(&status(service)),
        Word::Stat => stat(&status(service), &connections(service, asker)),
        Word::Cons => cons(&connections(service, asker)),
        Word::Srst => {
            service.tally.stats.reset();
            service.metrics.reset();
            srst().to_owned()
        }
        Word::Conf => conf(&configuration(service)),
        Word::Dump => dump(&sessions(service).await?),
        Word::Wchs => {
            let report = service.tree.watches().report();
            wchs(
                report.by_connection.len(),
                report.by_path.len(),
                report.total(),
            )
        }
        Word::Wchc => {
            let report = service.tree.watches().report();
            let mut by_session = BTreeMap::new();
            for (conn, paths) in report.by_connection {
                if let Some(session) = service.connections.get(conn).and_then(|c| c.session()) {
                    let paths = paths.into_iter().map(String::from).collect();
                    by_session.insert(session, paths);
                }
            }
            wchc(
                &by_session
                    .into_iter()
                    .collect::<Vec<(SessionId, Vec<String>)>>(),
            )
        }
        Word::Wchp => {
            let report = service.tree.watches().report();
            let session = |conn| service.connections.get(conn).and_then(|c| c.session());
            let by_path = report.by_path.into_iter().map(|(path, conns)| {
                let sessions = conns.into_iter().filter_map(session).collect();
                (String::from(path), sessions)
            });
            wchp(&by_path.collect::<Vec<(String, Vec<SessionId>)>>())
        }
        Word::Crst => {
            for conn in service.connections.all() {
                conn.reset();
            }
            crst().to_owned()
        }
        Word::Dirs => {
            let conf = configuration(service);
            dirs(conf.data_dir_bytes, conf.data_log_bytes)
        }
        Word::Mntr => {
            // Not looked at under its lock: the gauges look at it, too.
            let core = *service.status.lock();
            mntr(&MonitorView {
                version: VERSION.to_owned(),
                mode: Mode::of(&core),
                peer_state: peer_state(&core),
                observer_master_id: None,
                metrics: gauges(service)
                    .into_iter()
                    .chain(service.metrics.samples())
                    .collect(),
            })
        }
        Word::Envi => envi(&environment()),
        Word::Gtmk => gtmk(service.tally.stats.trace_mask.load(Ordering::Relaxed)),
        Word::Stmk => {
            let mask = trace_mask_argument(input)?;
            service
                .tally
                .stats
                .trace_mask
                .store(mask, Ordering::Relaxed);
            stmk(mask)
        }
        Word::Hash => hash(&digests(service)),
        // Answered above.
        Word::TelnetClose => return None,
    })
}

pub(crate) fn status(service: &Service) -> ServerStatus {
    let core = *service.status.lock();
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let reading = service.tree.read();
    ServerStatus {
        version: VERSION.to_owned(),
        latency: service.tally.stats.latency(),
        received: service.tally.stats.received.load(Ordering::Relaxed),
        sent: service.tally.stats.sent.load(Ordering::Relaxed),
        connections: count(service.connections.sockets()),
        outstanding: count(core.outstanding),
        zxid: shown_zxid(&core, reading.applied()),
        mode: Mode::of(&core),
        // The reference counts the root twice.
        node_count: count(reading.len()) + 1,
        proposal_sizes: (core.role == Role::Leading).then(|| proposal_sizes(&core)),
    }
}

/// What a leader tells of its proposals.
fn proposal_sizes(core: &PeerStatus) -> ProposalSizes {
    let bytes = |size: Option<usize>| size.map_or(-1, |size| i64::try_from(size).unwrap_or(-1));
    let sizes = core.proposal_sizes;
    ProposalSizes {
        last: bytes(sizes.map(|sizes| sizes.last)),
        min: bytes(sizes.map(|sizes| sizes.min)),
        max: bytes(sizes.map(|sizes| sizes.max)),
    }
}

/// A leader is in its epoch from the start, though no transaction of it is there yet.
fn shown_zxid(core: &PeerStatus, applied: Zxid) -> Zxid {
    match core.role {
        Role::Leading => applied.max(Zxid::from_parts(core.current_epoch, 0)),
        Role::Alone | Role::Looking | Role::Following | Role::Observing | Role::Stopped => applied,
    }
}

fn connections(service: &Service, asker: ConnectionInfo) -> Vec<ConnectionInfo> {
    let all = service.connections.all();
    let known = all.iter().map(|conn| info(conn));
    known.chain([asker]).collect()
}

pub(crate) fn info(conn: &Conn) -> ConnectionInfo {
    ConnectionInfo {
        remote: conn.remote,
        interest_ops: 1,
        queued: u64::try_from(conn.outbox.waiting()).unwrap_or(u64::MAX),
        received: conn.received.load(Ordering::Relaxed),
        sent: conn.sent.load(Ordering::Relaxed),
        session: conn
            .session()
            .zip(*conn.activity.lock())
            .map(|(id, done)| done.info(id)),
    }
}

pub(crate) fn configuration(service: &Service) -> ConfView {
    let config = &service.config;
    let ensemble = match &config.topology {
        Topology::Ensemble(ensemble) => Some(ensemble),
        Topology::Standalone => None,
    };
    let data_dir = config.data_dir.join("version-2");
    let log_dir = config.data_log_dir.join("version-2");
    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ConfView {
        client_port: service.port.map_or(-1, i32::from),
        secure_client_port: service.secure_port.map_or(-1, i32::from),
        data_dir_bytes: bytes_in(&data_dir),
        data_dir: data_dir.display().to_string(),
        data_log_bytes: bytes_in(&log_dir),
        data_log_dir: log_dir.display().to_string(),
        tick_time_ms: u32::try_from(config.tick.as_millis()).unwrap_or(u32::MAX),
        max_client_cnxns: config.limits.max_client_cnxns.map_or(0, u32::from),
        min_session_timeout_ms: millis(config.session_timeout.start()),
        max_session_timeout_ms: millis(config.session_timeout.end()),
        listen_backlog: config
            .limits
            .listen_backlog
            .map_or(-1, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX)),
        server_id: ensemble.map_or(0, |ensemble| ensemble.my_id.get()),
        member: ensemble.map(|ensemble| MemberConf {
            membership: (service.connections.mode() == ServingMode::Full)
                .then(|| service.ensemble().map(|config| membership(&config)))
                .flatten(),
            ..MemberConf::of(ensemble)
        }),
    }
}

/// The lines of a configuration in the order of its file, and its version.
fn membership(config: &EnsembleConfig) -> (Vec<String>, u64) {
    let lines = config.text().lines().map(str::to_owned);
    let mut lines: Vec<String> = lines.filter(|line| !line.starts_with("version=")).collect();
    lines.sort();
    (lines, u64::try_from(config.version().get()).unwrap_or(0))
}

/// Bytes of the files in a directory; what cannot be read does not count.
fn bytes_in(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let lens = files.filter_map(|file| Some(file.metadata().ok()?.len()));
    lens.sum()
}

/// Sessions by when they expire, as far as this server decides on that; a learner knows of those of the
/// ensemble how long they may be silent.
pub(crate) async fn sessions(service: &Service) -> Option<DumpView> {
    let now = service.clock.now();
    let look = |peer: &Peer| (peer.status().role, peer.sessions(), peer.local_sessions());
    let (role, tracked, local) = service.inspect(look).await?;
    let by_expiry = |sessions: &BTreeMap<SessionId, Option<Time>>| {
        let mut buckets: BTreeMap<i64, Vec<SessionId>> = BTreeMap::new();
        for (&session, expires) in sessions {
            if let Some(expires) = *expires {
                let at = wall_ms(now, expires);
                buckets.entry(at).or_default().push(session);
            }
        }
        into_buckets(buckets)
    };
    let settings = &service.config.ensemble;
    let may_be_local =
        settings.local_sessions_enabled && service.config.topology != Topology::Standalone;
    let shown_local = may_be_local.then(|| by_expiry(&local));
    let reading = service.tree.read();
    let is_tracker = matches!(role, Role::Alone | Role::Leading);
    let sessions = if is_tracker {
        SessionsView::Tracked {
            local: shown_local,
            global: by_expiry(&tracked),
        }
    } else {
        let mut global: Vec<(SessionId, i32)> = reading.sessions().collect();
        global.sort_unstable();
        SessionsView::Learned {
            local: shown_local,
            global,
        }
    };
    let mut connections: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for conn in service.connections.all() {
        let Some(session) = conn.session() else {
            continue;
        };
        let known = tracked.get(&session).or_else(|| local.get(&session));
        let expires = match known {
            Some(expires) => *expires,
            None if is_tracker => None,
            None => silent_until(&conn, session, service.config.tick),
        };
        if let Some(expires) = expires {
            let at = wall_ms(now, expires);
            connections
                .entry(at)
                .or_default()
                .push((conn.remote, session));
        }
    }
    let owners = reading.ephemeral_owners();
    let ephemerals = owners.map(|owner| (owner, reading.ephemerals(owner).collect()));
    Some(DumpView {
        sessions,
        ephemerals: ephemerals.collect(),
        connections: into_buckets(connections),
    })
}

/// How long a connection may be silent whose session another server counts, in whole ticks.
fn silent_until(conn: &Conn, session: SessionId, tick: Duration) -> Option<Time> {
    let done = (*conn.activity.lock())?.info(session);
    let positive = |ms: i64| u64::try_from(ms).unwrap_or(0);
    let due = positive(done.last_response_ms) + positive(done.timeout_ms.into());
    let tick = u64::try_from(tick.as_millis()).unwrap_or(1).max(1);
    Some(Time::from_millis((due / tick + 1) * tick))
}

fn into_buckets<T>(items: BTreeMap<i64, Vec<T>>) -> Vec<ExpiryBucket<T>> {
    let bucket = |(expires_ms, items)| ExpiryBucket { expires_ms, items };
    items.into_iter().map(bucket).collect()
}

/// A point of the monotonic clock on the wall clock.
fn wall_ms(now: Now, at: Time) -> i64 {
    let ahead = i64::try_from(at.since(now.time).as_millis()).unwrap_or(i64::MAX);
    now.wall.as_millis().saturating_add(ahead)
}
