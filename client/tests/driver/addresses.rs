//! Names with several addresses, not all of which are of use.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use zk_client::{Builder, Client, ConnState, Resolver, ServiceRecord};

use crate::script::{Mode, SOON, Script};

/// Gives any name these addresses, always in this order; behind any service are they too.
#[derive(Debug, Clone)]
struct Fixed(Vec<SocketAddr>);

#[async_trait]
impl Resolver for Fixed {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host.parse() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
            // The name of a service has no address.
            Err(_) if port == 0 => Ok(Vec::new()),
            Err(_) => Ok(self.0.clone()),
        }
    }

    async fn services(&self, _: &str) -> io::Result<Vec<ServiceRecord>> {
        let record = |address: &SocketAddr| ServiceRecord {
            priority: 0,
            weight: 1,
            host: address.ip().to_string(),
            port: address.port(),
        };
        Ok(self.0.iter().map(record).collect())
    }
}

/// A client of a name with two addresses: at the first is a server in this mode, at the second one
/// that serves.
async fn behind_one(mode: Mode) -> (Builder, Script, Script) {
    let (first, second) = (Script::default(), Script::default());
    first.set(mode);
    let addresses = vec![first.listen().await, second.listen().await];
    let builder = Client::builder("zk")
        .resolver(Fixed(addresses))
        .session_timeout(Duration::from_secs(1))
        .seed(7);
    (builder, first, second)
}

#[tokio::test]
async fn address_that_accepts_and_serves_nobody_does_not_stand_before_the_next() {
    for mode in [Mode::HangUp, Mode::Silent, Mode::Garbage] {
        let (builder, _, second) = behind_one(mode).await;
        let client = builder.connect().await;
        let client = client.unwrap_or_else(|err| panic!("{mode:?}: {err}"));
        client.sync("/").await.unwrap();
        assert_eq!(second.lock().begun, 1);
        let failed = client.stats().attempts_failed;
        assert_eq!(failed, 1, "{mode:?}");
        // It is known to be of use: nobody asks the other first.
        second.cut();
        client.sync("/").await.unwrap();
        assert_eq!(client.stats().attempts_failed, failed, "{mode:?}");
    }
}

async fn until_writable(client: &Client) {
    let mut states = client.state();
    let is_writable = |state: &ConnState| {
        matches!(
            state,
            ConnState::Connected {
                read_only: false,
                ..
            }
        )
    };
    let found = tokio::time::timeout(SOON, states.wait_for(is_writable)).await;
    found.expect("found in time").unwrap();
}

#[tokio::test]
async fn writable_server_is_found_at_another_address_of_the_name_that_a_read_only_one_has() {
    let (builder, first, second) = behind_one(Mode::Serve).await;
    first.lock().is_read_only = true;
    let client = builder.allow_read_only(true).connect().await.unwrap();
    assert_eq!(first.lock().begun, 1);
    until_writable(&client).await;
    assert_eq!((first.lock().begun, second.lock().begun), (1, 1));
}

#[tokio::test]
async fn writable_server_is_found_behind_a_name_that_was_set_on_a_read_only_one() {
    let (builder, first, second) = behind_one(Mode::Serve).await;
    first.lock().is_read_only = true;
    second.lock().is_read_only = true;
    let client = builder.allow_read_only(true).connect().await.unwrap();
    client.set_servers("zk+srv://zk").unwrap();
    second.lock().is_read_only = false;
    until_writable(&client).await;
}
