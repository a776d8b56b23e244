//! SASL between the servers of an ensemble.

mod ensembles;

use std::fs;
use std::time::Duration;

use tokio::time::{interval, timeout};
use zk_testkit::ensemble::process::{Builder, ZkServer};

use ensembles::{Load, SOON, edit, jaas, until_settled};

const ALL: [usize; 3] = [0, 1, 2];

const KEYS: [&str; 3] = [
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "quorum.auth.serverRequireSasl",
];

/// Three servers that find users and passwords in this file.
fn builder(jaas: &str) -> Builder {
    ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"))
        .servers(3)
        .session_timeouts(Duration::from_secs(1), Duration::from_secs(40))
        .property("java.security.auth.login.config", jaas)
}

#[tokio::test(flavor = "multi_thread")]
async fn ensemble_comes_to_sasl_one_server_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let ensemble = builder(&jaas(dir.path(), "secret")).start().await.unwrap();
    until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    for key in KEYS {
        for server in ALL {
            ensemble.stop(server).await.unwrap();
            edit(&ensemble, server, &[(key, "true")]);
            ensemble.start_server(server).await.unwrap();
            until_settled(&ensemble, &ALL).await;
        }
    }
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_nothing_is_kept_out() {
    let (dir, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = jaas(dir.path(), "secret");
    let mut builder = builder(&file);
    for key in KEYS {
        builder = builder.config(key, "true");
    }
    let ensemble = builder.start().await.unwrap();
    until_settled(&ensemble, &ALL).await;
    let load = Load::start(&ensemble, 3).await;
    let wrong = jaas(others.path(), "guess");
    let lines = |on: &'static str| KEYS.map(|key| (key, on));
    for (on, passwords, complaint) in [
        ("false", &file, "proves nothing by SASL"),
        ("true", &wrong, "proves nothing"),
    ] {
        ensemble.stop(0).await.unwrap();
        edit(&ensemble, 0, &lines(on));
        let kept = fs::read(&file).unwrap();
        fs::write(&file, fs::read(passwords).unwrap()).unwrap();
        ensemble.start_server(0).await.unwrap();
        fs::write(&file, kept).unwrap();
        until_settled(&ensemble, &[1, 2]).await;
        let mut pace = interval(Duration::from_millis(50));
        let told = async {
            while ![1, 2]
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
        let alone = ensemble.modes().await.swap_remove(0).0;
        assert!(alone.starts_with('('), "{alone}");
        ensemble.stop(0).await.unwrap();
        edit(&ensemble, 0, &lines("true"));
        ensemble.start_server(0).await.unwrap();
        until_settled(&ensemble, &ALL).await;
    }
    load.judge(&ensemble, &ALL).await;
    ensemble.shutdown().await;
}
