//! The tour does what README.md says, against a real server.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use zk_testkit::ensemble::reference::Reference;

#[tokio::test]
async fn tour_connects_writes_watches_and_reads() {
    let ensemble = Reference::builder()
        .start()
        .await
        .expect("an Apache server");
    let program = Command::new(env!("CARGO_BIN_EXE_tour"))
        .arg(ensemble.connect_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_mins(1), program)
        .await
        .unwrap()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for line in [
        "read          /greeting b\"hello\", version 0",
        "watch fired   /greeting NodeDataChanged",
        "counted to    100",
        "joined        /members/worker-0000000000",
        "member event  /members/worker-0000000000 NodeCreated",
        "member event  /members/worker-0000000000 NodeDeleted",
        "transaction   3 operations",
        "cleaned up    4 znodes",
    ] {
        assert!(
            stdout.lines().any(|found| found == line),
            "{line:?} is not in\n{stdout}"
        );
    }
}

#[tokio::test]
async fn tour_without_a_server_says_what_is_missing() {
    let program = Command::new(env!("CARGO_BIN_EXE_tour")).output();
    let output = timeout(Duration::from_mins(1), program)
        .await
        .unwrap()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage: tour"));
}
