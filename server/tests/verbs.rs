//! What the verbs of the testkit do to processes of ours, where it is not what they do to servers in
//! the process of a test.

use std::time::Duration;

use tokio::time::timeout;
use zk_testkit::{Backend, Ensemble, Error};

/// Long enough for whatever is to happen soon.
const SOON: Duration = Duration::from_mins(1);

fn processes() -> Backend {
    Backend::Processes(env!("CARGO_BIN_EXE_zkserver").into())
}

async fn start(servers: usize) -> Ensemble {
    let builder = Ensemble::builder().servers(servers).backend(processes());
    builder.start().await.expect("started")
}

/// A leader says the zeroth transaction of an epoch that has none, its followers what they have.
#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_without_a_transaction_converges() {
    let ensemble = start(3).await;
    let zk = ensemble.client().await.expect("connected");
    zk.create("/a", "").await.expect("created");
    zk.close(SOON).await;
    let before = ensemble.leader().await.expect("one");
    let after = ensemble.force_election().await.expect("elected");
    assert_ne!(before, after);
    ensemble.wait_for_convergence().await.expect("converged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_expires_while_a_process_is_paused() {
    let ensemble = start(3).await;
    let leader = ensemble.leader().await.expect("one");
    let zk = ensemble.client_of(leader).await.expect("connected");
    let session = zk.session().await.expect("in session");
    // The first one is asked first.
    let paused = usize::from(leader == 0);
    ensemble.pause(paused).await.expect("paused");
    let expired = timeout(SOON, ensemble.expire(session.id())).await;
    expired.expect("in time").expect("expired");
    timeout(SOON, session.over()).await.expect("it hears of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_fail_as_they_do_in_the_process_of_a_test() {
    let ensemble = start(1).await;
    let error = ensemble.launch(0).await.expect_err("it runs");
    assert!(matches!(error, Error::Running { index: 0 }), "{error}");
    ensemble.kill(0).await.expect("killed");
    for failed in [
        ensemble.kill(0).await,
        ensemble.stop(0).await,
        ensemble.pause(0).await,
        ensemble.resume(0).await,
    ] {
        let error = failed.expect_err("it does not run");
        assert!(matches!(error, Error::NotRunning { index: 0 }), "{error}");
    }
    ensemble.restart(0).await.expect("back");
    let builder = Ensemble::builder().servers(6).backend(processes());
    let error = builder.start().await.expect_err("too many");
    assert!(matches!(error, Error::Shape { servers: 6, .. }), "{error}");
}
