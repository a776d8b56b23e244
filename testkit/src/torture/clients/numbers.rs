//! Creates sequential znodes.

use std::time::Duration;

use zk_client::Outcome;

use super::{Hand, pause};
use crate::sim::rng::Rng;
use crate::torture::history::{Numbered, NumberedOutcome};
use crate::torture::laws::sequence::{FOLDER, PREFIX};
use crate::torture::stage::Stage;

/// Milliseconds between two steps, about.
const PACE: u64 = 120;

pub(super) async fn run(stage: &Stage, connect: &str, mut rng: Rng) {
    let Ok(mut hand) = Hand::start(connect, Duration::from_secs(6), &mut rng) else {
        return;
    };
    while !stage.is_over() {
        step(stage, &mut hand).await;
        pause(&mut rng, PACE).await;
    }
}

async fn step(stage: &Stage, hand: &mut Hand) {
    let ground = stage.enter().await;
    let Some(session) = hand.session(stage).await else {
        return;
    };
    let prefix = format!("{}/{FOLDER}/{PREFIX}", ground.root);
    let (value, begin) = (stage.value(), stage.tick());
    let created = session.create(&prefix, value.to_string()).sequential();
    let created = created.await;
    let end = stage.tick();
    let outcome = match created {
        Ok(created) => {
            stage.acknowledged();
            match (created.sequence(&prefix), created.stat) {
                (Some(number), Some(stat)) => NumberedOutcome::Created {
                    number,
                    zxid: stat.czxid.get(),
                },
                _ => NumberedOutcome::Unknown,
            }
        }
        Err(error) => {
            stage.failed(error.outcome());
            match error.outcome() {
                Outcome::Unknown => NumberedOutcome::Unknown,
                Outcome::Rejected | Outcome::NotSent => NumberedOutcome::Failed,
            }
        }
    };
    stage.journal().numbered.push(Numbered {
        value,
        begin,
        end,
        outcome,
    });
}
