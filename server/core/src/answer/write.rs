//! Writes, answered when their transactions are applied.

use bytes::BytesMut;
use bytestring::ByteString;
use zk_proto::jute::Encode;
use zk_proto::response::{
    Create2Response, CreateResponse, ErrorResponse, MultiResponse, MultiResult, SetAclResponse,
    SetDataResponse, SyncResponse,
};
use zk_proto::{ErrorCode, OpCode, Xid, Zxid};

use crate::conn::pipeline::Then;
use crate::tree::{CONFIG_PATH, Done, Tree, TxnResult};
use crate::wire::txn::{Op, Txn};

use super::frame;
use super::read::data_and_stat;

/// Answers a write with what became of its transaction: appends the reply, at the transaction's zxid.
///
/// A session that has moved gets no reply: the connection is a stale one.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `FinalRequestProcessor#processRequest`.
pub fn answer_write(
    op: OpCode,
    xid: Xid,
    zxid: Zxid,
    txn: &Txn,
    result: &TxnResult,
    tree: &Tree,
    out: &mut BytesMut,
) -> Then {
    if result.error() == Some(ErrorCode::SessionMoved) {
        return Then::Close;
    }
    match result {
        TxnResult::Failed(code) => frame::error(out, xid, zxid, *code),
        TxnResult::Done(done) if op == OpCode::Reconfig => {
            debug_assert!(matches!(done, Done::DataSet(_)), "reconfig sets data");
            frame::reply(out, xid, zxid, |out| {
                if let Some(config) = tree.get(CONFIG_PATH) {
                    data_and_stat(&config, out);
                }
            });
        }
        TxnResult::Done(done) => frame::reply(out, xid, zxid, |out| body(op, done, out)),
        TxnResult::Multi(parts) => {
            let Txn::Multi(ops) = txn else {
                return Then::Close;
            };
            let results = ops.iter().zip(parts);
            let results = results.map(|(op, part)| result_of(op, part)).collect();
            frame::reply(out, xid, zxid, |out| MultiResponse { results }.encode(out));
        }
        TxnResult::MultiFailed(codes) => {
            let results = codes.iter().map(|&err| failed(err)).collect();
            frame::reply(out, xid, zxid, |out| MultiResponse { results }.encode(out));
        }
        TxnResult::SessionCreated => return Then::Continue,
        TxnResult::SessionClosed => {
            frame::empty(out, xid, zxid);
            return Then::Close;
        }
    }
    Then::Continue
}

/// Answers a sync: its path comes back, whatever it is.
pub fn answer_sync(xid: Xid, applied: Zxid, path: Option<&ByteString>, out: &mut BytesMut) {
    let path = path.cloned();
    frame::reply(out, xid, applied, |out| SyncResponse { path }.encode(out));
}

fn body(op: OpCode, done: &Done, out: &mut BytesMut) {
    match done {
        Done::Created { path, .. } if op == OpCode::Create => path.encode(out),
        Done::Created { path, stat } => {
            path.encode(out);
            stat.encode(out);
        }
        Done::DataSet(stat) => SetDataResponse { stat: *stat }.encode(out),
        Done::AclSet(stat) => SetAclResponse { stat: *stat }.encode(out),
        Done::Deleted | Done::Checked => {}
    }
}

fn failed(err: i32) -> MultiResult {
    MultiResult::Error(ErrorResponse { err })
}

fn result_of(op: &Op, part: &Result<Done, ErrorCode>) -> MultiResult {
    match part {
        Err(code) => failed(code.code()),
        Ok(Done::Created { path, .. }) if matches!(op, Op::Create(_)) => {
            MultiResult::Create(CreateResponse { path: path.clone() })
        }
        Ok(Done::Created { path, stat }) => MultiResult::Create2(Create2Response {
            path: path.clone(),
            stat: *stat,
        }),
        Ok(Done::Deleted) => MultiResult::Delete,
        Ok(Done::DataSet(stat)) => MultiResult::SetData(SetDataResponse { stat: *stat }),
        Ok(Done::Checked) => MultiResult::Check,
        // No part of a multi sets a list.
        Ok(Done::AclSet(_)) => failed(ErrorCode::RuntimeInconsistency.code()),
    }
}
