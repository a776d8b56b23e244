//! Other members.

use std::sync::Arc;

use zk_proto::ServerId;
use zk_proto::request::ReconfigRequest;

use super::*;
use crate::ensemble::{Configs, EnsembleConfig};
use crate::tree::CONFIG_PATH;

/// Three members, who observe none; version 5.
fn three() -> Configs {
    let line = |id| format!("server.{id}=h{id}:2888:3888:participant;2181\n");
    let text: String = (1..=3).map(line).collect();
    let config = EnsembleConfig::parse(&format!("{text}version=5")).unwrap();
    Configs::new(Arc::new(config))
}

/// A leader of three, of which these are in step; everybody may do everything.
fn leading(in_step: &[i64]) -> World {
    let mut world = World::with(
        |options| {
            options.reconfig_enabled = true;
            options.access.is_skipped = true;
        },
        false,
    );
    show(&mut world, three(), in_step);
    world
}

fn show(world: &mut World, configs: Configs, in_step: &[i64]) {
    world.prep.set_ensemble(EnsembleView {
        configs,
        in_step: in_step.iter().copied().map(ServerId::new).collect(),
    });
}

fn reconfig(joining: &str, leaving: &str) -> ReconfigRequest {
    let some = |text: &str| Some(text.into()).filter(|_| !text.is_empty());
    ReconfigRequest {
        joining_servers: some(joining),
        leaving_servers: some(leaving),
        new_members: None,
        cur_config_id: -1,
    }
}

/// One that is right in everything that is looked at later than `until`.
fn all_wrong() -> ReconfigRequest {
    ReconfigRequest {
        cur_config_id: 4,
        ..reconfig("server.4=foo", "x")
    }
}

#[test]
fn reconfig_fails_in_order() {
    let request = Request::Reconfig(all_wrong());
    let mut world = World::new();
    let error = world.err_of(&faulty(SessionFault::Closing), &request);
    assert_eq!(error, ErrorCode::ReconfigDisabled);

    let alone = |options: &mut PrepOptions| {
        options.reconfig_enabled = true;
        options.is_standalone = true;
    };
    let mut world = World::with(alone, false);
    let error = world.err_of(&faulty(SessionFault::Closing), &request);
    assert_eq!(error, ErrorCode::SessionExpired);
    assert_eq!(world.err(&request), ErrorCode::Unimplemented);

    let enabled = |options: &mut PrepOptions| options.reconfig_enabled = true;
    let mut world = World::with(enabled, false);
    let mut pending = three();
    let next = pending.current().with_version(Zxid::new(6));
    pending.see(Arc::new(next));
    show(&mut world, pending, &[1]);
    assert_eq!(world.err(&request), ErrorCode::ReconfigInProgress);

    show(&mut world, three(), &[1]);
    assert_eq!(world.err(&request), ErrorCode::BadVersion);
    let mut request = all_wrong();
    request.cur_config_id = 5;
    for (joining, leaving, expected) in [
        ("server.4=foo", "x", ErrorCode::MarshallingError),
        ("server.y=foo", "", ErrorCode::MarshallingError),
        ("server.4=foo", "", ErrorCode::BadArguments),
        ("", "1,2", ErrorCode::BadArguments),
        (
            "server.4=h4:1:2;3,server.5=h5:1:2;3",
            "",
            ErrorCode::NewConfigNoQuorum,
        ),
    ] {
        (request.joining_servers, request.leaving_servers) =
            (Some(joining.into()), Some(leaving.into()));
        let error = world.err(&Request::Reconfig(request.clone()));
        assert_eq!(error, expected, "{joining} {leaving}");
    }
    show(&mut world, three(), &[1, 2]);
    let error = world.err(&Request::Reconfig(reconfig("", "3")));
    assert_eq!(error, ErrorCode::NoAuth);
}

