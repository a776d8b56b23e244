//! Connections that stand still: their clients are gone, or do not read what they asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::service::Service;
use crate::metrics::Counter;

/// Time between two looks at all connections.
///
/// One look for all, and not a timer for each: a timer would take as much memory as the rest of a
/// connection that is idle, and has to be set again by each request.
const LOOK: Duration = Duration::from_secs(1);

/// Closes connections that nobody waits for any longer, until the server stops.
///
/// Mostly the end of a session closes its connection. Left are those whose session lives on elsewhere,
/// or is over while there is something to send.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `NIOServerCnxnFactory.ConnectionExpirerThread`.
pub(crate) async fn close_overdue(service: Arc<Service>) {
    let stopping = service.fail_stop.stopping();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = looks.tick() => {}
        }
        let now = Instant::now();
        let has_stood_still = now.duration_since(std::mem::replace(&mut last, now)) > 2 * LOOK;
        if has_stood_still {
            // What came meanwhile has to be read before anybody is given up.
            continue;
        }
        for conn in service.connections.overdue(service.clock.seconds(now)) {
            let metrics = &service.metrics;
            metrics.count(Counter::SessionlessConnectionsExpired, 1);
            tracing::info!(peer = %conn.remote, "connection stands still");
            conn.outbox.abort();
        }
    }
}
