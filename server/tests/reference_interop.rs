//! One data directory, two servers: ours and Apache `ZooKeeper` 3.8.0, there and back.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::client;
use zk_client::{Acl, Auth, Client, CreateMode};
use zk_core::tree::{OwnerRules, TreeOptions};
use zk_core::wire::file_name::Compression;
use zk_core::wire::log_record::ENTRY_MAX;
use zk_server::Server;
use zk_server::storage::{DataDirs, RecoverOptions, Recovered, Standing, StdDisk, recover};
use zk_testkit::ensemble::reference::Reference;

/// Everything of a tree that clients can see.
type Contents = BTreeMap<String, String>;

async fn contents(zk: &Client) -> Contents {
    let mut contents = BTreeMap::new();
    let mut todo = vec!["/".to_owned()];
    while let Some(path) = todo.pop() {
        let acl = zk.get_acl(&path).await.expect("read");
        let node = zk.get(&path).await.expect("read").expect("there");
        let mut children = zk.children(&path).await.expect("read").expect("there");
        children.sort_unstable();
        contents.insert(path.clone(), format!("{node:?} {acl:?} {children:?}"));
        let below = path.trim_end_matches('/').to_owned();
        todo.extend(children.into_iter().map(|name| format!("{below}/{name}")));
    }
    contents
}

/// Fails with what differs, and nothing else.
fn assert_same(got: &Contents, wanted: &Contents, label: &str) {
    let paths = got.keys().chain(wanted.keys());
    let differ = paths.filter(|path| got.get(*path) != wanted.get(*path));
    let lines: Vec<String> = differ
        .map(|path| {
            format!(
                "{path}: {:?} instead of {:?}",
                got.get(path),
                wanted.get(path)
            )
        })
        .collect();
    assert!(lines.is_empty(), "{label}: {}", lines.join("\n"));
}

/// A bit of everything that is kept.
async fn write(zk: &Client, base: &str) {
    let at = |name: &str| format!("{base}/{name}");
    zk.create(base, "base").await.expect("created");
    for number in 0..40 {
        zk.create(&at(&format!("n{number}")), vec![b'x'; number * 20])
            .await
            .expect("created");
    }
    for number in (0..40).step_by(3) {
        zk.set(&at(&format!("n{number}")), "changed")
            .await
            .expect("set");
        zk.delete(&at(&format!("n{}", number + 1))).await.ok();
    }
    for _ in 0..3 {
        zk.create(&at("s-"), "")
            .mode(CreateMode::PersistentSequential)
            .await
            .expect("created");
    }
    zk.create(&at("container"), "")
        .mode(CreateMode::Container)
        .await
        .expect("created");
    zk.create(&at("container/child"), "")
        .await
        .expect("created");
    let acl = Acl::creator_all();
    zk.create(&at("private"), "for some")
        .acl(acl)
        .await
        .expect("created");
    zk.set_acl(&at("n0"), Acl::read_only()).await.expect("set");
    zk.transaction()
        .set(&at("n3"), "by multi", -1)
        .delete(&at("n2"), -1)
        .set(base, "by multi", -1)
        .await
        .expect("done");
    let failed = zk.transaction().set(base, "no", -1).check(base, 4711).await;
    failed.expect_err("a version that is not there");
}

async fn connect(address: std::net::SocketAddr) -> Client {
    let builder = Client::builder(&address.to_string())
        .auth(Auth::digest("user", "password"))
        .session_timeout(std::time::Duration::from_secs(30));
    tokio::time::timeout(support::SOON, builder.connect())
        .await
        .expect("in time")
        .expect("connected")
}

/// Copies the files of `version-2`.
fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.join("version-2"), to.join("version-2"));
    fs::remove_dir_all(&to).ok();
    fs::create_dir_all(&to).expect("created");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// What recovery says of a directory: every digest on the way has to agree.
fn check_digests(data: &Path) {
    let dirs = DataDirs {
        data: data.to_owned(),
        log: data.to_owned(),
        autocreate: false,
    };
    let disk = StdDisk::open(&dirs).expect("usable");
    let options = RecoverOptions {
        tree: TreeOptions {
            hash_seed: 42,
            owners: OwnerRules {
                extended_types: false,
                emulate_353_ttl: false,
            },
            digest: true,
        },
        trust_empty: false,
        entry_bytes_max: ENTRY_MAX,
        standing: Standing::Alone,
        compression: Compression::None,
    };
    let Recovered { tree, report, .. } = recover(&disk, &options).expect("recovered");
    assert_eq!(report.mismatch, None);
    assert_eq!(tree.digest(), Some(tree.recompute_digest()));
}

