//! Caches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zk_client::{Client, EventType, Stat, Version, WatchItem};
use zk_recipes::{Cache, CacheEvent, CachedNode};
use zk_testkit::simulation::{History, Process, Simulation, World};

use crate::{Outcome, Truth, WORK, crowd, holds, objects, started};

const ROOT: &str = "/t";
/// Where writers write: two levels below the root, and the root itself.
const PATHS: [&str; 7] = ["/t", "/t/a", "/t/a/x", "/t/a/y", "/t/b", "/t/b/x", "/t/b-c"];

/// What is known of a znode: its data, who created it, who wrote it last.
type Known = (Vec<u8>, i64, i64);

type Tree = BTreeMap<String, Known>;

fn known(data: &[u8], stat: &Stat) -> Known {
    (data.to_vec(), stat.czxid.get(), stat.mzxid.get())
}

/// Writes here and there: creates, sets, deletes, puts another znode in the place of one.
async fn write(process: Process, _: History) -> Outcome {
    let zk = process.client().await?;
    for round in 0..25 {
        let place = usize::try_from(process.below(PATHS.len() as u64))?;
        let path = PATHS.get(place).copied().unwrap_or(ROOT);
        let data = format!("{} {round}", process.name());
        // Whether it could be done does not matter: what the server has in the end does.
        match process.below(6) {
            0 | 1 => drop(zk.create(path, data).await),
            2 | 3 => drop(zk.set(path, data).await),
            4 => drop(zk.delete(path).await),
            _ => {
                let other = zk.transaction().delete(path, Version::ANY);
                drop(other.create(path, "").await);
            }
        }
        process.work(WORK).await;
    }
    Ok(())
}

/// What the server has, as deep as that.
async fn truth(world: &World, depth: usize) -> Outcome<Tree> {
    let zk = world.client().await?;
    zk.sync("/").await?;
    let mut found = Tree::new();
    for path in PATHS {
        if path.split('/').count() <= depth + 2
            && let Some(node) = zk.get(path).await?
        {
            found.insert(path.to_owned(), known(&node.data, &node.stat));
        }
    }
    Ok(found)
}

/// Writers, and those who follow; each of these is to end up with what the server has then.
async fn follow<F>(
    world: World,
    depth: usize,
    reader: impl Fn(Process, usize, Truth<Tree>) -> F,
) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let told = Truth::new();
    let readers = started(&world, 2, |process, _| reader(process, depth, told.clone()));
    crowd(&world, 2, write).await?;
    world.healed().await;
    told.tell(truth(&world, depth).await?);
    for reader in readers {
        reader.await?;
    }
    Ok(())
}

/// A copy by what is told, and what must not be told.
#[derive(Debug, Default)]
struct Copy {
    nodes: BTreeMap<String, Arc<CachedNode>>,
    /// The last transaction that was told of a path.
    seen: BTreeMap<String, i64>,
    is_initialized: bool,
    is_stale: bool,
}

impl Copy {
    fn take(&mut self, event: &CacheEvent) -> Outcome {
        let right = match event {
            CacheEvent::Created(node) => {
                let is_new = self.nodes.insert(node.path.clone(), Arc::clone(node));
                is_new.is_none() && self.goes_on(node)
            }
            CacheEvent::Changed { old, new } => {
                let before = self.nodes.insert(new.path.clone(), Arc::clone(new));
                let is_same = old.stat.czxid == new.stat.czxid;
                before.is_some_and(|before| is_before(&before, old)) && is_same && self.goes_on(new)
            }
            CacheEvent::Deleted(node) => {
                let before = self.nodes.remove(&node.path);
                before.is_some_and(|before| is_before(&before, node))
            }
            CacheEvent::Initialized => !std::mem::replace(&mut self.is_initialized, true),
            CacheEvent::Stale => !std::mem::replace(&mut self.is_stale, true),
            CacheEvent::Resynced => std::mem::replace(&mut self.is_stale, false),
            CacheEvent::Missed(_) | _ => false,
        };
        if right {
            return Ok(());
        }
        Err(format!("told out of order: {event:?}").into())
    }

    /// Whether it is later than all that was told of its path.
    fn goes_on(&mut self, node: &CachedNode) -> bool {
        let now = node.stat.mzxid.get();
        let before = self.seen.insert(node.path.clone(), now);
        before.is_none_or(|before| before < now)
    }

    fn tree(&self) -> Tree {
        let nodes = self.nodes.iter();
        nodes
            .map(|(path, node)| (path.clone(), known(&node.data, &node.stat)))
            .collect()
    }
}

/// Whether it is the same state of the same znode; only its children may have changed.
fn is_before(one: &CachedNode, other: &CachedNode) -> bool {
    one.stat.czxid == other.stat.czxid
        && one.stat.mzxid == other.stat.mzxid
        && one.data == other.data
}

