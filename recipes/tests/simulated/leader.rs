//! Leader latch and election.

use std::ops::ControlFlow;

use zk_recipes::{Election, ElectionError, LeaderLatch};
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, contended, is_held, stay};

const PATH: &str = "/leader";

async fn take_part(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    for _ in 0..2 {
        let latch = LeaderLatch::new(&zk, PATH)
            .identity(process.name().to_owned())
            .join();
        let mut led = 0;
        while led < 2 {
            let Some(leadership) = latch.wait_leader().await else {
                return Err("the latch has left by itself".into());
            };
            let token = leadership.token();
            let section = history.leading("group", process.name());
            stay(&process, section.token(token.czxid()), leadership, is_held).await;
            led += 1;
            // It goes on leading, or it does not: both is fine, but never with another's token.
            if let Some(now) = latch.leadership().filter(|now| now.is_held()) {
                assert!(now.token() >= token, "{} after {token}", now.token());
                break;
            }
        }
        latch.leave().await;
        process.work(WORK).await;
    }
    Ok(())
}

#[test]
fn one_leads_by_a_latch_and_leaves_nothing_behind() {
    contended(&Simulation::new(), 0..40, 3, &[PATH], take_part);
}

/// Without pauses the body is dropped in time: nobody has to ask.
async fn stand(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let election = Election::new(&zk, PATH).identity(process.name().to_owned());
    let mut left = 3;
    let ended = election.run(|leadership| {
        left -= 1;
        let is_last = left <= 0;
        let (process, history) = (process.clone(), history.clone());
        async move {
            let section = history
                .leading("group", process.name())
                .token(leadership.token().czxid())
                .enter();
            process.work(WORK * 2).await;
            drop(section);
            if is_last {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    });
    match ended.await {
        // A leadership that is lost is no end by itself, but the last may be.
        Ok(()) | Err(ElectionError::Lost(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn bodies_of_an_election_never_overlap() {
    let simulation = Simulation::new().without_pauses();
    contended(&simulation, 10_000..10_040, 3, &[PATH], stand);
}
