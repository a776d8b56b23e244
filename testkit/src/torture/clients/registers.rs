//! Writes, reads and deletes registers, a few requests at a time.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use zk_client::{Error, Outcome, Session};

use super::{Hand, pause, seen};
use crate::sim::rng::Rng;
use crate::torture::history::{Action, Answer, Key, Operation, Seen, register};
use crate::torture::laws::linear::has_deletes;
use crate::torture::stage::{LANES, Stage};

/// Requests sent at a time at most.
const PIPELINE: u64 = 4;
/// Milliseconds between two steps, about.
const PACE: u64 = 40;

pub(super) async fn run(stage: &Stage, connect: &str, mut rng: Rng) {
    let Ok(mut hand) = Hand::start(connect, Duration::from_secs(6), &mut rng) else {
        return;
    };
    while !stage.is_over() {
        step(stage, &mut hand, &mut rng).await;
        pause(&mut rng, PACE).await;
    }
}

async fn step(stage: &Stage, hand: &mut Hand, rng: &mut Rng) {
    let ground = stage.enter().await;
    let Some(session) = hand.session(stage).await else {
        return;
    };
    let count = rng.between((1, PIPELINE));
    let mut asked = Vec::new();
    for _ in 0..count {
        let lane = usize::try_from(rng.below(LANES as u64)).unwrap_or(0);
        let (key, is_first) = stage.key(lane);
        let action = choose(stage, key, is_first, rng);
        let path = register(&ground.root, key);
        let (order, begin) = (hand.order(), stage.tick());
        let answer = submit(&session, &path, action);
        let id = session.id().get();
        asked.push(async move {
            let (action, answer) = answer.await;
            Operation {
                session: id,
                order,
                key,
                begin,
                end: stage.tick(),
                action,
                answer,
            }
        });
    }
    for operation in join_all(asked).await {
        note(stage, &operation);
        stage.journal().operations.push(operation);
    }
}

fn choose(stage: &Stage, key: Key, is_first: bool, rng: &mut Rng) -> Action {
    if is_first {
        return Action::Create(stage.value());
    }
    let chance = rng.below(100);
    let [create, delete, set, swap, read] = if has_deletes(key) {
        [18, 28, 48, 58, 75]
    } else {
        [2, 2, 32, 55, 72]
    };
    if chance < create {
        Action::Create(stage.value())
    } else if chance < delete {
        Action::Delete
    } else if chance < set {
        Action::Set(stage.value())
    } else if chance < swap {
        match stage.last_seen(key) {
            Some(old) => Action::Swap {
                old,
                new: stage.value(),
            },
            None => Action::Set(stage.value()),
        }
    } else if chance < read {
        Action::Read
    } else {
        Action::SyncedRead
    }
}

/// Submits a request; what was asked in the end, and what came of it.
fn submit(session: &Session, path: &str, action: Action) -> BoxFuture<'static, (Action, Answer)> {
    match action {
        Action::Set(value) => {
            let pending = session.set(path, value.to_string()).send();
            let answer = async move { wrote(value, pending.await) };
            answer.map(move |answer| (action, answer)).boxed()
        }
        Action::Swap { old, new } => {
            let set = session.set(path, new.to_string()).version(old.version);
            let pending = set.send();
            let answer = async move { wrote(new, pending.await) };
            answer.map(move |answer| (action, answer)).boxed()
        }
        Action::Create(value) => {
            let pending = session.create(path, value.to_string()).send();
            let answer = async move {
                match pending.await {
                    Ok(created) => match created.stat {
                        Some(stat) => Answer::Wrote(Seen::of(value, &stat)),
                        None => Answer::Unknown,
                    },
                    Err(error) => failed(&error),
                }
            };
            answer.map(move |answer| (action, answer)).boxed()
        }
        Action::Delete => {
            let pending = session.delete(path).send();
            let answer = async move {
                match pending.await {
                    Ok(()) => Answer::Deleted,
                    Err(error) => failed(&error),
                }
            };
            answer.map(move |answer| (action, answer)).boxed()
        }
        Action::Read | Action::SyncedRead => {
            let sync = (action == Action::SyncedRead).then(|| session.sync(path).send());
            let pending = session.get(path).send();
            async move {
                let is_synced = match sync {
                    Some(sync) => sync.await.is_ok(),
                    None => false,
                };
                let answer = match pending.await {
                    Ok(node) => Answer::Saw(node.as_ref().map(seen)),
                    // A read that was not answered changed nothing.
                    Err(_) => Answer::NotSent,
                };
                let action = if is_synced {
                    Action::SyncedRead
                } else {
                    Action::Read
                };
                (action, answer)
            }
            .boxed()
        }
    }
}

fn wrote(value: u64, result: Result<zk_client::Stat, Error>) -> Answer {
    match result {
        Ok(stat) => Answer::Wrote(Seen::of(value, &stat)),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Answer {
    match error.outcome() {
        Outcome::NotSent => Answer::NotSent,
        Outcome::Rejected => Answer::Rejected,
        Outcome::Unknown => Answer::Unknown,
    }
}

/// Counts an answer, and remembers what it shows for those who swap.
fn note(stage: &Stage, operation: &Operation) {
    match operation.answer {
        Answer::Wrote(seen) => {
            stage.acknowledged();
            stage.saw(operation.key, Some(seen));
        }
        Answer::Deleted => {
            stage.acknowledged();
            stage.saw(operation.key, None);
        }
        Answer::Saw(seen) => {
            stage.read();
            stage.saw(operation.key, seen);
        }
        Answer::Rejected => stage.failed(Outcome::Rejected),
        Answer::NotSent => stage.failed(Outcome::NotSent),
        Answer::Unknown => stage.failed(Outcome::Unknown),
    }
}