async fn read(process: Process, depth: usize, told: Truth<Tree>) -> Outcome {
    let zk = process.client().await?;
    process.work(WORK * 5).await;
    let cache = match depth {
        0 => Cache::node(&zk, ROOT),
        1 => Cache::children(&zk, ROOT),
        _ => Cache::tree(&zk, ROOT),
    };
    let cache = cache.start();
    let mut events = cache.events();
    let mut copy = Copy::default();
    cache.ready().await?;
    let mut truth = None;
    while truth.as_ref() != Some(&copy.tree()) {
        tokio::select! {
            biased;
            event = events.next() => copy.take(&event.ok_or("the cache lives")?)?,
            found = told.told(), if truth.is_none() => truth = Some(found),
        }
    }
    if !copy.is_initialized {
        return Err("it is ready, and that was not told".into());
    }
    let nodes = cache.snapshot();
    let at_once: Tree = nodes
        .iter()
        .map(|(path, node)| (path.clone(), known(&node.data, &node.stat)))
        .collect();
    if at_once != copy.tree() {
        return Err(format!("{at_once:?} was told as {:?}", copy.tree()).into());
    }
    Ok(())
}

fn is_what_the_server_has(seeds: std::ops::Range<u64>, depth: usize) {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, seeds, |world| follow(world, depth, read));
}

#[test]
fn a_node_cache_ends_up_with_what_the_server_has() {
    is_what_the_server_has(0..40, 0);
}

#[test]
fn a_cache_of_children_ends_up_with_what_the_server_has() {
    is_what_the_server_has(10_000..10_040, 1);
}

#[test]
fn a_cache_of_a_tree_ends_up_with_what_the_server_has() {
    is_what_the_server_has(20_000..20_040, 2);
}

/// Reads everything once, and then whatever an event tells of: nothing tells of what happened while the
/// connection was lost.
async fn read_by_events(process: Process, _: usize, told: Truth<Tree>) -> Outcome {
    async fn read(zk: &Client, path: &str, tree: &mut Tree) {
        match zk.get(path).await {
            Ok(Some(node)) => drop(tree.insert(path.to_owned(), known(&node.data, &node.stat))),
            Ok(None) => drop(tree.remove(path)),
            Err(_) => {}
        }
    }
    let zk = process.client().await?;
    let mut stream = zk.watch_tree(ROOT).await?;
    let mut tree = Tree::new();
    for path in PATHS {
        read(&zk, path, &mut tree).await;
    }
    let mut truth = None;
    while truth.as_ref() != Some(&tree) {
        tokio::select! {
            biased;
            item = stream.next() => match item {
                Some(WatchItem::Event(event)) if event.kind == EventType::NodeDeleted => {
                    tree.remove(&*event.path);
                }
                Some(WatchItem::Event(event)) => read(&zk, &event.path, &mut tree).await,
                _ => {}
            },
            found = told.told(), if truth.is_none() => truth = Some(found),
        }
    }
    Ok(())
}

#[test]
fn a_cache_that_trusts_its_events_is_found_out() {
    let law = "the body ends, once all is healed";
    let simulation = Simulation::new().with_administrators();
    objects(&simulation, law, |world| follow(world, 2, read_by_events));
}

#[test]
fn what_is_told_out_of_order_is_found_out() {
    let node = |path: &str, czxid: i64, mzxid: i64| {
        let stat = Stat {
            czxid: zk_client::Zxid::new(czxid),
            mzxid: zk_client::Zxid::new(mzxid),
            ..Stat::default()
        };
        let (path, data) = (path.to_owned(), zk_client::Bytes::new());
        Arc::new(CachedNode { path, data, stat })
    };
    let created = |czxid| CacheEvent::Created(node("/t", czxid, czxid));
    let deleted = |czxid, mzxid| CacheEvent::Deleted(node("/t", czxid, mzxid));
    let changed = |czxid, from, to| CacheEvent::Changed {
        old: node("/t", czxid, from),
        new: node("/t", czxid, to),
    };
    let is_fine = |events: &[CacheEvent]| {
        let mut copy = Copy::default();
        events.iter().all(|event| copy.take(event).is_ok())
    };
    assert!(is_fine(&[
        CacheEvent::Stale,
        created(1),
        changed(1, 1, 2),
        CacheEvent::Resynced,
        CacheEvent::Initialized,
        deleted(1, 2),
        created(3),
    ]));
    let wrong: BTreeSet<bool> = [
        // Another znode in the place of one whose end was not told.
        is_fine(&[created(1), created(3)]),
        is_fine(&[created(1), changed(3, 1, 3)]),
        // Back in time.
        is_fine(&[created(2), deleted(2, 2), created(1)]),
        is_fine(&[created(1), changed(1, 1, 3), changed(1, 3, 2)]),
        // What was never told.
        is_fine(&[deleted(1, 1)]),
        is_fine(&[created(1), deleted(1, 2)]),
        is_fine(&[CacheEvent::Initialized, CacheEvent::Initialized]),
        is_fine(&[CacheEvent::Resynced]),
        is_fine(&[CacheEvent::Missed(1)]),
    ]
    .into();
    assert_eq!(wrong, BTreeSet::from([false]));
}

