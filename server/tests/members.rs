//! Members of one ensemble, embedded in this process.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use zk_client::Client;
use zk_proto::ServerId;
use zk_server::faults::Faults;
use zk_server::{MemberSockets, Phase, Role, Server};

use support::SOON;
use support::http::ask;

/// Three members that know each other's ports.
struct Trio {
    servers: [Option<Server>; 3],
    faults: [Faults; 3],
    ports: [(u16, u16); 3],
    directories: [TempDir; 3],
}

impl Trio {
    async fn start() -> Self {
        let sockets = [(); 3].map(|()| sockets(0, 0));
        let port = |socket: &TcpListener| socket.local_addr().expect("bound").port();
        let ports = sockets
            .each_ref()
            .map(|one| (port(&one.quorum), port(&one.election)));
        let mut trio = Self {
            servers: [None, None, None],
            faults: [(); 3].map(|()| Faults::default()),
            ports,
            directories: [(); 3].map(|()| tempfile::tempdir().expect("a directory")),
        };
        for (index, sockets) in sockets.into_iter().enumerate() {
            trio.run(index, sockets).await;
        }
        trio
    }

    async fn run(&mut self, index: usize, sockets: MemberSockets) {
        self.faults[index] = Faults::default();
        let mut builder = Server::builder()
            .data_dir(self.directories[index].path())
            .faults(&self.faults[index]);
        for (at, (quorum, election)) in self.ports.iter().enumerate() {
            let line = format!("127.0.0.1:{quorum}:{election}");
            builder = builder.set(&format!("server.{}", at + 1), line);
        }
        let id = ServerId::new(i64::try_from(index).expect("small") + 1);
        let builder = builder
            .set("tickTime", 200)
            .set("admin.enableServer", true)
            .set("admin.serverPort", 0);
        let server = builder.member(id, sockets).start();
        self.servers[index] = Some(server.await.expect("started"));
    }

    async fn restart(&mut self, index: usize) {
        let (quorum, election) = self.ports[index];
        self.run(index, sockets(quorum, election)).await;
    }

    async fn kill(&mut self, index: usize) {
        self.faults[index].kill();
        let server = self.servers[index].take().expect("running");
        server.shutdown().await.ok();
    }

