//! What dropped futures leave behind: nothing.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::poll;
use tokio::time::sleep;
use zk_client::{Client, ConnectErrorKind, Stats};
use zk_proto::OpCode;

use crate::script::{Mode, SOON, Script, connected, until};

/// Polls after which every operation is done.
const POLLS_MAX: usize = 60;

type Operation = fn(Client) -> BoxFuture<'static, ()>;

/// Every kind of public future that may have something registered.
const OPERATIONS: &[(&str, Operation)] = &[
    ("get", |zk| async move { drop(zk.get("/a").await) }.boxed()),
    ("get with a watch", |zk| {
        async move { drop(zk.get("/a").watch().await) }.boxed()
    }),
    ("exists with a watch", |zk| {
        async move { drop(zk.exists("/a").watch().await) }.boxed()
    }),
    ("children with a watch", |zk| {
        async move { drop(zk.children("/a").watch().await) }.boxed()
    }),
    ("watch_node", |zk| {
        async move { drop(zk.watch_node("/a").await) }.boxed()
    }),
    ("watch_tree", |zk| {
        async move { drop(zk.watch_tree("/a").await) }.boxed()
    }),
    ("a watch that is waited for", |zk| {
        async move {
            let (_, watch) = zk.get("/a").watch().await.unwrap();
            watch.await;
        }
        .boxed()
    }),
    ("a stream that is read", |zk| {
        async move {
            let mut stream = zk.watch_tree("/a").await.unwrap();
            stream.next().await;
        }
        .boxed()
    }),
    ("observe", |zk| {
        async move {
            let mut states = zk.observe("/a");
            states.next().await;
            states.next().await;
        }
        .boxed()
    }),
    ("set", |zk| {
        async move { drop(zk.set("/a", "x").await) }.boxed()
    }),
    ("create", |zk| {
        async move { drop(zk.create("/a/b", "x").await) }.boxed()
    }),
    ("sync", |zk| {
        async move { drop(zk.sync("/a").await) }.boxed()
    }),
    ("a transaction", |zk| {
        async move { drop(zk.transaction().create("/a/b", "x").await) }.boxed()
    }),
    ("session", |zk| {
        async move { drop(zk.session().await) }.boxed()
    }),
];

#[tokio::test(start_paused = true)]
async fn dropping_any_future_at_any_poll_leaves_nothing() {
    let (script, client) = connected().await;
    for (name, operation) in OPERATIONS {
        for polls in 0..POLLS_MAX {
            let mut future = operation(client.clone());
            for _ in 0..polls {
                if poll!(&mut future).is_ready() {
                    break;
                }
                sleep(Duration::from_micros(100)).await;
            }
            drop(future);
            let is_tidy = || {
                let stats = client.stats();
                stats.outstanding == 0 && stats.watches == 0 && script.lock().watches.is_empty()
            };
            until(is_tidy, || {
                format!("{name} after {polls}: {:?}", client.stats())
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_futures_of_a_cut_off_client_leaves_nothing() {
    let (script, client) = connected().await;
    script.set(Mode::Unreachable(ConnectErrorKind::Io));
    script.cut();
    until(
        || !client.state().borrow().is_connected(),
        || "connected".into(),
    )
    .await;
    for (_, operation) in OPERATIONS {
        let mut future = operation(client.clone());
        assert!(poll!(&mut future).is_pending());
        drop(future);
    }
    script.set(Mode::Serve);
    let is_tidy = || {
        let Stats {
            outstanding,
            watches,
            ..
        } = client.stats();
        outstanding == 0 && watches == 0
    };
    until(is_tidy, || format!("{:?}", client.stats())).await;
    assert!(client.get("/a").await.unwrap().unwrap().data.is_empty());
    assert!(!script.lock().seen.contains(&OpCode::SetData), "withdrawn");
}

#[tokio::test(start_paused = true)]
async fn connect_that_is_dropped_leaves_no_session() {
    for polls in 0..POLLS_MAX {
        let script = Script::default();
        let mut connecting = script.builder().connect().boxed();
        for _ in 0..polls {
            if poll!(&mut connecting).is_ready() {
                break;
            }
            sleep(Duration::from_micros(100)).await;
        }
        drop(connecting);
        sleep(SOON).await;
        let state = script.lock();
        assert_eq!(state.begun, state.closed, "after {polls} polls");
    }
}
