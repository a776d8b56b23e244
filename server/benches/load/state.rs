//! A million znodes: their memory, the restart with them, latency while they are written.

use std::time::{Duration, Instant};

use zk_testkit::load::{Load, Op, fill, memory, prepare, run};

use crate::Plan;
use crate::start::acknowledged;
use crate::subject::{Settings, Subject};
use crate::table::{Goal, Table};

const COUNT: u32 = 1_000_000;
/// So few that a snapshot of the million is always being written while znodes are set.
const SNAP_COUNT: u32 = 20_000;
const SPAN: Duration = Duration::from_secs(5);

pub(crate) fn measure(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    // Once: it takes long, and differs little from time to time.
    for &which in &plan.subjects {
        let mut subject = Subject::start(which, &Settings::default())?;
        let before = memory(subject.pid()?)?;
        fill(subject.address(), COUNT.into())?;
        let after = memory(subject.pid()?)?;
        let grown = as_f64(after.resident.saturating_sub(before.resident));
        let each = grown / f64::from(COUNT);
        let name = "1,000,000 znodes of 100 bytes";
        table.add(which, name, ("bytes a znode", each), Goal::AtMost(210.0));
        println!("{which:?}: {each:.0} bytes a znode");

        for _ in 0..plan.rounds {
            subject.kill()?;
            let begun = Instant::now();
            subject.launch()?;
            acknowledged(&subject)?;
            let took = begun.elapsed().as_secs_f64();
            let name = "restart with 1,000,000 znodes after SIGKILL";
            table.add(which, name, ("s", took), Goal::AtMost(0.6));
            let each = as_f64(memory(subject.pid()?)?.resident) / f64::from(COUNT);
            let name = "1,000,000 znodes after the restart";
            table.add(
                which,
                name,
                ("bytes a znode, all of the process", each),
                Goal::AtMost(210.0),
            );
            println!("{which:?}: restarted in {took:.2} s, {each:.0} bytes a znode");
        }
    }
    for &which in &plan.subjects {
        let settings = Settings {
            snap_count: Some(SNAP_COUNT),
            ..Settings::default()
        };
        let subject = Subject::start(which, &settings)?;
        fill(subject.address(), COUNT.into())?;
        prepare(subject.address())?;
        for op in [Op::GetData, Op::SetData] {
            let load = Load {
                op,
                connections: 1,
                in_flight: 1,
                warm_up: Duration::from_secs(2),
                span: SPAN,
            };
            // The background that brings about snapshots: another session that writes.
            let sample = std::thread::scope(|scope| {
                let background = Load {
                    op: Op::SetData,
                    connections: 1,
                    in_flight: 8,
                    warm_up: Duration::ZERO,
                    span: SPAN + Duration::from_secs(3),
                };
                let address = [subject.address()];
                let writer = scope.spawn(move || run(&background, &address, &[]));
                let sample = run(&load, &address, &[]);
                writer.join().map(|_| ()).ok();
                sample
            })?;
            let name = format!("{}, one client, while snapshots are written", op.name());
            let (p50, p99) = (sample.latency_us(0.5), sample.latency_us(0.99));
            table.add(which, &name, ("p50 µs", p50), Goal::None);
            table.add(which, &name, ("p99 µs", p99), Goal::None);
            table.add(which, &name, ("p99 / p50", p99 / p50), Goal::AtMost(3.0));
            println!("{which:?} {name}: p50 {p50:.0} µs, p99 {p99:.0} µs");
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes for people")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
