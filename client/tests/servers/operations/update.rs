//! Compare and set.

use zk_client::{Change, ErrorKind, Update, Version};

use crate::common::{rejected, shared, soon};

#[tokio::test]
async fn update_loses_nothing_under_concurrency() {
    let servers = shared().await;
    let first = servers.client().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let zk = servers.client_below(first.chroot_path()).await;
        for _ in 0..4 {
            let zk = zk.clone();
            tasks.spawn(async move {
                for _ in 0..25 {
                    let update = zk.update("/counter", |node| {
                        let text = node.map_or_else(|| "0".into(), |node| node.data.clone());
                        let count: u32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
                        Change::Set((count + 1).to_string().into())
                    });
                    assert_eq!(update.await.unwrap(), Update::Done);
                }
            });
        }
    }
    soon("all are done", tasks.join_all()).await;
    let node = first.get("/counter").await.unwrap().unwrap();
    assert_eq!(node.data, "300");
    assert_eq!(node.stat.version, Version::new(299));
}

#[tokio::test]
async fn update_creates_keeps_and_deletes() {
    let zk = shared().await.client().await;
    let update = zk.update("/a", |node| {
        assert!(node.is_none());
        Change::Delete
    });
    assert_eq!(update.await.unwrap(), Update::Kept);
    let update = zk.update("/a", |_| Change::Set("x".into())).await;
    assert_eq!(update.unwrap(), Update::Done);
    let update = zk.update("/a", |node| {
        assert_eq!(node.unwrap().data, "x");
        Change::Keep
    });
    assert_eq!(update.await.unwrap(), Update::Kept);
    assert_eq!(
        zk.update("/a", |_| Change::Delete).await.unwrap(),
        Update::Done
    );
    assert_eq!(zk.exists("/a").await.unwrap(), None);
    let orphan = zk.update("/b/c", |_| Change::Set("".into())).await;
    rejected(orphan, ErrorKind::NoNode);
}
