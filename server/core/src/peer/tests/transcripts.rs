//! Captured conversations of the reference: fed one side, the machine says what the other side said,
//! where the protocol leaves no choice.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::BytesMut;
use serde_json::Value;
use zk_proto::jute::Encode as _;
use zk_proto::{Bytes, Epoch, ServerId, SessionId, Xid, Zxid};

use super::world::{Member, options, zxid};
use crate::ensemble::EnsembleConfig;
use crate::peer::*;
use crate::time::{Now, Time, WallTime};
use crate::wire::election::{Notification, PeerState, Round};
use crate::wire::quorum::{
    ForwardedRequest, LeaderPacket, LearnerInfo, LearnerKind, LearnerPacket, QuorumPacket,
};
use crate::wire::txn::{ErrorTxn, Op, Txn, TxnEntry, TxnHeader};

const NOW: Now = Now {
    time: Time::from_millis(1000),
    wall: WallTime::from_millis(1_700_000_000_000),
};

fn vectors(file: &str) -> Vec<Value> {
    let path = format!("{}/vectors/quorum/{file}.json", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "vectors are files")]
    let json = std::fs::read(path).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn bytes(message: &Value) -> Bytes {
    let digits: Vec<char> = message["hex"].as_str().unwrap().chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Some transaction, for a log whose content does not matter.
fn entry(zxid: Zxid) -> LogEntry {
    let entry = TxnEntry {
        header: TxnHeader {
            session: SessionId::new(1),
            cxid: Xid::new(1),
            zxid,
            time: WallTime::from_millis(1),
        },
        txn: Txn::Single(Op::Error(ErrorTxn { err: -101 })),
        digest: None,
    };
    let bytes = entry.to_bytes();
    LogEntry { zxid, bytes }
}

fn config() -> Arc<EnsembleConfig> {
    let voters = (1..=3).map(|id| format!("server.{id}=h:{}:{}:participant\n", 10 + id, 20 + id));
    let text = format!(
        "{}server.4=h:14:24:observer\nversion=0",
        voters.collect::<String>()
    );
    Arc::new(EnsembleConfig::parse(&text).unwrap())
}

fn vote(state: PeerState, leader: i64) -> Notification {
    Notification {
        state: Some(state),
        leader: ServerId::new(leader),
        zxid: Zxid::ZERO,
        round: Round::new(1),
        peer_epoch: 0,
        version: 2,
        config: None,
        is_ours: false,
        proposed: None,
    }
}

/// A member alone with its lanes, which do at once what they are told.
struct Solo {
    member: Member,
    said: VecDeque<NetAction>,
}

impl Solo {
    /// A member whose log ends at `epoch:last`.
    fn new(me: i64, (epoch, last): (i32, u32), accepted: i32, current: i32) -> Self {
        let mut member = Member::new();
        member.checks_digests = false;
        member.log = (1..=last)
            .map(|counter| entry(zxid(epoch, counter)))
            .collect();
        member.epochs = RecoveredEpochs {
            accepted: Epoch::new(accepted),
            current: Epoch::new(current),
        };
        member.tree = member.reload();
        let options = options(me);
        let member_options = MemberOptions::new(config());
        let peer = Peer::member(options, member_options, member.epochs, NOW, &member.tree);
        member.peer = Some(peer.unwrap());
        let mut solo = Self {
            member,
            said: VecDeque::new(),
        };
        let mut out = Actions::default();
        let member = &mut solo.member;
        let peer = member.peer.as_mut().unwrap();
        peer.start(NOW, &member.tree, &mut out);
        solo.perform(out);
        solo
    }

    fn perform(&mut self, out: Actions) {
        let Actions {
            log,
            apply,
            net,
            control,
            ..
        } = out;
        let mut events = Vec::new();
        for action in apply {
            self.member.apply(action, &mut events);
        }
        events.extend(log.into_iter().map(|action| self.member.write(action)));
        for action in control {
            self.member.control(action, &mut events);
        }
        let is_vote = |action: &NetAction| matches!(action, NetAction::SendElection { .. });
        self.said
            .extend(net.into_iter().filter(|action| !is_vote(action)));
        for event in events {
            self.feed(event);
        }
    }

    fn feed(&mut self, event: Event) {
        let mut out = Actions::default();
        let member = &mut self.member;
        let event = member.complete(event);
        let peer = member.peer.as_mut().unwrap();
        peer.handle(NOW, event, &member.tree, &mut out).unwrap();
        self.perform(out);
    }

    fn hear(&mut self, from: i64, notification: Notification) {
        let from = ServerId::new(from);
        self.feed(Event::Election { from, notification });
    }

    /// Finds a leader that is there already.
    fn follow(&mut self, me: i64, leader: i64) -> Attempt {
        for other in (1..=3).filter(|id| *id != me) {
            let state = if other == leader {
                PeerState::Leading
            } else {
                PeerState::Following
            };
            self.hear(other, vote(state, leader));
        }
        let Some(NetAction::ConnectLeader {
            attempt,
            leader: to,
        }) = self.said.pop_front()
        else {
            panic!("it does not connect: {:?}", self.said);
        };
        assert_eq!(to, ServerId::new(leader));
        self.feed(Event::LeaderUp { attempt });
        attempt
    }
}

/// What a learner says, without what only ours say.
fn as_captured(packet: &LearnerPacket) -> Bytes {
    let mut wire = packet.to_wire();
    match packet {
        LearnerPacket::Info { .. } => wire.data = wire.data.map(|data| data.slice(..20)),
        // Whose sessions were heard of depends on clients.
        LearnerPacket::Ping { .. } => wire.data = Some(Bytes::new()),
        LearnerPacket::AckEpoch { .. }
        | LearnerPacket::Ack { .. }
        | LearnerPacket::Request(_)
        | LearnerPacket::Revalidate { .. }
        | LearnerPacket::Unknown { .. } => {}
    }
    wire.to_bytes()
}

/// Plays the learner of a captured connection. What its clients asked for is left out.
fn play_learner(file: &str, conn: u64, mut solo: Solo) -> Solo {
    let messages = vectors(file);
    let ours: Vec<&Value> = messages.iter().filter(|one| one["conn"] == conn).collect();
    let is_greeting = |message: &&&Value| message["kind"].as_str().unwrap().ends_with("RINFO");
    let greeting = ours.iter().find(is_greeting).unwrap();
    let (me, leader) = (
        greeting["from"].as_i64().unwrap(),
        greeting["to"].as_i64().unwrap(),
    );
    let attempt = solo.follow(me, leader);
    let mut snapped = Zxid::ZERO;
    for message in ours {
        let name = &message["name"];
        let kind = message["kind"].as_str().unwrap();
        if message["from"] == me {
            if matches!(kind, "REQUEST" | "REVALIDATE") {
                continue;
            }
            let said = solo.said.pop_front();
            if kind == "close:FIN" {
                assert_eq!(said, Some(NetAction::DropLeader { attempt }), "{name}");
                return solo;
            }
            let Some(NetAction::SendLeader { packet, .. }) = said else {
                panic!("{name}: {said:?}");
            };
            let mut wire = bytes(message);
            if kind == "PING" {
                let packet = QuorumPacket::decode(&wire).unwrap();
                let LearnerPacket::Ping { zxid, .. } = LearnerPacket::from_wire(packet).unwrap()
                else {
                    panic!("{name}");
                };
                let touches = Vec::new();
                wire = LearnerPacket::Ping { zxid, touches }.to_wire().to_bytes();
            }
            assert_eq!(as_captured(&packet), wire, "{name}: {packet:?}");
        } else if kind == "SNAPSTREAM" {
            let stream = bytes(message);
            let snapshot = SnapshotId::new(1);
            let tree = stream.slice(..stream.len() - 14);
            solo.member.received.insert(snapshot, (snapped, tree));
            solo.feed(Event::LeaderSnapshot { attempt, snapshot });
        } else {
            let packet = QuorumPacket::decode(&bytes(message)).unwrap();
            let packet = LeaderPacket::from_wire(packet).unwrap();
            if let LeaderPacket::Snap { zxid } = packet {
                snapped = zxid;
            }
            solo.feed(Event::LeaderPacket { attempt, packet });
        }
    }
    assert_eq!(solo.said, []);
    solo
}

#[test]
fn learner_of_an_empty_ensemble() {
    let solo = play_learner("02-discovery-empty-diff", 12, Solo::new(1, (1, 0), 0, 0));
    let status = solo.member.peer.unwrap().status();
    assert_eq!(
        (status.role, status.phase),
        (Role::Following, Phase::Broadcast)
    );
    assert_eq!(solo.member.epochs.current, Epoch::new(1));
}

#[test]
fn observer_that_gets_the_tree() {
    let solo = play_learner("02-discovery-empty-diff", 16, Solo::new(4, (1, 0), 0, 0));
    let status = solo.member.peer.unwrap().status();
    assert_eq!(
        (status.role, status.phase),
        (Role::Observing, Phase::Broadcast)
    );
    assert_eq!(solo.member.tree.applied(), zxid(1, 0));
}

#[test]
fn learner_that_lacks_three_transactions() {
    let solo = play_learner("05-sync-diff", 18, Solo::new(1, (1, 4), 1, 1));
    assert_eq!(solo.member.tree.applied(), zxid(1, 7));
    assert_eq!(solo.member.log.len(), 7);
}

#[test]
fn learner_that_lacks_nothing() {
    play_learner("06-sync-diff-empty", 28, Solo::new(1, (1, 7), 1, 1));
}

#[test]
fn learner_that_lost_its_disk() {
    let solo = play_learner("07-sync-snap", 23, Solo::new(1, (1, 0), 0, 0));
    assert!(solo.member.tree.get("/n5").is_some());
    assert_eq!(solo.member.tree.applied(), zxid(1, 7));
}

#[test]
fn learner_whose_end_is_cut_away() {
    let solo = play_learner("08-sync-trunc", 37, Solo::new(3, (1, 9), 1, 1));
    assert_eq!(solo.member.log.len(), 8, "seven, and one of the new epoch");
    assert_eq!(solo.member.tree.applied(), zxid(2, 1));
    play_learner("08-sync-trunc", 34, Solo::new(1, (1, 7), 1, 1));
}

#[test]
fn learner_that_gets_the_tree_in_place_of_its_own_end() {
    let solo = play_learner(
        "09-sync-epoch-mismatch-snap",
        49,
        Solo::new(2, (2, 3), 2, 2),
    );
    assert_eq!(solo.member.tree.applied(), zxid(3, 2));
    assert_eq!(solo.member.log, [], "behind the tree");
    play_learner(
        "09-sync-epoch-mismatch-snap",
        45,
        Solo::new(1, (2, 2), 2, 2),
    );
}

/// Outstanding proposals in the sync, a commit between NEWLEADER and UPTODATE, a commit of what is
/// not the next one.
#[test]
fn learner_of_a_leader_that_does_everything_at_once() {
    let solo = play_learner("16-handwritten-leader", 23, Solo::new(2, (1, 0), 0, 0));
    assert_eq!(
        solo.member.tree.applied(),
        zxid(1, 6),
        "logged, though not committed"
    );
}

/// The leader of two learners that begin with nothing.
#[test]
fn leader_of_an_empty_ensemble() {
    let messages = vectors("02-discovery-empty-diff");
    let mut solo = Solo::new(3, (1, 0), 0, 0);
    for from in [1, 2] {
        solo.hear(from, vote(PeerState::Looking, 3));
    }
    assert_eq!(solo.said.pop_front(), Some(NetAction::Listen(true)));
    let link = |conn: u64| LinkId::new(NonZeroU64::new(conn).unwrap());
    let mut said: Vec<VecDeque<Bytes>> = vec![VecDeque::new(); 13];
    for message in messages {
        let conn = message["conn"].as_u64().unwrap();
        let name = &message["name"];
        if conn != 11 && conn != 12 {
            continue;
        }
        let wire = bytes(&message);
        if message["from"] == 3 {
            for action in solo.said.drain(..) {
                let NetAction::SendLearner { link, packet } = action else {
                    panic!("{name}: {action:?}");
                };
                let mut out = BytesMut::new();
                packet.to_wire().encode(&mut out);
                said[usize::try_from(link.get()).unwrap()].push_back(out.freeze());
            }
            let mut packet = said[usize::try_from(conn).unwrap()].pop_front().unwrap();
            if message["kind"] == "NEWLEADER" {
                // The members of the capture are others.
                packet = packet.slice(..12);
                assert_eq!(packet, wire[..12], "{name}");
            } else {
                assert_eq!(packet, wire, "{name}");
            }
            continue;
        }
        let packet = QuorumPacket::decode(&wire).unwrap();
        let packet = LearnerPacket::from_wire(packet).unwrap();
        let link = link(conn);
        if message["kind"] == "FOLLOWERINFO" {
            solo.feed(Event::LearnerUp { link });
        }
        solo.feed(Event::LearnerPacket { link, packet });
    }
    assert!(said.iter().all(VecDeque::is_empty) && solo.said.is_empty());
    let status = solo.member.peer.unwrap().status();
    assert_eq!(
        (status.role, status.phase),
        (Role::Leading, Phase::Broadcast)
    );
    assert_eq!(status.synced_followers, 2);
}

/// What a leader may not say ends the connection, and nothing else.
#[test]
fn learner_leaves_a_leader_that_makes_no_sense() {
    let proposal = |zxid: Zxid| LeaderPacket::Proposal {
        zxid,
        entry: entry(zxid).bytes,
    };
    let epoch = Epoch::new(1);
    let committed = zxid(1, 4);
    let diff = LeaderPacket::Diff { committed };
    let config = None;
    let new_leader = LeaderPacket::NewLeader { epoch, config };
    let cases = [
        vec![LeaderPacket::UpToDate],
        vec![new_leader.clone()],
        vec![LeaderPacket::Snap { zxid: zxid(2, 0) }],
        vec![LeaderPacket::Snap {
            zxid: Zxid::new(-1),
        }],
        vec![LeaderPacket::Trunc { target: zxid(1, 5) }],
        vec![LeaderPacket::Trunc {
            target: Zxid::new(-5),
        }],
        vec![LeaderPacket::Trunc { target: zxid(1, 0) }],
        // ZOOKEEPER-4925: a gap.
        vec![diff.clone(), proposal(zxid(1, 6))],
        vec![diff.clone(), proposal(zxid(2, 1))],
        vec![diff.clone(), LeaderPacket::Commit { zxid: zxid(1, 5) }],
        vec![diff.clone(), LeaderPacket::UpToDate],
        vec![
            diff.clone(),
            LeaderPacket::NewLeader {
                epoch: Epoch::new(2),
                config: None,
            },
        ],
        vec![
            diff.clone(),
            LeaderPacket::Proposal {
                zxid: zxid(1, 5),
                entry: entry(zxid(1, 6)).bytes,
            },
        ],
        vec![
            diff,
            LeaderPacket::Inform {
                zxid: zxid(1, 5),
                entry: Bytes::from_static(b"no transaction"),
            },
        ],
    ];
    for packets in cases {
        let mut solo = Solo::new(1, (1, 4), 1, 1);
        let attempt = solo.follow(1, 3);
        let info = LeaderPacket::LeaderInfo { epoch };
        for packet in [info].into_iter().chain(packets.clone()) {
            solo.feed(Event::LeaderPacket { attempt, packet });
        }
        let last = solo.said.pop_back();
        assert_eq!(last, Some(NetAction::DropLeader { attempt }), "{packets:?}");
        let status = solo.member.peer.as_ref().unwrap().status();
        assert_eq!(status.role, Role::Looking, "{packets:?}");
    }
}

/// What a leader sent over each link, in order.
fn sent(solo: &mut Solo) -> BTreeMap<u64, Vec<NetAction>> {
    let mut sent = BTreeMap::new();
    for action in solo.said.drain(..) {
        if let NetAction::SendLearner { link, .. } | NetAction::SendCommits { link, .. } = action {
            let of_link: &mut Vec<NetAction> = sent.entry(link.get()).or_default();
            of_link.push(action);
        }
    }
    sent
}

/// Only followers of others wait for what is committed while they are synchronised, and it takes no room.
#[test]
fn commits_wait_for_learners_that_do_not_bear_them() {
    let mut solo = Solo::new(3, (1, 0), 0, 0);
    for from in [1, 2] {
        solo.hear(from, vote(PeerState::Looking, 3));
    }
    let link = |number: u64| LinkId::new(NonZeroU64::new(number).unwrap());
    let ack = |number, zxid| Event::LearnerPacket {
        link: link(number),
        packet: LearnerPacket::Ack { zxid },
    };
    let join = |solo: &mut Solo, number, server, kind, is_ours| {
        let link = link(number);
        solo.feed(Event::LearnerUp { link });
        let info = LearnerInfo {
            is_ours,
            ..LearnerInfo::ours(ServerId::new(server), Zxid::ZERO)
        };
        let accepted = Epoch::new(0);
        let packet = LearnerPacket::Info {
            kind,
            accepted,
            info,
        };
        solo.feed(Event::LearnerPacket { link, packet });
        let packet = LearnerPacket::AckEpoch {
            zxid: Zxid::ZERO,
            current: Some(Epoch::new(0)),
            wants_tree: false,
        };
        solo.feed(Event::LearnerPacket { link, packet });
    };
    join(&mut solo, 1, 1, LearnerKind::Follower, true);
    let start = Zxid::from_parts(solo.member.epochs.accepted, 0);
    solo.feed(ack(1, start));
    for (number, is_ours) in [(2, true), (3, false)] {
        join(&mut solo, number, 4, LearnerKind::Observer, is_ours);
        join(&mut solo, 10 + number, 2, LearnerKind::Follower, is_ours);
        sent(&mut solo);
        let first = solo.member.peer.as_ref().unwrap().status().proposed;
        let mut zxids = Vec::new();
        for next in 1..=3 {
            let request = ForwardedRequest {
                session: SessionId::new(first.get() + next),
                cxid: Xid::new(0),
                op: -10,
                body: Bytes::from_static(&[0, 0, 0x75, 0x30]),
                identities: None,
            };
            let packet = LearnerPacket::Request(request);
            let link = link(1);
            solo.feed(Event::LearnerPacket { link, packet });
            let zxid = solo.member.peer.as_ref().unwrap().status().proposed;
            solo.feed(ack(1, zxid));
            zxids.push(zxid);
        }
        let said = sent(&mut solo);
        let kinds = |number: u64| -> String {
            let kind = |action: &NetAction| {
                let NetAction::SendLearner { packet, .. } = action else {
                    panic!("{action:?}");
                };
                match packet.to_wire().kind {
                    2 => 'P',
                    4 => 'C',
                    8 => 'I',
                    other => panic!("a packet of kind {other}"),
                }
            };
            said[&number].iter().map(kind).collect()
        };
        assert_eq!(kinds(number), "III", "observers are informed at once");
        let expected = if is_ours { "PCPCPC" } else { "PPP" };
        assert_eq!(kinds(10 + number), expected);

        solo.feed(ack(10 + number, start));
        let said = &sent(&mut solo)[&(10 + number)];
        let link = link(10 + number);
        let packet = LeaderPacket::UpToDate;
        let (first, last) = (zxids[0], zxids[2]);
        let mut expected = vec![NetAction::SendLearner { link, packet }];
        if !is_ours {
            expected.push(NetAction::SendCommits { link, first, last });
        }
        assert_eq!(*said, expected);
    }
}
