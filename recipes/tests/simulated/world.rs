//! What the laws share: crowds, sections, what followers are to end up with, how a law is shown to object.

use std::error::Error;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use zk_client::ErrorKind;
use zk_recipes::Hold;
use zk_testkit::simulation::history::{Section, SectionBuilder};
use zk_testkit::simulation::{Ending, History, Process, Report, Running, Simulation, World};

/// What whatever is simulated comes to.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longest work within a section, and between two.
pub(crate) const WORK: Duration = Duration::from_millis(300);

/// Runs a law, and looks whether its runs are of some use: things did go wrong in them.
#[expect(
    clippy::print_stdout,
    reason = "a figure for whoever asks for the output"
)]
pub(crate) fn holds<F, Fut>(simulation: &Simulation, seeds: Range<u64>, body: F)
where
    F: Fn(World) -> Fut + Sync,
    Fut: Future<Output: Ending>,
{
    let report: Report = simulation.run(seeds, body);
    println!("{report}");
    assert!(
        report.runs < 40 || report.faults > 3 * report.runs,
        "{report}"
    );
}

/// Shows that a law objects: to one that is made as one would on a good day.
pub(crate) fn objects<F, Fut>(simulation: &Simulation, law: &str, body: F)
where
    F: Fn(World) -> Fut + Sync,
    Fut: Future<Output: Ending>,
{
    let failure = simulation.try_run(0..1_000, body);
    let failure = failure.expect_err("a law that never objects is none");
    let is_wanted = failure.law.contains(law) || failure.what.contains(law);
    assert!(is_wanted, "not by the law {law:?}: {failure}");
}

/// The law of those who contend: a crowd does its work, and nothing is left below the paths.
pub(crate) fn contended<F>(
    simulation: &Simulation,
    seeds: Range<u64>,
    count: usize,
    paths: &[&str],
    body: impl Fn(Process, History) -> F + Copy + Sync,
) where
    F: Future<Output = Outcome> + Send + 'static,
{
    holds(simulation, seeds, |world| async move {
        crowd(&world, count, body).await?;
        for path in paths {
            swept(&world, path).await?;
        }
        Outcome::Ok(())
    });
}

/// Starts so many processes.
pub(crate) fn started<F>(
    world: &World,
    count: usize,
    body: impl Fn(Process, History) -> F,
) -> Vec<Running<F::Output>>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let one = |n| {
        let history = world.history();
        world.process(format!("worker {n}"), |process| body(process, history))
    };
    (0..count).map(one).collect()
}

/// Runs so many processes to their end.
pub(crate) async fn crowd<F>(
    world: &World,
    count: usize,
    body: impl Fn(Process, History) -> F,
) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    for one in started(world, count, body) {
        one.await?;
    }
    Ok(())
}

/// Is in a section, for as long as something is held, and works. What may stand still cannot leave in
/// time, but it can always tell. Gives back what is held.
pub(crate) async fn stay<G: Send + Sync + 'static>(
    process: &Process,
    section: SectionBuilder,
    held: G,
    is_held: fn(&G) -> bool,
) -> Option<G> {
    let held = Arc::new(held);
    let inside = Arc::clone(&held);
    let section: Section = section.while_held(move || is_held(&inside)).enter();
    process.work(WORK).await;
    drop(section);
    Arc::into_inner(held)
}

/// Whether what is held is.
pub(crate) fn is_held<G: Deref<Target = Hold>>(held: &G) -> bool {
    held.is_held()
}

/// Waits until nothing is left below a path.
pub(crate) async fn swept(world: &World, path: &str) -> Outcome {
    world.healed().await;
    let zk = world.client().await?;
    loop {
        zk.sync("/").await?;
        let (names, changed) = match zk.children(path).watch().await {
            Ok((names, changed)) => (names, changed),
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if names.is_empty() {
            return Ok(());
        }
        changed.await;
    }
}

/// What is true once all is done and healed: told to those who are to end up with it.
#[derive(Debug)]
pub(crate) struct Truth<T>(Arc<Telling<T>>);

/// Not a channel of tokio's, which wakes those who wait in an order that it draws.
#[derive(Debug)]
struct Telling<T> {
    truth: Mutex<Option<T>>,
    told: Notify,
}

impl<T> Clone for Truth<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Truth<T> {
    pub(crate) fn new() -> Self {
        let (truth, told) = (Mutex::new(None), Notify::new());
        Self(Arc::new(Telling { truth, told }))
    }

    pub(crate) fn tell(&self, truth: T) {
        *locked(&self.0.truth) = Some(truth);
        self.0.told.notify_waiters();
    }

    /// Waits until it is told.
    pub(crate) async fn told(&self) -> T {
        loop {
            // It listens from here on.
            let told = self.0.told.notified();
            if let Some(truth) = locked(&self.0.truth).clone() {
                return truth;
            }
            told.await;
        }
    }
}

/// What nobody who panics has in hand: a panic ends the run.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics")
}
