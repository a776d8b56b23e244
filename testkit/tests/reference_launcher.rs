//! The launcher, on the real servers of Debian's `zookeeper` package.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use zk_testkit::ensemble::reference::{
    Ensemble, EnsembleError, LaunchError, LogLevel, Reference, TlsFiles,
};

/// Longer than any election takes on a slow machine.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn one_server_serves_alone() {
    let ensemble = Reference::builder().start().await.unwrap();
    let server = ensemble.server(0);
    assert_eq!(ensemble.leader().await.unwrap(), 0);
    assert_eq!(ensemble.connect_string(), server.client_addr().to_string());
    assert!(server.client_addr().ip().is_loopback());
    assert_eq!((server.id(), server.secure_addr()), (1, None));
    assert_eq!(ensemble.four_letter(0, "ruok").await.unwrap(), "imok");
    let mntr = ensemble.four_letter(0, "mntr").await.unwrap();
    assert!(mntr.contains("zk_server_state\tstandalone"), "{mntr}");
    ensemble.shutdown().await;
}

#[tokio::test]
async fn settings_reach_the_server() {
    let ensemble = Reference::builder()
        .tick_time(Duration::from_millis(500))
        .session_timeouts(Duration::from_millis(700), Duration::from_secs(9))
        .config("maxClientCnxns", 7)
        .jvm_flag("-Dzookeeper.globalOutstandingLimit=77")
        .log_level(LogLevel::Info)
        .start()
        .await
        .unwrap();
    let conf = ensemble.four_letter(0, "conf").await.unwrap();
    for line in [
        "tickTime=500",
        "minSessionTimeout=700",
        "maxSessionTimeout=9000",
    ] {
        assert!(conf.contains(line), "no {line} in {conf}");
    }
    assert!(conf.contains("maxClientCnxns=7"), "{conf}");
    let envi = ensemble.four_letter(0, "envi").await.unwrap();
    assert!(envi.contains("java.io.tmpdir"), "{envi}");
    assert!(ensemble.logs(0).contains("INFO"), "{}", ensemble.logs(0));
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_comes_back_as_a_follower() {
    let ensemble = Reference::builder().servers(3).start().await.unwrap();
    assert_eq!(ensemble.connect_string().split(',').count(), 3);
    let old = ensemble.leader().await.unwrap();
    let pid = ensemble.server(old).pid();
    assert_eq!(ensemble.followers().await.len(), 2);

    ensemble.kill(old).await.unwrap();
    assert_eq!(ensemble.server(old).pid(), None);
    let new = ensemble.wait_for_leader(SOON).await.unwrap();
    assert_ne!(new, old);

    ensemble.restart(old).await.unwrap();
    assert_ne!(ensemble.server(old).pid(), pid);
    assert!(ensemble.followers().await.contains(&old));
    ensemble.shutdown().await;
}

#[tokio::test]
async fn a_paused_leader_is_replaced_and_follows_when_it_goes_on() {
    let ensemble = Reference::builder()
        .servers(3)
        .config("syncLimit", 10)
        .start()
        .await
        .unwrap();
    let old = ensemble.leader().await.unwrap();
    ensemble.pause(old).await.unwrap();
    assert!(ensemble.server(old).is_paused());
    let new = ensemble.wait_for_leader(SOON).await.unwrap();
    assert_ne!(new, old);

    ensemble.resume(old).await.unwrap();
    assert!(!ensemble.server(old).is_paused());
    until_follower(&ensemble, old).await;
    assert_eq!(ensemble.leader().await.unwrap(), new);
}

#[tokio::test]
async fn an_observer_serves_and_does_not_vote() {
    let ensemble = Reference::builder()
        .servers(2)
        .observers(1)
        .start()
        .await
        .unwrap();
    assert_eq!(ensemble.servers().len(), 3);
    let srvr = ensemble.four_letter(2, "srvr").await.unwrap();
    assert!(srvr.contains("Mode: observer"), "{srvr}");
    let leader = ensemble.leader().await.unwrap();
    assert_eq!(ensemble.followers().await, [1 - leader]);

    // Were it a voter, two of three would be a quorum.
    ensemble.stop(1 - leader).await.unwrap();
    let start = Instant::now();
    while ensemble.leader().await.is_ok() {
        assert!(start.elapsed() < SOON, "still a leader");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_voter_can_have_an_observer() {
    let ensemble = Reference::builder().observers(1).start().await.unwrap();
    assert_eq!(ensemble.leader().await.unwrap(), 0);
    assert!(
        ensemble
            .four_letter(1, "srvr")
            .await
            .unwrap()
            .contains("Mode: observer")
    );
}

#[tokio::test]
async fn servers_can_be_stopped_and_started_without_a_quorum() {
    let ensemble = Reference::builder().servers(3).start().await.unwrap();
    for i in 0..3 {
        ensemble.stop(i).await.unwrap();
    }
    assert!(matches!(
        ensemble.leader().await,
        Err(EnsembleError::NoLeader { .. })
    ));
    assert!(matches!(
        ensemble.stop(0).await,
        Err(EnsembleError::NotRunning { id: 1 })
    ));

    ensemble.start_server(0).await.unwrap();
    let again = ensemble.start_server(0).await.unwrap_err();
    assert!(matches!(
        again,
        EnsembleError::Launch(LaunchError::AlreadyRunning { id: 1, .. })
    ));
    let alone = ensemble
        .wait_serving(0, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(matches!(
        alone,
        EnsembleError::Launch(LaunchError::NotServing { id: 1, .. })
    ));

    ensemble.start_server(2).await.unwrap();
    ensemble.wait_serving(0, SOON).await.unwrap();
    ensemble.wait_serving(2, SOON).await.unwrap();
    assert_eq!(ensemble.followers().await.len(), 1);
}

#[tokio::test]
async fn drop_ends_even_a_paused_server_and_removes_its_files() {
    let ensemble = Reference::builder().start().await.unwrap();
    let pid = ensemble.server(0).pid().unwrap();
    let data_dir = ensemble.server(0).data_dir().to_path_buf();
    assert!(process_dir(pid).exists() && data_dir.exists());
    ensemble.pause(0).await.unwrap();
    drop(ensemble);
    assert!(!process_dir(pid).exists());
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn a_given_directory_is_kept_and_used_again() {
    let dir = TempDir::new().unwrap();
    let start = || Reference::builder().data_dir(dir.path()).start();
    let data_dir = {
        let ensemble = start().await.unwrap();
        ensemble.server(0).data_dir().to_path_buf()
    };
    let snapshots = || fs::read_dir(data_dir.join("version-2")).unwrap().count();
    assert!(snapshots() > 0);
    let ensemble = start().await.unwrap();
    assert_eq!(ensemble.server(0).data_dir(), data_dir);
    ensemble.shutdown().await;
    assert!(snapshots() > 0);
}

#[tokio::test]
async fn a_missing_package_is_named_with_the_missing_file() {
    let empty = TempDir::new().unwrap();
    let err = Reference::builder()
        .jar_dir(empty.path())
        .start()
        .await
        .unwrap_err();
    let jar = empty.path().join("zookeeper.jar");
    assert_eq!(
        err.to_string(),
        format!(
            "missing {}, which Debian's package libzookeeper-java installs",
            jar.display()
        )
    );
}

#[tokio::test]
async fn an_impossible_ensemble_is_refused() {
    for voters in [0, 6] {
        let err = Reference::builder()
            .servers(voters)
            .start()
            .await
            .unwrap_err();
        assert!(matches!(err, LaunchError::Layout { .. }), "{err}");
    }
}

#[tokio::test]
async fn a_server_that_ends_early_shows_its_log() {
    let err = Reference::builder()
        .config("initLimit", "many")
        .start()
        .await
        .unwrap_err();
    let LaunchError::Exited { id, status, log } = err else {
        panic!("{err}")
    };
    assert_eq!((id, status.code()), (1, Some(2)));
    assert!(log.contains("Invalid config"), "{log}");
}

#[tokio::test]
async fn a_client_port_that_stays_taken_is_reported() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let err = Reference::builder()
        .config("clientPort", port)
        .start()
        .await
        .unwrap_err();
    assert!(matches!(err, LaunchError::PortTaken { id: 1, .. }), "{err}");
}

#[tokio::test]
async fn a_quorum_port_that_stays_taken_is_reported() {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let taken = listen();
    let (election, client) = (port(&listen()), port(&listen()));
    let line = format!(
        "127.0.0.1:{}:{election}:participant;127.0.0.1:{client}",
        port(&taken)
    );
    let builder = Reference::builder().observers(1).config("server.1", line);
    let err = builder.start().await.unwrap_err();
    assert!(matches!(err, LaunchError::PortTaken { id: 1, .. }), "{err}");
}

#[tokio::test]
async fn a_tls_port_is_served_beside_the_plain_one() {
    let dir = TempDir::new().unwrap();
    let pem = self_signed(dir.path());
    let files = TlsFiles {
        keystore_pem: pem.clone(),
        truststore_pem: pem.clone(),
        client_auth: false,
    };
    let ensemble = Reference::builder().tls(files).start().await.unwrap();
    assert_eq!(ensemble.four_letter(0, "ruok").await.unwrap(), "imok");
    let addr = ensemble.server(0).secure_addr().unwrap();
    assert_ne!(addr, ensemble.server(0).client_addr());
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &addr.to_string(), "-CAfile"])
        .arg(pem)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.contains("Verify return code: 0"),
        "{output}\n{}",
        ensemble.logs(0)
    );
}

async fn until_follower(ensemble: &Ensemble, i: usize) {
    let start = Instant::now();
    while !ensemble.followers().await.contains(&i) {
        assert!(
            start.elapsed() < SOON,
            "server {i} does not follow: {}",
            ensemble.logs(i)
        );
        tokio::task::yield_now().await;
    }
}

fn process_dir(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// A PEM file with a new private key and its certificate.
fn self_signed(dir: &Path) -> PathBuf {
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let status = std::process::Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    let pem = dir.join("server.pem");
    let text = fs::read_to_string(key).unwrap() + &fs::read_to_string(cert).unwrap();
    fs::write(&pem, text).unwrap();
    pem
}
