//! Prints what the tree costs in time: transactions applied, znodes found, snapshots made and loaded
//! per second, on one thread and a
//! million znodes.
//!
//! ```text
//! cargo run --release -p zk-core --example tree_cost
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example that measures is a driver: it reads the clock"
)]

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use zk_core::time::WallTime;
use zk_core::tree::{Tree, TreeLoader, TreeOptions};
use zk_core::wire::snapshot::SnapshotDecoder;
use zk_core::wire::txn::{CreateTxn, DeleteTxn, Op, SetDataTxn, Txn, TxnHeader};
use zk_proto::{SessionId, Version, Xid, Zxid};

fn header(zxid: i64) -> TxnHeader {
    TxnHeader {
        session: SessionId::new(1),
        cxid: Xid::new(1),
        zxid: Zxid::new(zxid),
        time: WallTime::from_millis(zxid),
    }
}

/// Starts to measure: time on a processor where the system tells it, so that neighbours do not count.
struct Clock {
    wall: Instant,
    busy: Option<Duration>,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            busy: Self::busy(),
        }
    }

    fn elapsed(&self) -> Duration {
        match (self.busy, Self::busy()) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => self.wall.elapsed(),
        }
    }

    fn busy() -> Option<Duration> {
        let stat = std::fs::read_to_string("/proc/self/schedstat").ok()?;
        let nanos = stat.split(' ').next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

fn report(what: &str, count: usize, start: &Clock) {
    let seconds = start.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(count).unwrap());
    let (rate, each) = (count / seconds / 1e6, seconds / count * 1e9);
    println!("{what:<28} {rate:>8.2} M/s {each:>8.0} ns each");
}

fn apply(what: &str, tree: &mut Tree, txns: &[Txn]) {
    let first = tree.applied().get() + 1;
    let start = Clock::start();
    for (txn, zxid) in txns.iter().zip(first..) {
        std::hint::black_box(tree.apply(&header(zxid), txn));
    }
    report(what, txns.len(), &start);
}

fn main() {
    let data = Some(Bytes::from(vec![7; 100]));
    let mut paths = Vec::new();
    for parent in 0..1000 {
        paths.push(format!("/parent-{parent:04}"));
        paths.extend((0..1000).map(|child| format!("/parent-{parent:04}/child-{child:08}")));
    }
    let create = |path: &String| {
        Txn::from(Op::Create(CreateTxn {
            path: path.as_str().into(),
            data: data.clone(),
            acl: None,
            ephemeral: false,
            parent_cversion: CreateTxn::NEXT_CVERSION,
        }))
    };
    // Reads and writes go all over the tree: every access misses the caches.
    let scattered = || (0..paths.len()).map(|at| &paths[at * 7919 % paths.len()]);
    let set = |path: &String| {
        Txn::from(Op::SetData(SetDataTxn {
            path: path.as_str().into(),
            data: data.clone(),
            version: Version::new(1),
        }))
    };
    let delete = |path: &String| {
        Txn::from(Op::Delete(DeleteTxn {
            path: path.as_str().into(),
        }))
    };
    for digest in [true, false] {
        println!("digest: {digest}");
        let mut tree = Tree::new(TreeOptions {
            digest,
            ..TreeOptions::default()
        });
        apply(
            "create",
            &mut tree,
            &paths.iter().map(create).collect::<Vec<_>>(),
        );
        apply(
            "setData, scattered",
            &mut tree,
            &scattered().map(set).collect::<Vec<_>>(),
        );

        let start = Clock::start();
        let found = scattered().filter(|path| tree.get(path).is_some()).count();
        report("lookup, scattered", found, &start);
        let start = Clock::start();
        let parents = (0..1000).map(|parent| tree.get(&format!("/parent-{parent:04}")).unwrap());
        let children = parents.flat_map(|parent| parent.children());
        let bytes: usize = children.map(|child| child.name().len()).sum();
        assert_eq!(bytes, 14_000_000);
        report("child listed", 1_000_000, &start);

        let start = Clock::start();
        let (mut capture, mut stream) = (tree.capture(), BytesMut::new());
        while capture.next_chunk(&tree, 1 << 20, &mut stream) {}
        let zxid = capture.zxid();
        tree.end_capture(capture);
        report("znode captured", tree.len(), &start);

        let start = Clock::start();
        let (mut decoder, mut loader) =
            (SnapshotDecoder::default(), TreeLoader::new(tree.options()));
        let stream = stream.freeze();
        for piece in stream.chunks(1 << 20) {
            decoder.feed(stream.slice_ref(piece));
            while let Some(item) = decoder.next_item().unwrap() {
                loader.add(&item).unwrap();
            }
        }
        let (copy, _) = loader.finish(zxid, &decoder.finish().unwrap()).unwrap();
        report("znode loaded", copy.len(), &start);
        assert_eq!(copy.digest(), tree.digest());
        drop(copy);

        let children: Vec<_> = scattered()
            .filter(|path| path.len() > 12)
            .map(delete)
            .collect();
        apply("delete, scattered", &mut tree, &children);
    }
}
