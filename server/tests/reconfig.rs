//! Members that come and go while the others serve: servers in this process, on files of their own.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use zk_client::{Client, ErrorKind, EventType, WatchItem};
use zk_core::conn::handshake::ServingMode;
use zk_proto::ServerId;
use zk_server::config::{Config, Strictness};
use zk_server::{MemberSockets, Role, Server};
use zk_testkit::ensemble::free_port;

use support::SOON;

/// Pause between looks at what is waited for.
const POLL: Duration = Duration::from_millis(5);

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    quorum: u16,
    election: u16,
    client: u16,
}

/// Servers with their directories, running or not.
struct Servers {
    home: TempDir,
    ports: BTreeMap<i64, Ports>,
    running: BTreeMap<i64, Server>,
}

impl Servers {
    /// Servers that do not run yet, with ports of their own.
    fn new(count: i64) -> Self {
        let mut servers = Self {
            home: tempfile::tempdir().expect("a directory"),
            ports: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        for id in 1..=count {
            let port = || free_port().expect("a port");
            let ports = Ports {
                quorum: port(),
                election: port(),
                client: port(),
            };
            servers.ports.insert(id, ports);
        }
        servers
    }

    /// Three that serve, and may be changed by anybody.
    async fn three_of(count: i64) -> Self {
        let mut servers = Self::new(count);
        for id in 1..=3 {
            servers.configure(id, &[1, 2, 3]);
            servers.start(id).await;
        }
        servers.until_serving(&[1, 2, 3]).await;
        servers
    }

    fn dir(&self, id: i64) -> PathBuf {
        self.home.path().join(id.to_string())
    }

    /// How a member is written.
    fn line(&self, id: i64, role: &str) -> String {
        let Ports {
            quorum,
            election,
            client,
        } = self.ports[&id];
        format!("server.{id}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}")
    }

    fn configure(&self, id: i64, members: &[i64]) {
        let data = self.dir(id).join("data");
        fs::create_dir_all(&data).expect("created");
        fs::write(data.join("myid"), id.to_string()).expect("written");
        let lines = members.iter().map(|&id| self.line(id, "participant"));
        let text = format!(
            "# of server {id}\ntickTime=200\ninitLimit=20\nsyncLimit=10\ndataDir={}\n\
             admin.enableServer=false\npreAllocSize=1024\nskipACL=yes\nreconfigEnabled=true\n{}\n",
            data.display(),
            lines.collect::<Vec<_>>().join("\n"),
        );
        fs::write(self.dir(id).join("zoo.cfg"), text).expect("written");
    }

    /// Starts a server with what its file says.
    async fn start(&mut self, id: i64) {
        let file = self.dir(id).join("zoo.cfg");
        let resolved = Config::load(&file, &[], Strictness::Normal).expect("legal");
        let ports = self.ports[&id];
        let sockets = MemberSockets {
            quorum: bind(ports.quorum),
            election: bind(ports.election),
        };
        let builder = Server::builder().config(resolved.config);
        let server = builder.member(ServerId::new(id), sockets).start().await;
        self.running.insert(id, server.expect("started"));
    }

    async fn stop(&mut self, id: i64) {
        let server = self.running.remove(&id).expect("running");
        server.shutdown().await.expect("in order");
    }

    fn roles(&self) -> BTreeMap<i64, Role> {
        let role = |(id, server): (&i64, &Server)| (*id, server.status().role);
        self.running.iter().map(role).collect()
    }

    fn leader(&self) -> Option<i64> {
        let leads = |(id, role)| (role == Role::Leading).then_some(id);
        self.roles().into_iter().find_map(leads)
    }

    /// Waits until all of these serve, one of them as leader. Tells which.
    async fn until_serving(&self, ids: &[i64]) -> i64 {
        let is_serving = || {
            let serves = |id: &i64| {
                let status = self.running[id].status();
                status.mode == ServingMode::Full
            };
            ids.iter().all(serves) && self.leader().is_some_and(|leader| ids.contains(&leader))
        };
        self.until("all to serve", is_serving).await;
        self.leader().expect("there")
    }

    async fn until_role(&self, id: i64, role: Role) {
        let is_it = || self.roles().get(&id) == Some(&role);
        self.until("another role", is_it).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.roles());
            sleep(POLL).await;
        }
    }

    async fn client(&self, ids: &[i64]) -> Client {
        let address = |id: &i64| format!("127.0.0.1:{}", self.ports[id].client);
        let addresses: Vec<String> = ids.iter().map(address).collect();
        Client::connect(&addresses.join(","))
            .await
            .expect("connected")
    }

    /// Who the members are, as a server tells its clients.
    async fn members(&self, id: i64) -> BTreeSet<i64> {
        let zk = self.client(&[id]).await;
        zk.sync("/").await.expect("synced");
        let config = zk.get_config().await.expect("read");
        let text = String::from_utf8(config.data.to_vec()).expect("text");
        let id = |line: &str| {
            line.strip_prefix("server.")?
                .split_once('=')?
                .0
                .parse()
                .ok()
        };
        text.lines().filter_map(id).collect()
    }

    async fn until_members(&self, of: &[i64], members: &[i64]) {
        let wanted: BTreeSet<i64> = members.iter().copied().collect();
        let deadline = Instant::now() + SOON;
        for &id in of {
            loop {
                let found = self.members(id).await;
                if found == wanted {
                    break;
                }
                assert!(Instant::now() < deadline, "of {id}: {found:?}");
                sleep(POLL).await;
            }
        }
    }

    /// Changes the members by way of a server, once those who come are in step.
    async fn reconfig(&self, at: i64, joining: &str, leaving: &str) {
        let deadline = Instant::now() + SOON;
        let zk = self.client(&[at]).await;
        loop {
            let mut request = zk.reconfig();
            if !joining.is_empty() {
                request = request.joining(joining);
            }
            if !leaving.is_empty() {
                request = request.leaving(leaving);
            }
            match request.await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(POLL).await;
        }
    }
}

