//! What was measured, by figure, and what it was to be.

use std::fmt;

use crate::subject::Which;

/// What our server is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Told, not judged.
    None,
    /// No more than this share of Apache's figure.
    Share(f64),
    /// At least this many times Apache's figure.
    Times(f64),
    /// No more than this.
    AtMost(f64),
}

/// A figure, with what was measured of it.
#[derive(Debug)]
struct Line {
    name: String,
    unit: &'static str,
    goal: Goal,
    apache: Vec<f64>,
    ours: Vec<f64>,
}

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
}

impl Table {
    /// Adds what was measured once.
    pub(crate) fn add(
        &mut self,
        which: Which,
        name: &str,
        (unit, value): (&'static str, f64),
        goal: Goal,
    ) {
        let known = self
            .lines
            .iter()
            .position(|line| line.name == name && line.unit == unit);
        let at = known.unwrap_or_else(|| {
            self.lines.push(Line {
                name: name.into(),
                unit,
                goal,
                apache: Vec::new(),
                ours: Vec::new(),
            });
            self.lines.len() - 1
        });
        if let Some(line) = self.lines.get_mut(at) {
            match which {
                Which::Apache => line.apache.push(value),
                Which::Ours => line.ours.push(value),
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| what | unit | Apache | ours | ours / Apache | goal | |"
        )?;
        writeln!(f, "|---|---|---:|---:|---:|---:|---|")?;
        for line in &self.lines {
            let (apache, ours) = (median(&line.apache), median(&line.ours));
            let ratio = apache.zip(ours).map(|(apache, ours)| ours / apache);
            let (goal, is_met) = match line.goal {
                Goal::None => (String::new(), None),
                Goal::Share(share) => (format!("÷ {:.1}", 1.0 / share), ratio.map(|r| r <= share)),
                Goal::Times(times) => (format!("× {times:.1}"), ratio.map(|r| r >= times)),
                Goal::AtMost(most) => (format!("≤ {}", figure(most)), ours.map(|o| o <= most)),
            };
            let verdict = match is_met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "",
            };
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {goal} | {verdict} |",
                line.name,
                line.unit,
                apache.map(figure).unwrap_or_default(),
                ours.map(figure).unwrap_or_default(),
                ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default(),
            )?;
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Three figures that count.
fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
