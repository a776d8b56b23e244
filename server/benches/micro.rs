//! The core alone, without sockets and disk: finding, preparing, applying, firing, and how reads scale.
//!
//! ```sh
//! cargo bench -p zk-server --bench micro              # all
//! cargo bench -p zk-server --bench micro -- reads     # one group
//! ```

#![expect(
    missing_docs,
    reason = "criterion's macros make functions without documentation"
)]

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use zk_core::conn::ConnId;
use zk_core::conn::auth::{Access, Identities, Schemes};
use zk_core::conn::handshake::SessionKind;
use zk_core::prep::{Prep, PrepOptions, Requester};
use zk_core::time::WallTime;
use zk_core::tree::{EffectKind, Tree, TreeOptions};
use zk_core::watch::{Change, Readers, WatchKind, WatchTable, trigger};
use zk_core::wire::txn::{CreateSessionTxn, CreateTxn, Op, SetDataTxn, Txn, TxnHeader};
use zk_proto::request::{Request, SetDataRequest};
use zk_proto::{SessionId, Version, Xid, Zxid};
use zk_server::shared_tree::SharedTree;

/// Znodes in the tree, below a thousand parents.
const ZNODES: usize = 1_000_000;
const PARENTS: usize = 1000;
const SESSION: SessionId = SessionId::new(1);
const DATA: &[u8] = &[b'x'; 100];

fn header(zxid: Zxid) -> TxnHeader {
    TxnHeader {
        session: SESSION,
        cxid: Xid::new(1),
        zxid,
        time: WallTime::from_millis(zxid.get()),
    }
}

fn next(tree: &Tree) -> Zxid {
    Zxid::new(tree.applied().get() + 1)
}

fn create(path: &str) -> Txn {
    Txn::from(Op::Create(CreateTxn {
        path: path.into(),
        data: Some(Bytes::from_static(DATA)),
        acl: None,
        ephemeral: false,
        parent_cversion: CreateTxn::NEXT_CVERSION,
    }))
}

fn path(number: usize) -> String {
    format!("/parent-{:04}/child-{number:08}", number % PARENTS)
}

fn apply(tree: &mut Tree, txn: &Txn) {
    let header = header(next(tree));
    black_box(tree.apply(&header, txn));
}

fn grown() -> Tree {
    let mut tree = Tree::new(TreeOptions::default());
    apply(
        &mut tree,
        &Txn::CreateSession(CreateSessionTxn { timeout_ms: 30_000 }),
    );
    for parent in 0..PARENTS {
        apply(&mut tree, &create(&format!("/parent-{parent:04}")));
    }
    for number in 0..ZNODES {
        apply(&mut tree, &create(&path(number)));
    }
    tree
}

/// Paths that are spread over the tree.
fn paths(count: usize) -> Vec<String> {
    (0..count).map(|n| path(n * 7919 % ZNODES)).collect()
}

fn tree(c: &mut Criterion) {
    let mut tree = grown();
    let paths = paths(10_000);
    let mut at = paths.iter().cycle();
    let mut path = || at.next().map_or("", String::as_str);
    let mut group = c.benchmark_group("tree");
    group.throughput(Throughput::Elements(1));
    group.bench_function("find a znode among 1,000,000", |b| {
        b.iter(|| black_box(tree.get(path()).is_some()));
    });
    group.bench_function("apply setData", |b| {
        b.iter_batched(
            || {
                Txn::from(Op::SetData(SetDataTxn {
                    path: path().into(),
                    data: Some(Bytes::from_static(DATA)),
                    version: Version::new(1),
                }))
            },
            |txn| apply(&mut tree, &txn),
            BatchSize::SmallInput,
        );
    });
    let mut number = ZNODES;
    group.bench_function("apply create", |b| {
        b.iter_batched(
            || {
                number += 1;
                create(&self::path(number))
            },
            |txn| apply(&mut tree, &txn),
            BatchSize::SmallInput,
        );
    });
    group.finish();

    let mut group = c.benchmark_group("prep");
    group.throughput(Throughput::Elements(1));
    let access = Access::new(Schemes::standard());
    let prep = RefCell::new(Prep::new(PrepOptions::new(access), tree.applied()));
    let from = Requester {
        session: SESSION,
        cxid: Xid::new(1),
        identities: Identities::none(),
        standing: Ok(SessionKind::Global),
    };
    group.bench_function("prepare setData, 1,000 outstanding", |b| {
        b.iter_batched(
            || {
                let mut prep = prep.borrow_mut();
                let last = prep.last_zxid().get();
                prep.release(Zxid::new(last - 1000));
                Request::SetData(SetDataRequest {
                    path: Some(path().into()),
                    data: Some(Bytes::from_static(DATA)),
                    version: Version::ANY,
                })
            },
            |request| {
                let mut prep = prep.borrow_mut();
                black_box(prep.prepare(WallTime::from_millis(1), &from, &request, &tree))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn watches(c: &mut Criterion) {
    const WATCHERS: u32 = 10_000;
    let mut group = c.benchmark_group("watch");
    group.throughput(Throughput::Elements(WATCHERS.into()));
    group.sample_size(20);
    group.bench_function("fire 10,000 one-shot watches of one znode", |b| {
        b.iter_batched(
            || {
                let mut table = WatchTable::new(1);
                for conn in 0..WATCHERS {
                    table.register(ConnId::new(conn), "/watched", WatchKind::Data);
                }
                table
            },
            |mut table| {
                let change = Change {
                    effect: EffectKind::DataSet,
                    path: "/watched",
                    znode_readers: Readers::Everyone,
                    parent_readers: Readers::Everyone,
                };
                let mut out = Vec::new();
                trigger(&mut table, &change, &mut out);
                black_box(out)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Reads from one thread and from two, as connections do them: sixteen under a guard, each found and
/// copied out.
fn reads(c: &mut Criterion) {
    let shared = SharedTree::new(grown(), 1);
    let paths = paths(10_000);
    let mut group = c.benchmark_group("reads");
    group.throughput(Throughput::Elements(1));
    group.sample_size(10);
    group.measurement_time(Duration::from_secs(5));
    for threads in [1, 2] {
        group.bench_function(format!("{threads} threads, each read"), |b| {
            b.iter_custom(|count| read_from(threads, count, &shared, &paths));
        });
    }
    group.finish();
}

/// How long `count` reads take from so many threads together.
fn read_from(threads: usize, count: u64, shared: &SharedTree, paths: &[String]) -> Duration {
    const GROUP: usize = 16;
    let left = AtomicU64::new(count);
    let go = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (left, go) = (&left, &go);
            scope.spawn(move || {
                let mut out = BytesMut::new();
                let mut groups = paths.chunks(GROUP).cycle().skip(thread * 100);
                while !go.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                // A share at a time, so that counting costs nothing.
                while let Some(share) = take(left, 1024) {
                    let mut done = 0;
                    while done < share {
                        let reading = shared.read();
                        for path in groups.next().unwrap_or_default() {
                            if let Some(znode) = reading.get(path) {
                                out.extend_from_slice(znode.data().unwrap_or_default());
                                black_box(znode.stat());
                            }
                            done += 1;
                        }
                        drop(reading);
                        out.clear();
                    }
                }
            });
        }
        let start = Instant::now();
        go.store(true, Ordering::Release);
        // The scope waits for the threads.
        start
    })
    .elapsed()
}

fn take(left: &AtomicU64, most: u64) -> Option<u64> {
    let before = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
        (left > 0).then(|| left.saturating_sub(most))
    });
    before.ok().map(|left| left.min(most))
}

criterion_group!(benches, tree, watches, reads);
criterion_main!(benches);
