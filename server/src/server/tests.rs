//! What shows inside of a server only.

use std::net::Ipv4Addr;

use tokio::time::sleep;
use zk_client::Client;

use super::*;
use crate::{Phase, Role};

/// Longer than anything takes.
const SOON: Duration = Duration::from_mins(2);

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Two members, each with the handle on its faults.
async fn two() -> Vec<(Server, Faults)> {
    let bind = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let sockets: Vec<_> = (0..2)
        .map(|_| MemberSockets {
            quorum: bind(),
            election: bind(),
        })
        .collect();
    let port = |listener: &std::net::TcpListener| listener.local_addr().expect("bound").port();
    let lines: Vec<_> = sockets
        .iter()
        .map(|one| format!("127.0.0.1:{}:{}", port(&one.quorum), port(&one.election)))
        .collect();
    let starting = sockets.into_iter().zip(1..).map(async |(sockets, id)| {
        let faults = Faults::default();
        // It bears the silence of the other for 25 ticks.
        let mut builder = Server::builder()
            .set("tickTime", 200)
            .set("syncLimit", 25)
            .set("audit.enable", true)
            .faults(&faults)
            .member(ServerId::new(id), sockets);
        for (line, id) in lines.iter().zip(1..) {
            builder = builder.set(&format!("server.{id}"), line);
        }
        (builder.start().await.expect("started"), faults)
    });
    futures_util::future::join_all(starting).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_of_a_leader_that_lost_its_quorum_is_kept_by_no_audit() {
    let members = two().await;
    let leads = |server: &Server| {
        let status = server.status();
        (status.role, status.phase) == (Role::Leading, Phase::Broadcast)
    };
    until("one leads", || {
        members.iter().any(|(server, _)| leads(server))
    })
    .await;
    let of = |leading| members.iter().find(|(server, _)| leads(server) == leading);
    let ((leader, _), (_, follower)) = of(true).zip(of(false)).expect("one leads, one does not");
    let pending = || leader.audit.as_ref().map(|audit| audit.pending());
    let address = leader.client_address().to_string();
    let zk = Client::connect(&address).await.expect("connected");
    // Nobody acknowledges it.
    follower.pause();
    let create = zk.create("/a", "").send();
    until("it is asked for", || pending() == Some(1)).await;
    until("it does not lead any more", || !leads(leader)).await;
    until("nothing is kept", || pending() == Some(0)).await;
    follower.resume();
    drop(create);
}
