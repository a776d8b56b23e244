//! Replies to writes.

use zk_proto::acl::{Acl, Id, Perms};
use zk_proto::request::{CreateRequest, DeleteRequest, MultiOp, MultiRequest};
use zk_proto::response::{ErrorResponse, MultiResponse, MultiResult};
use zk_proto::{ErrorCode, Version};

use super::*;
use crate::tree::TxnResult;
use crate::wire::txn::{ErrorTxn, Op, Txn};

fn create(path: &str) -> CreateRequest {
    CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: 0,
    }
}

fn results(body: &Bytes) -> Vec<MultiResult> {
    MultiResponse::decode(&mut Reader::shared(body))
        .unwrap()
        .results
}

#[test]
fn create_tells_the_path_and_create2_the_stat_too() {
    let mut server = Server::new(1, false);
    assert_eq!(server.ok(&Request::Create(create("/a"))).len(), 4 + 2);
    let body = server.ok(&Request::Create2(create("/b")));
    assert_eq!(body.len(), 4 + 2 + Stat::LEN);
    let body = server.ok(&Request::CreateContainer(create("/c")));
    assert_eq!(body.len(), 4 + 2 + Stat::LEN);
}

#[test]
fn failed_write_has_a_zxid_of_its_own() {
    let mut server = Server::new(1, false);
    server.ok(&Request::Create(create("/a")));
    let reply = server.ask(&Request::Create(create("/a")));
    let expected = (ErrorCode::NodeExists.code(), Zxid::new(3));
    assert_eq!((reply.header.err, reply.header.zxid), expected);
}

#[test]
fn failed_multi_is_a_success_full_of_errors() {
    let mut server = Server::new(1, false);
    let delete = MultiOp::Delete(DeleteRequest {
        path: Some("/none".into()),
        version: Version::ANY,
    });
    let ops = vec![MultiOp::Create(create("/a")), delete.clone(), delete];
    let body = server.ok(&Request::Multi(MultiRequest { ops }));
    let expected = [
        0,
        ErrorCode::NoNode.code(),
        ErrorCode::RuntimeInconsistency.code(),
    ];
    let expected = expected.map(|err| MultiResult::Error(ErrorResponse { err }));
    assert_eq!(results(&body), expected);
}

#[test]
fn end_of_a_session_is_answered_before_the_connection_is_closed() {
    let mut server = Server::new(1, false);
    let reply = server.ask(&Request::CloseSession);
    assert_eq!((reply.header.err, reply.then), (0, Then::Close));
}

#[test]
fn session_that_has_moved_gets_no_reply() {
    let server = Server::new(1, false);
    let code = ErrorCode::SessionMoved;
    let error = Op::Error(ErrorTxn { err: code.code() });
    let failed = [
        (Txn::Single(error.clone()), TxnResult::Failed(code)),
        (
            Txn::Multi(vec![error]),
            TxnResult::MultiFailed(vec![code.code()]),
        ),
    ];
    for (txn, result) in failed {
        let mut out = BytesMut::new();
        let (xid, zxid) = (Xid::new(1), Zxid::new(9));
        let then = answer_write(
            OpCode::Create,
            xid,
            zxid,
            &txn,
            &result,
            &server.tree,
            &mut out,
        );
        assert_eq!((then, out.len()), (Then::Close, 0));
    }
}
