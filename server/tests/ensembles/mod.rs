//! What the tests of ensembles share: clients that write while servers come and go, and the judgement
//! of what is left.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use zk_client::{Client, Stat};
use zk_testkit::ensemble::Ensemble;

/// How long anything may take that takes a moment, on a machine with much to do.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// Pause between the writes of one client.
const PACE: Duration = Duration::from_millis(5);
/// Reads sent at a time.
const READS: usize = 100;
/// How long a whole tree may take to be read: a million znodes in a debug build do.
const READ_ALL: Duration = Duration::from_mins(10);
/// A server tells its digest at each multiple of this zxid.
///
/// # Source
/// Apache `ZooKeeper` 3.8, `DataTree#DIGEST_LOG_INTERVAL`.
const DIGEST_INTERVAL: i64 = 128;

/// Clients that write, each on its own, until they are told to stop.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Written>>,
}

/// What one client wrote.
#[derive(Debug)]
pub(crate) struct Written {
    client: Client,
    name: String,
    /// Its session at the start, which must live on.
    session: zk_client::SessionId,
    /// Numbers of znodes whose creation was acknowledged.
    created: Vec<u64>,
    /// The highest number set and acknowledged.
    counted: u64,
    /// Writes that were not acknowledged.
    unknown: u64,
}

impl Load {
    /// Starts clients that may use all servers of an ensemble.
    pub(crate) async fn start(ensemble: &Ensemble, clients: usize) -> Self {
        let connect = ensemble.connect_string();
        let zk = Client::connect(&connect).await.expect("connected");
        for path in ["/load", "/alive"] {
            zk.create(path, "").if_absent().await.expect("created");
        }
        zk.close(SOON).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for number in 0..clients {
            let zk = Client::builder(&connect)
                .session_timeout(Duration::from_secs(20))
                .connect()
                .await
                .expect("connected");
            let written = Written::start(zk, format!("w{number}")).await;
            writers.push(tokio::spawn(written.go_on(Arc::clone(&is_over))));
        }
        Self { is_over, writers }
    }

    /// Ends the load, and demands: all that was acknowledged is there, sessions and ephemerals live,
    /// and all servers named have the same tree, by what clients read of it and by its digest. Returns
    /// how many writes were acknowledged.
    pub(crate) async fn judge(self, ensemble: &Ensemble, servers: &[usize]) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let written: Vec<Written> = join_all(self.writers)
            .await
            .into_iter()
            .map(|joined| joined.expect("no panic"))
            .collect();
        for one in &written {
            let wait = one.client.wait_connected(SOON).await;
            wait.unwrap_or_else(|error| panic!("{} is lost: {error}", one.name));
        }
        if let Some(one) = written.first() {
            same_digests(ensemble, servers, &one.client).await;
        }
        let trees = trees(ensemble, servers).await;
        let (first, tree) = trees.first().expect("a server");
        for (server, other) in trees.iter().skip(1) {
            assert_same(*first, tree, *server, other);
        }
        let mut count = 0;
        for one in &written {
            one.check(tree);
            count += one.created.len();
        }
        join_all(written.iter().map(|one| one.client.close(SOON))).await;
        count
    }
}

/// Demands that servers have the same digest of their trees at one zxid. Writes until there is one at
/// which they keep it.
async fn same_digests(ensemble: &Ensemble, servers: &[usize], zk: &Client) {
    let sets = (0..=DIGEST_INTERVAL).map(|_| zk.set("/alive", "").send());
    let mut set = join_all(sets).await.into_iter();
    let first = set.next().expect("sent").expect("set").mzxid.get();
    let at = (first / DIGEST_INTERVAL + 1) * DIGEST_INTERVAL;
    let line = format!("{at:x}: ");
    let mut digests = Vec::new();
    for &server in servers {
        let mut poll = interval(Duration::from_millis(20));
        let told = async {
            loop {
                poll.tick().await;
                let reply = ensemble.four_letter(server, "hash").await;
                let reply = reply.expect("answered");
                if let Some(digest) = reply.lines().find_map(|one| one.strip_prefix(&line)) {
                    return digest.to_owned();
                }
            }
        };
        let told = timeout(SOON, told).await;
        digests.push(told.unwrap_or_else(|_| panic!("server {server} tells no digest at {at:x}")));
    }
    let is_same = digests.iter().all(|digest| Some(digest) == digests.first());
    assert!(is_same, "digests of {servers:?} at {at:x} are {digests:?}");
}

/// Writes so many znodes below a path that is new.
pub(crate) async fn fill(zk: &Client, path: &str, count: usize) {
    const AT_A_TIME: usize = 1000;
    zk.create(path, "").await.expect("created");
    for start in (0..count).step_by(AT_A_TIME) {
        let end = count.min(start + AT_A_TIME);
        let paths: Vec<_> = (start..end).map(|n| format!("{path}/{n}")).collect();
        let creates = paths.iter().map(|path| zk.create(path, "znode").send());
        for created in join_all(creates).await {
            created.expect("created");
        }
    }
}

