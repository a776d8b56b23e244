//! Medians, side by side.

use std::fmt;

use super::{Op, SUBJECTS, Sample, Subject, WORKLOADS, Workload};

/// All samples of a run.
pub(super) struct Table(Vec<(Workload, Subject, Sample)>);

impl Table {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, workload: Workload, subject: Subject, sample: Sample) {
        self.0.push((workload, subject, sample));
    }

    /// One column of one line, smallest first; empty if it is not taken.
    fn column(
        &self,
        workload: Workload,
        subject: Subject,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> Vec<f64> {
        let mut column: Vec<f64> = self
            .0
            .iter()
            .filter(|sample| (sample.0, sample.1) == (workload, subject))
            .filter_map(|(_, _, sample)| value(sample))
            .collect();
        column.sort_by(f64::total_cmp);
        column
    }

    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        workload: Workload,
        subject: Subject,
    ) -> fmt::Result {
        let column = |value: fn(&Sample) -> Option<f64>| self.column(workload, subject, value);
        let (rate, cpu) = (column(|s| Some(s.ops_per_s)), column(|s| Some(s.cpu_us)));
        let (p50, p99) = (column(|s| s.p50_us), column(|s| s.p99_us));
        let spread = match (cpu.first(), cpu.last()) {
            (Some(least), Some(most)) => format!("{least:.1}..{most:.1}"),
            _ => String::new(),
        };
        writeln!(
            f,
            "  {:<30}{:>9}{:>9}{:>13}{:>9}{:>9}{:>9}{:>8}",
            subject.name(),
            shown(&rate, 0),
            shown(&cpu, 2),
            spread,
            shown(&column(|s| Some(s.user_us)), 2),
            shown(&p50, 0),
            shown(&p99, 0),
            shown(&column(|s| Some(s.allocations)), 2),
        )
    }

    /// Our medians as multiples of another client's.
    fn ratios(
        &self,
        f: &mut fmt::Formatter<'_>,
        workload: Workload,
        other: Subject,
    ) -> fmt::Result {
        let ratio = |value: fn(&Sample) -> Option<f64>| {
            let ours = median(&self.column(workload, Subject::Ours, value));
            let others = median(&self.column(workload, other, value));
            match (ours, others) {
                (Some(ours), Some(others)) if others > 0.0 => format!("x {:.2}", ours / others),
                _ => "-".to_owned(),
            }
        };
        writeln!(
            f,
            "  {:<30}{:>9}{:>9}{:>13}{:>9}{:>9}{:>9}{:>8}",
            format!("zk-client / {}", other.name()),
            ratio(|s| Some(s.ops_per_s)),
            ratio(|s| Some(s.cpu_us)),
            "",
            ratio(|s| Some(s.user_us)),
            ratio(|s| s.p50_us),
            ratio(|s| s.p99_us),
            ratio(|s| Some(s.allocations)),
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32}{:>9}{:>9}{:>13}{:>9}{:>9}{:>9}{:>8}",
            "", "ops/s", "CPU us", "min..max", "user us", "p50 us", "p99 us", "allocs"
        )?;
        for workload in WORKLOADS {
            let op = match workload.op {
                Op::Get => "get_data",
                Op::Set => "set_data",
            };
            writeln!(f, "{op} 100 B, {} in flight", workload.window)?;
            for subject in SUBJECTS {
                self.line(f, workload, subject)?;
            }
            self.ratios(f, workload, Subject::Theirs)?;
            self.ratios(f, workload, Subject::RawTask)?;
            self.ratios(f, workload, Subject::Raw)?;
        }
        Ok(())
    }
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "zk-client",
            Self::Theirs => "zookeeper-client",
            Self::RawTask => "raw, tokio",
            Self::Raw => "raw, blocking",
        }
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}

fn shown(sorted: &[f64], digits: usize) -> String {
    median(sorted).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
