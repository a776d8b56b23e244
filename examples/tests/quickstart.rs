//! The quickstart of README.md tells what it should, and ends well: by the command that stands there.
//!
//! With the reference tier's features that command would build everything once more, so it is left to
//! the tier that needs Rust alone.
#![cfg(not(feature = "reference-tests"))]

use std::process::Command;

#[test]
fn quickstart_goes_on_when_the_leader_is_killed() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["run", "--quiet", "--example", "quickstart"])
        .output()
        .expect("cargo runs");
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