fn bind(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port")
}

/// A client that writes until it is told to stop.
struct Writer {
    client: Client,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Vec<u64>>,
}

impl Writer {
    async fn start(servers: &Servers, ids: &[i64]) -> Self {
        let client = servers.client(ids).await;
        client.create("/w", "").await.expect("created");
        let is_over = Arc::new(AtomicBool::new(false));
        let (zk, over) = (client.clone(), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            let mut written = Vec::new();
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                if zk.create(&format!("/w/{number}"), "").await.is_ok() {
                    written.push(number);
                }
                sleep(POLL).await;
            }
            written
        });
        Self {
            client,
            is_over,
            task,
        }
    }

    /// Ends it, and demands that all that was acknowledged is there. Tells how much that is.
    async fn judge(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let written = self.task.await.expect("no panic");
        self.client.sync("/").await.expect("synced");
        let found = self
            .client
            .children("/w")
            .await
            .expect("read")
            .expect("there");
        let found: BTreeSet<u64> = found.iter().filter_map(|name| name.parse().ok()).collect();
        let lost: Vec<_> = written.iter().filter(|one| !found.contains(one)).collect();
        assert_eq!(lost, Vec::<&u64>::new(), "acknowledged, and lost");
        written.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_nothing_that_was_acknowledged_is_lost() {
    let mut servers = Servers::three_of(5).await;
    let writer = Writer::start(&servers, &[1, 2, 3, 4, 5]).await;
    for id in [4, 5] {
        servers.configure(id, &[1, 2, 3, id]);
        servers.start(id).await;
    }
    servers.until_serving(&[1, 2, 3, 4, 5]).await;

    let joining = format!(
        "{},{}",
        servers.line(4, "participant"),
        servers.line(5, "participant")
    );
    servers.reconfig(1, &joining, "").await;
    let all = [1, 2, 3, 4, 5];
    servers.until_members(&all, &all).await;
    let leader = servers.leader().expect("one leads on");

    // A follower leaves, and stays as one without a vote.
    let follower = if leader == 1 { 2 } else { 1 };
    servers.reconfig(leader, "", &follower.to_string()).await;
    let four: Vec<i64> = all.into_iter().filter(|id| *id != follower).collect();
    servers.until_members(&all, &four).await;
    servers.until_role(follower, Role::Following).await;

    // It comes back as an observer, then with a vote.
    let observer = servers.line(follower, "observer");
    servers.reconfig(leader, &observer, "").await;
    servers.until_role(follower, Role::Observing).await;
    servers.until_serving(&all).await;
    let voter = servers.line(follower, "participant");
    // Observers do not count as in step: the others are enough.
    servers.reconfig(leader, &voter, "").await;
    servers.until_role(follower, Role::Following).await;
    servers.until_serving(&all).await;

    // The leader leaves: another leads, and the members are four.
    servers.reconfig(leader, "", &leader.to_string()).await;
    let four: Vec<i64> = all.into_iter().filter(|id| *id != leader).collect();
    let has_changed = || servers.leader().is_some_and(|now| now != leader);
    servers.until("another leader", has_changed).await;
    servers.until_serving(&all).await;
    servers.until_members(&all, &four).await;

    let written = writer.judge().await;
    assert!(written > 10, "{written} writes are no load");

    // Everybody comes back with the members that there were last.
    for id in all {
        servers.stop(id).await;
    }
    for &id in &four {
        servers.start(id).await;
    }
    servers.until_serving(&four).await;
    servers.until_members(&four, &four).await;
    let zk = servers.client(&four).await;
    let found = zk.children("/w").await.expect("read").expect("there");
    assert!(found.len() >= written);
    let error = Config::load(
        &servers.dir(leader).join("zoo.cfg"),
        &[],
        Strictness::Normal,
    );
    let error = error.expect_err("no member any more").to_string();
    assert!(error.contains("is not in the server list"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_tell_the_members_as_the_reference_does() {
    let mut servers = Servers::three_of(4).await;
    let names = |servers: &Servers, id: i64| -> Vec<String> {
        let entries = fs::read_dir(servers.dir(id)).expect("there");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("read"))).collect();
        names.sort();
        names
    };
    let first = [
        "data",
        "zoo.cfg",
        "zoo.cfg.bak",
        "zoo.cfg.dynamic.100000000",
    ];
    for id in 1..=3 {
        let are_there = || names(&servers, id) == first;
        servers.until("files", are_there).await;
        let text = fs::read_to_string(servers.dir(id).join("zoo.cfg")).expect("there");
        assert!(text.starts_with(&format!("# of server {id}\n")), "{text}");
        assert!(!text.contains("server.1"), "{text}");
        let end = "zoo.cfg.dynamic.100000000\n";
        assert!(text.ends_with(end), "{text}");
    }
    servers.configure(4, &[1, 2, 3, 4]);
    servers.start(4).await;
    servers.until_serving(&[1, 2, 3, 4]).await;
    servers.reconfig(1, &servers.line(4, "observer"), "").await;
    servers.until_role(4, Role::Observing).await;
    for id in 1..=4 {
        let newest = || {
            let text = fs::read_to_string(servers.dir(id).join("zoo.cfg")).expect("there");
            let pointer = text
                .lines()
                .find_map(|line| line.strip_prefix("dynamicConfigFile="));
            let members = pointer.and_then(|path| fs::read_to_string(path).ok());
            members.is_some_and(|members| members.contains(&servers.line(4, "observer")))
        };
        servers.until("the new file", newest).await;
    }
    let none_is_proposed = || {
        let names = names(&servers, 1);
        names.iter().all(|name| !name.contains(".dynamic.next"))
    };
    servers.until("no proposed members", none_is_proposed).await;
}

/// What the architecture tells operators to do: other members, in a file with a younger version.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_lost_the_others_for_good_goes_on_with_members_in_a_younger_file() {
    let mut servers = Servers::three_of(3).await;
    servers
        .client(&[1])
        .await
        .create("/a", "kept")
        .await
        .expect("created");
    let names_file = || {
        let text = fs::read_to_string(servers.dir(1).join("zoo.cfg")).expect("there");
        text.contains("dynamicConfigFile=")
    };
    servers.until("a file with the members", names_file).await;
    for id in 1..=3 {
        servers.stop(id).await;
    }
    let file = servers.dir(1).join("zoo.cfg");
    let text = fs::read_to_string(&file).expect("there");
    let (text, last) = text.rsplit_once("dynamicConfigFile=").expect("named");
    let (start, version) = last.trim_end().rsplit_once('.').expect("a version");
    let version = i64::from_str_radix(version, 16).expect("a number") + 1;
    let younger = format!("{start}.{version:x}");
    fs::write(&younger, servers.line(1, "participant")).expect("written");
    let text = format!("{text}standaloneEnabled=false\ndynamicConfigFile={younger}\n");
    fs::write(&file, text).expect("written");
    servers.start(1).await;
    servers.until_serving(&[1]).await;
    assert_eq!(servers.members(1).await, BTreeSet::from([1]));
    let kept = servers.client(&[1]).await.get("/a").await.expect("read");
    assert_eq!(kept.expect("there").data, "kept");

    // From there on as ever.
    servers.configure(2, &[1, 2]);
    fs::remove_dir_all(servers.dir(2).join("data/version-2")).expect("removed");
    servers.start(2).await;
    servers
        .reconfig(1, &servers.line(2, "participant"), "")
        .await;
    servers.until_members(&[1, 2], &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_watch_on_the_members_fires_once_for_each_change() {
    let servers = Servers::three_of(3).await;
    let leader = servers.leader().expect("one leads");
    let mut followers = (1..=3).filter(|id| *id != leader);
    let (stays, leaves) = (
        followers.next().expect("two"),
        followers.next().expect("two"),
    );
    for at in [leader, stays] {
        let zk = servers.client(&[at]).await;
        let mut watch = zk.watch_node("/zookeeper/config").await.expect("set");
        let member = servers.line(leaves, "participant");
        for (joining, leaving) in [("", leaves.to_string()), (&*member, String::new())] {
            servers.reconfig(leader, joining, &leaving).await;
            // Whatever the change fires here comes before the answer.
            zk.sync("/").await.expect("synced");
            let told = std::iter::from_fn(|| watch.next().now_or_never().flatten());
            let told: Vec<WatchItem> = told.collect();
            let [WatchItem::Event(event)] = &told[..] else {
                panic!("at {at}: {told:?}");
            };
            assert_eq!(event.kind, EventType::NodeDataChanged);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_switch_nothing_is_written_and_nothing_is_changed() {
    let mut servers = Servers::new(3);
    for id in 1..=3 {
        servers.configure(id, &[1, 2, 3]);
        let file = servers.dir(id).join("zoo.cfg");
        let text = fs::read_to_string(&file).expect("there");
        fs::write(
            &file,
            text.replace("reconfigEnabled=true", "reconfigEnabled=false"),
        )
        .expect("written");
        servers.start(id).await;
    }
    servers.until_serving(&[1, 2, 3]).await;
    let zk = servers.client(&[1]).await;
    let error = zk.reconfig().leaving("3").await.expect_err("switched off");
    assert_eq!(error.kind(), ErrorKind::ReconfigDisabled);
    let config = zk.get_config().await.expect("read");
    assert!(config.data.ends_with(b"version=0"));
    assert_eq!(fs::read_dir(servers.dir(1)).expect("there").count(), 2);
}