    /// Waits until `count` servers follow or lead; the index of the leader.
    async fn settled(&self, count: usize) -> usize {
        let deadline = Instant::now() + SOON;
        loop {
            let statuses = self
                .servers
                .each_ref()
                .map(|one| one.as_ref().map(Server::status));
            let works = statuses
                .iter()
                .flatten()
                .filter(|one| one.phase == Phase::Broadcast);
            let leader = statuses
                .iter()
                .position(|one| one.is_some_and(|one| one.role == Role::Leading));
            if works.count() == count
                && let Some(leader) = leader
            {
                return leader;
            }
            assert!(Instant::now() < deadline, "{statuses:#?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the admin server of a member says to a command.
    async fn admin(&self, index: usize, command: &str) -> Value {
        let server = self.servers[index].as_ref().expect("running");
        let admin = server.admin_address().expect("an admin server");
        let answer = ask(admin, "GET", &format!("/commands/{command}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A port of a member as the admin server tells it.
    fn place(port: u16) -> String {
        format!("127.0.0.1:{port}")
    }

    async fn client(&self, indexes: &[usize]) -> Client {
        let address = |&index: &usize| self.servers[index].as_ref().map(Server::client_address);
        let addresses: Vec<String> = indexes
            .iter()
            .filter_map(address)
            .map(|one| one.to_string())
            .collect();
        let addresses = addresses.join(",");
        let connect = Client::connect(&addresses);
        timeout(SOON, connect)
            .await
            .expect("in time")
            .expect("connected")
    }
}

fn sockets(quorum: u16, election: u16) -> MemberSockets {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port");
    MemberSockets {
        quorum: bind(quorum),
        election: bind(election),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_elect_a_leader_and_serve_as_one() {
    let trio = Trio::start().await;
    let leader = trio.settled(3).await;
    let zk = trio.client(&[(leader + 1) % 3]).await;
    zk.create("/a", "one").await.expect("created");
    for index in 0..3 {
        let zk = trio.client(&[index]).await;
        zk.sync("/a").await.expect("synced");
        let node = zk.get("/a").await.expect("read").expect("there");
        assert_eq!(node.data, "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_go_on_without_the_third_and_bring_it_back() {
    let mut trio = Trio::start().await;
    let leader = trio.settled(3).await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let zk = trio.client(&others).await;
    zk.create("/before", "").await.expect("created");
    trio.kill(leader).await;
    trio.settled(2).await;
    let zk = trio.client(&others).await;
    assert!(zk.get("/before").await.expect("read").is_some());
    for count in 0..100 {
        zk.create(&format!("/after-{count}"), "")
            .await
            .expect("created");
    }
    trio.restart(leader).await;
    trio.settled(3).await;
    let zk = trio.client(&[leader]).await;
    zk.sync("/").await.expect("synced");
    assert!(zk.get("/after-99").await.expect("read").is_some());
}

/// As Apache's 3.9.3 answers, but for which addresses could be reached.
#[tokio::test(flavor = "multi_thread")]
async fn members_tell_operators_of_themselves_and_of_the_ensemble() {
    let mut trio = Trio::start().await;
    let leader = trio.settled(3).await;
    let zk = trio.client(&[0, 1, 2]).await;
    zk.create("/a", "").await.expect("created");
    for number in 0..130 {
        zk.set("/a", number.to_string()).await.expect("set");
    }
    let address = |port: u16| {
        let place = Trio::place(port);
        json!({
            "empty": false,
            "all_addresses": [place],
            "wildcard_addresses": [format!("0.0.0.0:{port}")],
            "all_ports": [port],
            "all_host_strings": ["127.0.0.1"],
            "one": place,
        })
    };
    for index in 0..3 {
        let zk = trio.client(&[index]).await;
        zk.sync("/").await.expect("synced");
        let server = trio.servers[index].as_ref().expect("running");
        let client = server.client_address().to_string();
        let (quorum, election) = trio.ports[index];
        assert_eq!(
            trio.admin(index, "lead").await,
            json!({
                "is_leader": index == leader,
                "leader_id": leader + 1,
                "leader_ip": "127.0.0.1",
                "command": "leader",
                "error": null,
            })
        );
        let voter = |(at, (quorum, election)): (usize, &(u16, u16))| {
            let client = if at == index { client.as_str() } else { "" };
            let view = json!({
                "server_addresses": [Trio::place(*quorum)],
                "election_addresses": [Trio::place(*election)],
                "client_address": client,
                "learner_type": "participant",
            });
            ((at + 1).to_string(), view)
        };
        let voters = trio.ports.iter().enumerate().map(voter);
        let view = &trio.admin(index, "voting_view").await["current_config"];
        assert_eq!(*view, Value::Object(voters.collect()));
        let state = trio.admin(index, "zabstate").await;
        let zxid = server.last_zxid();
        assert_eq!(
            state,
            json!({
                "myid": index + 1,
                "is_leader": index == leader,
                "quorum_address": address(quorum),
                "election_address": address(election),
                "client_address": client,
                "voting": true,
                "last_zxid": zxid.to_string(),
                "zab_epoch": 1,
                "zab_counter": zxid.counter(),
                "zabstate": "broadcast",
                "command": "zabstate",
                "error": null,
            })
        );
        let hash = trio.admin(index, "hash").await;
        assert_eq!(hash["digests"][0]["zxid"], 0x1_0000_0080_i64);
        assert_eq!(hash["digests"][0]["digest_version"], 2);
        assert_eq!(
            hash["digests"],
            trio.admin(leader, "hash").await["digests"],
            "{index}"
        );
        let monitor = trio.admin(index, "monitor").await;
        let role = if index == leader {
            "leading"
        } else {
            "following"
        };
        assert_eq!(monitor["peer_state"], format!("{role} - broadcast"));
        let connections = &trio.admin(index, "cons").await["connections"];
        let mut last = connections.as_array().expect("a list").iter();
        assert!(
            last.any(|conn| conn["last_operation"] == "SYNC"),
            "{connections}"
        );
    }
    // Without a quorum a member says no more of itself.
    let left = (leader + 1) % 3;
    trio.kill(leader).await;
    trio.kill((leader + 2) % 3).await;
    let sentence = "This ZooKeeper instance is not currently serving requests";
    let deadline = Instant::now() + SOON;
    while trio.admin(left, "leader").await["error"] != sentence {
        assert!(Instant::now() < deadline, "it goes on alone");
        sleep(Duration::from_millis(5)).await;
    }
    for command in ["monitor", "voting_view", "ruok", "hash"] {
        assert_eq!(
            trio.admin(left, command).await,
            json!({"command": command, "error": sentence})
        );
    }
    assert_eq!(
        trio.admin(left, "zabstate").await,
        json!({"voting": false, "zabstate": "", "command": "zabstate", "error": null})
    );
}
