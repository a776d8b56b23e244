//! Clocks on walls are set, by minutes and by days, forward and back: that costs nobody anything.

use zk_client::Zxid;
use zk_recipes::{HoldState, LeaderLatch, Lock};
use zk_testkit::simulation::{History, Process, Simulation, World};

use crate::{Outcome, Truth, started};

const DIRECTORY: &str = "/clocks";
/// What clocks are set by, in milliseconds.
const JUMPS: [i64; 6] = [-30_000, 30_000, -7_200_000, 7_200_000, -DAY_MS, DAY_MS];
const DAY_MS: i64 = 86_400_000;

/// Holds a lock and leads, until it is told to stop: in one session, without a gap.
async fn sit(process: Process, history: History, over: Truth<()>) -> Outcome {
    let zk = process.client().await?;
    let session = zk.session().await?;
    let own = format!("{DIRECTORY}/{}", process.name());
    let lock = Lock::new(&zk, format!("{own}/lock")).acquire().await?;
    let latch = LeaderLatch::new(&zk, format!("{own}/latch")).join();
    let Some(leadership) = latch.wait_leader().await else {
        return Err("the latch has left by itself".into());
    };
    history.note(format_args!("{} sits", process.name()));
    tokio::select! {
        biased;
        lost = lock.lost() => return Err(format!("the lock is lost: {lost:?}").into()),
        lost = leadership.lost() => return Err(format!("the lead is lost: {lost:?}").into()),
        () = session.over() => return Err("the session is over".into()),
        () = over.told() => {}
    }
    assert_eq!(lock.state(), HoldState::Held);
    assert!(lock.is_held() && leadership.is_held() && !session.is_over());
    lock.release().await?;
    latch.leave().await;
    Ok(())
}

fn epoch(zxid: Zxid) -> i64 {
    zxid.get() >> 32
}

async fn sits_on(world: World) -> Outcome {
    let (own, over) = (world.own(), Truth::new());
    let sitters = started(&world, 3, |process, history| {
        sit(process, history, over.clone())
    });
    let zk = world.client().await?;
    zk.create("/first", "").await?;
    let first = zk.set("/first", "").await?;
    for _ in 0..30 {
        let server = u8::try_from(own.below(3)).unwrap_or(0) + 1;
        let jump = usize::try_from(own.below(JUMPS.len() as u64)).unwrap_or(0);
        world.set_clock(server, JUMPS.get(jump).copied().unwrap_or(0));
        own.work(world.session_timeout()).await;
        zk.set("/first", "").await?;
    }
    // What clocks on walls are for does show it.
    let before = zk.set("/first", "").await?;
    for server in 1..=3 {
        world.set_clock(server, DAY_MS);
    }
    let after = zk.set("/first", "").await?;
    let passed = after.mtime - before.mtime;
    assert!((DAY_MS..DAY_MS + 60_000).contains(&passed), "{passed} ms");
    let (now, then) = (after.mzxid, first.mzxid);
    assert_eq!(epoch(now), epoch(then), "nobody else was elected");
    over.tell(());
    for sitter in sitters {
        sitter.await?;
    }
    Ok(())
}

#[test]
fn clocks_that_are_set_cost_no_lock_no_lead_no_session_and_no_election() {
    Simulation::new().without_faults().run(0..20, sits_on);
}
