//! The task that keeps a cache.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use zk_client::{Client, Error, ErrorKind, EventType, Stat, WatchEvent, WatchItem};

use super::model::CachedNode;
use super::{CacheBuilder, CacheEvent, CacheState, Shared};
use crate::kernel::clock::now;
use crate::kernel::parents::{join, parent};
use crate::kernel::retry::Backoff;

/// Reads under way at a time.
const READS_MAX: usize = 256;

/// A znode that is being read, and what has become of it meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// Whether its children are wanted too.
    lists: bool,
    /// Something happened to it since: the answer may be of before, and is worth nothing.
    again: bool,
    /// A child came or went since: the names may be of before.
    again_lists: bool,
}

/// A znode: its data, its stat, and the names of its children if they were wanted.
type Seen = (Bytes, Stat, Option<Vec<String>>);

/// What a read found.
struct Found {
    path: String,
    result: Result<Option<Seen>, Error>,
}

pub(super) struct Worker {
    client: Client,
    root: String,
    depth: usize,
    keeps_data: bool,
    shared: Arc<Shared>,
    /// To be read, each once.
    queue: VecDeque<String>,
    wanted: HashMap<String, Reading>,
    reading: HashMap<String, Reading>,
    reads: FuturesUnordered<BoxFuture<'static, Found>>,
    /// Whether everything has been read once.
    is_initialized: bool,
    /// Whether the server watches, as far as is known.
    is_watched: bool,
    /// Events held while the task is at work.
    buffer: usize,
    backoff: Backoff,
    /// While it lasts nothing new is read, because a read has failed; one pause for all that have.
    pause: Option<BoxFuture<'static, Backoff>>,
}

impl Worker {
    pub(super) fn new(builder: CacheBuilder, shared: Arc<Shared>) -> Self {
        Self {
            client: builder.client.with_timeout(Duration::MAX),
            root: builder.root,
            depth: builder.depth,
            keeps_data: builder.keeps_data,
            shared,
            queue: VecDeque::new(),
            wanted: HashMap::new(),
            reading: HashMap::new(),
            reads: FuturesUnordered::new(),
            is_initialized: false,
            is_watched: true,
            buffer: builder.buffer,
            backoff: Backoff::new(),
            pause: None,
        }
    }

    pub(super) async fn run(mut self) {
        let error = self.follow().await;
        tracing::warn!(path = %self.root, err = %error, "cache failed");
        self.shared.failed(error);
    }

    /// Follows until that is not possible any more.
    async fn follow(&mut self) -> Error {
        let mut stream = loop {
            match self.client.watch_tree(&self.root).buffer(self.buffer).await {
                Ok(stream) => break stream,
                Err(error) if self.may_pass(&error) => self.backoff.pause().await,
                Err(error) => return error,
            }
        };
        self.want(self.root.clone(), true);
        loop {
            while self.pause.is_none()
                && self.reads.len() < READS_MAX
                && let Some(path) = self.queue.pop_front()
            {
                self.read(path);
            }
            if self.reads.is_empty() && self.queue.is_empty() && self.is_watched {
                self.settled();
            }
            tokio::select! {
                biased;
                item = stream.next() => match item {
                    Some(WatchItem::Event(event)) => self.happened(&event),
                    Some(WatchItem::Gap { .. }) => self.gap(),
                    Some(WatchItem::Armed { .. }) => {
                        self.is_watched = true;
                        // Everything, known or not, is compared.
                        self.want(self.root.clone(), true);
                    }
                    Some(_) | None => {
                        // The client is closed, and says so itself.
                        if let Err(error) = self.client.exists(&self.root).await {
                            return error;
                        }
                        stream = match self.client.watch_tree(&self.root).buffer(self.buffer).await {
                            Ok(stream) => stream,
                            Err(error) => return error,
                        };
                        self.want(self.root.clone(), true);
                    }
                },
                Some(found) = self.reads.next(), if !self.reads.is_empty() => {
                    if let Err(error) = self.found(found) {
                        return error;
                    }
                }
                Some(backoff) = OptionFuture::from(self.pause.as_mut()), if self.pause.is_some() => {
                    self.backoff = backoff;
                    self.pause = None;
                }
            }
        }
    }

    /// Whether the next connection or session may do better.
    fn may_pass(&self, error: &Error) -> bool {
        let is_passing = error.is_retryable() || error.kind() == ErrorKind::SessionExpired;
        is_passing && !self.client.is_closed()
    }

    fn level(&self, path: &str) -> Option<usize> {
        if path == self.root {
            return Some(0);
        }
        let base = if self.root == "/" {
            ""
        } else {
            self.root.as_str()
        };
        let below = path.strip_prefix(base)?.strip_prefix('/')?;
        let level = below.split('/').count();
        (level <= self.depth).then_some(level)
    }

    /// Has a znode read, with its children or without.
    fn want(&mut self, path: String, lists: bool) {
        if let Some(reading) = self.reading.get_mut(&path) {
            reading.again = true;
            reading.lists |= lists;
            return;
        }
        if let Some(wanted) = self.wanted.get_mut(&path) {
            wanted.lists |= lists;
            return;
        }
        let wanted = Reading {
            lists,
            ..Reading::default()
        };
        self.wanted.insert(path.clone(), wanted);
        self.queue.push_back(path);
    }

