//! Copies of znodes that follow them.

mod derived;
mod model;
mod worker;

pub(crate) use self::derived::{Children, Derived};
pub use self::model::CachedNode;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;
use zk_client::{Client, Error, host};

use self::model::Model;
use self::worker::Worker;
use crate::kernel::parents::name;

/// Events held for a reader that is behind; a slower one is told that it missed some.
const EVENTS_MAX: usize = 1_024;

/// Events of the server that are held while a cache is at work: more than that are a gap, which costs a
/// comparison of all.
const BUFFER: usize = 16 * 1_024;

/// A copy of a znode, its children, or everything below it, which follows what happens to them.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use zk_recipes::Cache;
///
/// let cache = Cache::children(&zk, "/members").start();
/// cache.ready().await?;
/// for (name, node) in cache.children_of("/members") {
///     println!("{name}: {} bytes", node.data.len());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// - Once nothing changes any more, the cache is what the server has. What it tells of one znode goes
///   forward in time.
/// - A znode that was deleted and created anew is told as such, even if that happened while the
///   connection was lost: it is known by the transaction that created it. States in between may be left
///   out.
/// - While the connection is lost the cache serves what it last knew ([`CacheState::Stale`]).
/// - Memory is bounded by the znodes, not by the rate of events: a reader that is too slow is told so
///   ([`CacheEvent::Missed`]).
/// - Dropped, it leaves no watch behind.
///
/// # Source
/// Apache Curator 5, `CuratorCache`, `NodeCache`, `PathChildrenCache`, `TreeCache`. It needs servers since
/// 3.6.
#[derive(Debug)]
pub struct Cache {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// Sets up a [`Cache`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read before it is started"]
pub struct CacheBuilder {
    client: Client,
    root: String,
    /// Levels below the root.
    depth: usize,
    keeps_data: bool,
    /// Events held while it is at work.
    buffer: usize,
}

/// Something that a cache has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheEvent {
    /// A znode is there.
    Created(Arc<CachedNode>),
    /// Its data was set.
    Changed {
        /// As it was.
        old: Arc<CachedNode>,
        /// As it is.
        new: Arc<CachedNode>,
    },
    /// It is gone.
    Deleted(Arc<CachedNode>),
    /// Everything that was there has been read. Told once.
    Initialized,
    /// The connection is lost, or more happened than could be taken in: changes are not seen.
    Stale,
    /// Everything that happened meanwhile has been told.
    Resynced,
    /// The reader was too slow for that many events: look at the whole again.
    Missed(u64),
}

/// How far a cache is to be relied on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CacheState {
    /// Reads everything for the first time.
    Starting,
    /// Is what its server has, but for changes that are under way.
    Ready,
    /// The connection is lost, or is back and everything is being compared; or more happened than could
    /// be taken in, and everything is.
    Stale {
        /// Since when: that the connection is lost shows when a server has been silent for a while.
        since: Instant,
    },
    /// It could not go on: the server knows no watches that stay, or the client is closed.
    Failed(Error),
}

#[derive(Debug)]
struct Shared {
    root: String,
    model: RwLock<Model>,
    /// Gone once it has failed: nothing is told any more. Locked after the model.
    events: RwLock<Option<broadcast::Sender<CacheEvent>>>,
    state: watch::Sender<CacheState>,
}

/// What happens to a cache from a moment on: see [`Cache::events`].
#[derive(Debug)]
pub struct CacheEvents(broadcast::Receiver<CacheEvent>);

impl Cache {
    /// One znode. It need not exist.
    pub fn node(client: &Client, path: impl Into<String>) -> CacheBuilder {
        CacheBuilder::new(client, path.into(), 0)
    }

    /// A znode and its children.
    pub fn children(client: &Client, path: impl Into<String>) -> CacheBuilder {
        CacheBuilder::new(client, path.into(), 1)
    }

    /// A znode and everything below it.
    pub fn tree(client: &Client, path: impl Into<String>) -> CacheBuilder {
        CacheBuilder::new(client, path.into(), usize::MAX)
    }

