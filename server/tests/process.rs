//! The binary: what it acknowledged outlives it, however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;
use zk_client::Client;

const SOON: Duration = Duration::from_secs(30);

/// A process that is killed when the test is over.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts the binary on a data directory and waits until it says where it listens.
fn start(directory: &Path) -> Process {
    let config = directory.join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
        directory.join("data").display()
    );
    fs::write(&config, text).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_zkserver"))
        .arg("start-foreground")
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut seen = Vec::new();
    let address = loop {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("ended: {seen:?}"))
            .expect("text");
        if let Some((_, rest)) = line.split_once("serving address=") {
            let address = rest.split_whitespace().next().expect("an address");
            break address.parse().expect("an address");
        }
        seen.push(line);
    };
    std::thread::spawn(move || lines.for_each(drop));
    Process { child, address }
}

async fn client(address: SocketAddr) -> Client {
    let address = address.to_string();
    let connect = Client::connect(&address);
    timeout(SOON, connect)
        .await
        .expect("in time")
        .expect("connected")
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_keeps_acknowledged_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut expected = 0;
    for round in 0..3 {
        let mut process = start(directory.path());
        let zk = client(process.address).await;
        for number in 0..expected {
            let node = zk
                .get(&format!("/n{number}"))
                .await
                .expect("read")
                .expect("kept");
            assert_eq!(&node.data[..], number.to_string().as_bytes());
        }
        for _ in 0..40 {
            zk.create(&format!("/n{expected}"), expected.to_string())
                .await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
            expected += 1;
        }
        // SIGKILL, in the middle of more.
        let more: Vec<_> = (0..20)
            .map(|number| zk.create(&format!("/r{round}-{number}"), "").send())
            .collect();
        process.child.kill().expect("killed");
        process.child.wait().expect("gone");
        drop(more);
    }
    let process = start(directory.path());
    let zk = client(process.address).await;
    for number in 0..expected {
        let node = zk.get(&format!("/n{number}")).await.expect("read");
        assert!(node.is_some(), "/n{number}");
    }
}

#[test]
fn wrong_configuration_and_busy_directory_have_their_exit_codes() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |text: &str| {
        let config = directory.path().join("other.cfg");
        fs::write(&config, text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_zkserver"))
            .arg("start-foreground")
            .arg(&config)
            .output()
            .expect("ran");
        let text = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), text)
    };
    let (code, text) = run("clientPort=0\n");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("dataDir is not set"), "{text}");
    let _process = start(directory.path());
    let data = directory.path().join("data");
    let (code, text) = run(&format!("dataDir={}\nclientPort=0\n", data.display()));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("is in use by another server"), "{text}");
}
