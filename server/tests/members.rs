//! Members of one ensemble, embedded in this process.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use zk_client::Client;
use zk_proto::ServerId;
use zk_server::faults::Faults;
use zk_server::{MemberSockets, Phase, Role, Server};

/// Long enough for whatever is to happen soon.
const SOON: Duration = Duration::from_secs(30);

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
        let server = builder.set("tickTime", 200).member(id, sockets).start();
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
