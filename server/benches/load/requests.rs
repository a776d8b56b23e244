//! Requests: how many a second, at what cost, how late.

use std::time::Duration;

use zk_testkit::load::{Load, Op, open_and_close, prepare, run};

use crate::Plan;
use crate::subject::{Settings, Subject, Which};
use crate::table::{Goal, Table};

/// How long an operation runs before it is first measured: Apache's compiler needs it.
const WARM_UP_FIRST: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_secs(2);

/// A kind of load, and the goals for it.
struct Row {
    name: &'static str,
    op: Op,
    connections: usize,
    in_flight: usize,
    cpu: Goal,
    rate: Goal,
    /// Of the median latency.
    p50: Goal,
    /// Whether fsync is slowed down.
    is_slowed: bool,
}

const fn row(name: &'static str, op: Op, connections: usize, in_flight: usize) -> Row {
    Row {
        name,
        op,
        connections,
        in_flight,
        cpu: Goal::None,
        rate: Goal::None,
        p50: Goal::None,
        is_slowed: false,
    }
}

const EIGHTH: f64 = 1.0 / 8.0;
const FIFTH: f64 = 1.0 / 5.0;
const THIRD: f64 = 1.0 / 3.0;

const ROWS: [Row; 11] = [
    Row {
        cpu: Goal::Share(EIGHTH),
        rate: Goal::Times(5.0),
        ..row("get, pipelined", Op::GetData, 8, 256)
    },
    Row {
        cpu: Goal::Share(0.5),
        rate: Goal::Times(1.5),
        ..row("get, 60 clients", Op::GetData, 60, 1)
    },
    Row {
        cpu: Goal::Share(FIFTH),
        rate: Goal::Times(3.0),
        ..row("set, pipelined", Op::SetData, 8, 256)
    },
    Row {
        cpu: Goal::Share(FIFTH),
        rate: Goal::Times(3.0),
        ..row("create, pipelined", Op::Create, 8, 256)
    },
    Row {
        cpu: Goal::Share(FIFTH),
        ..row("create and delete, pipelined", Op::CreateDelete, 8, 256)
    },
    Row {
        cpu: Goal::Share(THIRD),
        rate: Goal::Times(2.0),
        ..row("set, 60 clients", Op::SetData, 60, 1)
    },
    Row {
        cpu: Goal::Share(THIRD),
        rate: Goal::Times(2.0),
        is_slowed: true,
        ..row("set, 60 clients, fsync + 1 ms", Op::SetData, 60, 1)
    },
    Row {
        cpu: Goal::Share(FIFTH),
        ..row("multi of 10, pipelined", Op::Multi, 8, 64)
    },
    row("9 gets : 1 set, pipelined", Op::Mixed, 8, 256),
    Row {
        p50: Goal::Share(1.0),
        ..row("get, one client", Op::GetData, 1, 1)
    },
    Row {
        p50: Goal::Share(1.0),
        ..row("set, one client", Op::SetData, 1, 1)
    },
];

/// Name of the row of sessions.
const SESSIONS: &str = "session opened and closed";

pub(crate) fn measure(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    let rows: Vec<&Row> = ROWS.iter().filter(|row| plan.wants_row(row.name)).collect();
    measure_rows(plan, table, &rows, false)?;
    measure_rows(plan, table, &rows, true)
}

fn measure_rows(
    plan: &Plan,
    table: &mut Table,
    rows: &[&Row],
    is_slowed: bool,
) -> anyhow::Result<()> {
    let rows: Vec<&&Row> = rows
        .iter()
        .filter(|row| row.is_slowed == is_slowed)
        .collect();
    let has_sessions = !is_slowed && plan.wants_row(SESSIONS);
    if rows.is_empty() && !has_sessions {
        return Ok(());
    }
    let slow = is_slowed.then(crate::slow_sync::build).transpose()?;
    let settings = Settings {
        preload: slow.as_ref().map(|library| library.path.as_path()),
        ..Settings::default()
    };
    let mut subjects = Vec::new();
    for &which in &plan.subjects {
        let subject = Subject::start(which, &settings)?;
        prepare(subject.address())?;
        subjects.push((which, subject));
    }
    let find = |which| subjects.iter().find(|(each, _)| *each == which);
    for row in rows {
        for round in 0..plan.rounds {
            for which in plan.in_round(round) {
                if let Some((_, subject)) = find(which) {
                    measure_row(row, round, which, subject, table)?;
                }
            }
        }
    }
    if has_sessions {
        for round in 0..plan.rounds {
            for which in plan.in_round(round) {
                if let Some((_, subject)) = find(which) {
                    measure_sessions(which, subject, table)?;
                }
            }
        }
    }
    Ok(())
}

fn measure_row(
    row: &Row,
    round: usize,
    which: Which,
    subject: &Subject,
    table: &mut Table,
) -> anyhow::Result<()> {
    let load = Load {
        op: row.op,
        connections: row.connections,
        in_flight: row.in_flight,
        warm_up: if round == 0 && which == Which::Apache {
            WARM_UP_FIRST
        } else {
            WARM_UP
        },
        span: SPAN,
    };
    let sample = run(&load, &[subject.address()], &[subject.pid()?])?;
    let name = row.name;
    println!(
        "{which:?} {name}: {:.0} a second, {:.2} µs of processor ({:.2} user), p50 {:.1} µs, \
         p99 {:.1} µs; generator {:.2} µs",
        sample.rate(),
        sample.server_us(),
        sample.server_user_us(),
        sample.latency_us(0.5),
        sample.latency_us(0.99),
        sample.generator_us(),
    );
    table.add(which, name, ("k/s", sample.rate() / 1e3), row.rate);
    table.add(which, name, ("processor µs", sample.server_us()), row.cpu);
    if row.in_flight == 1 {
        table.add(which, name, ("p50 µs", sample.latency_us(0.5)), row.p50);
        table.add(which, name, ("p99 µs", sample.latency_us(0.99)), Goal::None);
    }
    if row.connections == 1 {
        let spread = sample.latency_us(0.99) / sample.latency_us(0.5);
        table.add(which, name, ("p99 / p50", spread), Goal::AtMost(3.0));
    }
    Ok(())
}

fn measure_sessions(which: Which, subject: &Subject, table: &mut Table) -> anyhow::Result<()> {
    let pid = subject.pid()?;
    let before = zk_testkit::load::cpu(pid)?;
    let count = open_and_close(subject.address(), SPAN)?;
    let took = (zk_testkit::load::cpu(pid)? - before).total();
    #[expect(clippy::cast_precision_loss, reason = "a count of sessions")]
    let count = count.max(1) as f64;
    let rate = count / SPAN.as_secs_f64() / 1e3;
    table.add(which, SESSIONS, ("k/s", rate), Goal::None);
    let each = took.as_secs_f64() * 1e6 / count;
    table.add(which, SESSIONS, ("processor µs", each), Goal::None);
    println!(
        "{which:?} {SESSIONS}: {:.0} a second, {each:.1} µs of processor",
        rate * 1e3
    );
    Ok(())
}
