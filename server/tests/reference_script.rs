//! The verbs of the binary, beside those of Debian's `zkServer.sh`.

#[path = "support/place.rs"]
mod place;

use std::fs;
use std::process::Command;
use std::time::Instant;

use place::{Place, SOON, said};

/// The verbs of Debian's `zkServer.sh` print and exit as ours do.
#[test]
fn the_script_of_the_reference_says_the_same() {
    const SCRIPT: &str = "/usr/share/zookeeper/bin/zkServer.sh";
    let (ours, theirs) = (Place::new(), Place::new());
    let run = |place: &Place, is_ours: bool, verb: &str| {
        let config = place.path("zoo.cfg");
        let mut command = if is_ours {
            place.command()
        } else {
            Command::new(SCRIPT)
        };
        let said = said(command.arg(verb).arg(&config).output().expect("ran"));
        let mut text = said.out;
        if let Ok(pid) = fs::read_to_string(place.pid_file()) {
            text = text.replace(&pid, "<pid>");
        }
        let text = text
            .replace(&place.directory.path().display().to_string(), "<dir>")
            .replace(&place.port.to_string(), "<port>");
        let using = said
            .err
            .lines()
            .any(|line| line.starts_with("Using config: "));
        (text, said.code, using)
    };
    // In a second, a server may not serve yet, so that it is asked until it does.
    let settled = |place: &Place, is_ours: bool| {
        let deadline = Instant::now() + SOON;
        loop {
            let (text, code, using) = run(place, is_ours, "status");
            if code == Some(0) || Instant::now() > deadline {
                return (text, code, using);
            }
        }
    };
    for verb in [
        "stop", "start", "start", "status", "restart", "status", "stop", "stop",
    ] {
        let (mine, its) = if verb == "status" {
            (settled(&ours, true), settled(&theirs, false))
        } else {
            (run(&ours, true, verb), run(&theirs, false, verb))
        };
        assert_eq!(mine, its, "{verb}");
    }
}
