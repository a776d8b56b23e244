//! Metrics as Prometheus scrapes them from the reference.
//!
//! Written out here and not by a crate, because of the form: names without prefix, counters without
//! `_total`, floating values, and a comma behind the last label, as simpleclient 0.9 writes them and
//! dashboards know them.
//!
//! # Source
//!
//! Apache `ZooKeeper` 3.9, `PrometheusMetricsProvider`.

use std::fmt::Write as _;

use super::summary::Snapshot;
use super::{Advanced, Basic, Counter, Metrics, Process};
use crate::four_letter::{Sample, java_double};

/// A series that the reference has not: name, labels, value.
pub(crate) type Series = (&'static str, Vec<(&'static str, String)>, f64);

/// What is exported beside counters and distributions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exposition {
    /// Gauges, sampled just now.
    pub(crate) gauges: Vec<(String, Sample)>,
    /// Figures of the process, if they are wanted.
    pub(crate) process: Option<Process>,
    /// Whether those of a JVM are shown, too, under their names.
    pub(crate) has_jvm_names: bool,
    /// Whether counters have a twin that ends in `_total`.
    pub(crate) has_totals: bool,
    /// Series that the reference has not.
    pub(crate) own: Vec<Series>,
}

/// The text of a scrape.
pub(crate) fn prometheus(metrics: &Metrics, exposition: &Exposition) -> String {
    let mut text = Text::default();
    for (name, sample) in &exposition.gauges {
        text.head(name, "gauge");
        text.line(name, &[], value_of(*sample));
    }
    for &counter in Counter::ALL {
        let (name, value) = (counter.name(), float(metrics.counted(counter)));
        text.head(name, "counter");
        text.line(name, &[], value);
        if exposition.has_totals {
            let name = format!("{name}_total");
            text.head(&name, "counter");
            text.line(&name, &[], value);
        }
    }
    for (basic, summary) in Basic::ALL.iter().zip(&metrics.basic) {
        text.summary(basic.name(), &summary.snapshot(), &[("0.5", 500)]);
    }
    let tail = [("0.5", 500), ("0.9", 900), ("0.99", 990)];
    for (advanced, summary) in Advanced::ALL.iter().zip(&metrics.advanced) {
        text.summary(advanced.name(), &summary.snapshot(), &tail);
    }
    if let Some(process) = &exposition.process {
        text.process(process, exposition.has_jvm_names);
    }
    let mut last = "";
    for (name, labels, value) in &exposition.own {
        if *name != last {
            text.head(name, "gauge");
            last = name;
        }
        text.line(name, labels, *value);
    }
    text.0
}

/// Text that grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str) {
        writeln!(self.0, "# HELP {name} {name}\n# TYPE {name} {kind}")
            .expect("writing to a string cannot fail");
    }

    fn line(&mut self, name: &str, labels: &[(&'static str, String)], value: f64) {
        self.0.push_str(name);
        if !labels.is_empty() {
            self.0.push('{');
            for (label, text) in labels {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                let text = text.replace('\n', "\\n");
                write!(self.0, "{label}=\"{text}\",").expect("writing to a string cannot fail");
            }
            self.0.push('}');
        }
        writeln!(self.0, " {}", java_double(value)).expect("writing to a string cannot fail");
    }

    fn summary(&mut self, name: &str, snapshot: &Snapshot, quantiles: &[(&str, u64)]) {
        self.head(name, "summary");
        for (label, thousandths) in quantiles {
            let label = [("quantile", (*label).to_owned())];
            self.line(name, &label, float(snapshot.quantile(*thousandths)));
        }
        self.line(&format!("{name}_count"), &[], float(snapshot.count));
        self.line(&format!("{name}_sum"), &[], float(snapshot.sum));
    }

    fn process(&mut self, process: &Process, has_jvm_names: bool) {
        self.head("process_cpu_seconds_total", "counter");
        self.line("process_cpu_seconds_total", &[], process.cpu_seconds);
        for (name, value) in [
            ("process_open_fds", process.open_files),
            ("process_max_fds", process.open_files_max),
            ("process_resident_memory_bytes", process.resident_bytes),
            ("process_virtual_memory_bytes", process.virtual_bytes),
        ] {
            self.head(name, "gauge");
            self.line(name, &[], float(value));
        }
        if has_jvm_names {
            // Dashboards divide one by the other.
            for (name, value) in [
                ("jvm_memory_bytes_used", process.resident_bytes),
                ("jvm_memory_bytes_max", process.memory_max_bytes),
            ] {
                self.head(name, "gauge");
                self.line(name, &[("area", "heap".to_owned())], float(value));
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has floating values only"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the format has floating values only"
)]
fn value_of(sample: Sample) -> f64 {
    match sample {
        Sample::Int(value) => value as f64,
        Sample::Double(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_simpleclient() {
        let metrics = Metrics::default();
        metrics.count(Counter::SnapCount, 10);
        metrics.add_many(Advanced::Updatelatency, 4, 2);
        let exposition = Exposition {
            gauges: vec![("znode_count".to_owned(), Sample::Int(5))],
            own: vec![("zks_server_state", vec![("state", "a\"b".to_owned())], 1.0)],
            ..Exposition::default()
        };
        let text = prometheus(&metrics, &exposition);
        for part in [
            "# HELP znode_count znode_count\n# TYPE znode_count gauge\nznode_count 5.0\n",
            "# TYPE snap_count counter\nsnap_count 10.0\n",
            "# TYPE updatelatency summary\nupdatelatency{quantile=\"0.5\",} 4.0\n",
            "updatelatency{quantile=\"0.99\",} 4.0\nupdatelatency_count 2.0\nupdatelatency_sum 8.0\n",
            "zks_server_state{state=\"a\\\"b\",} 1.0\n",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("_total"));
        let exposition = Exposition {
            has_totals: true,
            ..exposition
        };
        assert!(prometheus(&metrics, &exposition).contains("\nsnap_count_total 10.0\n"));
    }
}
