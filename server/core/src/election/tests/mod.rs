//! Votes of one server, and of many.

mod captured;
mod distrust;
mod laws;
mod members;
mod votes;

use super::*;

const THREE: &str = "server.1=127.0.0.1:22101:22111:participant\n\
                     server.2=127.0.0.1:22102:22112:participant\n\
                     server.3=127.0.0.1:22103:22113:participant\n";

fn sid(id: i64) -> ServerId {
    ServerId::new(id)
}

fn config(text: &str) -> Arc<EnsembleConfig> {
    Arc::new(EnsembleConfig::parse(text).unwrap())
}

fn voters(count: i64) -> Arc<EnsembleConfig> {
    let line = |id| format!("server.{id}=h{id}:2888:3888:participant\n");
    let text: String = (1..=count).map(line).collect();
    config(&text)
}

/// State, leader, zxid, round and peer epoch.
type Said = (i64, i64, i64, i64, i64);

fn said(notification: &Notification) -> Said {
    let state = notification.state.map_or(-1, |state| state as i64);
    let Notification {
        leader,
        zxid,
        round,
        peer_epoch,
        ..
    } = notification;
    (state, leader.get(), zxid.get(), round.get(), *peer_epoch)
}

fn sent(out: &[ElectionOut]) -> Vec<(i64, Said)> {
    let one = |out: &ElectionOut| match out {
        ElectionOut::Send { to, notification } => Some((to.get(), said(notification))),
        ElectionOut::Decided(_)
        | ElectionOut::Noted(_)
        | ElectionOut::YoungerConfig(_)
        | ElectionOut::ProposedConfig(_) => None,
    };
    out.iter().filter_map(one).collect()
}

fn decided(out: &[ElectionOut]) -> Option<Vote> {
    out.iter().find_map(|out| match out {
        ElectionOut::Decided(vote) => Some(*vote),
        ElectionOut::Send { .. }
        | ElectionOut::Noted(_)
        | ElectionOut::YoungerConfig(_)
        | ElectionOut::ProposedConfig(_) => None,
    })
}

fn looking(
    me: i64,
    config: Arc<EnsembleConfig>,
    zxid: i64,
    epoch: i32,
) -> (Election, Vec<ElectionOut>) {
    let mut election = Election::new(ElectionOptions::new(sid(me), config));
    let initial = Vote::initial(sid(me), Zxid::new(zxid), Epoch::new(epoch));
    let mut out = Vec::new();
    election.start(Time::ZERO, initial, &mut out);
    (election, out)
}

fn vote(state: PeerState, leader: i64, zxid: i64, round: i64, peer_epoch: i64) -> Notification {
    Notification {
        state: Some(state),
        leader: sid(leader),
        zxid: Zxid::new(zxid),
        round: Round::new(round),
        peer_epoch,
        version: 2,
        config: None,
        is_ours: false,
        proposed: None,
    }
}
