//! The programs do what they say, each on a server of its own.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Runs a program and compares what it prints.
async fn prints(program: &str, wanted: &str) {
    let output = Command::new(program)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_mins(1), output)
        .await
        .expect("it ends")
        .expect("it runs");
    let stdout = String::from_utf8(output.stdout).expect("it prints text");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout, wanted, "{stderr}");
}

#[tokio::test]
async fn services() {
    let wanted = "\
registered    api-1 on port 8001, weight 1
registered    api-2 on port 8002, weight 1
registered    api-3 on port 8003, weight 2
8 requests    api-1: 2, api-2: 2, api-3: 4
api-1 fails   api-2: 2, api-3: 4
api-3 goes    api-2: 4
all are gone  0 instances
";
    prints(env!("CARGO_BIN_EXE_services"), wanted).await;
}

#[tokio::test]
async fn config_watch() {
    let wanted = "\
at first      100 requests, bursts of 10
followed      200 requests, bursts of 20
refused       /limits: version 2 was refused: a burst of 50 is more than 1 requests
still         200 requests, bursts of 20
";
    prints(env!("CARGO_BIN_EXE_config_watch"), wanted).await;
}

#[tokio::test]
async fn fenced_lock() {
    let wanted = "\
acquired      by first
tried         by second: held
lost          NodeDeleted
acquired      by second, with a higher token
store         refuses first: a later holder has written already
store         \"written by second\"
ensemble      refuses first: the lock is lost
released      0 in line
";
    prints(env!("CARGO_BIN_EXE_fenced_lock"), wanted).await;
}

#[tokio::test]
async fn leader_worker() {
    let wanted = "\
working       worker-1 does job 1
working       worker-1 does job 2
stopped       worker-1
working       worker-2 does job 1
working       worker-2 does job 2
stopped       worker-2
working       worker-3 does job 1
working       worker-3 does job 2
stopped       worker-3
nobody leads  0 in line
";
    prints(env!("CARGO_BIN_EXE_leader_worker"), wanted).await;
}

#[tokio::test]
async fn barrier() {
    let wanted = "\
gate          is closed
started       3 workers
gate          is open
round         3 workers began and ended together
left          0 members
";
    prints(env!("CARGO_BIN_EXE_barrier"), wanted).await;
}

#[tokio::test]
async fn membership() {
    let wanted = "\
up            node-a at 10.0.0.1
up            node-a at 10.0.0.1, node-b at 10.0.0.2
up            node-a at 10.0.0.1, node-b at 10.0.0.2, node-c at 10.0.0.3
changed       node-a at 10.0.0.1, node-b at 10.0.0.2, node-c at 10.0.0.3 (draining)
left          node-a at 10.0.0.1, node-b at 10.0.0.2
closed        node-a at 10.0.0.1
";
    prints(env!("CARGO_BIN_EXE_membership"), wanted).await;
}

#[tokio::test]
async fn transactions() {
    let wanted = "\
accounts      alice 100, bob 20
30 moved      alice 70, bob 50
refused       operation 1: the version is not the one expected
as before     alice 5, bob 50
refused       /alice has 5, not 30
10 at a time  alice 0, bob 150
";
    prints(env!("CARGO_BIN_EXE_transactions"), wanted).await;
}

#[tokio::test]
async fn embedded() {
    let wanted = "\
serving       on a port of the loopback address: true
written       /greeting
stopped       what was acknowledged is on disk
read again    hello
";
    prints(env!("CARGO_BIN_EXE_embedded"), wanted).await;
}
