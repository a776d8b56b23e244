//! The recipes under thousands of fault schedules, in no time: the laws of each, on the real client.
//!
//! Each kind of law is also shown to object: to a recipe as one would write it on a good day.
//! `ZK_SIM_SEEDS=n` runs more seeds than a test does by itself.

#[path = "simulated/barrier.rs"]
mod barrier;
#[path = "simulated/cache.rs"]
mod cache;
#[path = "simulated/clocks.rs"]
mod clocks;
#[path = "simulated/config.rs"]
mod config;
#[path = "simulated/hostile.rs"]
mod hostile;
#[path = "simulated/keep.rs"]
mod keep;
#[path = "simulated/leader.rs"]
mod leader;
#[path = "simulated/lock.rs"]
mod lock;
#[path = "simulated/multi.rs"]
mod multi;
#[path = "simulated/observer.rs"]
mod observer;
#[path = "simulated/patience.rs"]
mod patience;
#[path = "simulated/read_write.rs"]
mod read_write;
#[path = "simulated/reentrant.rs"]
mod reentrant;
#[path = "simulated/roster.rs"]
mod roster;
#[path = "simulated/semaphore.rs"]
mod semaphore;
#[path = "simulated/world.rs"]
mod world;

pub(crate) use self::world::{
    Outcome, Truth, WORK, contended, crowd, holds, is_held, locked, objects, started, stay, swept,
};
