//! Snapshots that operators ask for over HTTP.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zk_client::{Acl, Auth, Client, Perms};
use zk_core::conn::auth::DigestScheme;
use zk_proto::Id;
use zk_server::Server;
use zk_server::faults::Faults;

use support::http::{Answer, ask, ask_as, request};
use support::{SOON, client};

const SNAPSHOT: &str = "/commands/snapshot";

/// A server on this directory.
async fn start(directory: &Path, settings: &[(&str, &str)], faults: &Faults) -> Server {
    let mut builder = Server::builder()
        .data_dir(directory)
        .faults(faults)
        .set("admin.enableServer", true)
        .set("admin.serverPort", 0);
    for (key, value) in settings {
        builder = builder.set(key, value);
    }
    builder.start().await.expect("started")
}

fn admin(server: &Server) -> SocketAddr {
    server.admin_address().expect("an admin server")
}

/// Asks as somebody on this machine, whom a new tree lets do everything.
async fn snapshot(server: &Server) -> Answer {
    ask_as(admin(server), "GET", SNAPSHOT, Some("ip")).await
}

fn error(answer: &Answer) -> String {
    answer.json()["error"]
        .as_str()
        .expect("an error")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_tree_and_a_server_starts_on_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = start(directory.path(), &[], &Faults::default()).await;
    let zk = client(server.client_address()).await;
    zk.create("/all", "").await.expect("created");
    // More than is read at a time.
    let data = |number: usize| format!("{number:04}").repeat(300);
    for number in 0..300 {
        let path = format!("/all/{number}");
        zk.create(&path, data(number)).await.expect("created");
    }
    let zxid = server.last_zxid();
    let answer = snapshot(&server).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(answer.header("last_zxid"), Some(&*zxid.to_string()));
    let len = answer.bytes.len().to_string();
    assert!(answer.bytes.len() > 300_000, "{len}");
    assert_eq!(answer.header("snapshot_size"), Some(&*len));
    assert_eq!(answer.header("content-length"), Some(&*len));
    // It is a snapshot like any other.
    let name = format!("version-2/snapshot.{:x}", zxid.get());
    let left = fs::read(directory.path().join(&name)).expect("left there");
    assert_eq!(left, answer.bytes);
    let last = ask(admin(&server), "GET", "/commands/last_snapshot").await;
    assert_eq!(last.json()["zxid"], format!("{:x}", zxid.get()));
    zk.create("/later", "").await.expect("created");
    zk.close(SOON).await;
    server.shutdown().await.expect("stopped");

    let other = tempfile::tempdir().expect("a directory");
    fs::create_dir(other.path().join("version-2")).expect("made");
    fs::write(other.path().join(&name), &answer.bytes).expect("written");
    let server = start(other.path(), &[], &Faults::default()).await;
    assert_eq!(server.last_zxid(), zxid);
    let zk = client(server.client_address()).await;
    for number in 0..300 {
        let path = format!("/all/{number}");
        let node = zk.get(&path).await.expect("read").expect("there");
        assert_eq!(node.data, data(number), "{path}");
    }
    assert!(zk.exists("/later").await.expect("read").is_none());
    drop(zk);

    // The one that it came from has all.
    let server = start(directory.path(), &[], &Faults::default()).await;
    let zk = client(server.client_address()).await;
    assert!(zk.exists("/later").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_want_the_file_is_told_what_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = start(directory.path(), &[], &Faults::default()).await;
    let path = "/commands/snap?streaming=false";
    let answer = ask_as(admin(&server), "GET", path, Some("ip")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        "{\n  \"command\" : \"snapshot\",\n  \"error\" : null\n}"
    );
    let zxid = server.last_zxid();
    assert_eq!(answer.header("last_zxid"), Some(&*zxid.to_string()));
    let name = format!("version-2/snapshot.{:x}", zxid.get());
    let left = fs::read(directory.path().join(name)).expect("left there");
    assert_eq!(
        answer.header("snapshot_size"),
        Some(&*left.len().to_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_do_everything_gets_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("admin.rateLimiterIntervalInMS", "0")];
    let server = start(directory.path(), &settings, &Faults::default()).await;
    let asked = async |who| {
        let answer = ask_as(admin(&server), "GET", SNAPSHOT, who).await;
        (
            answer.status,
            (answer.status != 200).then(|| error(&answer)),
        )
    };
    let missing = "Auth info is missing for the command".to_owned();
    assert_eq!(asked(None).await, (401, Some(missing)));
    for nobody in ["x509", "basic bob:secret", "digest bob secret", "sasl bob"] {
        let error = "Not authenticated".to_owned();
        assert_eq!(asked(Some(nobody)).await, (401, Some(error)), "{nobody}");
    }
    assert_eq!(asked(Some("digest al:secret")).await, (200, None));

    let address = server.client_address().to_string();
    let zk = Client::builder(&address)
        .auth(Auth::digest("bob", "secret"))
        .connect();
    let zk = timeout(SOON, zk)
        .await
        .expect("in time")
        .expect("connected");
    let bob = Id::new("digest", DigestScheme::identity("bob:secret"));
    let acl = Acl::of([zk_client::Ace::new(Perms::ALL, bob)]);
    zk.set_acl("/", acl).await.expect("set");
    let refused = (403, Some("Not authorized".to_owned()));
    for stranger in ["ip", "digest al:secret", "digest bob:other"] {
        assert_eq!(asked(Some(stranger)).await, refused, "{stranger}");
    }
    assert_eq!(asked(Some("digest bob:secret")).await, (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("admin.rateLimiterIntervalInMS", "60000")];
    let server = start(directory.path(), &settings, &Faults::default()).await;
    assert_eq!(snapshot(&server).await.status, 200);
    let answer = snapshot(&server).await;
    assert_eq!(answer.status, 429);
    assert_eq!(error(&answer), "Snapshot request was rate limited");
    let wait = answer.header("retry-after").expect("a time").parse();
    let wait: u64 = wait.expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let monitor = ask(admin(&server), "GET", "/commands/monitor").await;
    assert_eq!(monitor.json()["snapshot_rate_limited_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_or_could_not_be_restored_is_not_given_out() {
    for (key, status) in [
        ("admin.snapshot.enabled", 503),
        ("serializeLastProcessedZxid.enabled", 500),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let server = start(directory.path(), &[(key, "false")], &Faults::default()).await;
        let answer = snapshot(&server).await;
        assert_eq!(answer.status, status, "{key}");
        assert!(error(&answer).starts_with("Snapshot command "), "{key}");
    }
}

/// A disk without room for one more file; the server has all it needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_is_no_end_of_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("admin.rateLimiterIntervalInMS", "0")];
    let faults = Faults::default();
    let server = start(directory.path(), &settings, &faults).await;
    let zk = client(server.client_address()).await;
    zk.create("/a", "").await.expect("created");
    // What one that got further would leave.
    let part = directory.path().join("version-2/snapshot.99.tmp");
    fs::write(part, "ZKSN").expect("written");
    faults.fill_disk();
    let answer = snapshot(&server).await;
    assert_eq!(answer.status, 500);
    assert_eq!(error(&answer), "The snapshot could not be written");
    faults.heal();
    zk.create("/b", "").await.expect("created");
    let files = fs::read_dir(directory.path().join("version-2")).expect("there");
    let names: Vec<_> = files
        .map(|file| file.expect("a file").file_name())
        .collect();
    let is_ours = |name: &&std::ffi::OsString| {
        let name = name.to_string_lossy();
        !name.starts_with("log.") && *name != *"snapshot.0"
    };
    let others: Vec<_> = names.iter().filter(is_ours).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(snapshot(&server).await.status, 200);
}

/// Whoever takes nothing of the file holds on to it for a while only.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("admin.idleTimeout", "2000")];
    let server = start(directory.path(), &settings, &Faults::default()).await;
    let zk = client(server.client_address()).await;
    // More than sockets hold.
    for number in 0..48 {
        let data = vec![7_u8; 1_000_000];
        let path = format!("/{number}");
        zk.create(&path, data).await.expect("created");
    }
    let mut socket = TcpStream::connect(admin(&server)).await.expect("connected");
    let wish = request("GET", SNAPSHOT, Some("ip"));
    socket.write_all(wish.as_bytes()).await.expect("sent");
    let mut first = [0; 15];
    socket.read_exact(&mut first).await.expect("read");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let held = || {
        let links = fs::read_dir("/proc/self/fd").expect("a Linux system");
        let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        let within = |path: &std::path::PathBuf| path.starts_with(directory.path());
        let is_snapshot = |path: &std::path::PathBuf| path.to_string_lossy().contains("snapshot.");
        targets.filter(within).filter(is_snapshot).count()
    };
    let given_up = async {
        while held() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, given_up).await.expect("given up");
    let mut rest = Vec::new();
    // A reset is as good an end as any other.
    timeout(SOON, socket.read_to_end(&mut rest))
        .await
        .expect("in time")
        .ok();
    assert!(rest.len() < 48_000_000, "{}", rest.len());
}
