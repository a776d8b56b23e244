//! Watches registers and lists of names once, and a whole folder for good.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};
use zk_client::{Client, Error, ErrorKind, Session, Watch, WatchEnd, WatchItem, WatchStream};

use super::{Hand, PATIENCE, pause, seen};
use crate::sim::rng::Rng;
use crate::torture::history::{Item, Look, Stream, Tick, Watched, register};
use crate::torture::laws::sequence::FOLDER;
use crate::torture::stage::{LANES, Stage};

/// Milliseconds between two watches, about.
const PACE: u64 = 60;
/// How long a watch is waited for.
const WAIT: Duration = Duration::from_secs(3);
/// Events that are held until the end of a slice.
const BUFFER: usize = 500_000;

pub(super) async fn run(stage: &Stage, connect: &str, mut rng: Rng) {
    let Ok(mut hand) = Hand::start(connect, Duration::from_secs(10), &mut rng) else {
        return;
    };
    while !stage.is_over() {
        let ground = stage.enter().await;
        if let Some(session) = hand.session(stage).await {
            let target = if rng.one_in(4) {
                Target::Names(format!("{}/{FOLDER}", ground.root))
            } else {
                let lane = usize::try_from(rng.below(LANES as u64)).unwrap_or(0);
                let key = stage.current_key(lane);
                Target::Register(key, register(&ground.root, key))
            };
            // Errors are those of the connection, which ends a watch of this kind early.
            drop(step(stage, &session, &target, &mut rng).await);
        }
        drop(ground);
        pause(&mut rng, PACE).await;
    }
}

/// What is watched, and where it is.
enum Target {
    Register(u64, String),
    Names(String),
}

/// One watch from its beginning to its end, with looks between.
async fn step(
    stage: &Stage,
    session: &Session,
    target: &Target,
    rng: &mut Rng,
) -> Result<(), Error> {
    let Some((before, mut watch)) = begin(session, target).await? else {
        return Ok(());
    };
    let note = |now, has_fired, is_synced| {
        stage.read();
        let look = Look {
            session: session.id().get(),
            before: before.clone(),
            now,
            has_fired,
            is_synced,
            end: stage.tick(),
        };
        stage.journal().looks.push(look);
    };
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        let moment = Duration::from_millis(rng.between((10, 400)));
        match timeout(moment, &mut watch).await {
            Ok(WatchEnd::Event(_)) => {
                let count = &stage.counts.watch_events;
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                session.sync("/").await?;
                note(look(session, target).await?, true, true);
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(_) => {
                let now = look(session, target).await?;
                match (&mut watch).now_or_never() {
                    None => note(now, false, false),
                    Some(WatchEnd::Event(_)) => {
                        note(now, true, false);
                        return Ok(());
                    }
                    // The session ended, and the watch with it.
                    Some(_) => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// A watch, and what was there when it was registered; nothing if that is not known.
async fn begin(session: &Session, target: &Target) -> Result<Option<(Watched, Watch)>, Error> {
    match target {
        Target::Register(key, path) => match session.get(path).watch().await {
            Ok((node, watch)) => Ok(Some((Watched::Data(*key, Some(seen(&node))), watch))),
            Err(error) if error.kind() == ErrorKind::NoNode => {
                let (stat, watch) = session.exists(path).watch().await?;
                // Created since: what it held at that moment was not told.
                let is_absent = stat.is_none();
                Ok(is_absent.then_some((Watched::Data(*key, None), watch)))
            }
            Err(error) => Err(error),
        },
        Target::Names(path) => {
            let (names, watch) = session.children(path).watch().await?;
            let names = Watched::Children(names.into_iter().collect());
            Ok(Some((names, watch)))
        }
    }
}

async fn look(session: &Session, target: &Target) -> Result<Watched, Error> {
    match target {
        Target::Register(key, path) => {
            let node = session.get(path).await?;
            Ok(Watched::Data(*key, node.as_ref().map(seen)))
        }
        Target::Names(path) => {
            let names: BTreeSet<String> = session
                .children(path)
                .await?
                .unwrap_or_default()
                .into_iter()
                .collect();
            Ok(Watched::Children(names))
        }
    }
}

/// A recursive watch of the folder of a slice; nobody reads from it before the end.
pub(in crate::torture) struct Tree {
    client: Client,
    root: String,
    begin: Tick,
    stream: WatchStream,
}

impl Tree {
    pub(in crate::torture) async fn start(
        stage: &Stage,
        connect: &str,
        root: &str,
    ) -> Result<Self, Error> {
        let client = Client::builder(connect)
            .session_timeout(Duration::from_secs(20))
            .op_timeout(PATIENCE)
            .connect()
            .await?;
        let stream = client.watch_tree(root).buffer(BUFFER).await?;
        Ok(Self {
            client,
            root: root.to_owned(),
            begin: stage.tick(),
            stream,
        })
    }

    /// All that it told, up to a moment when nobody writes any more.
    pub(in crate::torture) async fn finish(mut self, stage: &Stage) -> Result<Stream, Error> {
        let end = stage.tick();
        self.client.sync("/").await?;
        // An answer comes behind all events that belong before it.
        self.client.get(&self.root).await?;
        let mut items = Vec::new();
        let mut last = 0;
        while let Some(Some(item)) = self.stream.next().now_or_never() {
            match item {
                WatchItem::Event(event) => {
                    let count = &stage.counts.watch_events;
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let zxid = event.zxid.map_or(0, zk_client::Zxid::get);
                    last = zxid.max(last);
                    let path = event.path.to_string();
                    items.push(Item::Event { path, zxid });
                }
                WatchItem::Gap { since } => items.push(Item::Gap(since.get())),
                WatchItem::Armed { zxid } => items.push(Item::Armed(zxid.get())),
                WatchItem::SessionEnded(_) | WatchItem::Closed(_) | _ => {
                    // What was told in the session is complete up to the last event.
                    items.push(Item::Gap(last));
                    break;
                }
            }
        }
        self.client.close(Duration::from_secs(3)).await;
        let begin = self.begin;
        Ok(Stream { begin, end, items })
    }
}
