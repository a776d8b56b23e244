//! Lists all ephemerals behind a sync.

use std::time::Duration;

use super::{Hand, pause};
use crate::sim::rng::Rng;
use crate::torture::history::Listing;
use crate::torture::stage::{LIVE, Stage};

/// Milliseconds between two steps, about.
const PACE: u64 = 300;

pub(super) async fn run(stage: &Stage, connect: &str, mut rng: Rng) {
    let Ok(mut hand) = Hand::start(connect, Duration::from_secs(6), &mut rng) else {
        return;
    };
    while !stage.is_over() {
        let ground = stage.enter().await;
        if let Some(session) = hand.session(stage).await {
            let begin = stage.tick();
            if let Ok(Some(names)) = session.children(LIVE).synced().await {
                stage.read();
                let listing = Listing {
                    begin,
                    end: stage.tick(),
                    only: None,
                    names: names.into_iter().collect(),
                };
                stage.journal().listings.push(listing);
            }
        }
        drop(ground);
        pause(&mut rng, PACE).await;
    }
}
