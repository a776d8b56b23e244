//! What the admin server tells of a member and of the ensemble that it is a member of.
//!
//! # Source
//!
//! Apache `ZooKeeper` 3.9, `Commands.LeaderCommand`, `Commands.VotingViewCommand`,
//! `Commands.ZabStateCommand`.

use std::sync::Arc;

use zk_core::conn::handshake::ServingMode;
use zk_core::ensemble::EnsembleConfig;
use zk_core::peer::{Phase, Role};
use zk_proto::ServerId;

use super::commands::Outcome;
use super::json::{Json, object};
use crate::config::{self, Member, PeerAddress, Topology};
use crate::net::service::Service;
use crate::net::words;

/// The id of the server, and the ensemble that it is a member of.
fn ensemble(service: &Service) -> Option<(ServerId, Arc<EnsembleConfig>)> {
    match &service.config.topology {
        Topology::Ensemble(ensemble) => Some((ensemble.my_id, service.ensemble()?)),
        Topology::Standalone => None,
    }
}

pub(super) fn leader(service: &Service) -> Outcome {
    let Some((_, ensemble)) = ensemble(service) else {
        return Err("server is not initialized".to_owned());
    };
    let status = *service.status.lock();
    let members = ensemble.members();
    let address = members
        .filter(|member| Some(member.id) == status.leader)
        .find_map(|member| member.addresses.first());
    Ok(object([
        ("is_leader", (status.role == Role::Leading).into()),
        ("leader_id", status.leader.map_or(-1, ServerId::get).into()),
        (
            "leader_ip",
            address.map_or("", |address| &*address.host).into(),
        ),
    ])
    .into_members())
}

pub(super) fn voting_view(service: &Service) -> Json {
    let Some((me, ensemble)) = ensemble(service) else {
        return object([]);
    };
    let members = ensemble.members();
    let voters = members.filter(|member| member.role == config::Role::Voter);
    let members = voters.map(|member| {
        let listed = |place: fn(&PeerAddress) -> u16| {
            let all = member.addresses.iter();
            let all = all.map(|address| place_of(&address.host, place(address)).into());
            Json::Array(all.collect())
        };
        let view = object([
            ("server_addresses", listed(|address| address.quorum_port)),
            (
                "election_addresses",
                listed(|address| address.election_port),
            ),
            ("client_address", client_address(service, me, member).into()),
            ("learner_type", "participant".into()),
        ]);
        (member.id.to_string(), view)
    });
    Json::Object(members.collect())
}

/// Where a member says that clients find it; of itself, a server knows.
fn client_address(service: &Service, me: ServerId, member: &Member) -> String {
    let (named, port) = (member.client.as_ref(), service.port);
    match (named, port) {
        (Some(client), _) => place_of(&client.host, client.port),
        (None, Some(port)) if member.id == me => {
            let host = service.config.client_port.as_ref();
            let host = host.and_then(|place| place.host.as_deref());
            place_of(host.unwrap_or("0.0.0.0"), port)
        }
        (None, _) => String::new(),
    }
}

pub(super) fn zab_state(service: &Service) -> Json {
    let core = *service.status.lock();
    let own = ensemble(service).and_then(|(me, ensemble)| ensemble.member(me).cloned());
    // The reference says nothing more while it looks for a leader.
    let Some(own) = own.filter(|_| core.mode != ServingMode::NotServing) else {
        return object([("voting", false.into()), ("zabstate", "".into())]);
    };
    let zxid = words::status(service).zxid;
    object([
        ("myid", own.id.get().into()),
        ("is_leader", (core.role == Role::Leading).into()),
        (
            "quorum_address",
            addresses(&own, |address| address.quorum_port),
        ),
        (
            "election_address",
            addresses(&own, |address| address.election_port),
        ),
        (
            "client_address",
            client_address(service, own.id, &own).into(),
        ),
        ("voting", (own.role == config::Role::Voter).into()),
        ("last_zxid", zxid.to_string().into()),
        ("zab_epoch", i64::from(zxid.epoch().get()).into()),
        ("zab_counter", i64::from(zxid.counter()).into()),
        ("zabstate", zab_phase(core.phase).into()),
    ])
}

fn zab_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Draining | Phase::Election => "election",
        Phase::Discovery => "discovery",
        Phase::Synchronization => "synchronization",
        Phase::Broadcast | Phase::Stopping => "broadcast",
    }
}

/// The addresses of a member with one of their ports. Which of them can be reached is not tried.
fn addresses(member: &Member, port: fn(&PeerAddress) -> u16) -> Json {
    let all = || member.addresses.iter();
    let texts = |text: &dyn Fn(&PeerAddress) -> Json| Json::Array(all().map(text).collect());
    let place = |address: &PeerAddress| place_of(&address.host, port(address));
    object([
        ("empty", member.addresses.is_empty().into()),
        ("all_addresses", texts(&|address| place(address).into())),
        (
            "wildcard_addresses",
            texts(&|address| place_of("0.0.0.0", port(address)).into()),
        ),
        (
            "all_ports",
            texts(&|address| i64::from(port(address)).into()),
        ),
        (
            "all_host_strings",
            texts(&|address| address.host.clone().into()),
        ),
        ("one", all().next().map_or_else(String::new, place).into()),
    ])
}

/// A host and a port, as one writes them.
fn place_of(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
