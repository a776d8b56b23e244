//! A run: phases with an ensemble each, and slices within them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use zk_client::{Client, CreateMode, Version};

use super::clients::{self, NAMES, Tree as WatchedTree};
use super::faults::{Faults, Tally};
use super::history::{NEVER, Quiet, Slice, Tree};
use super::laws::{self, Judgement};
use super::stage::{LIVE, OWNERS, Stage};
use crate::check::Violation;
use crate::sim::rng::Rng;
use crate::{Backend, Ensemble, Error};

/// Seconds of a slice, from and to, without the time for judging.
const SLICE: (u64, u64) = (15, 45);
/// How long an ensemble may take to agree after everything is mended, before a run is given up.
const RECOVERY: Duration = Duration::from_mins(5);
/// A recovery that takes longer is told of: no law says how long it may take, and an operator would ask.
const SLOW: Duration = Duration::from_secs(15);
/// How long an ephemeral may stay after its session has lost its client: several session timeouts.
const ORPHANS: Duration = Duration::from_mins(1);
/// Requests sent at a time by the judge.
const BATCH: usize = 200;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `zkserver` to torture.
    pub binary: PathBuf,
    /// Servers of the phases, in turn.
    pub servers: Vec<usize>,
    /// How long in all.
    pub time: Duration,
    /// How long with one ensemble.
    pub phase: Duration,
    /// What faults and clients' choices are drawn from.
    pub seed: u64,
    /// Where servers keep their files; what is left there is of phases with violations.
    pub directory: PathBuf,
}

/// Why a run came to no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TortureError {
    /// The servers do not do what they are told.
    #[error(transparent)]
    Ensemble(#[from] Error),
    /// The judge cannot do its part.
    #[error("the judge's client failed")]
    Client(#[from] zk_client::Error),
    /// Files cannot be written.
    #[error("cannot write to {path}")]
    Files {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seconds that it took.
    pub seconds: u64,
    /// Slices judged.
    pub slices: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Reads answered.
    pub reads: u64,
    /// Writes answered with an error.
    pub rejected: u64,
    /// Writes that were not sent.
    pub not_sent: u64,
    /// Writes whose outcome was lost.
    pub unknown: u64,
    /// Of these, how many were seen to have been done.
    pub resolved: u64,
    /// Events of watches.
    pub watch_events: u64,
    /// Changes that a recursive watch had to tell, and did.
    pub told: u64,
    /// Looks at what is watched.
    pub looks: u64,
    /// Reads of a pair that one transaction keeps equal.
    pub pairs: u64,
    /// Listings of ephemerals.
    pub listings: u64,
    /// Sessions begun, those of the judge left out.
    pub sessions: u64,
    /// Sessions that expired under their clients.
    pub expired: u64,
    /// Sessions that clients left to their timeout.
    pub left: u64,
    /// Registers whose operations were put in order.
    pub explained: u64,
    /// Registers that were too much for that.
    pub given_up: u64,
    /// Epochs begun.
    pub elections: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Faults that met the leader.
    pub leaders: u64,
    /// Longest time without an acknowledged write while clients worked, faults included.
    pub silence: Duration,
    /// Longest time from the moment when all was mended until all members agreed.
    pub recovery: Duration,
    /// Laws broken.
    pub violations: Vec<String>,
    /// Faults that could not be done, and waits that were given up.
    pub troubles: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        write!(
            f,
            "{} s, {} slices: {} writes acknowledged, {} rejected, {} not sent, {} unknown ({} were \
             done); {} reads; {} watch events ({} changes told by streams); {} sessions, {} expired, {} left; \
             {} elections; {} registers explained, {} given up; faults: {} ({} of a leader); longest \
             without a write {:.1} s, longest recovery {:.1} s; {} troubles; {} violations",
            self.seconds,
            self.slices,
            self.acknowledged,
            self.rejected,
            self.not_sent,
            self.unknown,
            self.resolved,
            self.reads,
            self.watch_events,
            self.told,
            self.sessions,
            self.expired,
            self.left,
            self.elections,
            self.explained,
            self.given_up,
            faults.join(", "),
            self.leaders,
            self.silence.as_secs_f64(),
            self.recovery.as_secs_f64(),
            self.troubles.len(),
            self.violations.len(),
        )
    }
}

/// Runs a plan; `tell` is given a line now and then.
///
/// Ends early when a law is broken: what was told and the servers' files are left in the plan's
/// directory.
///
/// # Errors
/// [`TortureError`]; that is no verdict.
///
/// # Cancel safety
/// Servers and clients are ended.
pub async fn run(plan: &Plan, mut tell: impl FnMut(&str)) -> Result<Summary, TortureError> {
    let start = Instant::now();
    let mut summary = Summary::default();
    for number in 0.. {
        let left = plan.time.saturating_sub(start.elapsed());
        if left.is_zero() || !summary.violations.is_empty() {
            break;
        }
        let servers = *plan
            .servers
            .get(number % plan.servers.len().max(1))
            .unwrap_or(&3);
        let directory = plan.directory.join(format!("phase-{number}"));
        tell(&format!("phase {number}: {servers} servers"));
        let mut phase = Phase {
            plan,
            number,
            servers,
            time: plan.phase.min(left),
            directory: &directory,
            summary: &mut summary,
            tell: &mut tell,
            start,
        };
        phase.run().await?;
        summary.seconds = start.elapsed().as_secs();
        if summary.violations.is_empty() {
            fs::remove_dir_all(&directory).ok();
        }
    }
    Ok(summary)
}

/// An ensemble, from its start to its end.
struct Phase<'a, F> {
    plan: &'a Plan,
    number: usize,
    servers: usize,
    time: Duration,
    directory: &'a Path,
    summary: &'a mut Summary,
    tell: &'a mut F,
    start: Instant,
}

