use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use zk_client::{Client, Error, host};

use super::{Cache, CacheState, CachedNode};

/// The children of a znode, by name.
pub(crate) type Children = BTreeMap<String, Arc<CachedNode>>;

/// Something that is worked out of the children of a znode, and again whenever they have changed.
pub(crate) struct Derived<V> {
    cache: Arc<Cache>,
    shared: Arc<Shared<V>>,
    _task: AbortOnDropHandle<()>,
}

struct Shared<V> {
    path: String,
    derive: Box<dyn Fn(&Children) -> V + Send + Sync>,
    /// What the value was worked out of. Locked while that is done, so that nothing older takes the place
    /// of what is newer.
    of: Mutex<Children>,
    value: watch::Sender<V>,
}

impl<V: Send + Sync + 'static> Derived<V> {
    /// Begins to follow, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(
        client: &Client,
        path: &str,
        derive: impl Fn(&Children) -> V + Send + Sync + 'static,
    ) -> Self {
        Self::of(
            Cache::children(client, path).start(),
            path.to_owned(),
            derive,
        )
    }

    /// Follows a cache, which may have read everything before.
    fn of(
        cache: Cache,
        path: String,
        derive: impl Fn(&Children) -> V + Send + Sync + 'static,
    ) -> Self {
        let cache = Arc::new(cache);
        let nothing = Children::new();
        let shared = Arc::new(Shared {
            path,
            value: watch::Sender::new(derive(&nothing)),
            derive: Box::new(derive),
            of: Mutex::new(nothing),
        });
        let mut events = cache.events();
        // A reference would keep the cache alive for ever: its end is the end of the events.
        let (weak, told) = (Arc::downgrade(&cache), Arc::clone(&shared));
        let task = host::spawn(async move {
            // What it read before anybody listened is told by no event.
            while let Some(cache) = weak.upgrade() {
                told.tell(&cache);
                drop(cache);
                if events.next().await.is_none() {
                    return;
                }
                // All that has happened is worked in at once.
                while let Some(Some(_)) = events.next().now_or_never() {}
            }
        });
        Self {
            cache,
            shared,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl<V> Derived<V> {
    /// Waits until everything that was there is worked in.
    ///
    /// # Errors
    /// As [`Cache::ready`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.cache.ready().await?;
        // The task may be late, or there was nothing to tell it.
        self.shared.tell(&self.cache);
        Ok(())
    }

    /// The latest value, and a way to wait for the next.
    pub(crate) fn watch(&self) -> watch::Receiver<V> {
        self.shared.value.subscribe()
    }

    /// How far it is to be relied on.
    pub(crate) fn state(&self) -> watch::Receiver<CacheState> {
        self.cache.state()
    }
}

impl<V> Shared<V> {
    fn tell(&self, cache: &Cache) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let now = cache.children_of(&self.path);
        if *of != now {
            self.value.send_replace((self.derive)(&now));
            *of = now;
        }
    }
}

impl<V> fmt::Debug for Derived<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_read_before_anybody_listened_is_worked_in() {
        let ensemble = zk_testkit::Ensemble::start(1).await.unwrap();
        let zk = ensemble.client().await.unwrap();
        for path in ["/api", "/api/a", "/api/b"] {
            zk.create(path, "").await.unwrap();
        }
        let cache = Cache::children(&zk, "/api").start();
        cache.ready().await.unwrap();
        let count = Derived::of(cache, "/api".to_owned(), Children::len);
        let ready = timeout(Duration::from_secs(30), count.ready()).await;
        ready.expect("nothing is to happen first").unwrap();
        assert_eq!(*count.watch().borrow(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_end_of_the_client_is_the_end_of_the_events() {
        let ensemble = zk_testkit::Ensemble::start(1).await.unwrap();
        let zk = ensemble.client().await.unwrap();
        let cache = Cache::tree(&zk, "/api").start();
        let mut events = cache.events();
        cache.ready().await.unwrap();
        zk.close(Duration::from_secs(5)).await;
        let end = async { while events.next().await.is_some() {} };
        timeout(Duration::from_secs(30), end)
            .await
            .expect("it ends");
        assert!(matches!(*cache.state().borrow(), CacheState::Failed(_)));
        assert!(cache.events().next().await.is_none());
        assert!(cache.ready().await.is_err());
    }
}
