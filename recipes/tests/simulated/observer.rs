//! Who leads, as seen by those who take no part.

use zk_client::Client;
use zk_recipes::{LeaderLatch, LeaderObserver};
use zk_testkit::simulation::{Process, Simulation, World};

use crate::{Outcome, Truth, WORK, holds, objects};

const PATH: &str = "/leader";
const CANDIDATES: usize = 4;

/// Stands for leadership a few times; the first one stays.
async fn stand(process: Process, stays: bool, over: Truth<()>) -> Outcome {
    let zk = process.client().await?;
    let latch = LeaderLatch::new(&zk, PATH).identity(process.name().to_owned());
    for _ in 0..3 {
        let latch = latch.join();
        process.work(WORK * 3).await;
        if process.below(2) == 0 {
            latch.leave().await;
        }
    }
    if stays {
        let latch = latch.join();
        over.told().await;
        latch.leave().await;
    }
    Ok(())
}

/// Tells of every leader that is seen: its identity, and the transaction that created its znode.
trait Observer: Send {
    fn start(zk: &Client) -> Self;
    fn next(&mut self) -> impl Future<Output = Outcome<Option<(String, i64)>>> + Send;
}

struct Real {
    _observer: LeaderObserver,
    current: tokio::sync::watch::Receiver<Option<zk_recipes::Contender>>,
}

impl Observer for Real {
    fn start(zk: &Client) -> Self {
        let observer = LeaderObserver::new(zk, PATH);
        let mut current = observer.current();
        current.mark_changed();
        Self {
            _observer: observer,
            current,
        }
    }

    async fn next(&mut self) -> Outcome<Option<(String, i64)>> {
        self.current.changed().await?;
        let leader = self.current.borrow_and_update().clone();
        let seen = |leader: zk_recipes::Contender| {
            let id = String::from_utf8_lossy(&leader.identity).into_owned();
            (id, leader.czxid.get())
        };
        Ok(leader.map(seen))
    }
}

/// Sees the one who stays in the end, and nobody once that one has left.
async fn observe<O: Observer>(process: Process, told: Truth<()>, seen: Truth<()>) -> Outcome {
    let zk = process.client().await?;
    let mut observer = O::start(&zk);
    let (mut last, mut is_told) = (0, false);
    let mut leader = None;
    while !is_told || leader.as_deref() != Some("candidate 0") {
        tokio::select! {
            biased;
            next = observer.next() => {
                let next = next?;
                if let Some((id, czxid)) = &next {
                    if *czxid < last {
                        return Err(format!("{id} by {czxid} after the one by {last}").into());
                    }
                    last = *czxid;
                }
                leader = next.map(|(id, _)| id);
            }
            () = told.told(), if !is_told => is_told = true,
        }
    }
    seen.tell(());
    while observer.next().await?.is_some() {}
    Ok(())
}

async fn is_seen<O: Observer + 'static>(world: World) -> Outcome {
    let (over, told) = (Truth::new(), Truth::new());
    let observers: Vec<_> = (0..2)
        .map(|n| {
            let (told, seen) = (told.clone(), Truth::new());
            let is_seen = seen.clone();
            let observer = world.process(format!("observer {n}"), |process| {
                observe::<O>(process, told, seen)
            });
            (observer, is_seen)
        })
        .collect();
    let mut candidates: Vec<_> = (0..CANDIDATES)
        .map(|n| {
            let over = over.clone();
            world.process(format!("candidate {n}"), |process| {
                stand(process, n == 0, over)
            })
        })
        .collect();
    let stays = candidates.remove(0);
    let own = world.own();
    for candidate in candidates {
        if own.below(2) == 0 {
            own.work(WORK * 10).await;
            candidate.kill();
        } else {
            candidate.await?;
        }
    }
    world.healed().await;
    told.tell(());
    for (_, is_seen) in &observers {
        is_seen.told().await;
    }
    over.tell(());
    stays.await?;
    for (observer, _) in observers {
        observer.await?;
    }
    Ok(())
}

#[test]
fn an_observer_ends_up_with_who_leads_and_never_goes_back() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 0..40, is_seen::<Real>);
}

/// Waits until the leader's znode is gone, by a watch that is set after it was read.
struct Late {
    zk: Client,
    leader: Option<String>,
}

impl Observer for Late {
    fn start(zk: &Client) -> Self {
        let (zk, leader) = (zk.clone(), None);
        Self { zk, leader }
    }

    async fn next(&mut self) -> Outcome<Option<(String, i64)>> {
        loop {
            if let Some(leader) = &self.leader
                && let Ok((_, gone)) = self.zk.exists(leader).watch().await
            {
                gone.await;
            }
            let participants = LeaderLatch::new(&self.zk, PATH).participants().await?;
            if let Some(leader) = participants.into_iter().next() {
                self.leader = Some(leader.path.clone());
                let id = String::from_utf8_lossy(&leader.identity).into_owned();
                return Ok(Some((id, leader.czxid.get())));
            }
            if self.leader.take().is_some() {
                return Ok(None);
            }
            if let Ok((_, changed)) = self.zk.exists(PATH).watch().await {
                changed.await;
            }
        }
    }
}

#[test]
fn an_observer_that_watches_too_late_is_found_out() {
    let law = "the body ends, once all is healed";
    let simulation = Simulation::new().with_administrators();
    objects(&simulation, law, is_seen::<Late>);
}
