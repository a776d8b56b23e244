//! Four-letter words, of Apache's server and of ours, after the same things were done to both.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::collections::BTreeSet;

use zk_client::{Client, CreateMode};
use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::process::ZkServer;
use zk_testkit::ensemble::reference::Reference;

/// Both servers, with one client each that has a watch, an ephemeral znode and some requests behind
/// it.
struct Pair {
    servers: [Ensemble; 2],
    /// Alive as long as their servers.
    #[expect(dead_code, reason = "held for what they hold")]
    clients: [Client; 2],
}

async fn busy(server: &Ensemble) -> Client {
    let zk = Client::connect(&server.connect_string()).await.unwrap();
    zk.create("/a", "data").await.unwrap();
    zk.create("/a/e", "")
        .mode(CreateMode::Ephemeral)
        .await
        .unwrap();
    let (_, watch) = zk.get("/a").watch().await.unwrap();
    std::mem::forget(watch);
    zk
}

impl Pair {
    async fn start() -> Self {
        let servers = [
            Reference::builder().start().await.unwrap(),
            ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"))
                .start()
                .await
                .unwrap(),
        ];
        let [theirs, ours] = &servers;
        let clients = [busy(theirs).await, busy(ours).await];
        Self { servers, clients }
    }

    async fn ask(&self, word: &str) -> [String; 2] {
        let [theirs, ours] = &self.servers;
        let theirs = theirs.four_letter(0, word).await.unwrap();
        [theirs, ours.four_letter(0, word).await.unwrap()]
    }
}

/// A text with every number, address, date and session made one sign, so that shapes remain.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for char in text.chars() {
        let belongs = char.is_ascii_hexdigit() && (in_number || char.is_ascii_digit())
            || in_number && matches!(char, 'x' | '.');
        if !belongs {
            out.push(char);
        } else if !in_number {
            out.push('#');
        }
        in_number = belongs;
    }
    out
}

#[tokio::test]
async fn words_have_the_same_shape() {
    let pair = Pair::start().await;
    for word in [
        "ruok", "isro", "gtmk", "dirs", "wchs", "wchc", "wchp", "crst", "srst",
    ] {
        let [theirs, ours] = pair.ask(word).await;
        assert_eq!(shape(&ours), shape(&theirs), "{word}\n{ours}\n{theirs}");
    }
    // Exactly the same.
    for word in ["ruok", "isro", "gtmk", "wchs", "wchp"] {
        let [theirs, ours] = pair.ask(word).await;
        if word != "wchp" {
            assert_eq!(ours, theirs, "{word}");
        }
    }
}

/// Names of lines: what stands before the first `separator`.
fn names(text: &str, separator: char) -> BTreeSet<&str> {
    let names = text.lines().filter_map(|line| line.split_once(separator));
    names.map(|(name, _)| name).collect()
}

#[tokio::test]
async fn words_have_the_same_fields() {
    let pair = Pair::start().await;
    for (word, separator) in [("srvr", ':'), ("conf", '='), ("envi", '=')] {
        let [theirs, ours] = pair.ask(word).await;
        let (theirs, ours) = (names(&theirs, separator), names(&ours, separator));
        assert_eq!(ours, theirs, "{word}");
    }
    let [theirs, ours] = pair.ask("mntr").await;
    let (theirs, ours) = (names(&theirs, '\t'), names(&ours, '\t'));
    // Ours has those of 3.9 too; of namespaces there are none.
    let missing = theirs.difference(&ours);
    let missing: Vec<_> = missing
        .filter(|name| !name.ends_with("_per_namespace"))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(ours.contains("zk_avg_latency") && ours.contains("zk_watch_count"));
}

#[tokio::test]
async fn words_tell_the_same_about_the_same() {
    let pair = Pair::start().await;
    let [theirs, ours] = pair.ask("mntr").await;
    let value = |text: &str, name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
        line.map(str::to_owned)
    };
    for name in [
        "zk_server_state",
        "zk_znode_count",
        "zk_ephemerals_count",
        "zk_watch_count",
        "zk_outstanding_requests",
        "zk_global_sessions",
        "zk_num_alive_connections",
    ] {
        assert_eq!(value(&ours, name), value(&theirs, name), "{name}");
        assert!(value(&ours, name).is_some(), "{name}");
    }
    // Lines of connections, with and without a session.
    for word in ["cons", "stat"] {
        let [theirs, ours] = pair.ask(word).await;
        let lines = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with(" /"));
            lines.map(field_names).collect::<BTreeSet<_>>()
        };
        assert_eq!(lines(&ours), lines(&theirs), "{word}\n{ours}\n{theirs}");
    }
    let [theirs, ours] = pair.ask("dump").await;
    // How many buckets there are, and when they expire, is told by the clock.
    let heads = |text: &str| {
        let heads = text.lines().filter(|line| line.ends_with("dump:"));
        heads.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(heads(&ours), heads(&theirs), "{ours}\n{theirs}");
    assert_eq!(ours.matches("\t/a/e").count(), 1, "{ours}");
}

/// The names of the fields of a connection, in order.
fn field_names(line: &str) -> String {
    let inside = line.split_once('(').map_or("", |(_, rest)| rest);
    let names = inside.split(',').filter_map(|field| field.split_once('='));
    names.map(|(name, _)| name).collect::<Vec<_>>().join(",")
}
