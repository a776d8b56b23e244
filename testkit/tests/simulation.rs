//! The simulator for users: it repeats itself, finds what is wrong, and says how to see it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use zk_client::{Client, ConnState, ErrorKind, Outcome, WatchEnd};
use zk_testkit::simulation::{Failure, History, Process, Simulation, World};

type Result<T = ()> = std::result::Result<T, zk_client::Error>;

/// Writes as many znodes as it can, each once.
async fn write(process: Process, history: History) -> Result {
    let zk = process.client().await?;
    for round in 0..10 {
        let update = history.updating("znodes");
        let path = format!("/{}-{round}", process.name());
        match zk.create(&path, "x").await {
            Ok(_) => update.done(),
            Err(error) if error.outcome() == Outcome::Unknown => drop(update),
            Err(_) => update.undone(),
        }
        process.work(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn writers(world: World) -> Result {
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let history = world.history();
            world.process(format!("w{n}"), |process| write(process, history))
        })
        .collect();
    for writer in writers {
        writer.await?;
    }
    world.healed().await;
    let zk = world.client().await?;
    zk.sync("/").await?;
    let names = zk.children("/").await?.unwrap_or_default();
    let count = names.iter().filter(|name| name.starts_with('w')).count();
    world.history().total("znodes", count as u64);
    Ok(())
}

#[test]
fn runs_of_one_seed_are_equal_and_of_others_differ() {
    let trace = |seeds| Simulation::new().twice().run(seeds, writers).trace;
    assert_eq!(trace(0..25), trace(0..25));
    assert_ne!(trace(0..1), trace(1..2));
}

#[test]
fn who_waits_for_a_watch_of_tokio_comes_in_an_order_of_the_seed() {
    let simulation = Simulation::new().without_faults().twice();
    simulation.run(0..20, |world| async move {
        let told = tokio::sync::watch::Sender::new(false);
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let (mut told, history) = (told.subscribe(), world.history());
                world.process(format!("w{n}"), |process| async move {
                    told.wait_for(|told| *told).await.ok();
                    history.note(process.name());
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        told.send_replace(true);
        for waiter in waiters {
            waiter.await;
        }
    });
}

#[test]
fn acknowledged_writes_are_there_and_none_is_there_twice() {
    for servers in [1, 3, 5] {
        let report = Simulation::new().servers(servers).run(100..130, writers);
        assert!(report.faults > 30, "{report}");
        assert!(report.time > Duration::from_secs(30), "{report}");
    }
}

/// A lock as one would write it on a good day: who created the znode has it, and goes on having it.
async fn naive_lock(process: Process, history: History) -> Result {
    let zk = process.client().await?;
    for _ in 0..4 {
        while zk.create("/lock", "").ephemeral().await.is_err() {
            if let Ok((Some(stat), gone)) = zk.exists("/lock").watch().await {
                if zk.state().borrow().session() == Some(stat.ephemeral_owner) {
                    break;
                }
                gone.await;
            }
        }
        let section = history.section("stock", process.name()).enter();
        process.work(Duration::from_millis(500)).await;
        drop(section);
        while let Err(error) = zk.delete("/lock").await {
            if error.kind() == ErrorKind::NoNode {
                break;
            }
        }
    }
    Ok(())
}

fn find_naive_lock() -> Failure {
    let found = Simulation::new()
        .jobs(1)
        .try_run(0..1_000, |world| async move {
            let all: Vec<_> = (0..3)
                .map(|n| {
                    let history = world.history();
                    world.process(format!("worker {n}"), |process| {
                        naive_lock(process, history)
                    })
                })
                .collect();
            for one in all {
                one.await.ok();
            }
        });
    found.expect_err("the lock is none")
}

#[test]
fn a_bug_is_found_again_by_its_seed_and_told_with_the_command_that_repeats_it() {
    let failure = find_naive_lock();
    assert_eq!(failure.law, "mutual exclusion", "{failure}");
    assert_eq!(failure, find_naive_lock());
    let text = failure.to_string();
    let seed = failure.seed;
    let command = format!(
        "ZK_SIM_SEED={seed} cargo test -p zk-testkit -- --exact \
         a_bug_is_found_again_by_its_seed_and_told_with_the_command_that_repeats_it"
    );
    assert_eq!(text.lines().next(), Some(command.as_str()), "{text}");
    assert_eq!(text.lines().last(), Some(command.as_str()), "{text}");
    assert!(text.contains("enters stock"), "{text}");
}

#[test]
fn a_body_that_depends_on_something_else_is_found_out() {
    let count = AtomicU64::new(0);
    let found = Simulation::new().twice().jobs(1).try_run(0..3, |world| {
        let odd = count.fetch_add(1, Ordering::Relaxed);
        async move {
            let zk = world.client().await?;
            zk.create("/seen", odd.to_string()).await?;
            Result::Ok(())
        }
    });
    let failure = found.expect_err("no two runs are equal");
    assert_eq!(failure.law, "runs of one seed are equal");
}

#[test]
fn a_lost_update_is_found() {
    async fn add(process: Process, history: History) -> Result {
        let zk = process.client().await?;
        for _ in 0..5 {
            let Some(node) = zk.get("/number").await? else {
                continue;
            };
            let number: u64 = std::str::from_utf8(&node.data).unwrap().parse().unwrap();
            process.work(Duration::from_millis(20)).await;
            let update = history.updating("number");
            // Without a version: whoever wrote meanwhile is overwritten.
            if zk.set("/number", (number + 1).to_string()).await.is_ok() {
                update.done();
            }
        }
        Ok(())
    }
    let found = Simulation::new()
        .without_faults()
        .try_run(0..5, |world| async move {
            let zk = world.client().await?;
            zk.create("/number", "0").await?;
            let all = ["a", "b"].map(|name| {
                let history = world.history();
                world.process(name, |process| add(process, history))
            });
            for one in all {
                one.await?;
            }
            zk.sync("/number").await?;
            let node = zk.get("/number").await?.expect("it was created");
            let number = std::str::from_utf8(&node.data).unwrap().parse().unwrap();
            world.history().total("number", number);
            Result::Ok(())
        });
    assert_eq!(found.expect_err("updates are lost").law, "no lost update");
}

#[test]
fn laws_see_tokens_that_go_back_crowds_and_two_leaders() {
    let law = |body: fn(&World)| {
        let found = Simulation::new()
            .without_faults()
            .try_run(0..1, |world| async move {
                body(&world);
                tokio::time::sleep(Duration::from_secs(1)).await;
            });
        found.map(|_| ()).map_err(|failure| failure.law)
    };
    let fine = |world: &World| {
        let history = world.history();
        drop(history.section("x", "a").token(1).enter());
        drop(history.section("x", "b").token(2).enter());
        let readers = ["c", "d"].map(|who| history.section("x", who).shared().enter());
        drop(readers);
        let _two = ["e", "f"].map(|who| history.section("y", who).among(2).enter());
        // Whoever stood still may be overtaken, as long as it can know.
        let _stale = history.section("x", "g").while_held(|| false).enter();
        let _fresh = history.section("x", "h").enter();
    };
    assert_eq!(law(fine), Ok(()));
    let backwards = |world: &World| {
        drop(world.history().section("x", "a").token(2).enter());
        drop(world.history().section("x", "b").token(1).enter());
    };
    assert_eq!(
        law(backwards),
        Err("fencing tokens are monotone".to_owned())
    );
    let crowd = |world: &World| {
        let history = world.history();
        drop(["a", "b", "c"].map(|who| history.section("x", who).among(2).enter()));
    };
    assert_eq!(law(crowd), Err("mutual exclusion".to_owned()));
    let mixed = |world: &World| {
        let history = world.history();
        let _reader = history.section("x", "a").shared().enter();
        let _writer = history.section("x", "b").enter();
    };
    assert_eq!(law(mixed), Err("mutual exclusion".to_owned()));
    let leaders = |world: &World| {
        drop(["a", "b"].map(|who| world.history().leading("g", who).enter()));
    };
    assert_eq!(law(leaders), Err("one leader".to_owned()));
    let never = |world: &World| world.always("never", || Err("it is".to_owned()));
    assert_eq!(law(never), Err("never".to_owned()));
    let panics = |world: &World| {
        world.process("a", |_| async { panic!("as planned") });
    };
    assert_eq!(law(panics), Err("nothing panics".to_owned()));
}

#[test]
fn a_body_that_never_ends_is_found_out() {
    let calm = Simulation::new().without_faults();
    let found = calm.try_run(0..1, |_| std::future::pending::<()>());
    let law = found.expect_err("it never ends").law;
    assert_eq!(law, "the body ends, once all is healed");
}

/// Epochs are short in some runs with faults, and who leads gives up at the end of one.
#[test]
fn without_faults_no_request_fails() {
    Simulation::new()
        .without_faults()
        .run(0..24, |world| async move {
            let zk = world.client().await?;
            for number in 0..40 {
                zk.create(&format!("/{number}"), "").await?;
            }
            Ok::<_, zk_client::Error>(())
        });
}

async fn told_by(zk: &Client) -> ConnState {
    let mut states = zk.state();
    let is_else = |state: &ConnState| !state.is_connected();
    let state = states.wait_for(is_else).await.expect("the driver lives");
    state.clone()
}

#[test]
fn a_process_that_stands_still_does_nothing_and_loses_its_session() {
    Simulation::new()
        .without_faults()
        .run(0..10, |world| async move {
            let zk = world.client().await?;
            let steps = Arc::new(AtomicU64::new(0));
            let seen = Arc::clone(&steps);
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let sleeper = world.process("sleeper", |process| async move {
                let zk = process.client().await?;
                zk.create("/here", "").ephemeral().await?;
                ready.send(()).ok();
                process.spawn(async move {
                    loop {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let lost = told_by(&zk).await;
                Result::Ok(lost)
            });
            is_ready.await.expect("it gets there");
            let (here, gone) = zk.exists("/here").watch().await?;
            assert!(here.is_some());
            let before = Instant::now();
            let timeout = world.session_timeout();
            sleeper.process().pause(timeout * 3);
            let before_pause = seen.load(Ordering::Relaxed);
            assert!(matches!(gone.await, WatchEnd::Event(_)));
            let after = before.elapsed();
            assert!(after >= timeout / 2 && after < timeout * 3, "{after:?}");
            assert_eq!(
                seen.load(Ordering::Relaxed),
                before_pause,
                "it stands still"
            );
            let lost = sleeper.await?;
            assert!(before.elapsed() >= timeout * 3);
            assert!(!lost.is_connected(), "{lost:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(seen.load(Ordering::Relaxed) > before_pause, "it goes on");
            Result::Ok(())
        });
}

#[test]
fn sessions_are_lost_by_isolation_and_by_an_administrator_and_kept_over_a_reset() {
    Simulation::new()
        .without_faults()
        .run(0..10, |world| async move {
            let zk = world.client().await?;
            let (ready, mut is_ready) = tokio::sync::mpsc::unbounded_channel();
            let timeout = world.session_timeout();
            let one = world.process("one", |process| async move {
                let zk = process.client().await?;
                let session = zk.session().await?;
                ready.send(()).ok();
                told_by(&zk).await;
                zk.wait_connected(Duration::from_mins(1)).await?;
                assert!(!session.is_over(), "a reset is no more than that");
                ready.send(()).ok();
                session.over().await;
                let session = zk.session().await?;
                ready.send(()).ok();
                session.over().await;
                Result::Ok(())
            });
            is_ready.recv().await;
            one.process().reset();
            is_ready.recv().await;
            one.process().isolate(timeout * 3);
            is_ready.recv().await;
            let before = Instant::now();
            one.process().expire();
            one.await?;
            assert!(before.elapsed() < timeout);
            drop(zk);
            Result::Ok(())
        });
}

#[test]
fn whoever_is_killed_leaves_its_session_to_run_out() {
    Simulation::new()
        .without_faults()
        .run(0..5, |world| async move {
            let zk = world.client().await?;
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let victim = world.process("victim", |process| async move {
                let zk = process.client().await?;
                zk.create("/here", "").ephemeral().await?;
                ready.send(()).ok();
                std::future::pending::<()>().await;
                Result::Ok(())
            });
            is_ready.await.expect("it gets there");
            let (here, gone) = zk.exists("/here").watch().await?;
            assert!(here.is_some());
            let before = Instant::now();
            victim.kill();
            gone.await;
            assert!(before.elapsed() >= world.session_timeout() / 2);
            Result::Ok(())
        });
}

#[test]
fn the_dead_are_in_no_section() {
    Simulation::new()
        .without_faults()
        .run(0..5, |world| async move {
            let history = world.history();
            let (ready, is_ready) = tokio::sync::oneshot::channel();
            let holder = world.process("holder", |process| async move {
                let zk = process.client().await?;
                zk.create("/lock", "").ephemeral().await?;
                let _section = history.section("stock", process.name()).enter();
                ready.send(()).ok();
                std::future::pending::<Result>().await
            });
            is_ready.await.expect("it gets there");
            let history = world.history();
            let next = world.process("next", |process| async move {
                let zk = process.client().await?;
                while zk.create("/lock", "").ephemeral().await.is_err() {
                    process.work(Duration::from_millis(100)).await;
                }
                drop(history.section("stock", process.name()).enter());
                Result::Ok(())
            });
            holder.kill();
            next.await
        });
}

#[test]
fn faults_of_the_ensemble_are_counted() {
    let wait = |world: World| async move { world.healed().await };
    let report = Simulation::new().run(0..20, wait);
    assert!(report.faults > 0, "{report}");
    let report = Simulation::new().without_faults().run(0..20, wait);
    assert_eq!(report.faults, 0, "{report}");
}

#[test]
fn a_body_that_does_not_end_is_given_up_after_the_time_that_is_said() {
    let minute = Duration::from_mins(1);
    let simulation = Simulation::new().without_faults().patience(minute);
    let found = simulation.try_run(0..1, |_| std::future::pending::<()>());
    let failure = found.expect_err("it never ends");
    assert_eq!(failure.law, "the body ends, once all is healed");
    assert_eq!(failure.what, "not within 60s");
    let slow = |_| tokio::time::sleep(minute * 10);
    simulation.patience(minute * 11).run(0..1, slow);
}

#[test]
#[should_panic(expected = "there is no seed to run in 5..5")]
fn a_run_of_nothing_is_an_error() {
    Simulation::new().run(5..5, |_| async {});
}
