//! A server in this process, used through the client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zk_client::op::Transaction;
use zk_client::{Acl, Auth, Client, CreateMode, ErrorKind, EventType, WatchEnd};
use zk_server::Server;

/// Long enough for whatever is to happen soon.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"))
}

async fn client(address: SocketAddr) -> Client {
    let connect = Client::builder(&address.to_string())
        .session_timeout(Duration::from_secs(20))
        .connect();
    soon("connect", connect).await.expect("connected")
}

async fn read(zk: &Client, path: &str) -> Vec<u8> {
    let node = soon("read", zk.get(path)).await.expect("read");
    node.expect("there").data.to_vec()
}

async fn start() -> Server {
    soon("start", Server::builder().start())
        .await
        .expect("started")
}

/// Adds a znode of which only whoever asks may do anything.
fn create_own(transaction: Transaction<'_>, number: usize) -> Transaction<'_> {
    let (path, acl) = (format!("/n{number}"), Acl::creator_all());
    transaction.create_with(&path, "", CreateMode::Persistent, Some(&acl))
}

/// What the server answers to raw bytes, until it closes.
async fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    // A reset is as good an end as any other.
    let read = soon("answer", socket.read_to_end(&mut answer)).await;
    read.ok();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn client_creates_reads_changes_and_deletes() {
    let server = start().await;
    let zk = client(server.client_address()).await;
    zk.create("/a", "one").await.expect("created");
    let error = zk.create("/a", "two").await.expect_err("there already");
    assert_eq!(error.kind(), ErrorKind::NodeExists);
    assert_eq!(read(&zk, "/a").await, b"one");
    let stat = zk.set("/a", "three").await.expect("set");
    assert_eq!(stat.version.get(), 1);
    for _ in 0..3 {
        zk.create("/a/n-", "").sequential().await.expect("created");
    }
    let mut children = zk.children("/a").await.expect("listed").expect("there");
    children.sort();
    assert_eq!(children, ["n-0000000000", "n-0000000001", "n-0000000002"]);
    let error = zk.delete("/a").await.expect_err("not empty");
    assert_eq!(error.kind(), ErrorKind::NotEmpty);
    for child in children {
        zk.delete(&format!("/a/{child}")).await.expect("deleted");
    }
    zk.delete("/a").await.expect("deleted");
    assert!(zk.get("/a").await.expect("asked").is_none());
    zk.close(SOON).await;
    soon("shutdown", server.shutdown())
        .await
        .expect("stopped as told");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_tells_of_the_change_of_another_client() {
    let server = start().await;
    let (one, two) = (
        client(server.client_address()).await,
        client(server.client_address()).await,
    );
    one.create("/w", "1").await.expect("created");
    two.sync("/w").await.expect("synced");
    let (node, watch) = two.get("/w").watch().await.expect("read");
    assert_eq!(&node.data[..], b"1");
    one.set("/w", "2").await.expect("set");
    let WatchEnd::Event(event) = soon("event", watch).await else {
        panic!("no event");
    };
    assert_eq!(event.kind, EventType::NodeDataChanged);
    assert_eq!(read(&two, "/w").await, b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_reads_see_the_writes_before_them() {
    let server = start().await;
    let zk = client(server.client_address()).await;
    zk.create("/p", "start").await.expect("created");
    let mut pending = Vec::new();
    for number in 0..500 {
        let text = number.to_string();
        let write = zk.set("/p", text.clone()).send();
        let read = zk.get("/p").send();
        pending.push((text, write, read));
    }
    for (text, write, read) in pending {
        soon("write", write).await.expect("set");
        let node = soon("read", read).await.expect("read").expect("there");
        assert_eq!(&node.data[..], text.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_goes_with_its_session() {
    let builder = Server::builder().set("tickTime", 200);
    let server = soon("start", builder.start()).await.expect("started");
    let zk = client(server.client_address()).await;
    let other = client(server.client_address()).await;
    other
        .create("/closed", "")
        .ephemeral()
        .await
        .expect("created");
    other.close(SOON).await;
    assert!(zk.exists("/closed").await.expect("asked").is_none());

    // A client that says nothing more, without closing: raw bytes of a handshake.
    let silent = Client::builder(&server.client_address().to_string())
        .session_timeout(Duration::from_millis(600))
        .detach_on_drop(true)
        .connect();
    let silent = soon("connect", silent).await.expect("connected");
    silent
        .create("/silent", "")
        .ephemeral()
        .await
        .expect("created");
    let (stat, watch) = zk.exists("/silent").watch().await.expect("asked");
    assert!(stat.is_some());
    drop(silent);
    let WatchEnd::Event(event) = soon("expiry", watch).await else {
        panic!("no event");
    };
    assert_eq!(event.kind, EventType::NodeDeleted);
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_data_and_sessions() {
    let directory = tempfile::tempdir().expect("a directory");
    let builder = Server::builder().data_dir(directory.path());
    let server = soon("start", builder.start()).await.expect("started");
    let address = server.client_address();
    let zk = client(address).await;
    for number in 0..50 {
        zk.create(&format!("/n{number}"), number.to_string())
            .await
            .expect("created");
    }
    zk.create("/ephemeral", "mine")
        .ephemeral()
        .await
        .expect("created");
    soon("shutdown", server.shutdown())
        .await
        .expect("stopped as told");

    let builder = Server::builder()
        .data_dir(directory.path())
        .set("clientPort", address.port());
    let server = soon("start", builder.start()).await.expect("started again");
    assert_eq!(server.client_address(), address);
    // The client comes back by itself, with its session.
    let node = soon("read", zk.get("/n49")).await.expect("read");
    assert_eq!(&node.expect("kept").data[..], b"49");
    assert!(zk.exists("/ephemeral").await.expect("asked").is_some());
    zk.create("/after", "").await.expect("created");
}

/// The log, and what members send each other, is read with a limit.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_become_longer_than_what_is_read_spoil_no_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        Server::builder()
            .data_dir(directory.path())
            .set("jute.maxbuffer", 4096)
            .start()
    };
    let server = soon("start", start()).await.expect("started");
    let zk = client(server.client_address()).await;
    let other = client(server.client_address()).await;
    // Their paths are twelve kilobytes.
    for number in 0..150 {
        let path = format!("/{number:080}");
        other.create(&path, "").ephemeral().await.expect("created");
    }
    other.close(SOON).await;
    let children = soon("read", zk.children("/")).await.expect("read");
    assert_eq!(children.expect("there"), ["zookeeper"]);
    // Each list with them has a kilobyte.
    for number in 0..20 {
        let user = Auth::digest(&format!("user{number}"), "password");
        soon("auth", zk.add_auth(user)).await.expect("added");
    }
    let few = (0..4).fold(zk.transaction(), create_own);
    soon("few", few).await.expect("created");
    let many = (4..24).fold(zk.transaction(), create_own);
    let error = soon("many", many).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Marshalling);
    assert!(zk.exists("/n4").await.expect("asked").is_none());
    zk.create("/last", "").await.expect("created");
    let last = server.last_zxid();
    soon("shutdown", server.shutdown())
        .await
        .expect("stopped as told");

    let server = soon("start", start()).await.expect("started again");
    assert_eq!(server.last_zxid(), last);
    let zk = client(server.client_address()).await;
    let children = soon("read", zk.children("/")).await.expect("read");
    let mut names = children.expect("there");
    names.sort();
    assert_eq!(names, ["last", "n0", "n1", "n2", "n3", "zookeeper"]);
}

/// What was acknowledged is behind a limit that was lowered: that is told, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_limit_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = |limit: u32| {
        Server::builder()
            .data_dir(directory.path())
            .set("jute.maxbuffer", limit)
            .start()
    };
    let server = soon("start", start(8192)).await.expect("started");
    let zk = client(server.client_address()).await;
    zk.create("/a", vec![b'x'; 8000]).await.expect("created");
    // Nothing behind it, as at a crash.
    zk.detach().await;
    soon("shutdown", server.shutdown())
        .await
        .expect("stopped as told");
    let error = soon("start", start(2048)).await.expect_err("refused");
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |err| err.source());
    let text: Vec<String> = causes.map(ToString::to_string).collect();
    let text = text.join(": ");
    assert!(text.contains("at most 4096 are read"), "{text}");
    assert!(text.contains("jute.maxbuffer"), "{text}");
    let server = soon("start", start(8192)).await.expect("started again");
    let zk = client(server.client_address()).await;
    assert_eq!(read(&zk, "/a").await.len(), 8000);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_taken_and_recovered_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        Server::builder()
            .data_dir(directory.path())
            .set("snapCount", 20)
            .start()
    };
    let server = soon("start", start()).await.expect("started");
    let zk = client(server.client_address()).await;
    for number in 0..200 {
        zk.create(&format!("/n{number}"), vec![b'x'; 100])
            .await
            .expect("created");
    }
    let last = server.last_zxid();
    soon("shutdown", server.shutdown())
        .await
        .expect("stopped as told");
    let names = std::fs::read_dir(directory.path().join("version-2")).expect("listed");
    let names = names.map(|name| {
        name.expect("a name")
            .file_name()
            .into_string()
            .expect("text")
    });
    let names: Vec<String> = names.collect();
    let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert!(count("snapshot.") > 2 && count("log.") > 2, "{names:?}");
    let server = soon("start", start()).await.expect("started again");
    assert_eq!(server.last_zxid(), last);
    let zk = client(server.client_address()).await;
    assert_eq!(
        zk.children("/")
            .await
            .expect("listed")
            .expect("a root")
            .len(),
        201
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn four_letter_words_are_answered() {
    let builder = Server::builder().set("4lw.commands.whitelist", "*");
    let server = soon("start", builder.start()).await.expect("started");
    let address = server.client_address();
    let zk = client(address).await;
    zk.create("/e", "").ephemeral().await.expect("created");
    let (_, _watch) = zk.get("/e").watch().await.expect("read");
    let word = async |word: &str| {
        let answer = ask(address, word.as_bytes()).await;
        String::from_utf8(answer).expect("text")
    };
    assert_eq!(word("ruok").await, "imok");
    assert_eq!(word("isro").await, "rw");
    let srvr = word("srvr").await;
    assert!(srvr.contains("Mode: standalone\nNode count: 6\n"), "{srvr}");
    assert!(word("stat").await.contains("/127.0.0.1:"));
    assert!(
        word("conf")
            .await
            .contains(&format!("clientPort={}\n", address.port()))
    );
    assert_eq!(
        word("wchs").await,
        "1 connections watching 1 paths\nTotal watches:1\n"
    );
    assert!(word("wchp").await.starts_with("/e\n\t0x1"));
    assert!(word("dump").await.contains("/e"));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_closed_without_a_word() {
    let builder = Server::builder()
        .set("nio.sessionlessCnxnTimeout", 300)
        .set("maxClientCnxns", 3);
    let server = soon("start", builder.start()).await.expect("started");
    let address = server.client_address();
    // Too long for a first frame, negative, no handshake, and nothing at all.
    assert_eq!(ask(address, &[0, 0xff, 0xff, 0xff]).await, b"");
    assert_eq!(ask(address, &[0xff, 0xff, 0xff, 0xfe]).await, b"");
    assert_eq!(ask(address, &[0, 0, 0, 4, 1, 2, 3, 4]).await, b"");
    assert_eq!(ask(address, b"").await, b"");
    assert_eq!(
        ask(address, b"ruok").await,
        b"ruok is not executed because it is not in the whitelist.\n"
    );
    let _clients = [
        client(address).await,
        client(address).await,
        client(address).await,
    ];
    assert_eq!(
        ask(address, b"srvr").await,
        b"",
        "the fourth of one address"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_are_purged_while_the_server_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let builder = Server::builder()
        .data_dir(directory.path())
        .set("snapCount", 10)
        .set("autopurge.purgeInterval", "50ms");
    let server = soon("start", builder.start()).await.expect("started");
    let zk = client(server.client_address()).await;
    let snapshots = || {
        let names = std::fs::read_dir(directory.path().join("version-2")).expect("listed");
        let mut names: Vec<String> = names
            .map(|name| {
                name.expect("a name")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .filter(|name| name.starts_with("snapshot.") && !name.contains("tmp"))
            .collect();
        names.sort();
        names
    };
    zk.create("/p", "").await.expect("created");
    let purged = async {
        while snapshots().len() > 3 || snapshots().contains(&"snapshot.0".to_owned()) {
            zk.set("/p", "x").await.expect("set");
        }
    };
    soon("purge", purged).await;
    let last = server.last_zxid();
    soon("shutdown", server.shutdown())
        .await
        .expect("stopped as told");
    let builder = Server::builder().data_dir(directory.path());
    let server = soon("start", builder.start()).await.expect("started again");
    assert_eq!(server.last_zxid(), last);
}

/// Laws L4 and L5 over real threads and sockets: whoever is told of a change finds it, never an older
/// state afterwards, while many write and read at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_see_states_in_order() {
    const ROUNDS: i64 = 150;
    let server = start().await;
    let address = server.client_address();
    let setup = client(address).await;
    setup.create("/shared", "0").await.expect("created");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        tasks.spawn(async move {
            let zk = client(address).await;
            let own = format!("/own{number}");
            zk.create(&own, "").await.expect("created");
            let mut newest = 0;
            for round in 0..ROUNDS {
                let shared = zk.set("/shared", round.to_string()).send();
                let write = zk.set(&own, round.to_string()).send();
                let read = zk.get(&own).send();
                let look = zk.get("/shared").send();
                let shared = shared.await.expect("set").mzxid;
                write.await.expect("set");
                let own = read.await.expect("read").expect("there");
                assert_eq!(&own.data[..], round.to_string().as_bytes());
                let seen = look.await.expect("read").expect("there").stat.mzxid;
                assert!(seen >= shared, "a read does not see the write before it");
                assert!(seen.get() >= newest, "a state came back");
                newest = seen.get();
            }
            zk.close(SOON).await;
        });
    }
    for _ in 0..3 {
        tasks.spawn(async move {
            let zk = client(address).await;
            let mut newest = 0;
            for _ in 0..ROUNDS {
                let (node, watch) = zk.get("/shared").watch().await.expect("read");
                assert!(node.stat.mzxid.get() >= newest, "a state came back");
                newest = node.stat.mzxid.get();
                match timeout(Duration::from_millis(300), watch).await {
                    Ok(WatchEnd::Event(event)) => {
                        assert_eq!(event.kind, EventType::NodeDataChanged);
                        let node = zk.get("/shared").await.expect("read").expect("there");
                        let seen = node.stat.mzxid.get();
                        assert!(seen > newest, "an event came before what it tells of");
                        newest = seen;
                    }
                    Ok(end) => panic!("{end:?}"),
                    // The writers are done.
                    Err(_) => break,
                }
            }
        });
    }
    while let Some(done) = soon("clients", tasks.join_next()).await {
        done.expect("no client failed");
    }
    soon("shutdown", server.shutdown())
        .await
        .expect("no law was broken");
}
