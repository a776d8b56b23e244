//! What a log is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use zk_client::{Auth, Outcome};

use crate::script::{Mode, SOON, Script};

/// Where a subscriber writes.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_traced_and_neither_data_nor_credentials_are() {
    // Where there is one subscriber only, tests on other threads, which have none, switch off for all what they
    // come to first.
    let _not_the_only_one = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let script = Script::default();
    let builder = script.builder().session_timeout(Duration::from_mins(10));
    script.lock().timeout_ms = Some(10_000);
    let client = builder
        .auth(Auth::digest("user", "canary-password"))
        .connect()
        .await
        .unwrap();
    client.set("/traced", "canary-data").await.unwrap();
    script.set(Mode::HangUp);
    let lost = client.set("/traced", "canary-data").await.unwrap_err();
    assert_eq!(lost.outcome(), Outcome::Unknown);
    assert!(!format!("{client:?} {lost:?}").contains("canary"));
    script.set(Mode::Serve);
    client.get("/traced").await.unwrap();
    client.close(SOON).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for wanted in [
        "INFO zk_client::driver: connected server=server:2181 session=0x1",
        "WARN zk_client::driver: session timeout was cut session=0x1 timeout=10s asked=600s",
        "INFO zk_client::driver: connection lost session=0x1",
        "request op=\"setData\" path=\"/traced\" xid=1 ",
        "outcome=\"ok\"",
        "outcome=\"unknown\" err=Disconnected",
        "INFO zk_client::driver: client closed reason=Requested",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(!text.contains("canary"), "{text}");
}
