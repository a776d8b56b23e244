//! Golden vectors, and what the decoders refuse.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;
use zk_proto::jute::Encode as _;
use zk_proto::{Bytes, Epoch, ServerId, Zxid};

use super::*;
use crate::tree::{DigestCheck, Tree, TreeLoader, TreeOptions};
use crate::wire::snapshot::SnapshotDecoder;
use crate::wire::txn::TxnEntry;

const LIMIT: LengthLimit = LengthLimit(2 << 20);

fn vectors(file: &str) -> Vec<Value> {
    let path = format!("{}/vectors/quorum/{file}", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "vectors are files")]
    let json = std::fs::read(path).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn bytes(message: &Value) -> Bytes {
    hex(message["hex"].as_str().unwrap())
}

/// A 64-bit number, which may be text.
fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| {
        let text = value.as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap().cast_signed()
    })
}

/// Splits off the packet at the start of a stream.
fn take(stream: &mut Bytes) -> QuorumPacket {
    let len = QuorumPacket::find(stream, LIMIT).unwrap().unwrap();
    QuorumPacket::decode(&stream.split_to(len)).unwrap()
}

/// Reads a packet as what its sender means, and back; says whether its kind is known.
fn there_and_back(packet: &QuorumPacket, is_leader: bool) -> bool {
    let (again, is_known) = if is_leader {
        let typed = LeaderPacket::from_wire(packet.clone()).unwrap();
        let is_known = !matches!(typed, LeaderPacket::Unknown { .. });
        (typed.to_wire(), is_known)
    } else {
        let typed = LearnerPacket::from_wire(packet.clone()).unwrap();
        let is_known = !matches!(typed, LearnerPacket::Unknown { .. });
        (typed.to_wire(), is_known)
    };
    assert_eq!(again, *packet);
    is_known
}

#[test]
fn captured_packets_are_read_and_written_the_same() {
    let mut count = 0;
    for file in [
        "02-discovery-empty-diff.json",
        "05-sync-diff.json",
        "06-sync-diff-empty.json",
        "07-sync-snap.json",
        "08-sync-trunc.json",
        "09-sync-epoch-mismatch-snap.json",
        "10-broadcast.json",
        "11-sessions.json",
        "12-sync-request.json",
        "13-reconfig.json",
        "14-observer-master.json",
        "15-zxid-rollover.json",
        "16-handwritten-leader.json",
        "17-zk380-follower-acks.json",
    ] {
        let messages = vectors(file);
        // Who greets is the learner; where nobody does, 3 leads.
        let learners: Vec<(&Value, &Value)> = messages
            .iter()
            .filter(|message| {
                ["FOLLOWERINFO", "OBSERVERINFO"].contains(&message["kind"].as_str().unwrap())
            })
            .map(|message| (&message["conn"], &message["from"]))
            .collect();
        for message in &messages {
            let decoded = &message["decoded"];
            if message["port"] == "election" || decoded["type"].is_null() {
                continue;
            }
            let name = &message["name"];
            let wire = bytes(message);
            let len = QuorumPacket::find(&wire, LIMIT).unwrap();
            assert_eq!(len, Some(wire.len()), "{name}");
            for cut in 0..wire.len().min(64) {
                assert_eq!(QuorumPacket::find(&wire[..cut], LIMIT), Ok(None), "{name}");
            }
            let packet = QuorumPacket::decode(&wire).unwrap();
            assert_eq!(packet.to_bytes(), wire, "{name}");
            assert_eq!(i64::from(packet.kind), number(&decoded["type"]), "{name}");
            assert_eq!(packet.zxid.get(), number(&decoded["zxid"]), "{name}");
            let data_len = packet.data.as_ref().map(|data| data.len() as u64);
            assert_eq!(data_len, decoded["dataLen"].as_u64(), "{name}");
            let learner = learners.iter().find(|(conn, _)| **conn == message["conn"]);
            let is_leader = match learner {
                Some((_, learner)) => message["from"] != **learner,
                None if message["port"] == "observerMaster" => message["from"] == 2,
                None => message["from"] == 3,
            };
            assert!(there_and_back(&packet, is_leader), "{name}");
            count += 1;
        }
    }
    assert!(count > 600, "{count} packets");
}

