//! Transactions: everything or nothing.

use std::time::Duration;

use zk_client::op::Transaction;
use zk_client::{Acl, CreateMode, ErrorKind, TransactionResult, Ttl, Version};

use crate::common::{rejected, shared};
use crate::sorted;

#[tokio::test]
async fn transaction_does_everything_in_order() {
    let zk = shared().await.client().await;
    zk.create("/a", "0").await.unwrap();
    zk.create("/old", "").await.unwrap();
    let ttl = Ttl::new(Duration::from_hours(1)).unwrap();
    let results = zk
        .transaction()
        .check("/a", 0)
        .set("/a", "1", 0)
        .check("/a", 1)
        .create("/b", "x")
        .create_with("/b/s-", "", CreateMode::PersistentSequential, None)
        .create_with("/e", "", CreateMode::Ephemeral, None)
        .create_with("/box", "", CreateMode::Container, None)
        .create_with(
            "/t",
            "",
            CreateMode::PersistentWithTtl(ttl),
            Some(&Acl::read_only()),
        )
        .delete("/old", Version::ANY)
        .set("/b", "y", Version::ANY)
        .await
        .unwrap();
    assert_eq!(results.len(), 10);
    assert_eq!(results[0], TransactionResult::Checked);
    assert!(matches!(&results[1], TransactionResult::Set(stat) if stat.version == Version::new(1)));
    assert_eq!(results[2], TransactionResult::Checked);
    let paths: Vec<_> = results[3..8].iter().map(made).collect();
    assert_eq!(paths, ["/b", "/b/s-0000000000", "/e", "/box", "/t"]);
    assert_eq!(results[8], TransactionResult::Deleted);
    assert!(matches!(&results[9], TransactionResult::Set(_)));
    assert_eq!(zk.get("/b").await.unwrap().unwrap().data, "y");
    assert_eq!(zk.exists("/old").await.unwrap(), None);
    assert_eq!(zk.get_acl("/t").await.unwrap().unwrap().0, Acl::read_only());
    assert_eq!(zk.ephemerals("/").await.unwrap(), ["/e"]);
    assert_eq!(zk.transaction().await.unwrap(), []);
}

/// The path of a znode that was created; what else was done.
pub(crate) fn made(result: &TransactionResult) -> String {
    if let TransactionResult::Created(created) = result {
        created.path.clone()
    } else {
        format!("{result:?}")
    }
}

type Add = for<'a> fn(Transaction<'a>) -> Transaction<'a>;

#[tokio::test]
async fn transaction_fails_as_a_whole_and_says_where() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    zk.create("/e", "").ephemeral().await.unwrap();
    let closed = Acl::read_only();
    zk.create("/closed", "").acl(closed).await.unwrap();
    let failing: [(Add, ErrorKind); 11] = [
        (|t| t.create("/a", ""), ErrorKind::NodeExists),
        (|t| t.create("/x/y", ""), ErrorKind::NoNode),
        (|t| t.create("/e/x", ""), ErrorKind::NoChildrenForEphemerals),
        (|t| t.create("/closed/x", ""), ErrorKind::NoAuth),
        (
            |t| t.create_with("/x", "", CreateMode::Persistent, Some(&Acl::creator_all())),
            ErrorKind::InvalidAcl,
        ),
        (|t| t.delete("/a", 0), ErrorKind::NotEmpty),
        (|t| t.delete("/x", 0), ErrorKind::NoNode),
        (|t| t.set("/a", "", 7), ErrorKind::BadVersion),
        (|t| t.set("/closed", "", 0), ErrorKind::NoAuth),
        (|t| t.check("/a", 7), ErrorKind::BadVersion),
        (|t| t.check("/x", Version::ANY), ErrorKind::NoNode),
    ];
    for (number, (add, kind)) in failing.into_iter().enumerate() {
        for position in [0, 1, 3] {
            let before = |t, count| {
                (0..count).fold(t, |t: Transaction<'_>, n| {
                    t.create(&format!("/new-{n}"), "")
                })
            };
            let transaction = before(zk.transaction(), position);
            let transaction = add(transaction).create("/after", "").check("/x", 1);
            let error = rejected(transaction.await, kind);
            assert_eq!(error.transaction_index(), Some(position), "case {number}");
            assert_eq!(error.op(), Some(zk_client::OpCode::Multi));
        }
    }
    let left = sorted(zk.children("/").await.unwrap());
    assert_eq!(
        left,
        ["a", "closed", "e"],
        "nothing of a failed transaction stays"
    );
}
