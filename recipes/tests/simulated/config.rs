//! Typed configuration.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use zk_client::Version;
use zk_recipes::{Config, ConfigBuilder, ConfigError, ConfigWatch};
use zk_testkit::simulation::{History, Process, Simulation, World};

use crate::{Outcome, Truth, WORK, crowd, holds, objects, started};

const PATH: &str = "/limits";
/// What is asked for between two values.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
struct Limits {
    requests: i64,
}

/// What the znode says in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Something good, written by that transaction.
    Good(i64),
    Refused,
    Nonsense,
    Nothing,
}

/// Writes good values, bad ones and none.
async fn write(process: Process, _: History) -> Outcome {
    let zk = process.client().await?;
    for round in 0..20 {
        let good = format!(r#"{{"requests":{round}}}"#);
        // Whether it could be done does not matter: what the server has in the end does.
        match process.below(8) {
            0 => drop(zk.create(PATH, good).await),
            1..=3 => drop(zk.set(PATH, good).await),
            4 => drop(zk.set(PATH, r#"{"requests":-1}"#).await),
            5 => drop(zk.set(PATH, "requests: 1").await),
            6 => drop(zk.delete(PATH).await),
            _ => {
                let other = zk.transaction().delete(PATH, Version::ANY);
                drop(other.create(PATH, good).await);
            }
        }
        process.work(WORK).await;
    }
    Ok(())
}

async fn truth(world: &World) -> Outcome<Said> {
    let zk = world.client().await?;
    zk.sync("/").await?;
    let Some(node) = zk.get(PATH).await? else {
        return Ok(Said::Nothing);
    };
    Ok(match serde_json::from_slice::<Limits>(&node.data) {
        Ok(limits) if limits.requests < 0 => Said::Refused,
        Ok(_) => Said::Good(node.stat.mzxid.get()),
        Err(_) => Said::Nonsense,
    })
}

async fn follow<F>(world: World, reader: impl Fn(Process, Truth<Said>) -> F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let told = Truth::new();
    let readers = started(&world, 2, |process, _| reader(process, told.clone()));
    crowd(&world, 2, write).await?;
    world.healed().await;
    told.tell(truth(&world).await?);
    for reader in readers {
        reader.await?;
    }
    Ok(())
}

fn limits(zk: &zk_client::Client) -> ConfigBuilder<Limits> {
    ConfigWatch::json(zk, PATH).validate(|limits: &Limits| {
        if limits.requests < 0 {
            return Err("fewer than none".to_owned());
        }
        Ok(())
    })
}

/// Whether a watch says what the znode does.
fn says(config: &ConfigWatch<Limits>, said: Said) -> bool {
    let trouble = config.trouble().borrow().clone();
    match (said, trouble) {
        (Said::Good(mzxid), None) => config
            .current()
            .is_some_and(|limits| limits.stat().mzxid.get() == mzxid),
        (Said::Refused, Some(ConfigError::Refused { .. }))
        | (Said::Nonsense, Some(ConfigError::Undecodable { .. }))
        | (Said::Nothing, Some(ConfigError::Absent { .. })) => true,
        _ => false,
    }
}

async fn read(process: Process, told: Truth<Said>) -> Outcome {
    let zk = process.client().await?;
    let some = |most: u64| Duration::from_millis(process.below(2) * process.below(most));
    let config = limits(&zk)
        .min_interval(some(800))
        .debounce(some(200))
        .jitter(some(400))
        .start();
    // Good or bad, it is known.
    let _first = config.ready().await;
    let (mut values, mut troubles) = (config.watch(), config.trouble());
    let (mut last, mut truth) = (0, None);
    while !truth.is_some_and(|said| says(&config, said)) {
        let now = values.borrow_and_update().clone();
        match now {
            Some(limits) => {
                let mzxid = limits.stat().mzxid.get();
                if mzxid < last || limits.requests < 0 {
                    return Err(format!("{limits:?} after the one of {last}").into());
                }
                last = mzxid;
            }
            None if last > 0 => return Err("the last good one was not kept".into()),
            None => {}
        }
        tokio::select! {
            biased;
            changed = values.changed() => changed?,
            changed = troubles.changed() => changed?,
            said = told.told(), if truth.is_none() => truth = Some(said),
        }
    }
    Ok(())
}

#[test]
fn a_configuration_ends_up_with_what_is_written_and_keeps_the_last_good_one() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 0..40, |world| follow(world, read));
}

/// Reads, then watches: what is written between the two is not seen.
async fn read_then_watch(process: Process, told: Truth<Said>) -> Outcome {
    let zk = process.client().await?;
    let (mut said, mut truth) = (None, None);
    while said.is_none() || said != truth {
        said = match zk.get(PATH).await {
            Ok(None) => Some(Said::Nothing),
            Ok(Some(node)) => Some(match serde_json::from_slice::<Limits>(&node.data) {
                Ok(limits) if limits.requests < 0 => Said::Refused,
                Ok(_) => Said::Good(node.stat.mzxid.get()),
                Err(_) => Said::Nonsense,
            }),
            Err(_) => continue,
        };
        let Ok((_, changed)) = zk.exists(PATH).watch().await else {
            continue;
        };
        tokio::select! {
            biased;
            _end = changed => {}
            now = told.told(), if truth.is_none() => truth = Some(now),
        }
    }
    Ok(())
}

#[test]
fn a_configuration_that_is_read_before_it_is_watched_is_found_out() {
    let law = "the body ends, once all is healed";
    let simulation = Simulation::new().with_administrators();
    objects(&simulation, law, |world| follow(world, read_then_watch));
}

/// Values do not follow each other sooner than `INTERVAL`; who stood still cannot tell.
async fn pace(process: Process, told: Truth<Said>, interval: Duration) -> Outcome {
    let zk = process.client().await?;
    let config = limits(&zk).min_interval(interval).start();
    let mut values = config.watch();
    let (mut last, mut truth): (Option<Instant>, _) = (None, None);
    let mut troubles = config.trouble();
    while !truth.is_some_and(|said| says(&config, said)) {
        tokio::select! {
            biased;
            changed = values.changed() => {
                changed?;
                let since = last.replace(Instant::now()).map(|last| last.elapsed());
                if since.is_some_and(|since| since < INTERVAL) {
                    return Err(format!("the next value comes after {since:?}").into());
                }
            }
            changed = troubles.changed() => changed?,
            said = told.told(), if truth.is_none() => truth = Some(said),
        }
    }
    Ok(())
}

#[test]
fn values_follow_each_other_no_sooner_than_is_asked_for() {
    let simulation = Simulation::new().without_pauses();
    holds(&simulation, 10_000..10_040, |world| {
        follow(world, |process, told| pace(process, told, INTERVAL))
    });
    objects(&simulation, "the next value comes after", |world| {
        follow(world, |process, told| {
            pace(process, told, Duration::from_millis(50))
        })
    });
}

/// A good value waits for its turn when the client is closed: the end is told at once, the value in time.
async fn close_before_the_next(world: World) -> Outcome {
    let (zk, other) = (world.client().await?, world.client().await?);
    other.create(PATH, r#"{"requests":1}"#).await?;
    let span = Duration::from_mins(1);
    let config = limits(&zk).min_interval(span).start();
    config.ready().await?;
    let first = Instant::now();
    other.set(PATH, r#"{"requests":2}"#).await?;
    // It is read, and not told yet.
    tokio::time::sleep(span / 2).await;
    zk.close(Duration::from_secs(1)).await;
    config.trouble().wait_for(Option::is_some).await?;
    let is_second = |limits: &Option<Arc<Config<Limits>>>| {
        limits.as_ref().is_some_and(|limits| limits.requests == 2)
    };
    if is_second(&config.current()) {
        return Err("it is told too soon".into());
    }
    config.watch().wait_for(is_second).await?;
    if first.elapsed() < span || config.trouble().borrow().is_none() {
        return Err(format!("{config:?} after {:?}", first.elapsed()).into());
    }
    Ok(())
}

#[test]
fn a_value_that_waits_for_its_turn_is_told_though_the_client_is_closed() {
    let simulation = Simulation::new().without_faults();
    simulation.run(20_000..20_010, close_before_the_next);
}
