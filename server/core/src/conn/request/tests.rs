//! Each rule of decoding and classifying.

use proptest::prelude::*;
use zk_proto::jute::Encode as _;
use zk_proto::request::{
    AddWatchRequest, CheckWatchesRequest, CreateRequest, DeleteRequest, ExistsRequest,
    GetDataRequest, GetEphemeralsRequest, MultiRequest, SetWatches, SyncRequest,
};
use zk_proto::{ErrorCode, Zxid};

use super::*;
use crate::conn::auth::{AuthRefused, Identity};
use crate::conn::pipeline::Then;

const XID: Xid = Xid::new(5);

fn payload(op: i32, body: &[u8]) -> Bytes {
    let mut wire = bytes::BytesMut::new();
    let header = RequestHeader {
        xid: XID,
        op_code: op,
    };
    header.encode(&mut wire);
    wire.extend_from_slice(body);
    wire.freeze()
}

fn decode(request: &Request) -> Class {
    let wire = payload(request.op().code(), &request.to_bytes());
    let incoming = Incoming::decode(&wire).unwrap();
    assert_eq!(incoming.xid, XID);
    incoming.class
}

fn undecodable() -> Class {
    fault(Fault::UNDECODABLE)
}

fn text(frame: &Bytes) -> String {
    frame
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[test]
fn frame_without_a_header_closes() {
    for len in 0..8 {
        let short = Bytes::from(vec![0; len]);
        assert_eq!(Incoming::decode(&short), Err(BadFrame::Header));
    }
}

#[test]
fn unknown_opcodes_are_answered_with_zxid_minus_one_and_close() {
    // 13 is check, -10 createSession: not for clients.
    for op in [0, -1, 10, 13, -10, 23, 99, 108, i32::MAX] {
        let incoming = Incoming::decode(&payload(op, &[])).unwrap();
        assert_eq!(incoming.class, fault(Fault::UNIMPLEMENTED), "{op}");
    }
    let answer = Fault::UNIMPLEMENTED.answer(XID, Zxid::new(9));
    assert_eq!(
        text(&answer.bytes),
        "0000001000000005fffffffffffffffffffffffa"
    );
    assert_eq!(answer.then, Then::Close);
}

#[test]
fn bodies_that_do_not_decode_are_answered_in_place() {
    for op in OpCode::ALL {
        let has_body = !matches!(op, OpCode::Ping | OpCode::WhoAmI | OpCode::CloseSession);
        let is_for_clients = !matches!(op, OpCode::Check | OpCode::CreateSession);
        if !has_body || !is_for_clients {
            continue;
        }
        let outcome = Incoming::decode(&payload(op.code(), &[0, 0]));
        if matches!(op, OpCode::Auth | OpCode::Sasl) {
            assert_eq!(outcome, Err(BadFrame::Credentials(*op)));
        } else {
            assert_eq!(outcome.unwrap().class, undecodable(), "{op}");
        }
    }
    let answer = Fault::UNDECODABLE.answer(XID, Zxid::new(9));
    assert_eq!(
        text(&answer.bytes),
        "00000010000000050000000000000009fffffffb"
    );
    assert_eq!(answer.then, Then::Continue);
}

#[test]
fn every_opcode_is_read_or_write_as_the_protocol_says() {
    let reads = [
        OpCode::Exists,
        OpCode::GetData,
        OpCode::GetAcl,
        OpCode::GetChildren,
        OpCode::Ping,
        OpCode::GetChildren2,
        OpCode::CheckWatches,
        OpCode::RemoveWatches,
        OpCode::MultiRead,
        OpCode::SetWatches,
        OpCode::GetEphemerals,
        OpCode::GetAllChildrenNumber,
        OpCode::SetWatches2,
        OpCode::AddWatch,
        OpCode::WhoAmI,
    ];
    for op in OpCode::ALL {
        // Enough of zeros is a legal body of every kind, up to undefined numbers.
        let class = Incoming::decode(&payload(op.code(), &[0; 200]))
            .unwrap()
            .class;
        let is_read = matches!(class, Class::Read(_));
        let is_other = matches!(
            op,
            OpCode::Auth | OpCode::Sasl | OpCode::Check | OpCode::CreateSession
        );
        // A multi of zeros begins with the operation 0.
        let is_spoiled = matches!(op, OpCode::Multi);
        if !is_other && !is_spoiled {
            assert_eq!(is_read, reads.contains(op), "{op}");
        }
    }
}

#[test]
fn null_paths_of_reads_do_not_decode_except_where_they_mean_something() {
    let null_read = Request::GetData(GetDataRequest {
        path: None,
        watch: true,
    });
    assert_eq!(decode(&null_read), undecodable());
    // Those of writes are looked at in their turn.
    let null_write = Request::Delete(DeleteRequest::default());
    assert!(matches!(decode(&null_write), Class::Write(_)));
    let sync = Request::Sync(SyncRequest { path: None });
    assert!(matches!(decode(&sync), Class::Write(_)));
    let all = Request::GetEphemerals(GetEphemeralsRequest { prefix_path: None });
    assert_eq!(
        decode(&all),
        Class::Read(Read::GetEphemerals { prefix: None })
    );
}

#[test]
fn exists_alone_minds_a_nul() {
    let path = Some("/a\0".into());
    let exists = Request::Exists(ExistsRequest {
        path: path.clone(),
        watch: false,
    });
    assert_eq!(decode(&exists), fault(Fault::of(ErrorCode::BadArguments)));
    let get = Request::GetData(GetDataRequest { path, watch: false });
    assert!(matches!(decode(&get), Class::Read(Read::GetData { .. })));
}

#[test]
fn undefined_watch_modes_and_types_do_not_decode() {
    let path = || Some("/a".into());
    for (mode, is_legal) in [(-1, false), (0, true), (1, true), (2, false)] {
        let request = Request::AddWatch(AddWatchRequest { path: path(), mode });
        assert_eq!(decode(&request) != undecodable(), is_legal);
    }
    for watcher_type in 0..=6 {
        let request = Request::CheckWatches(CheckWatchesRequest {
            path: path(),
            watcher_type,
        });
        assert_eq!(
            decode(&request) != undecodable(),
            (1..=5).contains(&watcher_type)
        );
    }
}

#[test]
fn null_list_of_set_watches_is_left_to_the_catch_up() {
    let request = Request::SetWatches(SetWatches::default());
    assert!(matches!(decode(&request), Class::Read(Read::SetWatches(_))));
}

fn create(flags: i32) -> CreateRequest {
    CreateRequest {
        path: Some("/a".into()),
        flags,
        ..CreateRequest::default()
    }
}

fn multi(ops: Vec<MultiOp>) -> Request {
    Request::Multi(MultiRequest { ops })
}

#[test]
fn multi_of_anything_but_writes_does_not_decode() {
    let get = || {
        MultiOp::GetData(GetDataRequest {
            path: Some("/a".into()),
            watch: false,
        })
    };
    let write = || MultiOp::Create(create(0));
    assert_eq!(decode(&multi(vec![write(), get()])), undecodable());
    assert!(matches!(decode(&multi(vec![])), Class::Write(_)));
    let reads = |ops| Request::MultiRead(MultiRequest { ops });
    assert_eq!(decode(&reads(vec![get(), write()])), undecodable());
    assert!(matches!(
        decode(&reads(vec![get()])),
        Class::Read(Read::MultiRead(_))
    ));
}

#[test]
fn bad_flags_spoil_a_multi_but_not_a_create() {
    for flags in -1..=8 {
        let is_legal = (0..=4).contains(&flags);
        for op in [MultiOp::Create, MultiOp::Create2, MultiOp::CreateContainer] {
            let class = decode(&multi(vec![op(create(flags))]));
            assert_eq!(class != undecodable(), is_legal, "{flags}");
        }
        let class = decode(&Request::Create(create(flags)));
        assert!(matches!(class, Class::Write(_)));
    }
}

#[test]
fn write_keeps_the_bytes_that_a_learner_forwards() {
    let request = Request::Create(create(1));
    let Class::Write(write) = decode(&request) else {
        panic!("no write");
    };
    assert_eq!((write.request(), write.op()), (&request, OpCode::Create));
    assert_eq!(write.body(), &request.to_bytes());
}

#[test]
fn ephemeral_creates_need_a_global_session() {
    let needs = |request: &Request| match decode(request) {
        Class::Write(write) => write.needs_global_session(),
        Class::Read(_) | Class::Auth(_) | Class::Sasl(_) => panic!("no write"),
    };
    assert!(needs(&Request::Create(create(1))) && needs(&Request::Create2(create(3))));
    assert!(needs(&multi(vec![
        MultiOp::Create(create(0)),
        MultiOp::Create(create(1))
    ])));
    assert!(!needs(&Request::Create(create(0))));
    assert!(!needs(&Request::CreateContainer(create(1))));
    assert!(!needs(&Request::CloseSession));
}

#[test]
fn ping_is_answered_as_a_ping_whatever_its_xid() {
    let incoming = Incoming::decode(&payload(OpCode::Ping.code(), &[])).unwrap();
    assert_eq!(incoming.reply_xid(), Xid::PING);
}

#[test]
fn read_only_server_refuses_writes_and_serves_reads() {
    let incoming = |op: OpCode| Incoming::decode(&payload(op.code(), &[0; 64])).unwrap();
    let mode = ServingMode::ReadOnly;
    for op in [
        OpCode::Create,
        OpCode::Sync,
        OpCode::Delete,
        OpCode::Reconfig,
    ] {
        let refused = incoming(op).allowed_in(mode, true);
        assert_eq!(refused.class, fault(Fault::NOT_READ_ONLY), "{op}");
        assert_eq!(refused.xid, XID);
        assert_eq!(
            incoming(op).allowed_in(ServingMode::Full, true),
            incoming(op)
        );
    }
    for op in [
        OpCode::GetData,
        OpCode::Ping,
        OpCode::Auth,
        OpCode::SetWatches2,
    ] {
        assert_eq!(incoming(op).allowed_in(mode, false), incoming(op));
    }
    let close = || incoming(OpCode::CloseSession);
    assert_eq!(close().allowed_in(mode, true), close());
    assert_eq!(
        close().allowed_in(mode, false).class,
        fault(Fault::NOT_READ_ONLY)
    );
}

#[test]
fn enforced_authentication_refuses_all_but_credentials() {
    let incoming = |op: OpCode| Incoming::decode(&payload(op.code(), &[0; 64])).unwrap();
    let peer = Identities::of_peer("10.0.0.7".parse().unwrap());
    let bob = peer.with([Identity::new("digest", "bob:hash")]);
    let wanted = ["sasl".into(), "digest".into()];
    for op in [OpCode::Ping, OpCode::GetData, OpCode::Create] {
        let refused = incoming(op).allowed_for(&peer, &wanted);
        assert_eq!(refused.class, fault(Fault::UNAUTHENTICATED));
        assert_eq!(incoming(op).allowed_for(&bob, &wanted), incoming(op));
        assert_eq!(incoming(op).allowed_for(&peer, &[]), incoming(op));
    }
    assert_eq!(
        incoming(OpCode::Auth).allowed_for(&peer, &wanted),
        incoming(OpCode::Auth)
    );
    let answer = Fault::UNAUTHENTICATED.answer(XID, Zxid::new(9));
    assert_eq!(
        text(&answer.bytes),
        "00000010000000050000000000000000ffffff84"
    );
}

#[test]
fn auth_is_answered_with_zxid_zero() {
    let accepted = auth_answer(XID, &Ok(Identities::none()));
    assert_eq!(
        text(&accepted.bytes),
        "0000001000000005000000000000000000000000"
    );
    let refused = auth_answer(XID, &Err(AuthRefused));
    assert_eq!(
        text(&refused.bytes),
        "00000010000000050000000000000000ffffff8d"
    );
    assert_eq!((accepted.then, refused.then), (Then::Continue, Then::Close));
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(
        op in prop_oneof![any::<i32>(), -11..=110],
        body in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let _any: Result<Incoming, BadFrame> = Incoming::decode(&payload(op, &body));
    }
}
