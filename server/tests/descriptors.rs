//! File descriptors: however many come, the server has those that it needs.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};

use support::{SOON, client, configure, dial, rest, start, start_under};

/// More than the server may have.
const MANY: usize = 200;

/// Connections that say nothing, once the server has dealt with all of them: it hangs up on the last.
async fn silent(address: SocketAddr) -> Vec<TcpStream> {
    let opened = tokio::task::spawn_blocking(move || {
        let kept = (0..MANY).map(|_| dial(address)).collect();
        assert_eq!(rest(dial(address)), b"");
        kept
    });
    opened.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_number_cost_the_log_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    configure(
        directory.path(),
        "maxClientCnxns=0\nnio.sessionlessCnxnTimeout=600000\nsnapCount=10",
    );
    let process = start_under("-n 128", directory.path());
    let zk = client(process.address).await;
    let sockets = silent(process.address).await;
    let names: Vec<String> = (0..100).map(|number| format!("/n{number}")).collect();
    for name in &names {
        let created = zk.create(name, "").timeout(SOON).await;
        created.unwrap_or_else(|error| panic!("{error}: {}", process.log.lock().expect("said")));
    }
    let files = fs::read_dir(directory.path().join("data/version-2")).expect("a directory");
    let logs = files.filter(|file| {
        let name = file.as_ref().expect("a file").file_name();
        name.to_string_lossy().starts_with("log.")
    });
    assert!(logs.count() > 3, "the log does not roll");
    let log = process.log.lock().expect("said").clone();
    assert_eq!(log.matches("clients are refused").count(), 1, "{log}");

    // There is room again when they go.
    drop(sockets);
    client(process.address).await;
    process.kill();
    let process = start(directory.path());
    let zk = client(process.address).await;
    for name in &names {
        assert!(zk.exists(name).await.expect("read").is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_election_port_keep_no_client_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("created");
    fs::write(data.join("myid"), "1").expect("written");
    let free = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listeners = [(); 6].map(|()| free());
    let ports = listeners
        .each_ref()
        .map(|one| one.local_addr().expect("an address").port());
    drop(listeners);
    let servers: Vec<String> = (1..)
        .zip(ports.chunks(2))
        .map(|(id, pair)| format!("server.{id}=127.0.0.1:{}:{}\n", pair[0], pair[1]))
        .collect();
    let limits = "initLimit=5\nsyncLimit=2\nquorumCnxnTimeoutMs=600000\n";
    configure(directory.path(), &format!("{limits}{}", servers.concat()));
    let process = start_under("-n 128", directory.path());
    let sockets = silent(([127, 0, 0, 1], ports[1]).into()).await;
    let address = process.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = dial(address);
        socket.write_all(b"srvr").expect("sent");
        rest(socket)
    });
    assert_ne!(answer.await.expect("no panic"), b"");
    drop(sockets);
}

#[test]
fn the_binary_takes_what_the_system_grants() {
    let directory = tempfile::tempdir().expect("a directory");
    configure(directory.path(), "");
    let process = start_under("-S -n 100", directory.path());
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.child.id()));
    let limits = limits.expect("a Linux system");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let numbers: Vec<&str> = line.expect("a line").split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1], "soft and hard: {limits}");
    assert_ne!(numbers[0], "100");
}