async fn there_and_back(compression: &str) {
    let ours = tempfile::tempdir().expect("a directory");
    let ours = ours.path();
    let start = || {
        Server::builder()
            .data_dir(ours)
            .set("snapCount", 30)
            .set("snapshot.compression.method", compression)
            .start()
    };
    let server = start().await.expect("started");
    let zk = connect(server.client_address()).await;
    write(&zk, "/ours").await;
    // 3.8.0 would lose it, if it stood in the log as what it is.
    support::create2s(server.client_address(), &["/ours/x", "/ours/x/y"]);
    zk.close(support::SOON).await;
    let zk = connect(server.client_address()).await;
    let left = contents(&zk).await;
    // Its session is left behind, open.
    server.shutdown().await.expect("stopped");
    drop(zk);

    let reference = Reference::builder()
        .config("snapshot.compression.method", compression)
        .config("snapCount", 30)
        .start()
        .await
        .expect("started");
    let theirs: PathBuf = reference.server(0).data_dir().to_owned();
    reference.stop(0).await.expect("stopped");
    copy(ours, &theirs);
    reference
        .restart(0)
        .await
        .expect("it starts on our directory");
    let zk = connect(reference.server(0).client_addr()).await;
    assert_same(
        &contents(&zk).await,
        &left,
        &format!("{compression:?} there"),
    );
    write(&zk, "/theirs").await;
    zk.close(support::SOON).await;
    let zk = connect(reference.server(0).client_addr()).await;
    let left = contents(&zk).await;
    drop(zk);
    let log = reference.server(0).log();
    assert!(!log.contains("Digests are not matching"), "{log}");
    reference.stop(0).await.expect("stopped");

    copy(&theirs, ours);
    check_digests(ours);
    let server = start().await.expect("it starts on their directory");
    let zk = connect(server.client_address()).await;
    assert_same(
        &contents(&zk).await,
        &left,
        &format!("{compression:?} back"),
    );
    write(&zk, "/again").await;
    support::create2s(server.client_address(), &["/again/x", "/again/x/y"]);
    let left = contents(&zk).await;
    server.shutdown().await.expect("stopped");
    check_digests(ours);

    copy(ours, &theirs);
    reference.restart(0).await.expect("it starts again");
    let zk = connect(reference.server(0).client_addr()).await;
    assert_same(
        &contents(&zk).await,
        &left,
        &format!("{compression:?} there again"),
    );
    let log = reference.server(0).log();
    assert!(!log.contains("Digests are not matching"), "{log}");
    reference.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_goes_there_and_back() {
    for compression in ["", "gz", "snappy"] {
        there_and_back(compression).await;
    }
}

/// Runs a tool of the reference.
fn tool(class: &str, arguments: &[&str]) -> String {
    let output = Command::new("java")
        .args([
            "-cp",
            "/usr/share/java/zookeeper.jar:/usr/share/java/*",
            class,
        ])
        .args(arguments)
        .output()
        .expect("java is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{class} {arguments:?}: {text} {errors}"
    );
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_of_the_reference_read_our_files() {
    for compression in ["", "gz", "snappy"] {
        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::builder()
            .data_dir(directory.path())
            .set("snapCount", 40)
            .set("snapshot.compression.method", compression)
            .start()
            .await
            .expect("started");
        let zk = client(server.client_address()).await;
        for number in 0..100 {
            zk.create(&format!("/n{number}"), "data")
                .await
                .expect("created");
        }
        let last = server.last_zxid();
        server.shutdown().await.expect("stopped");
        let files = fs::read_dir(directory.path().join("version-2")).expect("a directory");
        let mut txns = 0;
        let mut snapshots = 0;
        for path in files.flatten().map(|file| file.path()) {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let file = path.to_str().expect("text");
            if name.starts_with("log.") {
                let text = tool(
                    "org.apache.zookeeper.server.persistence.TxnLogToolkit",
                    &["-d", file],
                );
                assert!(!text.contains("CRC ERROR"), "{text}");
                let count = text.lines().find_map(|line| {
                    let rest = line.strip_prefix("EOF reached after ")?;
                    rest.split(' ').next()?.parse::<i64>().ok()
                });
                txns += count.unwrap_or_else(|| panic!("{text}"));
            } else if let Some(zxid) = name.strip_prefix("snapshot.") {
                snapshots += 1;
                let text = tool("org.apache.zookeeper.server.SnapshotFormatter", &[file]);
                assert!(text.contains("ZNode Details (count="), "{text}");
                let zxid = zxid.split('.').next().unwrap_or_default();
                let znodes = i64::from_str_radix(zxid, 16)
                    .expect("a zxid")
                    .saturating_sub(1)
                    .max(0);
                let found = text.lines().filter(|line| line.starts_with("/n")).count();
                assert_eq!(i64::try_from(found).expect("few"), znodes, "{name}: {text}");
            }
        }
        assert_eq!(txns, last.get(), "{compression}");
        assert!(snapshots > 1, "{compression}");
    }
}
