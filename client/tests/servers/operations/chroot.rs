//! Views below a path.

use std::collections::BTreeSet;

use zk_client::{Client, CreateMode, EventType, TransactionResult};

use crate::common::{Setup, fired, next_event, shared, soon, told};
use crate::transaction::made;

#[tokio::test]
async fn same_program_has_the_same_results_at_the_root_and_below_a_chroot() {
    let servers = Setup::alone().start().await;
    let at_root = soon(
        "the program ends",
        program(servers.builder().connect().await.unwrap()),
    );
    let at_root = at_root.await;
    let below = servers.client_below("/some/where").await;
    let below = soon("the program ends", program(below)).await;
    assert_eq!(at_root, below);
    let nested = servers.client_below("/nest").await.chroot("/ed").unwrap();
    nested.ensure_path("/").await.unwrap();
    assert_eq!(nested.chroot_path(), "/nest/ed");
    assert_eq!(at_root, soon("the program ends", program(nested)).await);
}

/// Uses everything that has a path in its result, its error or its event, and tells what it saw.
async fn program(zk: Client) -> Vec<String> {
    let mut seen = Vec::new();
    let mut stream = zk.watch_tree("/").await.unwrap();
    let mut node = zk.watch_node("/n").await.unwrap();
    let (_, exists) = zk.exists("/p").watch().await.unwrap();
    seen.push(zk.create("/p", "x").await.unwrap().path);
    seen.push(told(&fired(exists).await));
    let (_, children) = zk.children("/p").watch().await.unwrap();
    let created = zk.create("/p/s-", "").sequential().ephemeral().await;
    seen.push(created.unwrap().path);
    seen.push(told(&fired(children).await));
    let (_, get) = zk.get("/p").watch().await.unwrap();
    zk.set("/p", "y").await.unwrap();
    seen.push(told(&fired(get).await));
    for _ in 0..3 {
        seen.push(told(&next_event(&mut stream).await));
    }
    zk.create("/n", "").await.unwrap();
    seen.push(told(&next_event(&mut node).await));
    seen.extend(zk.ephemerals("/").await.unwrap());
    seen.extend(zk.ephemerals("/p/").await.unwrap());
    let results = zk.transaction().create("/p/t", "").check("/p", 1).await;
    seen.extend(results.unwrap().iter().map(made));
    let errors = [
        zk.create("/p", "").await.unwrap_err(),
        zk.delete("/p").await.unwrap_err(),
        zk.set("/q", "").await.unwrap_err(),
        zk.get("/q").watch().await.unwrap_err(),
        zk.transaction().create("/q/r", "").await.unwrap_err(),
        zk.create("/p/./x", "").await.unwrap_err(),
    ];
    seen.extend(
        errors
            .iter()
            .map(|error| format!("{error} {:?}", error.path())),
    );
    seen.push(format!(
        "{:?}",
        zk.children("/p").await.unwrap().map(|mut names| {
            names.sort_unstable();
            names
        })
    ));
    seen.push(zk.count_descendants("/p").await.unwrap().to_string());
    seen.push(zk.delete_tree("/p").await.unwrap().to_string());
    seen
}

#[tokio::test]
async fn number_of_a_sequential_root_is_a_child_of_the_chroot() {
    let servers = Setup::alone().start().await;
    let view = servers.client_below("/app").await;
    let first = view.create("/", "").sequential().await.unwrap().path;
    assert_eq!(first, "/0000000000");
    let mode = CreateMode::PersistentSequential;
    let results = view.transaction().create_with("/", "", mode, None).await;
    let results = results.unwrap();
    let [TransactionResult::Created(second)] = results.as_slice() else {
        panic!("{results:?}");
    };
    assert_eq!(second.path, "/0000000001");
    let mut names = view.children("/").await.unwrap().unwrap();
    names.sort_unstable();
    assert_eq!(names, ["0000000000", "0000000001"]);
    // So it is at the root.
    let created = view.root().create("/", "").sequential().await.unwrap();
    assert!(created.sequence("/").is_some(), "{created:?}");
}

#[tokio::test]
async fn chroot_itself_is_the_root_of_its_view() {
    let zk = shared().await.client().await;
    let view = zk.chroot("/view").unwrap();
    let (none, exists) = view.exists("/").watch().await.unwrap();
    assert_eq!(none, None);
    assert_eq!(view.create("/", "x").await.unwrap().path, "/");
    assert_eq!(told(&fired(exists).await), "NodeCreated /");
    let (_, watch) = view.children("/").watch().await.unwrap();
    view.create("/b", "").await.unwrap();
    assert_eq!(told(&fired(watch).await), "NodeChildrenChanged /");
    let mut stream = view.watch_tree("/").await.unwrap();
    view.create("/a", "").await.unwrap();
    let event = next_event(&mut stream).await;
    assert_eq!((event.kind, &*event.path), (EventType::NodeCreated, "/a"));
    assert_eq!(zk.get("/view").await.unwrap().unwrap().data, "x");
    assert_eq!(view.root().chroot_path(), "/");
    let names: BTreeSet<_> = view
        .root()
        .children("/")
        .await
        .unwrap()
        .unwrap()
        .into_iter()
        .collect();
    assert!(names.contains("zookeeper"), "{names:?}");
}
