//! The launcher, on the real servers.

use std::time::Duration;

use zk_testkit::ensemble::reference::Reference;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn one_server_serves_alone() {
    let ensemble = Reference::builder().start().await.unwrap();
    assert_eq!(ensemble.leader().await.unwrap(), 0);
    assert_eq!(
        ensemble.connect_string(),
        ensemble.server(0).client_addr().to_string()
    );
    assert_eq!(ensemble.four_letter(0, "ruok").await.unwrap(), "imok");
    ensemble.shutdown().await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_comes_back_as_a_follower() {
    let ensemble = Reference::builder().servers(3).start().await.unwrap();
    let old = ensemble.leader().await.unwrap();
    assert_eq!(ensemble.followers().await.len(), 2);

    ensemble.kill(old).await.unwrap();
    let new = ensemble.wait_for_leader(SOON).await.unwrap();
    assert_ne!(new, old);

    ensemble.restart(old).await.unwrap();
    assert!(ensemble.followers().await.contains(&old));
    ensemble.shutdown().await;
}