impl<F: FnMut(&str)> Phase<'_, F> {
    async fn run(&mut self) -> Result<(), TortureError> {
        // Ticks are short, so that servers give up and come back many times in a minute.
        let ensemble = Ensemble::builder()
            .servers(self.servers)
            .backend(Backend::Processes(self.plan.binary.clone()))
            .directory(self.directory)
            .config("tickTime", 200)
            .config("syncLimit", 6)
            .config("snapCount", 2000)
            .config("minSessionTimeout", 1000)
            .config("maxSessionTimeout", 60_000)
            .config("autopurge.snapRetainCount", 3)
            .start()
            .await?;
        let connect = ensemble.connect_string();
        let judge = Client::builder(&connect)
            .session_timeout(Duration::from_secs(30))
            .connect_timeout(Duration::from_mins(1))
            .connect()
            .await?;
        for path in ["/torture", LIVE, OWNERS] {
            judge.create(path, "").await?;
        }
        let stage = Arc::new(Stage::new());
        let seed = self.plan.seed.wrapping_add(self.number as u64 * 1000);
        let mut gate = stage.close().await;
        let mut tasks = clients::spawn(&stage, &connect, seed);
        let mut tally = Tally::default();
        let mut carried = Carried::default();
        let begin = Instant::now();
        let mut epoch = self.epoch(&judge).await?;
        for number in 0.. {
            let left = self.time.saturating_sub(begin.elapsed());
            if left.is_zero() || !self.summary.violations.is_empty() {
                break;
            }
            let mut rng = Rng::new(seed, 1000 + number);
            let time = Duration::from_secs(rng.between(SLICE)).min(left);
            let root = format!("/torture/s{number}");
            prepare(&judge, &root).await?;
            let watched = WatchedTree::start(&stage, &connect, &root).await?;
            stage.begin(Slice {
                root: root.clone(),
                floor: carried.floor,
                floors: std::mem::take(&mut carried.floors),
                ..Slice::default()
            });
            gate.root.clone_from(&root);
            drop(gate);
            stage.restart_silence();
            let gone = Faults::new(&ensemble, rng, &mut tally).run(time).await;
            let mended = Instant::now();
            gate = stage.close().await;
            self.summary.silence = self.summary.silence.max(stage.longest_silence());
            let law = "fail-stop";
            let gone = gone.into_iter().map(|what| Violation { law, what });
            let mut judgement = Judgement::default();
            judgement.violations.extend(gone);
            let quiet = self.quiet(&ensemble, &judge, &stage).await?;
            let recovery = mended.elapsed();
            self.summary.recovery = self.summary.recovery.max(recovery);
            if recovery > SLOW {
                let secs = recovery.as_secs();
                self.trouble(format!("slice {number}: members agree only after {secs} s"));
            }
            let told = watched.finish(&stage).await;
            let mut slice = std::mem::take(&mut *stage.journal());
            match told {
                Ok(told) => slice.streams.push(told),
                Err(error) => self.trouble(format!("the stream's client: {error}")),
            }
            slice.quiet = quiet;
            slice.ephemerals = stage.residents().values().cloned().collect();
            judgement = {
                let mut all = laws::judge(&slice);
                all.violations.append(&mut judgement.violations);
                all
            };
            self.count(&stage, &slice, &judgement);
            let now = self.epoch(&judge).await?;
            self.summary.elections += now.saturating_sub(epoch);
            epoch = now;
            self.say(number, time, recovery, &slice, &judgement);
            if !judgement.violations.is_empty() {
                self.keep(number, &slice, &judgement)?;
            }
            carried = Carried::of(&slice);
            forget(&stage, &slice);
            clean(&judge, &root).await?;
        }
        stage.end();
        drop(gate);
        let ended = timeout(Duration::from_secs(30), async {
            while tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            self.trouble("clients do not end".to_owned());
        }
        for (kind, count) in &tally.deeds {
            *self.summary.faults.entry(format!("{kind:?}")).or_default() += count;
        }
        self.summary.leaders += tally.leaders;
        self.summary.troubles.append(&mut tally.troubles);
        judge.close(Duration::from_secs(5)).await;
        self.panics();
        Ok(())
    }

    /// The present epoch: of a write of the judge.
    async fn epoch(&mut self, judge: &Client) -> Result<u64, TortureError> {
        let stat = judge.set("/torture", "").idempotent().await?;
        Ok(stat.mzxid.get().cast_unsigned() >> 32)
    }

    /// Waits until members agree and orphans are gone, and takes their trees.
    async fn quiet(
        &mut self,
        ensemble: &Ensemble,
        judge: &Client,
        stage: &Stage,
    ) -> Result<Quiet, TortureError> {
        let deadline = Instant::now() + RECOVERY;
        let mut orphans_since: Option<Instant> = None;
        loop {
            // In an epoch without a transaction a leader tells another last one than its followers. Who
            // does not serve yet is asked again.
            drop(judge.set("/torture", "").await);
            if let Err(error) = ensemble.wait_for_convergence().await {
                self.trouble(format!("{error}"));
                if Instant::now() > deadline {
                    return Err(error.into());
                }
                continue;
            }
            let alive: BTreeSet<i64> = stage
                .owners()
                .values()
                .filter_map(|client| client.state().borrow().session())
                .map(zk_client::SessionId::get)
                .collect();
            let reads = (0..ensemble.len()).map(|server| tree(ensemble, server));
            let (mut trees, mut unread) = (Vec::new(), Vec::new());
            for (server, tree) in join_all(reads).await.into_iter().enumerate() {
                match tree {
                    Ok(tree) => trees.push((server, tree)),
                    Err(error) => {
                        self.trouble(format!("the tree of server {server}: {error}"));
                        unread.push((server, error.to_string()));
                    }
                }
            }
            let is_whole = unread.is_empty();
            let quiet = Quiet {
                trees,
                unread,
                alive,
            };
            let mut slice = Slice {
                quiet,
                ..Slice::default()
            };
            let mut found = Vec::new();
            laws::trees::judge(&slice, &mut found);
            let differ = !found.is_empty();
            laws::ephemerals::judge(&slice, &mut found);
            // Sessions that nobody keeps end while trees are read; what lasts is judged.
            let since = *orphans_since.get_or_insert_with(Instant::now);
            let is_late = since.elapsed() > ORPHANS;
            if is_whole && (found.is_empty() || is_late) || Instant::now() > deadline {
                return Ok(std::mem::take(&mut slice.quiet));
            }
            let pause = if differ { 100 } else { 500 };
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn count(&mut self, stage: &Stage, slice: &Slice, judgement: &Judgement) {
        let summary = &mut *self.summary;
        let counts = &stage.counts;
        let take = |count: &std::sync::atomic::AtomicU64| count.swap(0, Ordering::Relaxed);
        summary.acknowledged += take(&counts.acknowledged);
        summary.reads += take(&counts.reads);
        summary.rejected += take(&counts.rejected);
        summary.not_sent += take(&counts.not_sent);
        summary.unknown += take(&counts.unknown);
        summary.watch_events += take(&counts.watch_events);
        summary.sessions += take(&counts.sessions);
        summary.expired += take(&counts.expired);
        summary.left += take(&counts.left);
        summary.looks += slice.looks.len() as u64;
        summary.pairs += slice.pairs.len() as u64;
        summary.listings += slice.listings.len() as u64;
        summary.resolved += judgement.resolved as u64;
        summary.told += judgement.told as u64;
        summary.explained += judgement.explained as u64;
        summary.given_up += judgement.given_up as u64;
        summary.slices += 1;
        let violations = judgement.violations.iter().map(ToString::to_string);
        summary.violations.extend(violations);
        summary.seconds = self.start.elapsed().as_secs();
    }

    fn say(
        &mut self,
        number: u64,
        time: Duration,
        recovery: Duration,
        slice: &Slice,
        judgement: &Judgement,
    ) {
        let line = format!(
            "[{} s] slice {number} ({} s): {} operations, {} numbered, {} looks, {} told; recovery \
             {:.1} s; {} violations | so far {} writes, {} unknown, {} elections, {} expired, longest \
             without a write {:.1} s",
            self.summary.seconds,
            time.as_secs(),
            slice.operations.len(),
            slice.numbered.len(),
            slice.looks.len(),
            judgement.told,
            recovery.as_secs_f64(),
            judgement.violations.len(),
            self.summary.acknowledged,
            self.summary.unknown,
            self.summary.elections,
            self.summary.expired,
            self.summary.silence.as_secs_f64(),
        );
        (self.tell)(&line);
    }

    /// Keeps what is needed to find out why a law was broken.
    fn keep(&mut self, number: u64, slice: &Slice, found: &Judgement) -> Result<(), TortureError> {
        let path = self.directory.join(format!("violation-{number}.txt"));
        let lines: Vec<String> = found.violations.iter().map(ToString::to_string).collect();
        let text = format!("{}\n\n{slice:#?}\n", lines.join("\n"));
        for violation in &found.violations {
            (self.tell)(&format!("VIOLATION {violation}"));
        }
        (self.tell)(&format!("kept in {}", path.display()));
        fs::write(&path, text).map_err(|source| TortureError::Files { path, source })
    }

    /// A server that panics is a violation whatever comes of it.
    fn panics(&mut self) {
        for id in 1..=self.servers {
            let path = self.directory.join(format!("server-{id}/server.log"));
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            for line in text.lines().filter(|line| line.contains("panicked")) {
                let what = format!("no panics: server {}: {line}", id - 1);
                (self.tell)(&format!("VIOLATION {what}"));
                self.summary.violations.push(what);
            }
        }
    }

    fn trouble(&mut self, what: String) {
        (self.tell)(&format!("trouble: {what}"));
        self.summary.troubles.push(what);
    }
}

/// What later slices must know of earlier ones.
#[derive(Debug, Default)]
struct Carried {
    floor: i64,
    floors: BTreeMap<i64, i64>,
}

impl Carried {
    fn of(slice: &Slice) -> Self {
        let writes = slice.acknowledged();
        let highest = writes.iter().map(|write| write.zxid).max().unwrap_or(0);
        let active: BTreeSet<i64> = slice
            .operations
            .iter()
            .map(|operation| operation.session)
            .collect();
        let mut floors = laws::session_order::floors(slice);
        floors.retain(|session, _| active.contains(session));
        Self {
            floor: slice.floor.max(highest),
            floors,
        }
    }
}

/// Ephemerals that are over and judged are forgotten.
fn forget(stage: &Stage, slice: &Slice) {
    let alive = &slice.quiet.alive;
    let mut residents = stage.residents();
    residents.retain(|_, one| one.released == NEVER && alive.contains(&one.session));
}

/// Creates the folder of a slice.
async fn prepare(judge: &Client, root: &str) -> Result<(), TortureError> {
    judge.create(root, "").if_absent().await?;
    let folder = format!("{root}/{}", laws::sequence::FOLDER);
    judge.create(&folder, "").if_absent().await?;
    let [first, second] = NAMES.map(|name| format!("{root}/{name}"));
    // The two have everything in common but their names.
    let transaction = judge
        .transaction()
        .create_with(&first, "0", CreateMode::Persistent, None);
    transaction
        .create_with(&second, "0", CreateMode::Persistent, None)
        .await?;
    Ok(())
}

/// Deletes the folder of a slice. What a late request puts there stays, and does no harm.
async fn clean(judge: &Client, root: &str) -> Result<(), TortureError> {
    let mut folders = vec![
        format!("{root}/{}", laws::sequence::FOLDER),
        root.to_owned(),
    ];
    folders.reverse();
    while let Some(folder) = folders.pop() {
        let names = judge.children(&folder).await?.unwrap_or_default();
        for some in names.chunks(BATCH) {
            let mut pending = Vec::new();
            for name in some {
                let path = format!("{folder}/{name}");
                pending.push(judge.delete(&path).version(Version::ANY).send());
            }
            // A folder is not empty, and comes later; other errors show in the next reading.
            drop(join_all(pending).await);
        }
    }
    drop(judge.delete(root).await);
    Ok(())
}

/// The tree of one member.
async fn tree(ensemble: &Ensemble, server: usize) -> Result<Tree, TortureError> {
    let zk = Client::builder(&ensemble.connect_string_of([server]))
        .session_timeout(Duration::from_secs(30))
        .connect()
        .await?;
    zk.sync("/").await?;
    let mut tree = Tree::new();
    let mut level = vec!["/".to_owned()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for some in level.chunks(BATCH) {
            let nodes = some.iter().map(|path| zk.get(path).send());
            let children = some.iter().map(|path| zk.children(path).send());
            let (nodes, children) = tokio::join!(join_all(nodes), join_all(children));
            for ((path, node), children) in some.iter().zip(nodes).zip(children) {
                // Gone meanwhile: another reading will tell.
                let (Some(node), Some(children)) = (node?, children?) else {
                    continue;
                };
                tree.insert(path.clone(), (node.data.to_vec(), node.stat));
                let slash = if path == "/" { "" } else { "/" };
                let full = |child: &String| format!("{path}{slash}{child}");
                below.extend(children.iter().map(full));
            }
        }
        level = below;
    }
    // Each server writes this one by itself, with its own clock.
    tree.remove("/zookeeper/config");
    zk.close(Duration::from_secs(5)).await;
    Ok(tree)
}
