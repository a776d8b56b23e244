//! Debian's clients of other make against our server: what they print must be what they print of
//! Apache's, and is asserted on its own where it matters.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::process::ZkServer;
use zk_testkit::ensemble::reference::Reference;

const SOON: Duration = Duration::from_mins(1);

/// Apache's server and ours, empty.
async fn both() -> [Ensemble; 2] {
    [
        Reference::builder().start().await.unwrap(),
        ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"))
            .start()
            .await
            .unwrap(),
    ]
}

/// Runs a program to its end; all it printed, errors behind the rest.
fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("{command:?}: {err}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat()
}

/// Lines without those that tell times, addresses and versions, and what a thread of Apache's shell prints:
/// that it is connected, before the first answer or behind it, and that its session is closed, or has
/// ended before it does.
fn steady(text: &str, address: &str) -> Vec<String> {
    let is_steady = |line: &&str| {
        let varies = [
            "ctime",
            "mtime",
            "SLF4J",
            "log4j",
            "time = ",
            "Got a new session",
            "WATCHER::",
            "WatchedEvent",
        ];
        let has = |start: &&str| line.trim_start().starts_with(*start);
        !line.is_empty() && !varies.iter().any(has)
    };
    let lines = text.lines().filter(is_steady);
    lines.map(|line| line.replace(address, "ADDRESS")).collect()
}

#[tokio::test]
async fn zkcli_sees_what_it_sees_of_the_reference() {
    let script = include_str!("compat/zkcli.txt");
    let outputs = both().await.map(|server| {
        let address = server.connect_string();
        let mut command = Command::new("/usr/share/zookeeper/bin/zkCli.sh");
        steady(&run(command.args(["-server", &address]), script), &address)
    });
    let [theirs, ours] = &outputs;
    assert_eq!(theirs, ours);
    for line in [
        "hello world",
        "[c, e, s-0000000001, t]",
        "/cli/s-0000000001",
        "dataVersion = 1",
        "version No is not valid : /cli",
        ": cdrwa",
        "'digest,'bob:fyVmFCwVbTJYrznoSu1koqYEYF0=",
        "[/cli/e]",
        "Sync is OK",
        "Node not empty: /cli",
        "Node does not exist: /cli",
        "[zookeeper]",
    ] {
        assert!(
            ours.iter().any(|printed| printed == line),
            "no {line:?} in {ours:#?}"
        );
    }
}

/// Apache's servers and ours, three that vote and one that observes, whose members anybody may change.
async fn changeable() -> [Ensemble; 2] {
    let theirs = Reference::builder().servers(3).observers(1);
    let theirs = theirs.config("reconfigEnabled", true);
    let ours = ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"));
    let ours = ours.servers(3).observers(1).config("reconfigEnabled", true);
    let (theirs, ours) = tokio::join!(
        theirs.config("skipACL", "yes").start(),
        ours.config("skipACL", "yes").start()
    );
    [theirs.unwrap(), ours.unwrap()]
}

/// What is printed of members, with the same ports and epoch for all ensembles.
fn comparable(lines: Vec<String>, ensemble: &Ensemble) -> Vec<String> {
    // The epoch is that of the first leader that was established.
    let first = lines.iter().find_map(|line| line.strip_prefix("version="));
    let epoch = first.and_then(|first| first.strip_suffix("00000000"));
    let epoch = format!("{}00000", epoch.expect("the first version"));
    let one = |line: String| {
        let mut line = line.replace(&epoch, "E00000");
        for server in ensemble.servers() {
            let [quorum, election] = server.peer_addrs().map(|address| address.port());
            line = line
                .replace(&format!(":{quorum}:{election}:"), ":QUORUM:ELECTION:")
                .replace(&server.client_addr().to_string(), "CLIENT");
        }
        line
    };
    lines.into_iter().map(one).collect()
}