/// Reads everything while a session ends with hundreds of its reads: they are made again together.
async fn crawl(world: World) -> Outcome {
    let zk = world.client().await?;
    zk.create(ROOT, "").await?;
    let mut creates = zk.transaction();
    for n in 0..1_000 {
        creates = creates.create(&format!("{ROOT}/{n}"), "");
    }
    creates.await?;
    let (clock, away) = (world.clone(), world.session_timeout() * 3);
    let reader = world.process("reader", |process| async move {
        let zk = process.client().await?;
        let session = zk.session().await?.id();
        let cache = Cache::tree(&zk, ROOT).start();
        while zk.stats().outstanding < 200 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        process.isolate(away);
        let begin = clock.now();
        cache.ready().await?;
        let span = clock.now().saturating_sub(begin);
        if zk.session().await?.id() == session || cache.len() != 1_001 {
            return Err("the session was to end within the crawl".into());
        }
        // Seconds at most, not for each read that failed.
        if span > away + Duration::from_mins(1) {
            return Err(format!("not in step within {span:?}").into());
        }
        Outcome::Ok(())
    });
    reader.await
}

#[test]
fn a_session_that_ends_with_hundreds_of_reads_holds_a_cache_up_once() {
    Simulation::new()
        .without_faults()
        .run(30_000..30_010, crawl);
}

/// Writes so often that something happens while anything is read.
async fn write_on(process: Process, is_done: Arc<AtomicBool>) -> Outcome {
    let zk = process.client().await?;
    let lane = async |n: usize| -> Outcome {
        let own = format!("{ROOT}/{} {n}", process.name());
        while !is_done.load(Ordering::Relaxed) {
            process.work(Duration::from_millis(2)).await;
            zk.set("/t/a", own.clone()).await?;
            zk.create(&own, "").await?;
            zk.delete(&own).await?;
            // Always there, and never for long the same.
            let other = zk.transaction().delete("/t/b", Version::ANY);
            other.create("/t/b", own.clone()).await?;
        }
        Ok(())
    };
    futures_util::future::try_join_all((0..12).map(lane)).await?;
    Ok(())
}

async fn keep_up(world: World) -> Outcome {
    let zk = world.client().await?;
    let creates = zk.transaction().create(ROOT, "");
    creates.create("/t/a", "").create("/t/b", "").await?;
    let is_done = Arc::new(AtomicBool::new(false));
    let writers = started(&world, 4, |process, _| {
        write_on(process, Arc::clone(&is_done))
    });
    // They are at work when it begins.
    while zk
        .exists("/t/a")
        .await?
        .is_none_or(|stat| stat.version.get() < 20)
    {}
    let cache = Cache::tree(&zk, ROOT).start();
    tokio::time::timeout(Duration::from_secs(10), cache.ready()).await??;
    let (nodes, mut events) = cache.snapshot_and_events();
    let mut copy = Copy {
        nodes,
        is_initialized: true,
        ..Copy::default()
    };
    let mut steps = BTreeMap::from([("/t/a", 0), ("/t/b", 0)]);
    while steps.values().any(|steps| *steps < 20) {
        let event = events.next().await.ok_or("the cache lives")?;
        copy.take(&event)?;
        if let CacheEvent::Changed { new: node, .. } | CacheEvent::Created(node) = &event
            && let Some(steps) = steps.get_mut(&*node.path)
        {
            *steps += 1;
        }
    }
    is_done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await?;
    }
    zk.sync("/").await?;
    let end = BTreeSet::from([ROOT, "/t/a", "/t/b"].map(str::to_owned));
    let (a, b) = (zk.exists("/t/a").await?, zk.exists("/t/b").await?);
    let written = |path: &str| cache.get(path).map(|node| node.stat.mzxid);
    while cache.snapshot().into_keys().collect::<BTreeSet<_>>() != end
        || written("/t/a") != a.map(|stat| stat.mzxid)
        || written("/t/b") != b.map(|stat| stat.mzxid)
    {
        events.next().await.ok_or("the cache lives")?;
    }
    Ok(())
}

#[test]
fn a_cache_keeps_up_with_writers_that_never_rest() {
    Simulation::new()
        .without_faults()
        .run(40_000..40_006, keep_up);
}
