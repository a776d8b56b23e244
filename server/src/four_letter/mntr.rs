//! `mntr`: every metric, one per line.

use std::fmt::Write as _;

use super::java::java_double;
use super::role::Mode;

/// What `mntr` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorView {
    /// Version of the server.
    pub version: String,
    /// Role.
    pub mode: Mode,
    /// State of a member, such as `following - broadcast`; absent when alone.
    pub peer_state: Option<String>,
    /// Id of the server an observer follows; observers only.
    pub observer_master_id: Option<i64>,
    /// Metrics by name, without the prefix `zk_`, in the order to print.
    pub metrics: Vec<(String, Sample)>,
}

/// Value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// A count, size or duration.
    Int(i64),
    /// A mean or probability.
    Double(f64),
}

/// The answer.
pub fn mntr(view: &MonitorView) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        writeln!(out, "zk_{key}\t{value}").expect("writing to a string cannot fail");
    };
    line("version", &view.version);
    line("server_state", &view.mode.to_string());
    if let Some(state) = &view.peer_state {
        line("peer_state", state);
    }
    if let Some(id) = view.observer_master_id {
        line("observer_master_id", &id.to_string());
    }
    for (name, sample) in &view.metrics {
        match sample {
            Sample::Int(value) => line(name, &value.to_string()),
            Sample::Double(value) => line(name, &java_double(*value)),
        }
    }
    out
}
