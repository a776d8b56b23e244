//! The mesh among its like, and with peers played by hand: what captured probes of an Apache server
//! tell, and where ours is to do better.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zk_core::ensemble::EnsembleConfig;
use zk_core::wire::election::{PeerState, Round};
use zk_proto::Zxid;

use super::super::race::testing::Silent;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn sid(id: i64) -> ServerId {
    ServerId::new(id)
}

fn vote(leader: i64) -> Notification {
    Notification {
        state: Some(PeerState::Looking),
        leader: sid(leader),
        zxid: Zxid::new(7),
        round: Round::new(1),
        peer_epoch: 1,
        version: 2,
        config: Some("server.1=h:1:2\nversion=0".into()),
        is_ours: true,
        proposed: None,
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.expect("bound")
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("an address")
}

fn config(ports: &[(i64, u16)]) -> Arc<EnsembleConfig> {
    let line = |(id, port): &(i64, u16)| format!("server.{id}=127.0.0.1:1:{port}:participant\n");
    let text: String = ports.iter().map(line).collect();
    Arc::new(EnsembleConfig::parse(&text).expect("legal"))
}

/// A mesh under test, and what it tells.
struct Tested {
    mesh: ElectionMesh,
    events: UnboundedReceiver<MeshEvent>,
    stopping: CancellationToken,
}

impl Drop for Tested {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl Tested {
    fn start(me: i64, config: Arc<EnsembleConfig>, listener: TcpListener) -> Self {
        let (sender, events) = unbounded_channel();
        let stopping = CancellationToken::new();
        let options = MeshOptions {
            auth: PeerAuth::default(),
            me: sid(me),
            members: config.into(),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
        };
        let sink = Arc::new(move |event| {
            sender.send(event).ok();
        });
        let tasks = TaskTracker::new();
        let mesh = ElectionMesh::start(options, vec![listener], sink, &tasks, &stopping);
        Self {
            mesh,
            events,
            stopping,
        }
    }

    async fn until(&mut self, is_wanted: impl Fn(&MeshEvent) -> bool) -> MeshEvent {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("it runs");
                if is_wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("in time")
    }

    async fn until_received(&mut self, from: i64, leader: i64) {
        let wanted = MeshEvent::Received(sid(from), vote(leader));
        self.until(|event| *event == wanted).await;
    }
}

fn initial(id: i64, address: &str) -> Bytes {
    let addresses = vec![address.to_owned()];
    let sid = sid(id);
    InitialMessage { sid, addresses }.to_bytes()
}

async fn closes(socket: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(PATIENCE, socket.read(&mut byte)).await;
    assert!(matches!(read.expect("in time"), Ok(0) | Err(_)), "{byte:?}");
}

/// Servers 1, 2 and 3, of which 2 is a mesh; 1 and 3 are played.
async fn second() -> (Tested, SocketAddr, TcpListener, TcpListener) {
    let (one, two, three) = (listen().await, listen().await, listen().await);
    let at = address(&two);
    let config = config(&[
        (1, address(&one).port()),
        (2, at.port()),
        (3, address(&three).port()),
    ]);
    (Tested::start(2, config, two), at, one, three)
}

#[tokio::test]
async fn all_of_five_hear_all_others_whoever_dials() {
    let mut listeners = Vec::new();
    for _ in 0..5 {
        listeners.push(listen().await);
    }
    let ports: Vec<_> = (1..)
        .zip(listeners.iter().map(|one| address(one).port()))
        .collect();
    let config = config(&ports);
    let mut meshes: Vec<_> = (1..)
        .zip(listeners)
        .map(|(id, listener)| Tested::start(id, Arc::clone(&config), listener))
        .collect();
    for leader in 1..4 {
        for (from, mesh) in (1i64..).zip(&meshes) {
            for to in (1..=5).filter(|to| *to != from) {
                mesh.mesh.send(sid(to), &vote(leader));
            }
        }
        for (to, mesh) in (1i64..).zip(&mut meshes) {
            let mut missing: Vec<_> = (1..=5).filter(|from| *from != to).collect();
            while !missing.is_empty() {
                let event = mesh
                    .until(|event| matches!(event, MeshEvent::Received(_, v) if *v == vote(leader)))
                    .await;
                if let MeshEvent::Received(from, _) = event {
                    missing.retain(|id| *id != from.get());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_peer_with_a_smaller_sid_is_dialled_back_where_it_says_it_is() {
    let (mut mesh, at, _one, _three) = second().await;
    let elsewhere = listen().await;
    let mut dialled = TcpStream::connect(at).await.expect("accepted");
    let place = address(&elsewhere).to_string();
    dialled.write_all(&initial(1, &place)).await.expect("sent");
    closes(&mut dialled).await;
    let accept = tokio::time::timeout(PATIENCE, elsewhere.accept()).await;
    let (mut back, _) = accept.expect("in time").expect("accepted");
    let expected = initial(2, &at.to_string());
    let mut got = vec![0; expected.len()];
    back.read_exact(&mut got).await.expect("read");
    assert_eq!(got, expected);
    mesh.until(|event| *event == MeshEvent::Reachable(sid(1)))
        .await;
    // Only the latest is sent, and both directions work.
    back.write_all(&vote(9).to_frame()).await.expect("sent");
    mesh.until_received(1, 9).await;
    mesh.mesh.send(sid(1), &vote(8));
    let expected = vote(8).to_frame();
    let mut got = vec![0; expected.len()];
    back.read_exact(&mut got).await.expect("read");
    assert_eq!(got, expected);
}

#[tokio::test]
async fn a_peer_with_a_larger_sid_keeps_its_newest_connection() {
    let (mut mesh, at, ..) = second().await;
    let hello = initial(3, "127.0.0.1:9");
    let mut old = TcpStream::connect(at).await.expect("accepted");
    // In two segments, of which the reference would make nothing.
    let (first, second) = hello.split_at(25);
    old.set_nodelay(true).expect("set");
    old.write_all(first).await.expect("sent");
    tokio::task::yield_now().await;
    old.write_all(second).await.expect("sent");
    old.write_all(&vote(3).to_frame()).await.expect("sent");
    mesh.until_received(3, 3).await;
    let mut new = TcpStream::connect(at).await.expect("accepted");
    new.write_all(&hello).await.expect("sent");
    closes(&mut old).await;
    new.write_all(&vote(4).to_frame()).await.expect("sent");
    mesh.until_received(3, 4).await;
    mesh.mesh.send(sid(3), &vote(5));
    let mut got = vec![0; vote(5).to_frame().len()];
    new.read_exact(&mut got).await.expect("read");
    assert_eq!(got, vote(5).to_frame());
}

#[tokio::test]
async fn the_smaller_sid_only_makes_itself_known() {
    let (mesh, _at, _one, three) = second().await;
    mesh.mesh.send(sid(3), &vote(1));
    let accept = tokio::time::timeout(PATIENCE, three.accept()).await;
    let (mut socket, _) = accept.expect("in time").expect("accepted");
    let mut got = Vec::new();
    socket.read_to_end(&mut got).await.expect("closed");
    assert!(got.starts_with(&(-65_536i64).to_be_bytes()));
}

#[tokio::test]
async fn strangers_duplicates_and_garbage_are_shown_the_door_and_stop_nobody() {
    let (mut mesh, at, ..) = second().await;
    // They say nothing, and stay.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(at).await.expect("accepted"));
    }
    let long = [&initial(3, "h:1")[..16], &2049i32.to_be_bytes()].concat();
    for bad in [
        initial(2, "127.0.0.1:9").to_vec(),
        initial(i64::MAX, "127.0.0.1:9").to_vec(),
        initial(3, "nocolon").to_vec(),
        (-65_534i64).to_be_bytes().to_vec(),
        b"GET / HTTP/1.1\r\n\r\n"[..8]
            .iter()
            .map(|byte| byte | 0x80)
            .collect(),
        long,
    ] {
        let mut socket = TcpStream::connect(at).await.expect("accepted");
        socket.write_all(&bad).await.expect("sent");
        closes(&mut socket).await;
    }
    for len in [0, -1, 524_289] {
        let mut socket = TcpStream::connect(at).await.expect("accepted");
        socket
            .write_all(&initial(3, "127.0.0.1:9"))
            .await
            .expect("sent");
        socket.write_i32(len).await.expect("sent");
        closes(&mut socket).await;
    }
    let mut socket = TcpStream::connect(at).await.expect("accepted");
    socket
        .write_all(&initial(3, "127.0.0.1:9"))
        .await
        .expect("sent");
    // Notifications that mean nothing are passed over.
    let short = [&20i32.to_be_bytes()[..], &[7; 20]].concat();
    socket.write_all(&short).await.expect("sent");
    socket.write_all(&vote(6).to_frame()).await.expect("sent");
    mesh.until_received(3, 6).await;
    drop(silent);
}

#[tokio::test]
async fn a_peer_is_reached_past_an_address_that_answers_nobody() {
    let silent = Silent::start().await;
    let (one, two) = (listen().await, listen().await);
    let (dead, live) = (silent.port, address(&one).port());
    let mine = address(&two);
    let text = format!(
        "server.1=127.0.0.1:1:{dead}:participant|127.0.0.1:2:{live}:participant\n\
         server.2=127.0.0.1:1:{}:participant\n",
        mine.port()
    );
    let config = Arc::new(EnsembleConfig::parse(&text).expect("legal"));
    let mesh = Tested::start(2, config, two);
    mesh.mesh.send(sid(1), &vote(2));
    let accept = tokio::time::timeout(PATIENCE, one.accept()).await;
    let (mut socket, _) = accept.expect("in time").expect("accepted");
    let expected = initial(2, &mine.to_string());
    let mut got = vec![0; expected.len()];
    socket.read_exact(&mut got).await.expect("read");
    assert_eq!(got, expected);
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_and_found_when_it_comes() {
    let (one, two) = (listen().await, listen().await);
    let (port, mine) = (address(&one).port(), address(&two).port());
    drop(one);
    let config = config(&[(1, port), (2, mine)]);
    let mut mesh = Tested::start(2, Arc::clone(&config), two);
    mesh.mesh.send(sid(1), &vote(2));
    mesh.until(|event| *event == MeshEvent::Unreachable(sid(1)))
        .await;
    let one = TcpListener::bind(("127.0.0.1", port)).await.expect("bound");
    let mut late = Tested::start(1, config, one);
    late.until_received(2, 2).await;
    // It is gone again: what is sent then is told to be in vain.
    late.stopping.cancel();
    mesh.mesh.send(sid(1), &vote(1));
    mesh.until(|event| *event == MeshEvent::Unreachable(sid(1)))
        .await;
}
