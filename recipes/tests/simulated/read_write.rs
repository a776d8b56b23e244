//! Read/write locks.

use zk_recipes::{ReadWriteLock, RwFormat};
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, contended, is_held, stay};

const PATH: &str = "/locks/book";

async fn read_and_write(process: Process, history: History, format: RwFormat) -> Outcome {
    let zk = process.client().await?;
    let lock = ReadWriteLock::new(&zk, PATH).format(format);
    let section = || history.section("book", process.name());
    for _ in 0..4 {
        if process.below(3) > 0 {
            let guard = lock.read().await?;
            stay(&process, section().shared(), guard, is_held).await;
        } else {
            let guard = lock.write().await?;
            let guard = stay(&process, section(), guard, is_held).await;
            if let Some(guard) = guard
                && process.below(2) == 0
                && let Ok(guard) = guard.downgrade().await
            {
                stay(&process, section().shared(), guard, is_held).await;
            }
        }
        process.work(WORK).await;
    }
    Ok(())
}

#[test]
fn readers_share_and_writers_are_alone() {
    contended(&Simulation::new(), 0..40, 4, &[PATH], |process, history| {
        read_and_write(process, history, RwFormat::Curator)
    });
}

#[test]
fn readers_share_and_writers_are_alone_in_kazoos_format() {
    let seeds = 10_000..10_040;
    contended(&Simulation::new(), seeds, 4, &[PATH], |process, history| {
        read_and_write(process, history, RwFormat::Kazoo)
    });
}
