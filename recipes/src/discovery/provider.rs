use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use zk_client::{Client, Error, Zxid};

use super::chooser::{Candidate, Chooser, Strategy};
use super::down::{AllDown, DownPolicy, Errors};
use super::instance::ServiceInstance;
use super::registry::{Found, InstanceCache};
use crate::cache::CacheState;
use crate::kernel::chance::seed;
use crate::kernel::clock::now;

/// Tells one registration of an instance from others: its path, as ids may be shared, and the transaction.
type Key = (String, Zxid);

/// Which instances to choose among.
type Filter<T> = Box<dyn Fn(&ServiceInstance<T>) -> bool + Send + Sync>;

/// Sets up a [`Provider`].
#[must_use = "nothing is read before it is started"]
pub struct ProviderBuilder<T> {
    client: Client,
    service: String,
    strategy: Strategy<T>,
    filters: Vec<Filter<T>>,
    down: DownPolicy,
    max_stale: Option<Duration>,
}

/// Chooses whom to ask of those that offer a service: see [`super::Discovery::provider`].
///
/// An instance that is not enabled, or left out because of errors, is not chosen. Choosing asks nobody: it
/// is by what was last known.
pub struct Provider<T> {
    cache: InstanceCache<T>,
    strategy: Strategy<T>,
    filters: Vec<Filter<T>>,
    max_stale: Option<Duration>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    chooser: Chooser,
    errors: Errors<Key>,
    /// Requests under way, of those that have any.
    loads: HashMap<Key, Arc<AtomicUsize>>,
}

/// An instance that was chosen. Derefs to it. It counts as one request under way until it is dropped.
#[derive(Debug)]
pub struct Picked<T> {
    found: Arc<Found<T>>,
    key: Key,
    shared: Arc<Shared>,
    load: Arc<AtomicUsize>,
}

impl<T: DeserializeOwned + Send + Sync + 'static> ProviderBuilder<T> {
    pub(crate) fn new(client: Client, service: String) -> Self {
        Self {
            client,
            service,
            strategy: Strategy::RoundRobin,
            filters: Vec::new(),
            down: DownPolicy::default(),
            max_stale: None,
        }
    }

    /// How to choose, [`Strategy::RoundRobin`] by default.
    pub fn strategy(mut self, strategy: Strategy<T>) -> Self {
        self.strategy = strategy;
        self
    }

    /// Chooses only among those for which this is true; several must all be.
    pub fn filter(
        mut self,
        is_wanted: impl Fn(&ServiceInstance<T>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filters.push(Box::new(is_wanted));
        self
    }

    /// When an instance is left out because of errors.
    pub fn down_policy(mut self, policy: DownPolicy) -> Self {
        self.down = policy;
        self
    }

    /// Chooses nobody any more when changes have not been seen for so long, as [`Provider::staleness`] tells;
    /// by default, whoever was last known is chosen for ever.
    pub fn max_stale(mut self, most: Duration) -> Self {
        self.max_stale = Some(most);
        self
    }

    /// Begins to follow the instances, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Provider<T> {
        let chooser = Chooser::new(self.strategy.way(), seed());
        let inner = Inner {
            chooser,
            errors: Errors::new(self.down),
            loads: HashMap::new(),
        };
        Provider {
            cache: InstanceCache::start(&self.client, &self.service),
            strategy: self.strategy,
            filters: self.filters,
            max_stale: self.max_stale,
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
            }),
        }
    }
}

impl<T> Provider<T> {
    /// Waits until all instances that were there are known.
    ///
    /// # Errors
    /// As [`crate::Cache::ready`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) -> Result<(), Error> {
        self.cache.ready().await
    }

    /// Chooses one; `None` if nobody is to be asked.
    pub fn pick(&self) -> Option<Picked<T>> {
        if let (Some(stale), Some(most)) = (self.staleness(), self.max_stale)
            && stale > most
        {
            return None;
        }
        let now = now();
        let wanted: Vec<_> = (self.cache.instances().into_iter())
            .filter(|found| found.instance.enabled)
            .filter(|found| {
                self.filters
                    .iter()
                    .all(|is_wanted| is_wanted(&found.instance))
            })
            .collect();
        let mut inner = self.shared.inner();
        let up: Vec<_> = (wanted.iter())
            .filter(|found| !inner.errors.is_down(&key(found), now))
            .map(Arc::clone)
            .collect();
        let among = if up.is_empty() && inner.errors.all_down() == AllDown::ServeAny {
            wanted
        } else {
            up
        };
        inner.loads.retain(|_, load| Arc::strong_count(load) > 1);
        let candidates: Vec<_> = (among.iter())
            .map(|found| Candidate {
                path: &found.path,
                weight: self.strategy.weight(&found.instance),
                load: inner
                    .loads
                    .get(&key(found))
                    .map_or(0, |load| load.load(Ordering::Acquire)),
            })
            .collect();
        let chosen = inner.chooser.choose(&candidates)?;
        let found = among.get(chosen).map(Arc::clone)?;
        let key = key(&found);
        let load = Arc::clone(inner.loads.entry(key.clone()).or_default());
        load.fetch_add(1, Ordering::AcqRel);
        drop(inner);
        Some(Picked {
            found,
            key,
            shared: Arc::clone(&self.shared),
            load,
        })
    }

    /// All instances that are known, chosen among or not, by id.
    pub fn instances(&self) -> Vec<Arc<Found<T>>> {
        self.cache.instances()
    }

    /// Waits until instances have come, gone, or said something else: for ever once the client is closed,
    /// which [`Provider::staleness`] tells.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Vec<Arc<Found<T>>> {
        self.cache.changed().await
    }

    /// For how long changes have not been seen; `None` while they are.
    pub fn staleness(&self) -> Option<Duration> {
        match &*self.cache.state().borrow() {
            CacheState::Stale { since } => Some(now().saturating_duration_since(*since)),
            CacheState::Failed(_) => Some(Duration::MAX),
            CacheState::Starting | CacheState::Ready => None,
        }
    }
}

impl<T> fmt::Debug for Provider<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("cache", &self.cache)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ProviderBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderBuilder")
            .field("service", &self.service)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<T>(found: &Found<T>) -> Key {
    (found.path.clone(), found.czxid)
}

impl<T> Picked<T> {
    /// It did not do what it is for: after some errors it is left out for a while.
    pub fn failed(self) {
        let now = now();
        self.shared.inner().errors.failed(self.key.clone(), now);
    }

    /// Passes a result on, and takes an error as [`Picked::failed`] does.
    ///
    /// # Errors
    /// That of the result.
    pub fn report<V, E>(self, result: Result<V, E>) -> Result<V, E> {
        if result.is_err() {
            self.failed();
        }
        result
    }
}

impl<T> Deref for Picked<T> {
    type Target = ServiceInstance<T>;

    fn deref(&self) -> &ServiceInstance<T> {
        &self.found.instance
    }
}

impl<T> Drop for Picked<T> {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::AcqRel);
    }
}