    /// Waits until everything that was there has been read.
    ///
    /// # Errors
    /// What keeps it from ever being so.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut state = self.shared.state.subscribe();
        let settled = state
            .wait_for(|state| !matches!(state, CacheState::Starting))
            .await;
        match settled.as_deref() {
            Ok(CacheState::Failed(error)) => Err(error.clone()),
            // The sender lives as long as this.
            _ => Ok(()),
        }
    }

    /// How far it is to be relied on: the latest value, and a way to wait for the next.
    pub fn state(&self) -> watch::Receiver<CacheState> {
        self.shared.state.subscribe()
    }

    /// A znode, if there is one.
    pub fn get(&self, path: &str) -> Option<Arc<CachedNode>> {
        self.shared
            .read(|model| model.nodes().get(path).map(Arc::clone))
    }

    /// The znode that the cache was made for, if it exists.
    pub fn root(&self) -> Option<Arc<CachedNode>> {
        self.get(&self.shared.root)
    }

    /// Children of a znode, by name.
    pub fn children_of(&self, path: &str) -> BTreeMap<String, Arc<CachedNode>> {
        self.shared.read(|model| {
            let children = model.children(path);
            children
                .map(|(name, node)| (name.to_owned(), Arc::clone(node)))
                .collect()
        })
    }

    /// Everything at one moment, by path.
    pub fn snapshot(&self) -> BTreeMap<String, Arc<CachedNode>> {
        self.shared.read(|model| model.nodes().clone())
    }

    /// How many znodes there are.
    pub fn len(&self) -> usize {
        self.shared.read(|model| model.nodes().len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> CacheEvents {
        let events = self.shared.events.read();
        let events = events.unwrap_or_else(PoisonError::into_inner);
        let none = || broadcast::Sender::new(1).subscribe();
        CacheEvents(
            events
                .as_ref()
                .map_or_else(none, broadcast::Sender::subscribe),
        )
    }

    /// Everything at one moment, and everything that happens from that moment on.
    pub fn snapshot_and_events(&self) -> (BTreeMap<String, Arc<CachedNode>>, CacheEvents) {
        // Events are sent while the model is locked.
        self.shared
            .read(|model| (model.nodes().clone(), self.events()))
    }
}

impl CacheBuilder {
    fn new(client: &Client, root: String, depth: usize) -> Self {
        Self {
            client: client.clone(),
            root,
            depth,
            keeps_data: true,
            buffer: BUFFER,
        }
    }

    /// How many levels below the znode are kept.
    pub fn depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// Keeps stats only.
    pub fn without_data(mut self) -> Self {
        self.keeps_data = false;
        self
    }

    /// Begins to read, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Cache {
        let shared = Arc::new(Shared {
            root: self.root.clone(),
            model: RwLock::default(),
            events: RwLock::new(Some(broadcast::Sender::new(EVENTS_MAX))),
            state: watch::Sender::new(CacheState::Starting),
        });
        let worker = Worker::new(self, Arc::clone(&shared));
        Cache {
            shared,
            _task: AbortOnDropHandle::new(host::spawn(worker.run())),
        }
    }
}

impl CacheEvents {
    /// The next event; `None` after the cache was dropped, or has failed as [`Cache::state`] then says.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<CacheEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(CacheEvent::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl CachedNode {
    /// The last component of its path.
    pub fn name(&self) -> &str {
        name(&self.path)
    }
}

impl Shared {
    fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the model, and tells of it in the same order to all.
    fn change(&self, change: impl FnOnce(&mut Model, &mut Vec<CacheEvent>)) {
        let mut events = Vec::new();
        let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut model, &mut events);
        let sender = self.events.read().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            // Nobody need listen.
            let _listeners = sender.as_ref().map(|sender| sender.send(event));
        }
    }

    /// It cannot go on: whoever waits for something to happen is not left waiting.
    fn failed(&self, error: Error) {
        self.state.send_replace(CacheState::Failed(error));
        let mut sender = self.events.write().unwrap_or_else(PoisonError::into_inner);
        *sender = None;
    }

    fn tell(&self, event: CacheEvent) {
        self.change(|_, events| events.push(event));
    }
}
