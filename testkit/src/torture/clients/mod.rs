//! Clients of a run, each a task that goes on until the stage is over. A step is taken inside the gate,
//! and so belongs to one slice.

mod audit;
mod numbers;
mod owners;
mod pairs;
mod registers;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use zk_client::{Client, Error, Node, Session};

use super::history::Seen;
use super::stage::Stage;
use crate::sim::rng::Rng;

pub(super) use self::pairs::NAMES;
pub(super) use self::watchers::Tree;

/// How long an operation may take: shorter than most faults, so that there are unknown outcomes.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a client waits for a session before it leaves the gate.
const CONNECT: Duration = Duration::from_secs(3);

/// How many of each.
const WRITERS: usize = 4;
const NUMBERERS: usize = 2;
const OWNERS: usize = 3;
const WATCHERS: usize = 2;

/// Starts all clients.
pub(super) fn spawn(stage: &Arc<Stage>, connect: &str, seed: u64) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut stream = 0;
    let mut next = || {
        stream += 1;
        let rng = Rng::new(seed, stream);
        (Arc::clone(stage), connect.to_owned(), rng)
    };
    for _ in 0..WRITERS {
        let (stage, connect, rng) = next();
        tasks.spawn(async move { registers::run(&stage, &connect, rng).await });
    }
    for _ in 0..NUMBERERS {
        let (stage, connect, rng) = next();
        tasks.spawn(async move { numbers::run(&stage, &connect, rng).await });
    }
    for number in 0..OWNERS {
        let (stage, connect, rng) = next();
        tasks.spawn(async move { owners::run(&stage, &connect, rng, number).await });
    }
    for _ in 0..WATCHERS {
        let (stage, connect, rng) = next();
        tasks.spawn(async move { watchers::run(&stage, &connect, rng).await });
    }
    let (stage, connect, rng) = next();
    tasks.spawn(async move { pairs::run(&stage, &connect, rng).await });
    let (stage, connect, rng) = next();
    tasks.spawn(async move { audit::run(&stage, &connect, rng).await });
    tasks
}

/// A client with the session that it is in.
struct Hand {
    client: Client,
    session: Option<Session>,
    order: u64,
}

impl Hand {
    /// A client that may use all servers, not connected yet.
    fn start(connect: &str, session_timeout: Duration, rng: &mut Rng) -> Result<Self, Error> {
        let client = Client::builder(connect)
            .session_timeout(session_timeout)
            .op_timeout(PATIENCE)
            .seed(rng.next_u64())
            .start()?;
        Ok(Self {
            client,
            session: None,
            order: 0,
        })
    }

    /// The session, if there is one soon.
    async fn session(&mut self, stage: &Stage) -> Option<Session> {
        use std::sync::atomic::Ordering::Relaxed;
        if let Some(session) = &self.session {
            if !session.is_over() {
                return Some(session.clone());
            }
            stage.counts.expired.fetch_add(1, Relaxed);
            self.session = None;
        }
        let session = timeout(CONNECT, self.client.session()).await.ok()?.ok()?;
        stage.counts.sessions.fetch_add(1, Relaxed);
        self.session = Some(session.clone());
        Some(session)
    }

    fn order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }
}

/// A znode as it was read.
fn seen(node: &Node) -> Seen {
    let text = std::str::from_utf8(&node.data).ok();
    // Nobody writes 0.
    let value = text.and_then(|text| text.parse().ok()).unwrap_or(0);
    Seen::of(value, &node.stat)
}

/// Sleeps for about so many milliseconds.
async fn pause(rng: &mut Rng, millis: u64) {
    tokio::time::sleep(Duration::from_millis(
        rng.between((millis / 2, millis * 3 / 2)),
    ))
    .await;
}
