//! The bytes of a connection, from the first one: handshake, then requests, each answered from a
//! tree, or prepared, applied and answered.

#![no_main]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use zk_core::answer::{ConnWatches, Viewer, answer_read, answer_write};
use zk_core::conn::auth::{Access, Identities, Schemes};
use zk_core::conn::handshake::{Decision, Handshake, ServerFacts, ServingMode, SessionKind};
use zk_core::conn::pipeline::Then;
use zk_core::conn::request::{Class, Incoming};
use zk_core::prep::{Prep, PrepOptions, Requester};
use zk_core::session::TimeoutBounds;
use zk_core::time::WallTime;
use zk_core::tree::{OwnerRules, Tree, TreeOptions};
use zk_core::watch::WatchKind;
use zk_core::wire::txn::{Txn, TxnDigest, TxnEntry};
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::request::WatcherType;
use zk_proto::{SessionId, Zxid, frame};

/// Longest frame; small, so that the limit is met.
const FRAME_MAX: usize = 2048;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

static ACCESS: LazyLock<Access> = LazyLock::new(|| Access::new(Schemes::standard()));

/// The watches of the connection, without those who fire them.
#[derive(Default)]
struct Watches(BTreeSet<(String, WatchKind)>);

impl ConnWatches for Watches {
    fn register(&mut self, path: &str, kind: WatchKind) {
        self.0.insert((path.to_owned(), kind));
    }

    fn has(&self, path: &str, _: WatcherType) -> bool {
        self.0.iter().any(|(watched, _)| watched == path)
    }

    fn remove(&mut self, path: &str, _: WatcherType) -> bool {
        let before = self.0.len();
        self.0.retain(|(watched, _)| watched != path);
        self.0.len() < before
    }
}

fuzz_target!(|input: &[u8]| {
    let mut input = BytesMut::from(input);
    let Ok(Some(first)) = frame::take(&mut input, FRAME_MAX) else {
        return;
    };
    let facts = ServerFacts {
        mode: ServingMode::Full,
        last_zxid: Zxid::new(7),
        bounds: TimeoutBounds::new(2000, None, None).expect("legal"),
        has_local_sessions: false,
        has_tokens: true,
    };
    let Ok(handshake) = Handshake::decode(&first) else {
        return;
    };
    let session = SessionId::new(0x100_0000_0000_0001);
    match handshake.decide(&facts) {
        Decision::Close(_) => return,
        Decision::Refuse { frame, .. } => {
            assert!(!frame.is_empty());
            return;
        }
        Decision::Create(awaiting) => assert!(!awaiting.created(session).is_empty()),
        Decision::Resume(awaiting) => {
            awaiting.looked_up(false);
        }
    }

    let owners = OwnerRules {
        extended_types: true,
        emulate_353_ttl: false,
    };
    let options = TreeOptions {
        owners,
        ..TreeOptions::default()
    };
    let mut tree = Tree::new(options);
    let mut prep = Prep::new(
        PrepOptions {
            is_standalone: true,
            enforces_quota: true,
            ..PrepOptions::new(ACCESS.clone())
        },
        tree.applied(),
    );
    let mut identities = Identities::of_peer(PEER);
    let mut watches = Watches::default();
    let mut out = BytesMut::new();
    // Prepared and not applied: every third request is followed by the application of what waits.
    let mut waiting = Vec::new();
    let mut count = 0u32;
    while let Ok(Some(payload)) = frame::take(&mut input, FRAME_MAX) {
        count += 1;
        let Ok(incoming) = Incoming::decode(&payload) else {
            break;
        };
        let xid = incoming.reply_xid();
        match incoming.class {
            Class::Auth(packet) => match ACCESS.schemes.authenticate(&packet, PEER, &identities) {
                Ok(more) => identities = more,
                Err(_) => break,
            },
            Class::Sasl(_) => {}
            Class::Read(read) => {
                let viewer = Viewer {
                    session,
                    identities: &identities,
                    access: &ACCESS,
                };
                out.clear();
                let then = answer_read(read, xid, &viewer, &tree, &mut watches, &mut out);
                check_frames(&out);
                if then == Then::Close {
                    break;
                }
            }
            Class::Write(write) => {
                let from = Requester {
                    session,
                    cxid: incoming.xid,
                    identities: identities.clone(),
                    standing: Ok(SessionKind::Global),
                };
                let now = WallTime::from_millis(1_700_000_000_000 + i64::from(count));
                let prepared = prep
                    .prepare(now, &from, write.request(), &tree)
                    .expect("a server on its own has no epochs");
                waiting.push((write.op(), xid, prepared.entry));
            }
        }
        if count.is_multiple_of(3) {
            settle(&mut tree, &mut waiting, &mut out);
        }
    }
    settle(&mut tree, &mut waiting, &mut out);
});

/// Applies what was prepared: what is logged reads back, the digest is the one foreseen, and there
/// is an answer.
fn settle(
    tree: &mut Tree,
    waiting: &mut Vec<(zk_proto::OpCode, zk_proto::Xid, TxnEntry)>,
    out: &mut BytesMut,
) {
    for (op, xid, entry) in waiting.drain(..) {
        let wire = entry.to_bytes();
        // Not the same entry: in a multi, create2 is written as create.
        let again = TxnEntry::decode(&wire).expect("reads back");
        assert_eq!(again.to_bytes(), wire);
        let zxid = entry.header.zxid;
        let applied = tree.apply(&entry.header, &entry.txn);
        if let Some(digest) = &entry.digest {
            assert_eq!(
                tree.digest().map(TxnDigest::new).as_ref(),
                Some(digest),
                "the digest was foreseen"
            );
        }
        if matches!(entry.txn, Txn::CloseSession(_)) {
            continue;
        }
        out.clear();
        answer_write(op, xid, zxid, &entry.txn, &applied.result, tree, out);
        check_frames(out);
    }
    assert_eq!(tree.digest(), Some(tree.recompute_digest()));
}

/// What is sent is whole frames, each with a header.
fn check_frames(out: &BytesMut) {
    let mut out = out.clone();
    while let Some(payload) = frame::take(&mut out, usize::MAX).expect("our own frames") {
        let payload: Bytes = payload;
        ReplyHeader::decode(&mut Reader::new(&payload)).expect("a reply has a header");
    }
    assert!(out.is_empty(), "whole frames are sent");
}