/// Debian's shell has 3.8's commands, as its servers are.
#[tokio::test]
async fn zkcli_changes_members_as_it_does_those_of_the_reference() {
    let outputs = changeable().await.map(|ensemble| {
        let [first, .., fourth] = ensemble.servers() else {
            panic!("four servers");
        };
        let [voter, observer] = ["participant", "observer"].map(|role| fourth.member_line(role));
        let lines = ensemble.servers().iter().take(3);
        let lines = lines.map(|one| one.member_line("participant"));
        let three = lines.collect::<Vec<_>>().join(",");
        let short = voter.trim_start_matches("server.");
        let script = format!(
            "config\nreconfig -remove 4\nconfig\nreconfig -add {short}\nconfig -c\n\
             reconfig -add {observer}\nreconfig -remove 4 -v 1\nreconfig -remove 2,3\n\
             reconfig -add nonsense\nreconfig -remove 7\nreconfig\nreconfig -members {three}\n\
             reconfig -s -add {voter}\nconfig -s\nquit\n"
        );
        let address = first.client_addr().to_string();
        let mut command = Command::new("/usr/share/zookeeper/bin/zkCli.sh");
        let printed = run(command.args(["-server", &address]), &script);
        comparable(steady(&printed, &address), &ensemble)
    });
    let [theirs, ours] = &outputs;
    assert_eq!(theirs, ours);
    let [one, two, three, four] = [1, 2, 3, 4].map(|id| {
        let client = if id == 1 { "ADDRESS" } else { "CLIENT" };
        format!("server.{id}=127.0.0.1:QUORUM:ELECTION:participant;{client}")
    });
    let observes = four.replace("participant", "observer");
    let added = [&one, &two, &three, &four, "version=E00000003"];
    let observing = [&one, &two, &three, &observes, "version=E00000004"];
    let removed = [&one, &two, &three, "version=E00000002"];
    for members in [&removed[..], &added, &observing] {
        let committed: Vec<&str> = [&["Committed new configuration:"], members].concat();
        let is_printed = ours.windows(committed.len()).any(|some| some == committed);
        assert!(is_printed, "no {committed:#?} in {ours:#?}");
    }
    for line in ["version No is not valid : ", "Arguments are not valid : "] {
        assert!(ours.iter().any(|printed| printed == line), "{ours:#?}");
    }
}

#[tokio::test]
async fn kazoo_sees_what_it_sees_of_the_reference() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compat/kazoo_session.py");
    let outputs = both().await.map(|server| {
        let address = server.connect_string();
        // Debian's Python: another one on the path has other packages.
        let mut command = Command::new("/usr/bin/python3");
        steady(&run(command.args([script, &address]), ""), &address)
    });
    let [theirs, ours] = &outputs;
    assert_eq!(theirs, ours);
    assert_eq!(
        ours.last().map(String::as_str),
        Some("lost: True"),
        "{ours:#?}"
    );
    for line in [
        "connected: CONNECTED True",
        "['RolledBackError', 'BadVersionError'] None",
        "told: True ('DELETED', 'CONNECTED', '/kazoo/w/c')",
        "ephemeral gone: True None",
        "True False ['one']",
        "['led']",
    ] {
        assert!(
            ours.iter().any(|printed| printed == line),
            "no {line:?} in {ours:#?}"
        );
    }
}

/// Sends each line a stream has.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Commands for `cli_mt`, and what must be printed before the next is given.
const COMMANDS: [(&str, &str); 9] = [
    ("create /mt", "[/mt]: rc = 0"),
    ("set /mt world", "/mt: rc = 0"),
    ("get /mt", "world"),
    ("create +es /mt/e", "[/mt/e]: rc = 0"),
    ("ls /mt", "\te0000000000"),
    ("delete /mt", "/mt: rc = -111"),
    ("delete /mt/e0000000000", "/mt/e0000000000: rc = 0"),
    ("delete /mt", "/mt: rc = 0"),
    ("get /mt", "/mt: rc = -101"),
];

/// Talks with the C client; what it printed up to each answer.
fn talk(address: &str) -> Vec<String> {
    let mut child = Command::new("/usr/lib/zookeeper/bin/cli_mt")
        .arg(address)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines_of(child.stderr.take().unwrap());
    let mut input = child.stdin.take().unwrap();
    let deadline = Instant::now() + SOON;
    let mut seen = Vec::new();
    let mut until = |wanted: &str| {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {wanted:?}: {seen:#?}"));
            let is_it = line.trim_end().starts_with(wanted);
            seen.push(line);
            if is_it {
                return;
            }
        }
    };
    until("Got a new session id");
    for (command, answer) in COMMANDS {
        writeln!(input, "{command}").unwrap();
        until(answer);
    }
    writeln!(input, "quit").unwrap();
    until("Quitting");
    drop(child.wait());
    // The log of the library has times in it; so have stats.
    seen.retain(|line| {
        let varies = [":ZOO_", "time", "Got a new session"];
        !varies.iter().any(|part| line.contains(part))
    });
    seen.sort();
    seen
}

#[tokio::test]
async fn c_client_sees_what_it_sees_of_the_reference() {
    let [theirs, ours] = both().await.map(|server| talk(&server.connect_string()));
    assert_eq!(theirs, ours);
    assert!(
        ours.iter()
            .any(|line| line.starts_with("Watcher DELETED_EVENT")),
        "{ours:#?}"
    );
}
