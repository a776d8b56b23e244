//! The recipes on three servers of ours in the test's process, while the one that leads is killed.

#[path = "losses/mod.rs"]
mod losses;

use losses::soon;
use zk_testkit::Ensemble;

pub(crate) async fn three() -> Ensemble {
    let ensemble = soon("three servers", Ensemble::start(3)).await;
    ensemble.expect("an ensemble starts")
}

/// Kills whoever leads, lets the others go on, and brings it back.
pub(crate) async fn lose_leader(ensemble: &Ensemble) {
    let leader = soon("a leader", ensemble.leader())
        .await
        .expect("one leads");
    ensemble.kill(leader).await.expect("it is killed");
    soon("the next leader", ensemble.leader())
        .await
        .expect("another leads");
    soon("restart", ensemble.restart(leader))
        .await
        .expect("it comes back");
}
