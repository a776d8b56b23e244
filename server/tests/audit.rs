//! Who changed what, as the log tells it: `audit.enable`.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};
use tracing_subscriber::EnvFilter;
use zk_client::{Acl, Auth, Client, CreateMode, ErrorKind, Id, Perms, Ttl};
use zk_proto::request::{CreateRequest, Request};
use zk_proto::{Bytes, Xid};
use zk_server::AUDIT_TARGET;
use zk_testkit::Ensemble;

use support::SOON;

/// Lines that a server wrote so far.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    fn push(&self, line: String) {
        self.0.0.lock().push(line);
        self.0.1.notify_all();
    }

    /// The first line with this text, now or soon.
    fn wait_for(&self, text: &str) -> String {
        let mut lines = self.0.0.lock();
        let deadline = std::time::Instant::now() + SOON;
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let waited = self.0.1.wait_until(&mut lines, deadline);
            assert!(!waited.timed_out(), "no {text:?} in {lines:#?}");
        }
    }
}

/// A server whose log is kept.
struct Audited {
    child: Child,
    log: Log,
    reader: Option<JoinHandle<()>>,
}

impl Audited {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_zkserver"))
            .arg("start-foreground")
            .arg(directory.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Log::default();
        let writer = log.clone();
        let reader = std::thread::spawn(move || {
            lines.for_each(|line| writer.push(line.expect("text")));
        });
        Self {
            child,
            log,
            reader: Some(reader),
        }
    }

    /// A client that is called bob.
    async fn client(&self) -> Client {
        let serving = self.log.wait_for("serving address=");
        let (_, address) = serving.split_once("serving address=").expect("an address");
        let address = address.split_whitespace().next().expect("an address");
        let connect = Client::builder(address)
            .auth(Auth::digest("bob", "secret"))
            .connect();
        let connected = tokio::time::timeout(SOON, connect).await;
        connected.expect("in time").expect("connected")
    }

