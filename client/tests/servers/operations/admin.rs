//! Quotas and members.

use zk_client::ErrorKind;

use crate::common::{Setup, rejected, shared};

#[tokio::test]
async fn hard_quotas_are_enforced() {
    let servers = Setup::alone().config("enforceQuota", "true").start().await;
    let zk = servers.builder().connect().await.unwrap();
    zk.create("/q", "").await.unwrap();
    zk.ensure_path("/zookeeper/quota/q").await.unwrap();
    let limits = "count=-1,bytes=-1;byteHardLimit=10;countHardLimit=3";
    let path = "/zookeeper/quota/q/zookeeper_limits";
    zk.create(path, limits).await.unwrap();
    let path = "/zookeeper/quota/q/zookeeper_stats";
    zk.create(path, "count=0,bytes=0").await.unwrap();
    zk.create("/q/a", "12345").await.unwrap();
    zk.create("/q/b", "12345").await.unwrap();
    rejected(zk.create("/q/c", "").await, ErrorKind::QuotaExceeded);
    rejected(zk.set("/q/a", "123456").await, ErrorKind::QuotaExceeded);
    zk.set("/q/a", "1").await.unwrap();
    zk.delete("/q/b").await.unwrap();
    let transaction = zk
        .transaction()
        .check("/q", 0)
        .create("/q/c", "1234567890123");
    let error = rejected(transaction.await, ErrorKind::QuotaExceeded);
    assert_eq!(error.transaction_index(), Some(1));
    zk.create("/q/c", "").await.unwrap();
}

#[tokio::test]
async fn server_that_stands_alone_has_no_members_to_change() {
    let zk = shared().await.client().await;
    let config = zk.get_config().await.unwrap();
    assert_eq!(config.data, "");
    let reconfig = zk.reconfig().leaving("2").await;
    let kind = reconfig.as_ref().unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::Unimplemented | ErrorKind::ReconfigDisabled),
        "{reconfig:?}"
    );
    rejected(reconfig, kind);
    zk.get_config().await.expect("the client goes on");
}