/// Whole connections: every byte is of a packet, or of a tree.
#[test]
fn captured_streams_are_read_to_the_last_byte() {
    let mut trees = 0;
    for stream in vectors("20-raw-streams.json") {
        if stream["port"] == "election" {
            continue;
        }
        let name = stream["name"].as_str().unwrap();
        let mut rest = bytes(&stream);
        let mut packets = 0;
        while !rest.is_empty() {
            let packet = take(&mut rest);
            packets += 1;
            let is_leader = name.starts_with("leader");
            assert!(there_and_back(&packet, is_leader), "{name}");
            let Ok(LeaderPacket::Snap { zxid }) = LeaderPacket::from_wire(packet) else {
                continue;
            };
            if !is_leader {
                continue;
            }
            let mut decoder = SnapshotDecoder::of_wire(1 << 20);
            let mut loader = TreeLoader::new(TreeOptions::default());
            decoder.feed(rest.clone());
            while let Some(item) = decoder.next_item().unwrap() {
                loader.add(&item).unwrap();
            }
            rest = decoder.take_rest().unwrap();
            let signature = Bytes::from_static(SNAP_SIGNATURE.as_bytes());
            assert_eq!(rest.split_to(14), Some(signature).to_bytes());
            let trailer = crate::wire::snapshot::Trailer::default();
            let (tree, _) = loader.finish(zxid, &trailer).unwrap();
            assert_eq!(tree.applied(), zxid);
            trees += 1;
        }
        assert_eq!(
            Some(packets),
            stream["decoded"]["packets"].as_u64(),
            "{name}"
        );
    }
    assert_eq!(trees, 1);
}

/// What a leader of the reference proposed, applied here, gives the digests that it computed.
#[test]
fn captured_history_gives_the_digests_of_its_leader() {
    let streams = vectors("20-raw-streams.json");
    let is_it = |stream: &&Value| stream["name"] == "leader-to-learner-1";
    let mut rest = bytes(streams.iter().find(is_it).unwrap());
    let mut tree = Tree::new(TreeOptions::default());
    let mut equal = 0;
    while !rest.is_empty() {
        let packet = LeaderPacket::from_wire(take(&mut rest)).unwrap();
        if let LeaderPacket::Proposal { zxid, entry } = packet {
            let entry = TxnEntry::decode(&entry).unwrap();
            assert_eq!(entry.header.zxid, zxid);
            tree.apply(&entry.header, &entry.txn);
            let check = tree.check_digest(zxid, entry.digest.as_ref());
            assert!(
                !matches!(check, DigestCheck::Different(..)),
                "{zxid}: {check:?}"
            );
            equal += usize::from(check == DigestCheck::Equal);
        }
    }
    assert_eq!(equal, 34);
}

#[test]
fn lengths_beyond_the_limit_are_refused_before_anything_is_read() {
    let claim = |data: i32, count: i32, scheme: i32| {
        let mut wire = BytesMut::new();
        1i32.encode(&mut wire);
        Zxid::ZERO.encode(&mut wire);
        data.encode(&mut wire);
        count.encode(&mut wire);
        scheme.encode(&mut wire);
        wire.freeze()
    };
    let field = |wire: &[u8]| {
        QuorumPacket::find(wire, LengthLimit(100))
            .unwrap_err()
            .field
    };
    assert_eq!(field(&claim(101, 0, 0)), "data");
    assert_eq!(field(&claim(-2, 0, 0)), "data");
    assert_eq!(field(&claim(-1, 1 << 20, 0)), "authinfo");
    assert_eq!(field(&claim(-1, 1, 101)), "authinfo.scheme");
    let error = QuorumPacket::find(&claim(i32::MAX, 0, 0), LengthLimit(100)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "QuorumPacket.data claims 2147483647 bytes where 100 are allowed"
    );
    assert_eq!(QuorumPacket::find(&claim(-1, -1, 0), LIMIT), Ok(Some(20)));
    // Each of them within the limit, and all together far beyond it.
    let mut many = claim(-1, 1000, 0).to_vec();
    many.truncate(20);
    for _ in 0..5 {
        many.extend(100i32.to_be_bytes());
        many.extend([b'x'; 100]);
    }
    let error = QuorumPacket::find(&many, LengthLimit(100)).unwrap_err();
    assert_eq!((error.claimed, error.max), (500, 400));
    assert_eq!(QuorumPacket::find(&many[..436], LengthLimit(100)), Ok(None));
}

