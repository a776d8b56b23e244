//! What a znode costs in memory: a million of them under a thousand parents.
//!
//! ```text
//! cargo test --release -p zk-core --test memory -- --nocapture
//! ```
//!
//! A binary of its own, because it counts what its allocator hands out. What the allocator itself adds
//! to an allocation is not counted; znodes stand in slabs of many.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use allocation_counter::measure;
use zk_core::time::WallTime;
use zk_core::tree::{Tree, TreeOptions};
use zk_core::wire::txn::{CreateTxn, DeleteTxn, Op, Txn, TxnHeader};
use zk_proto::{Bytes, SessionId, Xid, Zxid};

const PARENTS: i64 = 1000;
/// A tenth without optimisation, which is as telling and does not take a minute.
const CHILDREN: i64 = if cfg!(debug_assertions) { 100 } else { 1000 };

fn header(zxid: i64) -> TxnHeader {
    TxnHeader {
        session: SessionId::new(1),
        cxid: Xid::new(1),
        zxid: Zxid::new(zxid),
        time: WallTime::from_millis(zxid),
    }
}

fn create(path: &str, data: &Bytes) -> Txn {
    Txn::from(Op::Create(CreateTxn {
        path: path.into(),
        data: Some(data.clone()),
        acl: None,
        ephemeral: false,
        parent_cversion: CreateTxn::NEXT_CVERSION,
    }))
}

/// A tree with so many znodes, each with `data`, and the bytes that each takes.
fn grown(data: &Bytes) -> (Tree, f64) {
    let mut tree = Tree::new(TreeOptions::default());
    let info = measure(|| {
        let mut zxid = 0;
        for parent in 0..PARENTS {
            let parent = format!("/parent-{parent:04}");
            zxid += 1;
            tree.apply(&header(zxid), &create(&parent, data));
            for child in 0..CHILDREN {
                zxid += 1;
                let path = format!("{parent}/child-{child:08}");
                tree.apply(&header(zxid), &create(&path, data));
            }
        }
    });
    let znodes = i32::try_from(PARENTS * (CHILDREN + 1)).unwrap();
    assert_eq!(i64::try_from(tree.len()).unwrap(), i64::from(znodes) + 4);
    let bytes = i32::try_from(info.bytes_current).unwrap();
    (tree, f64::from(bytes) / f64::from(znodes))
}

#[test]
fn a_million_znodes_stay_within_their_budget() {
    let (tree, bytes) = grown(&Bytes::new());
    println!("empty: {bytes:.1} bytes per znode");
    assert!(bytes < 96.0, "{bytes}");
    drop(tree);

    let (mut tree, bytes) = grown(&Bytes::from(vec![7; 100]));
    println!("100 bytes of data: {bytes:.1} bytes per znode");
    assert!(bytes < 196.0, "{bytes}");

    // A capture that is never read keeps the record of what changes, and no more.
    let capture = tree.capture();
    let info = measure(|| {
        for child in 0..100 {
            let path = format!("/parent-0000/child-{child:08}").into();
            let delete = Txn::from(Op::Delete(DeleteTxn { path }));
            tree.apply(&header(2_000_000 + child), &delete);
        }
    });
    assert_eq!(tree.retained_records(), 101);
    assert!(info.bytes_current < 101 * 350, "{info:?}");
    tree.end_capture(capture);
}
