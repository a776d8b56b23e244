//! Znodes that are kept in being.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use zk_client::{Client, ErrorKind, SessionId};
use zk_recipes::{KeepMode, KeepNode, KeepState, Parents};
use zk_testkit::simulation::{History, Process, Simulation, World};

use crate::{Outcome, Truth, WORK, contended, holds, objects, started};

const DIRECTORY: &str = "/kept";

/// What the law keeps a znode in being by.
trait Keeper: Send + 'static {
    fn start(zk: &Client, mode: KeepMode) -> impl Future<Output = Outcome<Self>> + Send
    where
        Self: Sized;
    fn say(&self, data: String) -> impl Future<Output = ()> + Send;
    fn close(self) -> impl Future<Output = ()> + Send;
}

impl Keeper for zk_recipes::Kept {
    async fn start(zk: &Client, mode: KeepMode) -> Outcome<Self> {
        let kept = KeepNode::new(zk, format!("{DIRECTORY}/a"), "").mode(mode);
        Ok(kept.start())
    }

    async fn say(&self, data: String) {
        self.set_data(data);
    }

    async fn close(self) {
        self.close().await;
    }
}

/// What is kept, as its keeper knows it in the end.
#[derive(Debug, Clone)]
struct Wanted {
    data: String,
    owner: SessionId,
}

/// Keeps a znode through all that goes wrong, and says something else of it now and then.
async fn keep<K: Keeper>(
    process: Process,
    mode: KeepMode,
    healed: Truth<()>,
    wanted: Truth<Wanted>,
    over: Truth<()>,
) -> Outcome {
    let zk = process.client().await?;
    let kept = K::start(&zk, mode).await?;
    for round in 0..20 {
        kept.say(round.to_string()).await;
        process.work(WORK).await;
    }
    healed.told().await;
    kept.say("last".to_owned()).await;
    let owner = if mode == KeepMode::Persistent {
        SessionId::NONE
    } else {
        // One that has ended may not be known to have: what the leader answers, it lives to hear.
        loop {
            let session = zk.session().await?;
            if session.sync("/").await.is_ok() {
                break session.id();
            }
        }
    };
    let data = "last".to_owned();
    wanted.tell(Wanted { data, owner });
    over.told().await;
    kept.close().await;
    Ok(())
}

/// Waits until exactly one znode is there, and it is what is wanted.
async fn is_there(world: &World, wanted: &Wanted) -> Outcome {
    let zk = world.client().await?;
    let mut lists = zk.observe_children(DIRECTORY);
    loop {
        let names = lists.next().await.ok_or("the client lives")??;
        let [name] = names.as_deref().unwrap_or_default() else {
            continue;
        };
        let mut states = zk.observe(&format!("{DIRECTORY}/{name}"));
        while let Some(node) = states.next().await.ok_or("the client lives")?? {
            if node.data == wanted.data && node.stat.ephemeral_owner == wanted.owner {
                return Ok(());
            }
        }
    }
}

async fn is_kept<K: Keeper>(world: World, mode: KeepMode) -> Outcome {
    let (healed, wanted, over) = (Truth::new(), Truth::new(), Truth::new());
    let keepers = started(&world, 1, |process, _| {
        keep::<K>(process, mode, healed.clone(), wanted.clone(), over.clone())
    });
    world.healed().await;
    healed.tell(());
    is_there(&world, &wanted.told().await).await?;
    over.tell(());
    for keeper in keepers {
        keeper.await?;
    }
    crate::swept(&world, DIRECTORY).await
}

fn is_there_whatever_happens(seeds: std::ops::Range<u64>, mode: KeepMode) {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, seeds, |world| {
        is_kept::<zk_recipes::Kept>(world, mode)
    });
}

#[test]
fn a_kept_ephemeral_is_there_with_the_last_data_and_goes_when_closed() {
    is_there_whatever_happens(0..40, KeepMode::Ephemeral);
}

#[test]
fn a_kept_sequential_is_there_with_the_last_data_and_goes_when_closed() {
    is_there_whatever_happens(10_000..10_040, KeepMode::EphemeralSequential);
}

#[test]
fn a_kept_persistent_is_there_with_the_last_data_and_goes_when_closed() {
    is_there_whatever_happens(20_000..20_040, KeepMode::Persistent);
}

/// Created until that is answered, and never looked at again.
struct Once(Client);

impl Keeper for Once {
    async fn start(zk: &Client, _: KeepMode) -> Outcome<Self> {
        let path = format!("{DIRECTORY}/a");
        while zk.create(&path, "").ephemeral().parents().await.is_err() {
            if zk.exists(&path).await.is_ok_and(|found| found.is_some()) {
                break;
            }
        }
        Ok(Self(zk.clone()))
    }

    async fn say(&self, data: String) {
        self.0.set(&format!("{DIRECTORY}/a"), data).await.ok();
    }

    async fn close(self) {
        self.0.delete(&format!("{DIRECTORY}/a")).await.ok();
    }
}

#[test]
fn a_znode_that_is_created_once_is_found_out() {
    let law = "the body ends, once all is healed";
    objects(&Simulation::new().with_administrators(), law, |world| {
        is_kept::<Once>(world, KeepMode::Ephemeral)
    });
}

/// Several want the same znode: each has it in the end, one after the other.
async fn sit(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    for _ in 0..3 {
        let kept = KeepNode::new(&zk, format!("{DIRECTORY}/seat"), process.name().to_owned());
        let kept = kept.start();
        let path = kept.ready().await;
        assert_eq!(path.as_deref(), Some("/kept/seat"));
        history.note(format_args!("{} sits", process.name()));
        process.work(WORK).await;
        let state = kept.state().borrow().clone();
        assert!(!matches!(state, KeepState::Closed), "{state:?}");
        if process.below(2) == 0 {
            kept.close().await;
        }
    }
    Ok(())
}

#[test]
fn whoever_waits_for_a_place_that_is_taken_has_it_in_the_end() {
    let simulation = Simulation::new().with_administrators();
    contended(&simulation, 30_000..30_040, 3, &[DIRECTORY], sit);
}

#[test]
fn a_parent_that_is_missing_is_told_and_waited_for_with_pauses() {
    Simulation::new().without_faults().run(0..1, |world| async move {
        let zk = world.client().await?;
        for mode in [
            KeepMode::Ephemeral,
            KeepMode::EphemeralSequential,
            KeepMode::Persistent,
        ] {
            let path = format!("/{mode:?}");
            let kept = KeepNode::new(&zk, format!("{path}/a"), "").mode(mode);
            let kept = kept.parents(Parents::MustExist).start();
            let mut state = kept.state();
            let is_told = |state: &KeepState| matches!(state, KeepState::Troubled(error) if error.kind() == ErrorKind::NoNode);
            timeout(Duration::from_mins(1), state.wait_for(is_told)).await??;
            let before = zk.stats();
            sleep(Duration::from_mins(1)).await;
            let after = zk.stats();
            let asked = after.succeeded + after.rejected - before.succeeded - before.rejected;
            assert!((1..100).contains(&asked), "{asked} requests");
            zk.create(&path, "").await?;
            let ready = timeout(Duration::from_mins(1), kept.ready()).await?;
            assert!(ready.is_some_and(|ready| ready.starts_with(&path)));
            kept.close().await;
        }
        Outcome::Ok(())
    });
}
