//! What is looked up when somebody asks for metrics.

use std::sync::atomic::Ordering;

use zk_core::peer::Role;

use super::service::Service;
use super::words;
use crate::four_letter::Sample;
use crate::metrics::Process;

/// The gauges of a server, in the order of the reference's `mntr` on a server on its own; what members
/// have more comes behind.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `ZooKeeperServer#registerMetrics`.
pub(crate) fn gauges(service: &Service) -> Vec<(String, Sample)> {
    let status = words::status(service);
    let process = Process::read();
    let (ephemerals, sessions, content) = {
        let tree = service.tree.read();
        (
            tree.ephemeral_count(),
            tree.sessions().len(),
            tree.content_bytes(),
        )
    };
    let watches = service.tree.watches().counts().total();
    let whole = |value: u64| Sample::Int(i64::try_from(value).unwrap_or(i64::MAX));
    let number = |value: usize| whole(u64::try_from(value).unwrap_or(u64::MAX));
    let mean = (status.latency.avg * 10_000.0).round() / 10_000.0;
    let gauges = [
        ("ephemerals_count", number(ephemerals)),
        ("num_alive_connections", whole(status.connections)),
        ("avg_latency", Sample::Double(mean)),
        ("outstanding_requests", whole(status.outstanding)),
        ("znode_count", whole(status.node_count)),
        ("global_sessions", number(sessions)),
        ("non_mtls_remote_conn_count", Sample::Int(0)),
        ("last_client_response_size", Sample::Int(-1)),
        (
            "packets_sent",
            whole(service.tally.stats.sent.load(Ordering::Relaxed)),
        ),
        (
            "packets_received",
            whole(service.tally.stats.received.load(Ordering::Relaxed)),
        ),
        ("max_client_response_size", Sample::Int(-1)),
        (
            "connection_drop_probability",
            Sample::Double(service.throttle.drop_probability()),
        ),
        ("watch_count", number(watches)),
        ("auth_failed_count", Sample::Int(0)),
        ("min_latency", whole(status.latency.min)),
        ("max_file_descriptor_count", whole(process.open_files_max)),
        ("approximate_data_size", whole(content)),
        ("open_file_descriptor_count", whole(process.open_files)),
        ("local_sessions", Sample::Int(0)),
        ("uptime", whole(service.clock.time().as_micros() / 1000)),
        ("max_latency", whole(status.latency.max)),
        (
            "outstanding_tls_handshake",
            number(service.tls_handshakes()),
        ),
        ("min_client_response_size", Sample::Int(-1)),
        ("non_mtls_local_conn_count", Sample::Int(0)),
    ];
    gauges
        .into_iter()
        .chain(of_member(service))
        .map(|(name, sample)| (name.to_owned(), sample))
        .collect()
}

/// What a member of an ensemble has more, and a leader more than that.
fn of_member(service: &Service) -> Vec<(&'static str, Sample)> {
    let Some(ensemble) = service.ensemble() else {
        return Vec::new();
    };
    let number = |value: usize| Sample::Int(i64::try_from(value).unwrap_or(i64::MAX));
    let voters = ensemble.voters().count();
    let mut gauges = vec![("quorum_size", number(voters))];
    let core = *service.status.lock();
    if let Some(sizes) = words::status(service).proposal_sizes {
        let millis = core
            .leading_since
            .map_or(0, |since| service.clock.time().since(since).as_millis());
        gauges.extend([
            // Its name before 3.6, which old dashboards look for.
            ("followers", number(core.followers + core.observers)),
            (
                "leader_uptime",
                Sample::Int(i64::try_from(millis).unwrap_or(i64::MAX)),
            ),
            ("last_proposal_size", Sample::Int(sizes.last)),
            ("min_proposal_size", Sample::Int(sizes.min)),
            ("max_proposal_size", Sample::Int(sizes.max)),
        ]);
    }
    if core.role == Role::Leading {
        gauges.extend([
            ("learners", number(core.followers + core.observers)),
            ("synced_followers", number(core.synced_followers)),
            (
                "synced_non_voting_followers",
                number(core.synced_non_voting),
            ),
            ("synced_observers", number(core.synced_observers)),
            ("pending_syncs", number(core.pending_syncs)),
        ]);
    }
    gauges
}
