//! Locks that their owners may acquire while they have them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use zk_client::Client;
use zk_recipes::{Lock, LockGuard, ReentrantGuard, ReentrantLock};
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, contended, crowd, locked, objects};

const PATH: &str = "/locks/orders";

/// A lock that the law can be tried on.
trait Reentrant: Send + Sync + 'static {
    type Guard: Send + Sync + 'static;

    fn make(zk: &Client) -> Self;
    fn acquire(&self, owner: u64) -> impl Future<Output = Outcome<Self::Guard>> + Send;
    fn is_held(guard: &Self::Guard) -> bool;
    /// None if there is none.
    fn token(guard: &Self::Guard) -> Option<i64>;
}

impl Reentrant for ReentrantLock<u64> {
    type Guard = ReentrantGuard;

    fn make(zk: &Client) -> Self {
        Self::new(Lock::new(zk, PATH))
    }

    async fn acquire(&self, owner: u64) -> Outcome<ReentrantGuard> {
        Ok(self.acquire(owner).await?)
    }

    fn is_held(guard: &ReentrantGuard) -> bool {
        guard.is_held()
    }

    fn token(guard: &ReentrantGuard) -> Option<i64> {
        Some(guard.token().czxid())
    }
}

/// Acquires twice, and lets go of the first while it is at work.
async fn nest<L: Reentrant>(
    lock: Arc<L>,
    process: Process,
    owner: u64,
    history: History,
) -> Outcome {
    let who = format!("owner {owner} of {}", process.name());
    for _ in 0..3 {
        let outer = lock.acquire(owner).await?;
        process.work(WORK / 4).await;
        let inner = lock.acquire(owner).await?;
        if L::is_held(&outer) && L::token(&outer) != L::token(&inner) {
            return Err(format!("{who} holds it, and has waited for itself").into());
        }
        let (token, inner) = (L::token(&inner), Arc::new(inner));
        let held = Arc::clone(&inner);
        let section = history.section("orders", who.clone());
        let section = match token {
            Some(token) => section.token(token),
            None => section,
        };
        let section = section.while_held(move || L::is_held(&held)).enter();
        process.work(WORK / 4).await;
        drop(outer);
        process.work(WORK / 2).await;
        drop(section);
        drop(inner);
        process.work(WORK).await;
    }
    Ok(())
}

/// Two owners in each process, who use the same lock.
async fn contend<L: Reentrant>(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let lock = Arc::new(L::make(&zk));
    let owners: Vec<_> = (0..2)
        .map(|owner| {
            let nested = nest(Arc::clone(&lock), process.clone(), owner, history.clone());
            process.spawn(nested)
        })
        .collect();
    for owner in owners {
        owner.await??;
    }
    Ok(())
}

#[test]
fn an_owner_gets_in_again_at_once_and_nobody_else_before_it_is_out() {
    let body = contend::<ReentrantLock<u64>>;
    contended(&Simulation::new(), 0..40, 2, &[PATH], body);
}

/// Counts nothing: whichever guard of an owner goes first lets go of the lock.
struct Uncounted {
    lock: Lock,
    held: Mutex<BTreeMap<u64, Arc<Mutex<Option<LockGuard>>>>>,
}

struct UncountedGuard(Arc<Mutex<Option<LockGuard>>>);

impl Drop for UncountedGuard {
    fn drop(&mut self) {
        locked(&self.0).take();
    }
}

impl Reentrant for Uncounted {
    type Guard = UncountedGuard;

    fn make(zk: &Client) -> Self {
        let (lock, held) = (Lock::new(zk, PATH), Mutex::default());
        Self { lock, held }
    }

    async fn acquire(&self, owner: u64) -> Outcome<UncountedGuard> {
        let held = locked(&self.held).get(&owner).map(Arc::clone);
        if let Some(held) = held.filter(|held| locked(held).is_some()) {
            return Ok(UncountedGuard(held));
        }
        let guard = Arc::new(Mutex::new(Some(self.lock.acquire().await?)));
        locked(&self.held).insert(owner, Arc::clone(&guard));
        Ok(UncountedGuard(guard))
    }

    fn is_held(_: &UncountedGuard) -> bool {
        true
    }

    fn token(_: &UncountedGuard) -> Option<i64> {
        None
    }
}

#[test]
fn a_lock_that_does_not_count_its_owners_holds_is_found_out() {
    let calm = Simulation::new().without_faults();
    objects(&calm, "mutual exclusion", |world| async move {
        crowd(&world, 2, contend::<Uncounted>).await
    });
}
