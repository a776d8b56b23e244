//! The examples that have an ensemble of their own tell what they should, and end well.
//!
//! Cargo builds them together with all tests of a package, not with a test that is asked for by name.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// More than the slowest of them takes on a machine with much to do.
const SOON: Duration = Duration::from_mins(5);

/// Where cargo has put an example, beside the folder of the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let folder = test.parent().and_then(|folder| folder.parent());
    let folder = folder.expect("tests are in a folder of their own");
    folder.join("examples").join(name)
}

/// Runs an example to its end, and looks for lines that it is to print, each by how it begins.
async fn prints(name: &str, wanted: &[&str]) {
    let output = Command::new(example(name)).kill_on_drop(true).output();
    let output = timeout(SOON, output).await.expect("it ends");
    let output = output.expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let mut lines = stdout.lines();
    for words in wanted {
        let is_there = lines.any(|line| line.starts_with(words));
        assert!(is_there, "{words:?} is not in its place in\n{stdout}");
    }
}

#[tokio::test]
async fn quickstart_goes_on_when_the_leader_is_killed() {
    let wanted = [
        "ensemble      three servers",
        "read          /greeting b\"hello\"",
        "watch fired   /greeting NodeDataChanged",
        "lock          held, not free for others",
        "lock          released, and taken by the other",
        "leader        the first candidate",
        "killed        the leading server",
        "came back     the killed server, and reads b\"still here\"",
    ];
    prints("quickstart", &wanted).await;
}

#[tokio::test]
async fn faults_change_nothing_but_the_time_it_takes() {
    let wanted = [
        "calm          1 sold",
        "killed        the leader: 2 sold",
        "isolated      the leader: 3 sold by the others",
        "cut, delayed  links: 4 sold",
        "expired       the lock is lost: ",
        "acquired      in the next session",
        "at last       4 sold",
    ];
    prints("faults", &wanted).await;
}

#[tokio::test]
async fn simulation_finds_the_bug_of_a_naive_lock_and_none_in_ours() {
    let wanted = [
        "naive lock    breaks a law: mutual exclusion",
        "again         the same, line by line",
        "in a test     ZK_SIM_SEED=",
        "zk-recipes    no law broken: 100 runs",
    ];
    prints("simulated", &wanted).await;
}
