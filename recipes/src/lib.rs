//! Distributed recipes over ZooKeeper: locks, leader election, barriers, caches, service discovery.
//!
//! On the same znodes as Apache Curator and kazoo, and safer: whoever holds something learns in time
//! that it may be lost, has a token to fence with, and leaves nothing behind when a future is dropped.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use zk_client::Client;
//! use zk_recipes::Lock;
//!
//! let zk = Client::connect("zk1:2181,zk2:2181,zk3:2181/app").await?;
//! let guard = Lock::new(&zk, "/locks/report").acquire().await?;
//! println!("fence with token {}", guard.token());
//! tokio::select! {
//!     reason = guard.lost() => eprintln!("lost: {reason:?}"),
//!     () = async { /* the work */ } => guard.release().await?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## What is promised of all recipes
//!
//! | | |
//! |---|---|
//! | sessions | An attempt belongs to one session, and nothing of it is done or concluded in another. |
//! | loss | What was won is a [`Hold`]: it is over no later than two thirds of the session timeout after the last request that the leader answered had been sent ([`LossPolicy`]). |
//! | fencing | Successive holders have increasing [`FencingToken`]s. |
//! | outcome | A creation whose answer was lost is looked for, never blindly repeated. |
//! | cancellation | Any future may be dropped at any point; own znodes are deleted in the background then. |
//! | foreign znodes | Children that are not named as a contender do not count; none causes a panic. |
//! | herds | A release wakes one waiter. |
//!
//! ## What it does not do
//!
//! Counters, queues, leases by the clock and partitioners of Curator and kazoo are not there yet.

mod barrier;
mod cache;
mod config;
mod discovery;
mod error;
mod keep;
mod kernel;
mod leader;
mod lock;
mod semaphore;

pub use self::barrier::{
    Barrier, BarrierError, DoubleBarrier, Entered, GenerationBarrier, Lifted, StaleReady, Tripped,
};
pub use self::cache::{Cache, CacheBuilder, CacheEvent, CacheEvents, CacheState, CachedNode};
pub use self::config::{Config, ConfigBuilder, ConfigError, ConfigWatch, publish_config};
pub use self::discovery::{
    AllDown, Discovery, DiscoveryError, DownPolicy, Found, InstanceCache, InstanceError, JsonStyle,
    Picked, Provider, ProviderBuilder, Registration, ServiceInstance, ServiceType, Strategy,
    Undecodable, UriPart, UriSpec,
};
pub use self::error::{AcquireError, Lost};
pub use self::keep::{
    Conflict, Group, GroupFormat, KeepMode, KeepNode, KeepState, Kept, Member, Membership,
};
pub use self::kernel::hold::{Hold, HoldState, LossPolicy, LossReason};
pub use self::kernel::parents::Parents;
pub use self::kernel::sequence::Sequence;
pub use self::kernel::token::FencingToken;
pub use self::leader::{
    Election, ElectionError, Latch, LeaderLatch, LeaderObserver, LeaderState, Leadership,
};
pub use self::lock::{
    Contender, Lock, LockFormat, LockGuard, MultiGuard, MultiLock, OwnedReadWriteLock, ReadGuard,
    ReadWriteLock, ReentrantGuard, ReentrantLock, RwFormat, SharedGuard, WriteGuard,
};
pub use self::semaphore::{Lease, MaxLeases, Semaphore, SemaphoreFormat, SemaphoreMutex};

#[doc(no_inline)]
pub use tokio_util::sync::CancellationToken;