/// Has a new machine take the place of a server: the same id, nothing on its disk, and another address,
/// of which the others learn when they are restarted one after the other, the leader last.
pub(crate) async fn move_to_another_machine(ensemble: &Ensemble, server: usize) {
    let all: Vec<usize> = (0..ensemble.servers().len()).collect();
    let but = |one: usize| -> Vec<usize> { all.iter().copied().filter(|it| *it != one).collect() };
    ensemble.kill(server).await.expect("killed");
    fs::remove_dir_all(ensemble.server(server).data_dir().join("version-2")).expect("a state");
    until_settled(ensemble, &but(server)).await;
    rehouse(ensemble, server, server);
    ensemble.start_server(server).await.expect("started");
    let leader = until_settled(ensemble, &all).await;
    let mut others = but(server);
    others.sort_by_key(|one| *one == leader);
    for other in others {
        ensemble.stop(other).await.expect("stopped");
        until_settled(ensemble, &but(other)).await;
        rehouse(ensemble, other, server);
        ensemble.start_server(other).await.expect("started");
        until_settled(ensemble, &all).await;
    }
}

/// Tells a server of the other address that a server has.
fn rehouse(ensemble: &Ensemble, told: usize, moved: usize) {
    let path = ensemble.server(told).data_dir().with_file_name("zoo.cfg");
    let text = fs::read_to_string(&path).expect("zoo.cfg");
    let key = format!("server.{}", moved + 1);
    let line = text.lines().find_map(|line| line.strip_prefix(&key));
    let before = line
        .and_then(|line| line.strip_prefix('='))
        .expect("a member");
    let after = before.replacen("127.0.0.1", "127.0.0.2", 1);
    assert_ne!(before, after);
    edit(ensemble, told, &[(&key, &after)]);
}

/// Replaces lines of a server's `zoo.cfg` by others.
pub(crate) fn edit(ensemble: &Ensemble, server: usize, lines: &[(&str, &str)]) {
    let path = ensemble.server(server).data_dir().with_file_name("zoo.cfg");
    let text = fs::read_to_string(&path).expect("zoo.cfg");
    let is_replaced = |line: &str| {
        let key = line.split_once('=').map(|(key, _)| key);
        lines.iter().any(|(replaced, _)| key == Some(replaced))
    };
    let mut text: Vec<_> = text
        .lines()
        .filter(|line| !is_replaced(line))
        .map(str::to_owned)
        .collect();
    text.extend(lines.iter().map(|(key, value)| format!("{key}={value}")));
    let text = text.join("\n");
    fs::write(path, text).expect("zoo.cfg");
}

/// A file with the user of servers and its password, for both sides.
pub(crate) fn jaas(dir: &Path, password: &str) -> String {
    let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
    let text = format!(
        "QuorumServer {{ {module} user_zk=\"{password}\"; }};\n\
         QuorumLearner {{ {module} username=\"zk\" password=\"{password}\"; }};\n"
    );
    let path = dir.join("jaas.conf");
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

impl Written {
    /// What is there before servers come and go: a counter, and an ephemeral.
    async fn start(client: Client, name: String) -> Self {
        let session = client.session().await.expect("connected").id();
        let (home, alive) = (format!("/load/{name}"), format!("/alive/{name}"));
        client.create(&home, "0").await.expect("created");
        client
            .create(&alive, "")
            .ephemeral()
            .await
            .expect("created");
        Self {
            client,
            name,
            session,
            created: Vec::new(),
            counted: 0,
            unknown: 0,
        }
    }

    async fn go_on(mut self, is_over: Arc<AtomicBool>) -> Self {
        let home = format!("/load/{}", self.name);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 1.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            pace.tick().await;
            let path = format!("{home}/n{number}");
            match self.client.create(&path, number.to_string()).await {
                Ok(_) => self.created.push(number),
                Err(_) => self.unknown += 1,
            }
            match self.client.set(&home, number.to_string()).await {
                Ok(_) => self.counted = number,
                Err(_) => self.unknown += 1,
            }
        }
        self
    }

    fn check(&self, tree: &Tree) {
        let home = format!("/load/{}", self.name);
        let missing: Vec<_> = self
            .created
            .iter()
            .filter(|number| !tree.contains_key(&format!("{home}/n{number}")))
            .collect();
        assert_eq!(missing, Vec::<&u64>::new(), "acknowledged, and lost");
        let (data, _) = &tree[&home];
        let counter: u64 = std::str::from_utf8(data)
            .expect("text")
            .parse()
            .expect("a number");
        assert!(counter >= self.counted, "{counter} after {}", self.counted);
        let token = self.client.session_token().expect("a session");
        assert_eq!(
            token.id, self.session,
            "the session of {} is another",
            self.name
        );
        let owner = tree
            .get(&format!("/alive/{}", self.name))
            .map(|(_, stat)| stat.ephemeral_owner);
        assert_eq!(owner, Some(self.session), "the ephemeral of {}", self.name);
    }
}

