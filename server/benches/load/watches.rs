//! Many sessions: what an idle one costs, and one change told to all.

use zk_testkit::load::{Watchers, memory, prepare};

use crate::Plan;
use crate::subject::{Settings, Subject};
use crate::table::{Goal, Table};

/// Sessions, each with a watch; below the number of open files that a process usually may have.
const COUNT: u32 = 10_000;
/// Times that they are told in a round.
const TELLINGS: usize = 5;

pub(crate) fn measure(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    for round in 0..plan.rounds {
        for which in plan.in_round(round) {
            let subject = Subject::start(which, &Settings::default())?;
            let (address, pid) = (subject.address(), subject.pid()?);
            let before = memory(pid)?;
            let name = "idle server";
            let mib = as_f64(before.resident) / f64::from(1 << 20);
            table.add(which, name, ("resident MiB", mib), Goal::AtMost(8.0));
            prepare(address)?;
            let before = memory(pid)?;
            let count = usize::try_from(COUNT)?;
            let mut watchers = Watchers::open(address, count)?;
            let after = memory(pid)?;
            let grown = as_f64(after.resident.saturating_sub(before.resident));
            let each = grown / f64::from(COUNT);
            let name = "idle session";
            table.add(which, name, ("bytes", each), Goal::AtMost(2048.0));
            println!("{which:?}: {mib:.1} MiB idle, {each:.0} bytes a session");
            for _ in 0..TELLINGS {
                let told = watchers.tell(&[pid])?;
                let name = "one change to 10,000 watchers";
                let ms = told.elapsed.as_secs_f64() * 1e3;
                table.add(which, name, ("ms", ms), Goal::AtMost(15.0));
                let each = told.servers.total().as_secs_f64() * 1e6 / f64::from(COUNT);
                table.add(which, name, ("processor µs an event", each), Goal::None);
                println!("{which:?}: {ms:.1} ms to tell all, {each:.2} µs of processor an event");
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes for people")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
