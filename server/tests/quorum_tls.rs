//! TLS between the servers of an ensemble.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod ensembles;
mod papers;

use std::fs;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::process::{Builder, ZkServer};

use ensembles::{Load, SOON, edit, until_settled};
use papers::Papers;

const ALL: [usize; 3] = [0, 1, 2];

/// The hosts of members.
const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// Three servers of which each has the papers called `member`.
fn builder(papers: &Papers) -> Builder {
    ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"))
        .servers(3)
        .session_timeouts(Duration::from_secs(1), Duration::from_secs(40))
        .config("ssl.quorum.keyStore.location", papers.path("member"))
        .config("ssl.quorum.trustStore.location", papers.path("ca"))
}

/// Quorum port and election port of a server.
fn ports(ensemble: &Ensemble, server: usize) -> [u16; 2] {
    let path = ensemble.server(server).data_dir().with_file_name("zoo.cfg");
    let text = fs::read_to_string(path).unwrap();
    let start = format!("server.{}=", ensemble.server(server).id());
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    let mut parts = line.unwrap().split(':').skip(1);
    [(); 2].map(|()| parts.next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_one_by_tls_and_plaintext_gets_nowhere() {
    let papers = Papers::new(&[("member", &["nobody.test"])]);
    let ensemble = builder(&papers).config("sslQuorum", "true").start().await;
    let ensemble = ensemble.unwrap();
    let leader = until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    for port in ports(&ensemble, leader) {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // What a learner and a voter would say.
        socket.write_all(&[0, 0, 0, 11, 0, 0, 0, 0]).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(SOON, socket.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(end.is_err() || answer.is_empty(), "{answer:?}");
    }
    ensemble.kill(leader).await.unwrap();
    let others: Vec<_> = ALL.into_iter().filter(|one| *one != leader).collect();
    until_settled(&ensemble, &others).await;
    ensemble.start_server(leader).await.unwrap();
    until_settled(&ensemble, &ALL).await;
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ensemble_comes_to_tls_one_server_at_a_time() {
    let papers = Papers::new(&[("member", &HERE)]);
    let ensemble = builder(&papers).config("fips-mode", "false").start().await;
    let ensemble = ensemble.unwrap();
    until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    for (tls, both) in [("false", "true"), ("true", "true"), ("true", "false")] {
        for server in ALL {
            ensemble.stop(server).await.unwrap();
            edit(
                &ensemble,
                server,
                &[("sslQuorum", tls), ("portUnification", both)],
            );
            ensemble.start_server(server).await.unwrap();
            until_settled(&ensemble, &ALL).await;
        }
    }
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stranger_and_who_has_another_name_are_kept_out() {
    let papers = Papers::new(&[("member", &HERE), ("misnamed", &["elsewhere.test"])]);
    let strangers = Papers::new(&[("member", &HERE)]);
    let ensemble = builder(&papers)
        .config("sslQuorum", "true")
        .config("fips-mode", "false")
        .start()
        .await
        .unwrap();
    until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    let key = "ssl.quorum.keyStore.location";
    for (keys, complaint) in [
        (strangers.path("member"), "BadSignature"),
        (papers.path("misnamed"), "for none of the members"),
    ] {
        ensemble.stop(0).await.unwrap();
        edit(&ensemble, 0, &[(key, &keys)]);
        ensemble.start_server(0).await.unwrap();
        until_settled(&ensemble, &[1, 2]).await;
        // They look at its certificate, and it at theirs.
        let mut pace = interval(Duration::from_millis(50));
        let told = async {
            while !ALL
                .iter()
                .any(|one| ensemble.logs(*one).contains(complaint))
            {
                pace.tick().await;
            }
        };
        if timeout(SOON, told).await.is_err() {
            let logs = ALL.map(|one| ensemble.logs(one));
            panic!("nobody says {complaint:?}: {logs:#?}");
        }
        let alone = ensemble.four_letter(0, "srvr").await.unwrap();
        assert!(alone.contains("not currently serving"), "{alone}");
        ensemble.stop(0).await.unwrap();
        edit(&ensemble, 0, &[(key, &papers.path("member"))]);
        ensemble.start_server(0).await.unwrap();
        until_settled(&ensemble, &ALL).await;
    }
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_papers_does_not_start() {
    let papers = Papers::new(&[("member", &HERE)]);
    let ensemble = builder(&papers)
        .config("portUnification", "true")
        .config("ssl.quorum.trustStore.location", "/no/such/file.pem")
        .start_within(Duration::from_secs(10))
        .start()
        .await;
    let error = format!("{:#}", ensemble.unwrap_err());
    assert!(error.contains("/no/such/file.pem"), "{error}");
}
