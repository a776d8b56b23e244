//! The recipes on servers in containers: the suite that runs on all backends, and leaders lost to a
//! partition of the containers' network. Needs a container engine.
//!
//! The servers are ours, or those of the published image that `ZK_IMAGE` names.

#[path = "../../recipes/tests/harness/mod.rs"]
mod harness;
#[path = "../../recipes/tests/losses/mod.rs"]
mod losses;
#[path = "../../recipes/tests/suite/mod.rs"]
mod suite;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;
use zk_testkit::ensemble::containers::{Containers, Image};
use zk_testkit::{Backend, Ensemble};

use crate::harness::Alive;
use crate::losses::soon;

/// Three servers for all tests that run at the same time. Who is last removes them: what lives as
/// long as the process is never dropped.
static SHARED: Mutex<Weak<Containers>> = Mutex::const_new(Weak::new());

fn image() -> Image {
    std::env::var("ZK_IMAGE")
        .map_or_else(|_| Image::of(env!("CARGO_BIN_EXE_zkserver")), Image::named)
}

/// Servers for the suite, which has all its clients on the first.
pub(crate) async fn servers() -> (Alive, SocketAddr) {
    let mut shared = SHARED.lock().await;
    let containers = if let Some(containers) = shared.upgrade() {
        containers
    } else {
        let builder = Containers::builder(image()).servers(3);
        let builder = builder.config("minSessionTimeout", 400);
        let start = builder.config("maxSessionTimeout", 60_000).start();
        let started = soon("three servers", start).await;
        Arc::new(started.expect("containers start"))
    };
    *shared = Arc::downgrade(&containers);
    let addr = containers.client_addr(0).expect("it runs");
    (Box::new(containers), addr)
}

/// Servers of a test that loses their leader.
pub(crate) async fn three() -> Ensemble {
    let builder = Ensemble::builder().backend(Backend::Containers(image()));
    let start = builder.servers(3).config("syncLimit", 5).start();
    soon("three servers", start)
        .await
        .expect("containers start")
}

/// Takes whoever leads off the network of the servers, where its clients still reach it, lets the
/// others go on, and brings it back.
pub(crate) async fn lose_leader(ensemble: &Ensemble) {
    let leader = soon("a leader", ensemble.leader()).await;
    let leader = leader.expect("one leads");
    ensemble.isolate(leader).expect("it is cut off");
    let others = async {
        // For a while it believes that it still leads.
        while ensemble.leader().await.expect("one leads") == leader {}
    };
    soon("the next leader", others).await;
    ensemble.heal();
    let containers = ensemble.containers().expect("they are containers");
    let follows = async {
        let is_follower = |(mode, _): &(String, u64)| mode == "follower";
        while !containers
            .modes()
            .await
            .get(leader)
            .is_some_and(is_follower)
        {}
    };
    soon("the former leader to follow", follows).await;
}
