//! The log of a reference server, made again from the requests that its clients sent.

use std::collections::BTreeMap;

use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode as _, Reader};

use super::*;

/// Requests by the zxid of their reply and by their xid.
fn requests() -> BTreeMap<(i64, i32), Request> {
    let json = include_str!("../../../vectors/conn/requests.json");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let frames = json["frames"].as_array().unwrap().iter();
    let decode = |frame: &serde_json::Value| {
        let request = Bytes::from(from_hex(frame["request"].as_str()?)).slice(4..);
        let response = from_hex(frame["response"].as_str()?);
        let mut reader = Reader::shared(&request);
        let header = RequestHeader::decode(&mut reader).ok()?;
        let reply = ReplyHeader::decode(&mut Reader::new(response.get(4..)?)).ok()?;
        let request = Request::decode(header.op()?, &mut reader).ok()?;
        Some(((reply.zxid.get(), header.xid.get()), request))
    };
    let mut requests = BTreeMap::new();
    for (key, request) in frames.filter_map(decode) {
        // Later ones are of other servers.
        requests.entry(key).or_insert(request);
    }
    requests
}

fn log() -> Vec<Bytes> {
    let json = include_str!("../../../vectors/txn-log.json");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let entries = json.as_array().unwrap().iter();
    entries
        .map(|entry| from_hex(entry["hex"].as_str().unwrap()).into())
        .collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Who had proved by then who they are: session, first request, identity.
const PROVED: [(i64, i32, &str); 3] = [
    (
        0x0100_002d_1e28_0000,
        64,
        "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=",
    ),
    (0x0100_002d_1e28_0005, 25, "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
    (
        0x0100_002d_1e28_0007,
        27,
        "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=",
    ),
];

fn requester(header: &TxnHeader) -> Requester {
    if header.session == SessionId::NONE {
        return server();
    }
    let (id, cxid) = (header.session.get(), header.cxid);
    let proved = PROVED
        .iter()
        .filter(|(session, from, _)| *session == id && *from <= cxid.get());
    let proved = proved.map(|(.., id)| Identity::new("digest", *id));
    Requester {
        cxid,
        identities: Identities::of_peer([127, 0, 0, 1].into()).with(proved),
        ..session(id)
    }
}

/// The request behind a transaction whose frame was not captured.
fn derived(txn: &Txn) -> Request {
    match txn {
        Txn::CreateSession(record) => Request::CreateSession(CreateSessionRequest {
            timeout_ms: record.timeout_ms,
        }),
        Txn::CloseSession(_) => Request::CloseSession,
        Txn::Single(Op::Create(record)) => Request::Create(CreateRequest {
            path: Some(record.path.clone()),
            data: record.data.clone(),
            acl: record.acl.clone(),
            flags: i32::from(record.ephemeral),
        }),
        Txn::Single(Op::SetData(record)) => Request::SetData(SetDataRequest {
            path: Some(record.path.clone()),
            data: record.data.clone(),
            version: Version::ANY,
        }),
        Txn::Single(Op::Delete(record)) => delete(&record.path, -1),
        Txn::Single(Op::DeleteContainer(record)) => delete_container(&record.path),
        Txn::Single(_) | Txn::Multi(_) => panic!("{txn:?} was asked for, but not captured"),
    }
}

fn has_create2(txn: &Txn) -> bool {
    matches!(txn, Txn::Multi(ops) if ops.iter().any(|op| matches!(op, Op::Create2(_))))
}

/// Byte for byte, digests included, with some transactions always outstanding; but for a create2 in
/// a multi, which 3.9 writes as what it is.
#[test]
fn log_is_what_the_reference_wrote() {
    for lag in [0, 1, 7] {
        let requests = requests();
        let mut world = World::with(|options| options.is_standalone = true, true);
        // Without the session that other tests have.
        world.tree = Tree::new(world.tree.options());
        world.prep = Prep::new(world.prep.options, Zxid::ZERO);
        let (mut captured, mut others, mut create2s) = (0, 0, 0);
        for bytes in log() {
            let theirs = TxnEntry::decode(&bytes).unwrap();
            let header = theirs.header;
            if header.zxid == world.prep.last_zxid() {
                // A request that did not decode, under a zxid that was taken.
                assert!(matches!(theirs.txn, Txn::Single(Op::Error(record)) if record.err == -5));
                continue;
            }
            let request = requests.get(&(header.zxid.get(), header.cxid.get()));
            if request.is_some() {
                captured += 1;
            } else {
                others += 1;
            }
            let request = request.cloned().unwrap_or_else(|| derived(&theirs.txn));
            world.now = header.time.as_millis();
            let ours = world.ask(&requester(&header), &request).entry;
            assert_eq!(ours, theirs);
            if has_create2(&theirs.txn) {
                create2s += 1;
            } else {
                assert_eq!(ours.to_bytes(), bytes);
            }
            while world.queue.len() > lag {
                world.apply_one();
            }
        }
        world.settle();
        assert_eq!((captured, others, create2s), (102, 49, 2));
    }
}