    fn read(&mut self, path: String) {
        let Some(wanted) = self.wanted.remove(&path) else {
            return;
        };
        let lists = wanted.lists && self.level(&path).is_some_and(|level| level < self.depth);
        self.reading.insert(path.clone(), wanted);
        let (client, keeps_data) = (self.client.clone(), self.keeps_data);
        self.reads.push(Box::pin(async move {
            let node = async {
                if keeps_data {
                    let node = client.get(&path).await?;
                    Ok(node.map(|node| (node.data, node.stat)))
                } else {
                    let stat = client.exists(&path).await?;
                    Ok(stat.map(|stat| (Bytes::new(), stat)))
                }
            };
            let names = async {
                if lists {
                    client.children(&path).await
                } else {
                    Ok(None)
                }
            };
            let (node, names) = tokio::join!(node, names);
            let result = match (node, names) {
                (Err(error), _) | (_, Err(error)) => Err(error),
                (Ok(None), _) => Ok(None),
                // It was deleted between the two.
                (Ok(Some(_)), Ok(None)) if lists => Ok(None),
                (Ok(Some((data, stat))), Ok(names)) => Ok(Some((data, stat, names))),
            };
            Found { path, result }
        }));
    }

    /// Takes in an answer.
    fn found(&mut self, found: Found) -> Result<(), Error> {
        let Found { path, result } = found;
        let reading = self.reading.remove(&path).unwrap_or_default();
        if reading.again {
            self.want(path, reading.lists);
            return Ok(());
        }
        match result {
            Ok(None) => self.shared.change(|model, out| model.remove(&path, out)),
            Ok(Some((data, stat, names))) => {
                self.backoff = Backoff::new();
                self.shared.change(|model, out| {
                    let path = path.clone();
                    model.put(CachedNode { path, data, stat }, out);
                });
                if reading.again_lists {
                    self.want(path, true);
                } else if let Some(names) = names {
                    self.shared
                        .change(|model, out| model.listed(&path, &names, out));
                    for name in names {
                        self.want(join(&path, &name), true);
                    }
                }
            }
            Err(error) if self.may_pass(&error) => {
                self.want(path, reading.lists);
                self.hold_back();
            }
            Err(error) if error.kind() == ErrorKind::NoAuth => {
                tracing::debug!(%path, err = %error, "left out of a cache");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Has whatever is to be read wait a little.
    fn hold_back(&mut self) {
        if self.pause.is_none() {
            let mut backoff = std::mem::replace(&mut self.backoff, Backoff::new());
            self.pause = Some(Box::pin(async move {
                backoff.pause().await;
                backoff
            }));
        }
    }

    /// Takes in an event.
    fn happened(&mut self, event: &WatchEvent) {
        let path: &str = &event.path;
        if self.level(path).is_none() {
            return;
        }
        if matches!(event.kind, EventType::NodeCreated | EventType::NodeDeleted)
            && path != self.root
            && let Some(reading) = self.reading.get_mut(parent(path))
        {
            reading.again_lists = reading.lists;
        }
        match event.kind {
            EventType::NodeDeleted => {
                self.shared.change(|model, out| model.remove(path, out));
                if self.reading.contains_key(path) {
                    self.want(path.to_owned(), false);
                }
            }
            EventType::NodeCreated | EventType::NodeDataChanged => {
                self.want(path.to_owned(), false);
            }
            // The child that came or went tells of itself.
            EventType::NodeChildrenChanged | _ => {}
        }
    }

    fn gap(&mut self) {
        self.is_watched = false;
        let since = now();
        if self.is_initialized {
            let is_new = self.shared.state.send_if_modified(|state| {
                let is_ready = matches!(state, CacheState::Ready);
                if is_ready {
                    *state = CacheState::Stale { since };
                }
                is_ready
            });
            if is_new {
                self.shared.tell(CacheEvent::Stale);
            }
        }
    }

    /// Nothing is left to be read.
    fn settled(&mut self) {
        let is_first = !std::mem::replace(&mut self.is_initialized, true);
        let is_news = self.shared.state.send_if_modified(|state| {
            let is_news = !matches!(state, CacheState::Ready);
            if is_news {
                *state = CacheState::Ready;
            }
            is_news
        });
        if is_first {
            self.shared.tell(CacheEvent::Initialized);
        } else if is_news {
            self.shared.tell(CacheEvent::Resynced);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;
    use zk_client::CreateMode;

    use super::super::Cache;
    use super::*;

    const ZNODES: usize = 400;

    async fn until_ready(cache: &Cache, len: usize) {
        let mut state = cache.state();
        let in_step = async {
            while cache.len() != len || !matches!(*state.borrow(), CacheState::Ready) {
                state.changed().await.unwrap();
            }
        };
        let in_time = timeout(Duration::from_mins(1), in_step).await;
        in_time.unwrap_or_else(|_| panic!("{} of {len}, {:?}", cache.len(), cache.state()));
    }

    #[tokio::test]
    async fn cache_whose_buffer_overflows_is_in_step_again_without_a_reconnect() {
        let ensemble = zk_testkit::Ensemble::start(1).await.unwrap();
        let (zk, other) = (
            ensemble.client().await.unwrap(),
            ensemble.client().await.unwrap(),
        );
        other.create("/t", "").await.unwrap();
        let mut builder = Cache::tree(&zk, "/t");
        builder.buffer = 8;
        let cache = builder.start();
        cache.ready().await.unwrap();
        let mut creates = other.transaction();
        for n in 0..ZNODES {
            creates = creates.create_with(&format!("/t/{n}"), "", CreateMode::Ephemeral, None);
        }
        creates.await.unwrap();
        until_ready(&cache, ZNODES + 1).await;
        let overflows = zk.stats().watch_overflows;
        assert!(overflows > 0, "it is about a buffer that overflows");
        // All of them go at once.
        other.close(Duration::from_secs(30)).await;
        until_ready(&cache, 1).await;
        let stats = zk.stats();
        assert!(stats.watch_overflows > overflows && stats.disconnects == 0);
    }
}
