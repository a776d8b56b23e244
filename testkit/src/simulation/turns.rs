//! Which task comes first, when several could.
//!
//! A runtime lets them run in the order in which they were woken, and that is not of the seed alone:
//! tokio's `watch` wakes those who wait for it in an order that it draws. So a task that was woken only
//! says so; who has done that by the time that nothing else is to be done runs next, in an order that the
//! seed says. It is another one each time, as where there are several threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::task::{Context, Waker};

use tokio::sync::Notify;
use tokio::task;

use super::report::lock;
use crate::sim::rng::Rng;

/// Turns of the tasks of all processes.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    /// Somebody wants to run.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// Who was woken. Ids are in the order in which tasks were spawned.
    woken: BTreeMap<task::Id, Waker>,
    /// Whose turn it is.
    runs: BTreeSet<task::Id>,
    rng: Rng,
}

impl Turns {
    pub(super) fn new(rng: Rng) -> Self {
        let state = State {
            woken: BTreeMap::new(),
            runs: BTreeSet::new(),
            rng,
        };
        Self {
            state: Mutex::new(state),
            wanted: Notify::new(),
        }
    }

    /// Whether it is the turn of the task that this is called in. If not, it is woken when it is.
    pub(super) fn is_mine(&self, cx: &Context<'_>) -> bool {
        // Whatever is no task is polled by the run itself, whose turn it always is.
        let Some(id) = task::try_id() else {
            return true;
        };
        let mut state = lock(&self.state);
        if state.runs.remove(&id) {
            return true;
        }
        state.woken.insert(id, cx.waker().clone());
        drop(state);
        self.wanted.notify_one();
        false
    }

    /// Gives everybody who wants to run a turn, for ever. To be polled when no task is left that could
    /// run: what it finds woken is then the same in each run of the seed.
    pub(super) async fn give(&self) -> ! {
        loop {
            self.wanted.notified().await;
            let mut state = lock(&self.state);
            let woken = std::mem::take(&mut state.woken);
            // There may be nobody: two that wanted to run were given their turns at once.
            state.runs.extend(woken.keys());
            let mut turns: Vec<Waker> = woken.into_values().collect();
            state.rng.shuffle(&mut turns);
            drop(state);
            for task in turns {
                task.wake();
            }
        }
    }
}