#[test]
fn errors_name_the_packet_and_the_field() {
    let packet = |kind, data: Option<&'static [u8]>| QuorumPacket {
        data: data.map(Bytes::from_static),
        ..QuorumPacket::bare(kind, Zxid::new(1))
    };
    let learner = |kind, data| {
        let error = LearnerPacket::from_wire(packet(kind, data)).unwrap_err();
        format!("{}.{}", error.record(), error.field())
    };
    let leader = |kind, data| {
        let error = LeaderPacket::from_wire(packet(kind, data)).unwrap_err();
        format!("{}.{}", error.record(), error.field())
    };
    assert_eq!(learner(1, None), "REQUEST.data");
    assert_eq!(learner(1, Some(&[0; 11])), "REQUEST.cxid");
    assert_eq!(learner(5, Some(&[0; 13])), "PING.session");
    assert_eq!(learner(6, Some(&[0; 8])), "REVALIDATE.timeout");
    assert_eq!(learner(11, Some(&[0; 5])), "LearnerInfo.serverid");
    assert_eq!(learner(18, Some(&[0; 3])), "ACKEPOCH.epoch");
    assert_eq!(leader(2, None), "PROPOSAL.data");
    assert_eq!(leader(6, Some(&[0; 8])), "REVALIDATE.valid");
    assert_eq!(leader(9, Some(&[0; 7])), "COMMITANDACTIVATE.leader");
    assert_eq!(leader(17, None), "LEADERINFO.zxid");
}

/// Old learners say less about themselves; ours say one thing more, which others pass over.
#[test]
fn learners_of_all_ages_tell_who_they_are() {
    let info = |data: Option<Bytes>| {
        let packet = QuorumPacket {
            data,
            ..QuorumPacket::bare(11, Zxid::from_parts(Epoch::new(7), 0))
        };
        let LearnerPacket::Info {
            kind: LearnerKind::Follower,
            accepted,
            info,
        } = LearnerPacket::from_wire(packet).unwrap()
        else {
            panic!("no greeting");
        };
        assert_eq!(accepted, Epoch::new(7));
        info
    };
    assert_eq!((info(None).server, info(None).protocol), (None, 1));
    let eight = info(Some(hex("0000000000000005")));
    assert_eq!((eight.server, eight.protocol), (Some(ServerId::new(5)), 1));
    let twenty = info(Some(hex("0000000000000001000100000000000000000009")));
    assert_eq!(twenty.protocol, PROTOCOL_VERSION);
    assert_eq!(twenty.config_version, Zxid::new(9));
    assert!(!twenty.is_ours);
    let ours = LearnerPacket::Info {
        kind: LearnerKind::Observer,
        accepted: Epoch::new(1),
        info: LearnerInfo::ours(ServerId::new(1), Zxid::new(9)),
    };
    let wire = ours.to_wire();
    assert_eq!(
        wire.data.as_ref().unwrap()[..20],
        hex("0000000000000001000100000000000000000009")[..]
    );
    assert_eq!(LearnerPacket::from_wire(wire).unwrap(), ours);
}

/// The reference reads a zxid that no history has, and four bytes; it answers with the tree.
#[test]
fn who_asks_for_the_tree_tells_ours_what_it_has() {
    let promise = |wants_tree| LearnerPacket::AckEpoch {
        zxid: Zxid::new(7),
        current: Some(Epoch::new(2)),
        wants_tree,
    };
    let wire = promise(true).to_wire();
    assert_eq!(wire.zxid, Zxid::new(-1));
    assert_eq!(wire.data.as_ref().unwrap()[..4], [0, 0, 0, 2]);
    assert_eq!(
        LearnerPacket::from_wire(wire.clone()).unwrap(),
        promise(true)
    );
    let theirs = QuorumPacket {
        data: wire.data.map(|data| data.slice(..4)),
        ..wire
    };
    assert_eq!(
        LearnerPacket::from_wire(theirs).unwrap(),
        LearnerPacket::AckEpoch {
            zxid: Zxid::new(-1),
            current: Some(Epoch::new(2)),
            wants_tree: true,
        }
    );
    let wire = promise(false).to_wire();
    assert_eq!(
        (wire.zxid, wire.data.as_ref().unwrap().len()),
        (Zxid::new(7), 4)
    );
    assert_eq!(LearnerPacket::from_wire(wire).unwrap(), promise(false));
}

proptest! {
    #[test]
    fn no_bytes_bring_the_decoders_down(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0i32..21,
    ) {
        let all = Bytes::from(bytes);
        if let Ok(Some(len)) = QuorumPacket::find(&all, LIMIT) {
            prop_assert!(len <= all.len());
            prop_assert!(QuorumPacket::decode(&all.slice(..len)).is_ok());
        }
        let packet = QuorumPacket::with(kind, Zxid::new(5), all);
        drop(LeaderPacket::from_wire(packet.clone()));
        drop(LearnerPacket::from_wire(packet));
    }
}