    /// Has it stop, as an operator does, and returns all that it wrote.
    fn stop(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("told");
        self.child.wait().expect("gone");
        let reader = self.reader.take().expect("not stopped yet");
        reader.join().expect("read to the end");
        std::mem::take(&mut *self.log.0.0.lock())
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the audit has to say: levels and messages.
fn audited(lines: &[String]) -> Vec<(String, String)> {
    let told = lines.iter().filter_map(|line| {
        let (head, message) = line.split_once(" - ")?;
        // Ours has another field there.
        let (head, message) = match message.split_once(" - ") {
            Some((more, message)) => (format!("{head} {more}"), message),
            None => (head.to_owned(), message),
        };
        let is_ours = head.contains(":audit@") || head.contains("Slf4jAuditLogger");
        let level = ["INFO", "ERROR"].into_iter().find(|of| head.contains(of))?;
        is_ours.then(|| (level.to_owned(), message.to_owned()))
    });
    told.collect()
}

/// A message with `session` for its session, and users in alphabetical order: the reference has that
/// of a hash table.
fn normal(message: &str) -> String {
    let fields = message.split('\t').map(|field| {
        if field.starts_with("session=0x") {
            return "session".to_owned();
        }
        let Some(users) = field.strip_prefix("user=") else {
            return field.to_owned();
        };
        let mut users: Vec<_> = users.split(',').collect();
        users.sort_unstable();
        format!("user={}", users.join(","))
    });
    fields.collect::<Vec<_>>().join("\t")
}

/// Who runs this test, and so the servers.
fn me() -> String {
    let output = Command::new("id").arg("-un").output().expect("ran");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

fn list(scheme: &str, id: &str) -> Acl {
    Acl::of([zk_client::Ace::new(Perms::ALL, Id::new(scheme, id))])
}

/// The requests behind `vectors/audit-3.9.3.txt`, in their order.
async fn requests_of_the_vector(zk: &Client) {
    zk.create("/a", "").await.expect("created");
    let error = zk.create("/a", "").await.expect_err("there already");
    assert_eq!(error.kind(), ErrorKind::NodeExists);
    zk.create("/e", "").ephemeral().await.expect("created");
    zk.set("/a", "data").await.expect("set");
    zk.set("/nope", "").await.expect_err("not there");
    let anyone = list("world", "anyone");
    zk.set_acl("/a", anyone).await.expect("set");
    zk.set_acl("/a", list("auth", "bob")).await.expect("set");
    zk.delete("/nope").await.expect_err("not there");
    zk.delete("/a").await.expect("deleted");
    zk.delete("/e").await.expect("deleted");
    zk.create("/e2", "").ephemeral().await.expect("created");
    zk.create("/c", "").container().await.expect("created");
    let reconfig = zk.reconfig().leaving("2").await;
    reconfig.expect_err("it stands alone");
    for path in ["", "/zookeeper_limits", "/zookeeper_stats"] {
        let path = format!("/zookeeper/quota/c{path}");
        zk.create(&path, "count=-1,bytes=-1")
            .await
            .expect("created");
    }
    zk.close(SOON).await;
}

/// Line by line what the reference wrote for the same requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_what_the_reference_tells() {
    let directory = tempfile::tempdir().expect("a directory");
    support::configure(directory.path(), "audit.enable=true");
    let server = Audited::start(directory.path());
    let zk = server.client().await;
    let session = zk.state().borrow().session().expect("a session");
    requests_of_the_vector(&zk).await;
    let lines = server.stop();
    let told = audited(&lines);

    let vector = include_str!("../vectors/audit-3.9.3.txt");
    let vector: Vec<String> = vector.lines().map(str::to_owned).collect();
    let as_root = |user: &str| {
        if user == me() {
            "root".to_owned()
        } else {
            user.to_owned()
        }
    };
    let ours: Vec<_> = told
        .iter()
        .map(|(level, message)| {
            let user = message
                .split('\t')
                .find_map(|field| field.strip_prefix("user="));
            let user = user.expect("a user");
            let message = message.replace(
                &format!("user={user}\t"),
                &format!("user={}\t", as_root(user)),
            );
            (level.clone(), normal(&message))
        })
        .collect();
    let theirs: Vec<_> = audited(&vector)
        .into_iter()
        .map(|(level, message)| (level, normal(&message)))
        .collect();
    assert_eq!(theirs.len(), vector.len());
    assert_eq!(ours, theirs);
    // What a start finds in the log was told when it happened.
    let again = Audited::start(directory.path());
    again.log.wait_for("operation=serverStart");
    assert_eq!(audited(&again.stop()).len(), 2);
    // The session, and the order of users, as they are.
    assert_eq!(
        told[1].1,
        format!(
            "session={session}\tuser=127.0.0.1,bob\tip=127.0.0.1\toperation=create\tznode=/a\t\
             znode_type=persistent\tresult=success"
        )
    );
}

/// A transaction by its parts, the names that znodes have got, what is refused before the tree is
/// looked at, and what is asked for by a client that does not stay to hear the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_of_every_change() {
    let directory = tempfile::tempdir().expect("a directory");
    support::configure(
        directory.path(),
        "audit.enable=true\nextendedTypesEnabled=true",
    );
    let server = Audited::start(directory.path());
    let zk = server.client().await;
    let session = zk.state().borrow().session().expect("a session");
    zk.transaction()
        .create("/a", "")
        .create_with("/a/s-", "", CreateMode::EphemeralSequential, None)
        .set("/a", "data", 0)
        .check("/a", 1)
        .delete("/a/s-0000000000", 0)
        .await
        .expect("done");
    let failing = zk.transaction().create("/b", "").create("/a", "");
    failing.await.expect_err("/a is there");
    let checking = zk.transaction().check("/a", 7);
    checking.await.expect_err("another version");
    zk.create("/a/n-", "").sequential().await.expect("created");
    let ttl = Ttl::new(Duration::from_hours(1)).expect("a duration");
    zk.create("/ttl", "").ttl(ttl).await.expect("created");
    zk.delete("/a").await.expect_err("it has a child");
    zk.set("/a", "")
        .version(9)
        .await
        .expect_err("another version");
    zk.get("/a").await.expect("read");
    zk.sync("/a").await.expect("synced");

    let address = server.log.wait_for("serving address=");
    let (_, address) = address.split_once("serving address=").expect("an address");
    let address = address.split_whitespace().next().expect("an address");
    let mut stranger = support::attach(address.parse().expect("an address"));
    let mut wire = bytes::BytesMut::new();
    let create = |path: &str| {
        Request::Create(CreateRequest {
            path: Some(path.into()),
            data: Some(Bytes::new()),
            acl: Some(vec![zk_proto::Acl::new(Perms::ALL, Id::ANYONE)]),
            flags: 0,
        })
    };
    zk_proto::frame::write_request(&mut wire, Xid::new(1), &create("no/path\nat all"));
    zk_proto::frame::write_request(&mut wire, Xid::new(2), &create("/gone"));
    stranger.write_all(&wire).expect("sent");
    drop(stranger);
    server.log.wait_for("znode=/gone");
    zk.close(SOON).await;

    let bob = format!("session={session}\tuser=127.0.0.1,bob\tip=127.0.0.1\toperation=");
    let told: Vec<_> = audited(&server.stop())
        .into_iter()
        .filter_map(|(level, message)| {
            let (who, what) = message.split_once("\toperation=")?;
            let is_bob = message.starts_with(&bob);
            let is_stranger = who.ends_with("\tuser=127.0.0.1\tip=127.0.0.1");
            let name = match (is_bob, is_stranger) {
                (true, _) => "bob",
                (_, true) => "stranger",
                _ => "server",
            };
            Some(format!("{level} {name} {}", what.replace('\t', " ")))
        })
        .collect();
    let expected = [
        "INFO server serverStart result=success",
        "INFO bob create znode=/a znode_type=persistent result=success",
        "INFO bob create znode=/a/s-0000000000 znode_type=ephemeral_sequential result=success",
        "INFO bob setData znode=/a result=success",
        "INFO bob delete znode=/a/s-0000000000 result=success",
        "ERROR bob multiOperation result=failure",
        "ERROR bob multiOperation result=failure",
        "INFO bob create znode=/a/n-0000000001 znode_type=persistent_sequential result=success",
        "INFO bob create znode=/ttl znode_type=persistent_with_ttl result=success",
        "ERROR bob delete znode=/a result=failure",
        "ERROR bob setData znode=/a result=failure",
        "ERROR stranger create znode=no/path\\nat all znode_type=persistent result=failure",
        "INFO stranger create znode=/gone znode_type=persistent result=success",
        "INFO server serverStop result=invoked",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_nothing_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    support::configure(directory.path(), "");
    let server = Audited::start(directory.path());
    let zk = server.client().await;
    zk.create("/a", "").ephemeral().await.expect("created");
    zk.create("/a", "").await.expect_err("there already");
    zk.close(SOON).await;
    let lines = server.stop();
    assert!(lines.iter().any(|line| line.contains("serving address=")));
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("operation="))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// Whatever the level of the log, and also that a server does not start.
#[test]
fn audit_does_not_depend_on_the_level() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = "audit.enable=true\nlog.level=error\nlog.format=json";
    support::configure(directory.path(), settings);
    let server = Audited::start(directory.path());
    let start = server.log.wait_for("serverStart");
    let message = |result: &str, operation: &str| {
        format!("user={}\\toperation={operation}\\tresult={result}", me())
    };
    assert!(
        start.contains(&message("success", "serverStart")),
        "{start}"
    );
    assert!(start.contains("\"target\":\"zk_server::audit\""), "{start}");
    let (code, text) = support::fails(directory.path());
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(&message("failure", "serverStart")), "{text}");
    let mut lines = server.stop();
    lines.retain(|line| line.starts_with('{'));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[1].contains(&message("invoked", "serverStop")),
        "{lines:#?}"
    );
}