/// Data and stat of all znodes.
pub(crate) type Tree = BTreeMap<String, (Vec<u8>, Stat)>;

/// The trees of servers, of each after a sync.
pub(crate) async fn trees(ensemble: &Ensemble, servers: &[usize]) -> Vec<(usize, Tree)> {
    let mut trees = Vec::new();
    for &server in servers {
        let address = ensemble.server(server).client_addr().to_string();
        let read = timeout(READ_ALL, tree(&address)).await;
        trees.push((server, read.expect("in time")));
    }
    trees
}

async fn tree(address: &str) -> Tree {
    let zk = Client::connect(address).await.expect("connected");
    zk.sync("/").await.expect("synced");
    let mut tree = Tree::new();
    let mut level = vec!["/".to_owned()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for some in level.chunks(READS) {
            let nodes = some.iter().map(|path| zk.get(path).send());
            let children = some.iter().map(|path| zk.children(path).send());
            let (nodes, children) = tokio::join!(join_all(nodes), join_all(children));
            for ((path, node), children) in some.iter().zip(nodes).zip(children) {
                let node = node.expect("read").expect("nobody writes");
                tree.insert(path.clone(), (node.data.to_vec(), node.stat));
                let children = children.expect("read").expect("nobody writes");
                let slash = if path == "/" { "" } else { "/" };
                let full = |child: &String| format!("{path}{slash}{child}");
                below.extend(children.iter().map(full));
            }
        }
        level = below;
    }
    // Each server writes this one by itself, with its own clock.
    tree.remove("/zookeeper/config");
    zk.close(SOON).await;
    tree
}

fn assert_same(one: usize, tree: &Tree, other: usize, theirs: &Tree) {
    for (path, znode) in tree {
        assert_eq!(
            Some(znode),
            theirs.get(path),
            "{path} differs between servers {one} and {other}"
        );
    }
    assert_eq!(tree.len(), theirs.len(), "servers {one} and {other}");
}

/// What a server says that it is; nothing if it does not serve.
pub(crate) async fn mode(ensemble: &Ensemble, server: usize) -> Option<String> {
    let reply = ensemble.four_letter(server, "srvr").await.ok()?;
    let mode = reply.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(mode.to_owned())
}

/// The last zxid that a server says it has.
pub(crate) async fn zxid(ensemble: &Ensemble, server: usize) -> i64 {
    let reply = ensemble
        .four_letter(server, "srvr")
        .await
        .expect("answered");
    let zxid = reply.lines().find_map(|line| line.strip_prefix("Zxid: 0x"));
    i64::from_str_radix(zxid.expect("serving"), 16).expect("a number")
}

/// Waits until servers are what they should be.
pub(crate) async fn until_modes(ensemble: &Ensemble, wanted: &[(usize, Option<&str>)]) {
    let deadline = Instant::now() + SOON;
    let mut poll = interval(Duration::from_millis(20));
    loop {
        poll.tick().await;
        let mut modes = Vec::new();
        for (server, _) in wanted {
            modes.push((*server, mode(ensemble, *server).await));
        }
        let are = modes
            .iter()
            .map(|(server, mode)| (*server, mode.as_deref()));
        if are.eq(wanted.iter().copied()) {
            return;
        }
        if Instant::now() > deadline {
            let logs: Vec<_> = wanted
                .iter()
                .map(|(server, _)| ensemble.logs(*server))
                .collect();
            panic!(
                "wanted {wanted:?}, are {modes:?}\n{}",
                logs.join("\n----\n")
            );
        }
    }
}

/// Waits until there is one leader, and all other servers named follow.
pub(crate) async fn until_settled(ensemble: &Ensemble, servers: &[usize]) -> usize {
    let deadline = Instant::now() + SOON;
    let mut poll = interval(Duration::from_millis(20));
    loop {
        poll.tick().await;
        let mut modes = Vec::new();
        for server in servers {
            modes.push((*server, mode(ensemble, *server).await));
        }
        let is = |wanted: &'static str| {
            move |(_, mode): &&(usize, Option<String>)| mode.as_deref() == Some(wanted)
        };
        let followers = modes.iter().filter(is("follower")).count();
        let leader = modes.iter().find(is("leader"));
        if let Some((leader, _)) = leader.filter(|_| followers + 1 == servers.len()) {
            return *leader;
        }
        if Instant::now() > deadline {
            let logs: Vec<_> = servers
                .iter()
                .map(|server| ensemble.logs(*server))
                .collect();
            panic!("not settled: {modes:?}\n{}", logs.join("\n----\n"));
        }
    }
}
