//! The admin server and the exporter of metrics, asked as operators' tools ask them.

mod support;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zk_client::Client;
use zk_server::Server;

use support::SOON;
use support::http::ask;

async fn start() -> (Server, Client) {
    let server = Server::builder()
        .set("admin.enableServer", true)
        .set("admin.serverPort", 0)
        .set(
            "metricsProvider.className",
            "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
        )
        .set("metricsProvider.httpHost", "127.0.0.1")
        .set("metricsProvider.httpPort", 0)
        .set("4lw.commands.whitelist", "*")
        .set("ssl.keyStore.password", "canary")
        .set("DigestAuthenticationProvider.superDigest", "super:canary")
        .start()
        .await
        .expect("started");
    let address = server.client_address().to_string();
    let zk = timeout(SOON, Client::connect(&address))
        .await
        .expect("in time")
        .expect("connected");
    (server, zk)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers_in_json_under_each_of_its_names() {
    let (server, zk) = start().await;
    zk.create("/a", "data").await.expect("created");
    zk.create("/e", "").ephemeral().await.expect("created");
    let admin = server.admin_address().expect("an admin server");
    assert!(admin.ip().is_loopback());
    let index = ask(admin, "GET", "/commands").await;
    assert_eq!(index.status, 200);
    let links: Vec<&str> = index
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("<a href=\"")?.split('"').next())
        .collect();
    assert!(links.contains(&"/commands/voting_view"), "{links:?}");
    for link in links {
        let name = link.strip_prefix("/commands/").expect("a command");
        let method = if name == "restore" { "POST" } else { "GET" };
        let answer = ask(admin, method, link).await;
        let json = answer.json();
        assert_eq!(json["command"], name, "{answer:?}");
        let has_error = ["leader", "set_trace_mask", "snapshot", "restore"].contains(&name);
        assert_eq!(json["error"].is_null(), !has_error, "{answer:?}");
        assert!(!answer.body.contains("canary"), "{name} tells secrets");
    }
    // One of them began the counting anew.
    zk.set("/a", "more").await.expect("set");
    let json = |name: &'static str| async move { ask(admin, "GET", name).await.json() };
    let stats = json("/commands/srvr").await;
    assert_eq!(stats["command"], "server_stats");
    assert_eq!(stats["server_stats"]["server_state"], "standalone");
    assert_eq!(stats["node_count"], 7);
    let configuration = json("/commands/conf").await;
    assert_eq!(
        configuration["client_port"].as_u64(),
        Some(server.client_address().port().into())
    );
    let dump = json("/commands/dump").await;
    let paths = dump["session_id_to_ephemeral_paths"]
        .as_object()
        .expect("an object");
    assert_eq!(
        paths.values().collect::<Vec<_>>(),
        [&serde_json::json!(["/e"])]
    );
    let monitor = json("/commands/mntr").await;
    for (name, value) in [
        ("znode_count", 7),
        ("ephemerals_count", 1),
        ("global_sessions", 1),
    ] {
        assert_eq!(monitor[name], value, "{name}");
    }
    assert!(monitor["cnt_fsynctime"].as_u64() > Some(0));
    let mask = json("/commands/stmk?traceMask=7").await;
    assert_eq!(mask["tracemask"], 7);
    assert_eq!(json("/commands/gtmk").await["tracemask"], 7);
    let effective = json("/commands/effective_config").await;
    assert_eq!(
        effective["DigestAuthenticationProvider.superDigest"]["value"],
        "***"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_answered_without_a_stack_trace() {
    let (server, _zk) = start().await;
    let admin = server.admin_address().expect("an admin server");
    let unknown = ask(admin, "GET", "/commands/nosuch").await;
    assert_eq!(unknown.status, 200);
    assert_eq!(
        unknown.body,
        "{\n  \"command\" : \"nosuch\",\n  \"error\" : \"Unknown command: nosuch\"\n}"
    );
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/commandsx", 404),
        ("PUT", "/commands/ruok", 405),
        ("DELETE", "/commands", 405),
        ("GET", "/commands/restore", 405),
        ("POST", "/commands/ruok", 405),
        ("TRACE", "/commands/ruok", 403),
    ] {
        let answer = ask(admin, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(
            answer.head.contains("\r\nallow: "),
            status == 405,
            "{answer:?}"
        );
    }
    for probe in ["/livez", "/readyz"] {
        let answer = ask(admin, "GET", probe).await;
        assert_eq!((answer.status, &answer.json()["ok"]), (200, &true.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_exported_under_the_names_of_the_reference() {
    let (server, zk) = start().await;
    for number in 0..10 {
        zk.create(&format!("/n{number}"), "")
            .await
            .expect("created");
        zk.exists(&format!("/n{number}")).await.expect("read");
    }
    let exporter = server.metrics_address().expect("an exporter");
    let answer = ask(exporter, "GET", "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    let value = |name: &str| {
        let prefix = format!("{name} ");
        let line = answer
            .body
            .lines()
            .find_map(|line| line.strip_prefix(&prefix));
        line.and_then(|value| value.parse::<f64>().ok())
    };
    assert_eq!(value("znode_count"), Some(15.0));
    assert!(value("updatelatency_count") >= Some(10.0));
    assert!(value("readlatency_count") >= Some(10.0));
    assert!(value("fsynctime_count") > Some(0.0));
    assert!(value("bytes_received_count") > Some(0.0));
    assert_eq!(value("connection_rejected"), Some(0.0));
    assert!(value("process_resident_memory_bytes") > Some(0.0));
    assert!(answer.body.contains("updatelatency{quantile=\"0.99\",} "));
    assert!(
        answer
            .body
            .contains("jvm_memory_bytes_max{area=\"heap\",} ")
    );
    // Every name that the reference shows in mntr is here, too: golden.
    let mut word = TcpStream::connect(server.client_address())
        .await
        .expect("connected");
    word.write_all(b"mntr").await.expect("sent");
    let mut monitor = String::new();
    word.read_to_string(&mut monitor).await.expect("read");
    let golden = include_str!("vectors/mntr-names.txt");
    for name in golden.lines() {
        let has = monitor
            .lines()
            .any(|line| line.split('\t').next() == Some(name));
        assert!(has, "{name} is missing");
    }
    assert_eq!(ask(exporter, "TRACE", "/metrics").await.status, 403);
    assert_eq!(ask(exporter, "GET", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_admin_port_is_no_reason_not_to_serve() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let server = Server::builder()
        .set("admin.enableServer", true)
        .set("admin.serverPort", port)
        .start()
        .await
        .expect("started");
    assert_eq!(server.admin_address(), None);
    let zk = Client::connect(&server.client_address().to_string()).await;
    zk.expect("connected")
        .create("/a", "")
        .await
        .expect("created");
}
