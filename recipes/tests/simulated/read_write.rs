//! Read/write locks.

use std::sync::Arc;

use zk_recipes::{ReadWriteLock, RwFormat};
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, crowd, look, swept};

const PATH: &str = "/locks/book";

async fn read_and_write(process: Process, history: History, format: RwFormat) -> Outcome {
    let zk = process.client().await?;
    let lock = ReadWriteLock::new(&zk, PATH).format(format);
    for _ in 0..4 {
        if process.below(3) > 0 {
            let guard = Arc::new(lock.read().await?);
            let held = Arc::clone(&guard);
            let section = history
                .section("book", process.name())
                .shared()
                .while_held(move || held.is_held())
                .enter();
            process.work(WORK).await;
            drop(section);
        } else {
            let guard = Arc::new(lock.write().await?);
            let held = Arc::clone(&guard);
            let section = history
                .section("book", process.name())
                .while_held(move || held.is_held())
                .enter();
            process.work(WORK).await;
            drop(section);
            if let Some(guard) = Arc::into_inner(guard)
                && process.below(2) == 0
                && let Ok(guard) = guard.downgrade().await
            {
                let guard = Arc::new(guard);
                let held = Arc::clone(&guard);
                let section = history
                    .section("book", process.name())
                    .shared()
                    .while_held(move || held.is_held())
                    .enter();
                process.work(WORK).await;
                drop(section);
            }
        }
        process.work(WORK).await;
    }
    Ok(())
}

#[test]
fn readers_share_and_writers_are_alone() {
    look(Simulation::new().run(0..40, |world| async move {
        crowd(&world, 4, |process, history| {
            read_and_write(process, history, RwFormat::Curator)
        })
        .await?;
        swept(&world, PATH).await
    }));
}

#[test]
fn readers_share_and_writers_are_alone_in_kazoos_format() {
    look(Simulation::new().run(10_000..10_040, |world| async move {
        crowd(&world, 4, |process, history| {
            read_and_write(process, history, RwFormat::Kazoo)
        })
        .await?;
        swept(&world, PATH).await
    }));
}