#[test]
fn a_refusal_says_what_an_operator_can_do_about_it() {
    let mut pending = three();
    pending.see(Arc::new(pending.current().with_version(Zxid::new(6))));
    let of_version = |cur_config_id| ReconfigRequest {
        cur_config_id,
        ..reconfig("", "3")
    };
    for (configs, request, expected) in [
        (
            pending,
            of_version(-1),
            "another change is proposed, to version 0x6",
        ),
        (
            three(),
            of_version(4),
            "for version 0x4, and 0x5 is in force",
        ),
        (
            three(),
            reconfig("", "2,3"),
            "members that cannot be: 1 voters, at least 2 are needed",
        ),
        (
            three(),
            reconfig("server.4=h4:1:2;3", "1"),
            "of those that would vote only [2] are in step with the leader, which is no quorum",
        ),
    ] {
        let mut world = leading(&[1, 2]);
        show(&mut world, configs, &[1, 2]);
        let asked = world.ask(&session(1), &Request::Reconfig(request));
        let refusal = asked.refusal.expect("refused");
        let cause = std::error::Error::source(&refusal);
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        assert_eq!(format!("{refusal}{cause}"), expected);
    }
    let asked = leading(&[1, 2, 3]).ask(&session(1), &Request::Reconfig(reconfig("", "3")));
    assert_eq!((asked.error(), asked.refusal), (None, None));
}

#[test]
fn new_members_count_when_they_are_in_step_and_old_ones_do_not() {
    let five = reconfig("server.4=h4:1:2;3,server.5=h5:1:2;3", "");
    let one = reconfig("server.4=h4:1:2;3,server.5=h5:1:2;3", "1,2");
    for (in_step, of_five, of_one) in [
        (&[1, 2, 3][..], true, false),
        (&[3, 4], false, true),
        (&[1, 3, 5], true, true),
    ] {
        for (request, is_quorum) in [(&five, of_five), (&one, of_one)] {
            let mut world = leading(in_step);
            let asked = world.ask(&session(1), &Request::Reconfig(request.clone()));
            let expected = (!is_quorum).then_some(ErrorCode::NewConfigNoQuorum);
            assert_eq!(asked.error(), expected, "{in_step:?} {request:?}");
        }
    }
}

#[test]
fn the_transaction_says_who_the_members_are_and_is_their_version() {
    let mut world = leading(&[1, 2, 3]);
    let txn = world.ok(&Request::Reconfig(reconfig("", "3")));
    let Txn::Single(Op::Reconfig(record)) = txn else {
        panic!("{txn:?}");
    };
    let zxid = world.prep.last_zxid();
    let text = format!(
        "server.1=h1:2888:3888:participant;0.0.0.0:2181\n\
         server.2=h2:2888:3888:participant;0.0.0.0:2181\nversion={:x}",
        zxid.get()
    );
    assert_eq!(record.data.as_deref(), Some(text.as_bytes()));
    assert_eq!((&*record.path, record.version.get()), (CONFIG_PATH, -1));
    // Seen at once, with the version that the znode always has.
    let check = multi([check(CONFIG_PATH, -1)]);
    world.ok(&check);
    world.settle();
    let znode = world.tree.get(CONFIG_PATH).unwrap();
    assert_eq!(znode.data(), Some(text.as_bytes()));
    assert_eq!((znode.stat().version.get(), znode.stat().mzxid), (-1, zxid));
}

#[test]
fn a_single_voter_is_enough_where_one_may_be_an_ensemble() {
    let request = ReconfigRequest {
        new_members: Some("server.1=h1:1:2,server.2=h2:1:2:observer".into()),
        ..reconfig("", "")
    };
    let request = Request::Reconfig(request);
    assert_eq!(leading(&[1]).err(&request), ErrorCode::BadArguments);
    let single = |options: &mut PrepOptions| {
        options.reconfig_enabled = true;
        options.access.is_skipped = true;
        options.voters_min = 1;
    };
    let mut world = World::with(single, false);
    show(&mut world, three(), &[1]);
    world.ok(&request);
}
