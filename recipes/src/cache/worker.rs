//! The task that keeps a cache.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use zk_client::{
    Client, ConnState, Error, ErrorKind, EventType, Stat, WatchEvent, WatchItem, Zxid,
};

use super::model::{CachedNode, Model};
use super::{CacheBuilder, CacheEvent, CacheState, Shared};
use crate::kernel::clock::now;
use crate::kernel::parents::{join, name, parent};
use crate::kernel::retry::Backoff;

/// Reads under way at a time.
const READS_MAX: usize = 256;

/// Why a znode is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    /// It has changed, or is new.
    Changed,
    /// All is being compared, and its children are wanted too.
    Compared,
}

/// A znode that is being read, and what has become of it meanwhile.
#[derive(Debug)]
struct Reading {
    want: Want,
    /// Why it is to be read once more: the answer may be of before.
    again: Option<Want>,
    /// It was deleted: an answer about a znode that was created before this is about the one that is gone.
    alive_from: Zxid,
    /// Children that came or went, and whether they are there: the names may be of before. Empty if no
    /// names are wanted.
    told: BTreeMap<String, bool>,
}

impl Reading {
    fn new(want: Want) -> Self {
        Self {
            want,
            again: None,
            alive_from: Zxid::ZERO,
            told: BTreeMap::new(),
        }
    }
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
    wanted: HashMap<String, Want>,
    reading: HashMap<String, Reading>,
    reads: FuturesUnordered<BoxFuture<'static, Found>>,
    /// How many [`Want::Compared`] are among them: at none everything has been compared.
    owed: usize,
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
            owed: 0,
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
        let mut events = self.client.events();
        let mut stream = loop {
            match self.client.watch_tree(&self.root).buffer(self.buffer).await {
                Ok(stream) => break stream,
                Err(error) if self.may_pass(&error) => self.backoff.pause().await,
                Err(error) => return error,
            }
        };
        self.want(self.root.clone(), Want::Compared);
        loop {
            while self.pause.is_none()
                && self.reads.len() < READS_MAX
                && let Some(path) = self.queue.pop_front()
            {
                self.read(path);
            }
            if self.owed == 0 && self.is_watched {
                self.settled();
            }
            tokio::select! {
                biased;
                Some(_) = events.next() => self.connection_changed(),
                item = stream.next() => match item {
                    Some(WatchItem::Event(event)) => self.happened(&event),
                    Some(WatchItem::Gap { .. }) => self.gap(now()),
                    Some(WatchItem::Armed { .. }) => {
                        self.is_watched = true;
                        // Everything, known or not, is compared.
                        self.want(self.root.clone(), Want::Compared);
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
                        self.is_watched = true;
                        self.want(self.root.clone(), Want::Compared);
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

    /// Has a znode read.
    fn want(&mut self, path: String, want: Want) {
        let before = if let Some(reading) = self.reading.get_mut(&path) {
            let before = reading.again;
            reading.again = before.max(Some(want));
            before
        } else {
            let before = self.wanted.get(&path).copied();
            self.wanted
                .insert(path.clone(), before.map_or(want, |before| before.max(want)));
            if before.is_none() {
                self.queue.push_back(path);
            }
            before
        };
        if want == Want::Compared && before != Some(want) {
            self.owed += 1;
        }
    }

    fn read(&mut self, path: String) {
        let Some(want) = self.wanted.remove(&path) else {
            return;
        };
        let is_within = self.level(&path).is_some_and(|level| level < self.depth);
        let lists = want == Want::Compared && is_within;
        self.reading.insert(path.clone(), Reading::new(want));
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
        let Some(reading) = self.reading.remove(&path) else {
            return Ok(());
        };
        let wants = [Some(reading.want), reading.again];
        self.owed -= wants
            .iter()
            .filter(|want| **want == Some(Want::Compared))
            .count();
        // Under steady writes there is always a newer state: each answer is a step forward.
        if let Some(want) = reading.again {
            self.want(path.clone(), want);
        }
        match result {
            // It may have come since, and so may what is below it, which is known then.
            Ok(None) if reading.again.is_some() => {}
            Ok(None) => self.shared.change(|model, out| model.remove(&path, out)),
            Ok(Some((_, stat, _))) if stat.czxid < reading.alive_from => {}
            Ok(Some((data, stat, names))) => {
                self.backoff = Backoff::new();
                self.shared.change(|model, out| {
                    let path = path.clone();
                    model.put(CachedNode { path, data, stat }, out);
                });
                if let Some(names) = names {
                    self.listed(&path, names, reading.told);
                }
            }
            Err(error) if self.may_pass(&error) => {
                self.want(path, reading.want);
                self.hold_back();
            }
            Err(error) if error.kind() == ErrorKind::NoAuth => {
                tracing::debug!(%path, err = %error, "left out of a cache");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes in the names of children, corrected by what was told of them since they were asked for.
    fn listed(&mut self, path: &str, mut names: Vec<String>, told: BTreeMap<String, bool>) {
        names.retain(|name| !told.contains_key(name));
        let came = told.into_iter().filter(|(_, is_there)| *is_there);
        names.extend(came.map(|(name, _)| name));
        self.shared.change(|model, out| {
            let names = names.iter().map(String::as_str).collect();
            model.listed(path, &names, out);
        });
        for name in names {
            self.want(join(path, &name), Want::Compared);
        }
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
            && reading.want == Want::Compared
        {
            let is_there = event.kind == EventType::NodeCreated;
            reading.told.insert(name(path).to_owned(), is_there);
        }
        match event.kind {
            EventType::NodeDeleted => {
                if let Some(reading) = self.reading.get_mut(path) {
                    // Servers before 3.9 do not tell the transaction. If nothing is known either, whatever
                    // is found may be the one that is gone.
                    let known = || {
                        let known = |model: &Model| Some(model.nodes().get(path)?.stat.czxid);
                        let czxid = self.shared.read(known)?;
                        Some(Zxid::new(czxid.get() + 1))
                    };
                    let from = event.zxid.or_else(known).unwrap_or(Zxid::new(i64::MAX));
                    reading.alive_from = reading.alive_from.max(from);
                    self.want(path.to_owned(), Want::Changed);
                }
                self.shared.change(|model, out| model.remove(path, out));
            }
            EventType::NodeCreated | EventType::NodeDataChanged => {
                self.want(path.to_owned(), Want::Changed);
            }
            // The child that came or went tells of itself.
            EventType::NodeChildrenChanged | _ => {}
        }
    }

    /// The state of the connection is another one, or was. While there is none, nothing is watched: the
    /// stream says so as well, but not before there is another.
    fn connection_changed(&mut self) {
        let state = self.client.state().borrow().clone();
        match state {
            ConnState::Suspended { since, .. } => self.gap(since),
            ConnState::Expired { .. } => self.gap(now()),
            // Back again, the stream has told or will; closed, it ends.
            ConnState::Connecting
            | ConnState::Connected { .. }
            | ConnState::Closing
            | ConnState::Closed(_)
            | _ => {}
        }
    }

    /// Changes are not seen since then, or earlier.
    fn gap(&mut self, since: Instant) {
        self.is_watched = false;
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

    /// Everything has been compared.
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
