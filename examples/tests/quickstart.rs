//! The quickstart of README.md tells what it should, and ends well.
//!
//! Cargo builds examples with all tests of a package, but not with `--tests` alone as the reference tier
//! asks for, so this is left to the tier that needs Rust alone.
#![cfg(not(feature = "reference-tests"))]

use std::path::PathBuf;
use std::process::Command;

/// Where cargo has put the example, beside the folder of the tests.
fn quickstart() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let folder = test.parent().and_then(|folder| folder.parent());
    let folder = folder.expect("tests are in a folder of their own");
    folder.join("examples").join("quickstart")
}

#[test]
fn quickstart_goes_on_when_the_leader_is_killed() {
    let output = Command::new(quickstart()).output().expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for words in [
        "ensemble      three servers",
        "read          /greeting b\"hello\"",
        "watch fired   /greeting NodeDataChanged",
        "lock          held, not free for others",
        "lock          released, and taken by the other",
        "leader        the first candidate",
        "killed        the leading server",
        "came back     the killed server, and reads b\"still here\"",
    ] {
        assert!(stdout.contains(words), "{words:?} is not in\n{stdout}");
    }
}
