//! Requests one by one: traced at TRACE, and with the feature `metrics` counted and timed by operation.

#[cfg(feature = "metrics")]
use std::collections::BTreeMap;

use zk_proto::OpCode;

use crate::core::{Cause, Failure, Frame, Reply, Time, Transition, Trip};

/// See the module's text. Only the driver holds it.
#[derive(Debug, Default)]
pub(super) struct Measure {
    #[cfg(feature = "metrics")]
    ops: BTreeMap<i32, Op>,
    /// When the connection was lost, while it is.
    #[cfg(feature = "metrics")]
    suspended: Option<Time>,
}

/// Handles of the recorder for one operation: looked up once.
#[cfg(feature = "metrics")]
struct Op {
    results: [metrics::Counter; RESULTS.len()],
    queue: metrics::Histogram,
    answer: metrics::Histogram,
}

/// What may come of a request.
const RESULTS: [&str; 4] = ["ok", "rejected", "unknown", "not_sent"];

impl Measure {
    /// A request was answered or given up.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "it is for metrics")
    )]
    pub(super) fn request(&mut self, now: Time, result: &Result<Reply, Failure>, trip: &Trip) {
        if tracing::enabled!(tracing::Level::TRACE) {
            trace(now, result, trip);
        }
        #[cfg(feature = "metrics")]
        self.count(now, result, trip);
    }

    #[cfg(feature = "metrics")]
    fn count(&mut self, now: Time, result: &Result<Reply, Failure>, trip: &Trip) {
        let Some(op) = trip.op else { return };
        let known = self.ops.entry(op.code()).or_insert_with(|| Op::new(op));
        let outcome = outcome(result);
        if let Some(index) = RESULTS.iter().position(|known| *known == outcome)
            && let Some(counter) = known.results.get(index)
        {
            counter.increment(1);
        }
        if let Some((_, sent)) = trip.sent {
            known.queue.record((sent - trip.submitted).as_secs_f64());
            known.answer.record((now - sent).as_secs_f64());
        }
    }

    /// Something changed about the connection.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, clippy::unused_self, reason = "it is for metrics")
    )]
    pub(super) fn transition(&mut self, now: Time, transition: &Transition) {
        #[cfg(feature = "metrics")]
        match transition {
            Transition::Pinged { after } => {
                metrics::histogram!("zk_client_ping_seconds").record(after.as_secs_f64());
            }
            Transition::Suspended { cause, .. } => {
                self.suspended = Some(now);
                let cause = format!("{:?}", cause.kind).to_lowercase();
                metrics::counter!("zk_client_connections_lost_total", "cause" => cause)
                    .increment(1);
            }
            Transition::Connected { .. } | Transition::Expired { .. } => {
                if let Some(since) = self.suspended.take() {
                    metrics::histogram!("zk_client_suspended_seconds")
                        .record((now - since).as_secs_f64());
                }
            }
            Transition::AttemptFailed { .. }
            | Transition::Closing
            | Transition::Closed { .. }
            | Transition::Ignored { .. } => {}
        }
    }
}

fn outcome(result: &Result<Reply, Failure>) -> &'static str {
    let [ok, rejected, unknown, not_sent] = RESULTS;
    match result {
        Ok(_) => ok,
        Err(failure) if failure.unknown => unknown,
        Err(failure) if matches!(failure.cause, Cause::Server(_)) => rejected,
        Err(_) => not_sent,
    }
}

/// Paths are shown, data never is.
fn trace(now: Time, result: &Result<Reply, Failure>, trip: &Trip) {
    let op = trip.op.map_or("request", OpCode::name);
    let frame = match result {
        Ok(reply) => Some(&reply.frame),
        Err(failure) => failure.frame.as_ref(),
    };
    // Only what starts with a path has one.
    let path = frame
        .filter(|_| {
            !matches!(
                trip.op,
                Some(OpCode::Multi | OpCode::MultiRead | OpCode::Reconfig)
            )
        })
        .and_then(Frame::path);
    let path = path.as_deref().unwrap_or_default();
    let elapsed_us = (now - trip.submitted).as_micros();
    let xid = trip.sent.map(|(xid, _)| xid.get());
    let sent_us = trip.sent.map(|(_, sent)| (now - sent).as_micros());
    let outcome = outcome(result);
    match result {
        Ok(_) => tracing::trace!(op, path, xid, elapsed_us, sent_us, outcome, "request"),
        Err(failure) => {
            let err = &failure.cause;
            tracing::trace!(op, path, xid, elapsed_us, sent_us, outcome, ?err, "request");
        }
    }
}

#[cfg(feature = "metrics")]
impl Op {
    fn new(op: OpCode) -> Self {
        let op = op.name();
        Self {
            results: RESULTS.map(|result| {
                metrics::counter!("zk_client_requests_total", "op" => op, "result" => result)
            }),
            queue: metrics::histogram!("zk_client_queue_seconds", "op" => op),
            answer: metrics::histogram!("zk_client_answer_seconds", "op" => op),
        }
    }
}

/// The recorder's handles have no `Debug` of their own.
#[cfg(feature = "metrics")]
impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Op")
    }
}