/// What servers of this process tell.
impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.push(String::from_utf8_lossy(bytes).trim_end().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The server of a client tells of its requests, all of them that ephemeral znodes died; also under
/// another leader.
#[tokio::test(flavor = "multi_thread")]
async fn members_tell_of_their_own_clients_and_of_all_ephemerals() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("off,{AUDIT_TARGET}=info")))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let builder = Ensemble::builder().servers(3).config("audit.enable", true);
    let ensemble = builder.start().await.expect("started");
    let leader = ensemble.leader().await.expect("a leader");
    let follower = (leader + 1) % 3;
    let zk = ensemble.client_of(follower).await.expect("connected");
    zk.create("/a", "").await.expect("created");
    zk.create("/a", "").await.expect_err("there already");
    let mortal = ensemble.client_of(leader).await.expect("connected");
    mortal.create("/e", "").ephemeral().await.expect("created");
    let session = mortal.state().borrow().session().expect("a session");
    ensemble.expire(session).await.expect("over");
    let count = |text: &str| {
        let lines = log.0.0.lock();
        lines.iter().filter(|line| line.contains(text)).count()
    };
    let ephemeral = format!(
        "session={session}\tuser={}\toperation=ephemeralZNodeDeletionOnSessionCloseOrExpire\t\
         znode=/e\tresult=success",
        me()
    );
    let deadline = Instant::now() + SOON;
    while count(&ephemeral) < 3 {
        assert!(Instant::now() < deadline, "{:#?}", log.0.0.lock());
        sleep(Duration::from_millis(5)).await;
    }
    ensemble.stop(leader).await.expect("stopped");
    // One that was on its way when the leader went is told of by nobody.
    let mut attempt = 0;
    let survivor = loop {
        attempt += 1;
        let path = format!("/b{attempt}");
        if zk.create(&path, "").await.is_ok() {
            break path;
        }
    };
    zk.close(SOON).await;
    let under_another =
        format!("operation=create\tznode={survivor}\tznode_type=persistent\tresult=success");
    for (text, times) in [
        ("operation=serverStart\tresult=success", 3),
        (
            "operation=create\tznode=/a\tznode_type=persistent\tresult=success",
            1,
        ),
        (
            "operation=create\tznode=/a\tznode_type=persistent\tresult=failure",
            1,
        ),
        (
            "operation=create\tznode=/e\tznode_type=ephemeral\tresult=success",
            1,
        ),
        ("znode=/e\tresult=success", 3),
        ("operation=serverStop\tresult=invoked", 1),
        (&under_another, 1),
    ] {
        assert_eq!(count(text), times, "{text} in {:#?}", log.0.0.lock());
    }
}
