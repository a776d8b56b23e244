//! The recipes under thousands of fault schedules, in no time: the laws of each, on the real client.
//!
//! `ZK_SIM_SEEDS=n` runs more seeds than a test does by itself.

#[path = "simulated/barrier.rs"]
mod barrier;
#[path = "simulated/leader.rs"]
mod leader;
#[path = "simulated/lock.rs"]
mod lock;
#[path = "simulated/read_write.rs"]
mod read_write;
#[path = "simulated/semaphore.rs"]
mod semaphore;

use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use zk_recipes::Hold;
use zk_testkit::simulation::history::{Section, SectionBuilder};
use zk_testkit::simulation::{History, Process, Report, World};

/// What whatever is simulated comes to.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longest work within a section, and between two.
pub(crate) const WORK: Duration = Duration::from_millis(300);

/// Runs so many processes to their end.
pub(crate) async fn crowd<F>(
    world: &World,
    count: usize,
    body: impl Fn(Process, History) -> F,
) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let running: Vec<_> = (0..count)
        .map(|n| {
            let history = world.history();
            world.process(format!("worker {n}"), |process| body(process, history))
        })
        .collect();
    for one in running {
        one.await?;
    }
    Ok(())
}

/// Enters a section for as long as something is held. What may stand still cannot leave in time, but
/// it can always tell.
pub(crate) fn enter_with<G>(section: SectionBuilder, held: &Arc<G>) -> Section
where
    G: Deref<Target = Hold> + Send + Sync + 'static,
{
    let token = held.token().czxid();
    let held = Arc::clone(held);
    section
        .token(token)
        .while_held(move || held.is_held())
        .enter()
}

/// Waits until nothing is left below a path.
pub(crate) async fn swept(world: &World, path: &str) -> Outcome {
    world.healed().await;
    let zk = world.client().await?;
    loop {
        zk.sync("/").await?;
        let (names, changed) = match zk.children(path).watch().await {
            Ok((names, changed)) => (names, changed),
            Err(error) if error.kind() == zk_client::ErrorKind::NoNode => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if names.is_empty() {
            return Ok(());
        }
        changed.await;
    }
}

/// Runs of some use: things did go wrong in them.
#[expect(
    clippy::print_stdout,
    reason = "a figure for whoever asks for the output"
)]
pub(crate) fn look(report: Report) {
    println!("{report}");
    assert!(
        report.runs < 40 || report.faults > 3 * report.runs,
        "{report}"
    );
}
