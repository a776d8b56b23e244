//! Writes two znodes in one transaction, and reads them in one request.

use std::time::Duration;

use zk_client::{ReadResult, Session, TransactionResult, Version};

use super::{Hand, pause, seen};
use crate::sim::rng::Rng;
use crate::torture::history::{Pair, Seen};
use crate::torture::stage::Stage;

/// Milliseconds between two steps, about.
const PACE: u64 = 60;

/// The two, below the folder of a slice.
pub(in crate::torture) const NAMES: [&str; 2] = ["a", "b"];

pub(super) async fn run(stage: &Stage, connect: &str, mut rng: Rng) {
    let Ok(mut hand) = Hand::start(connect, Duration::from_secs(6), &mut rng) else {
        return;
    };
    while !stage.is_over() {
        let ground = stage.enter().await;
        if let Some(session) = hand.session(stage).await {
            let [first, second] = NAMES.map(|name| format!("{}/{name}", ground.root));
            write(stage, &session, &first, &second).await;
            read(stage, &session, &first, &second).await;
        }
        drop(ground);
        pause(&mut rng, PACE).await;
    }
}

async fn write(stage: &Stage, session: &Session, first: &str, second: &str) {
    let (value, begin) = (stage.value().to_string(), stage.tick());
    let transaction = session.transaction();
    let transaction = transaction.set(first, value.clone(), Version::ANY);
    let done = transaction.set(second, value, Version::ANY).await;
    match done.as_deref() {
        Ok([TransactionResult::Set(stat), TransactionResult::Set(_)]) => {
            let id = session.id().get();
            stage.wrote(id, begin, stage.tick(), stat.mzxid.get());
        }
        Ok(_) => {}
        Err(error) => stage.failed(error.outcome()),
    }
}

async fn read(stage: &Stage, session: &Session, first: &str, second: &str) {
    let Ok(read) = session.read_many().get(first).get(second).await else {
        return;
    };
    stage.read();
    let mut read = read.into_iter().map(of);
    let (Some(first), Some(second)) = (read.next(), read.next()) else {
        return;
    };
    let end = stage.tick();
    stage.journal().pairs.push(Pair { first, second, end });
}

fn of(result: ReadResult) -> Option<Seen> {
    result.into_node().as_ref().map(seen)
}
