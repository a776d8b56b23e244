//! multi: all or nothing, at one zxid.

use zk_proto::ErrorCode;
use zk_proto::request::MultiOp;

use crate::wire::txn::{ErrorTxn, Op, Txn};

use super::attempt::Attempt;
use super::create::{NewZnode, Place};

impl Attempt<'_> {
    /// Prepares one part after the other, each on top of those before. If one fails, nothing of it
    /// is left, and from there on all are errors: the first its own, those behind it
    /// [`ErrorCode::RuntimeInconsistency`]. Those before keep their transactions, which nobody
    /// applies.
    ///
    /// # Errors
    /// [`ErrorCode::MarshallingError`], for the request: a part has something that cannot be read, or
    /// all of it together is too long.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.8 and 3.9, `PrepRequestProcessor#pRequest`, case `multi`: what is no
    /// `KeeperException` is no error of one part.
    pub(super) fn multi(&mut self, parts: &[MultiOp]) -> Result<Vec<Op>, ErrorCode> {
        self.outstanding.begin_multi();
        let mut ops = Vec::with_capacity(parts.len());
        let mut len = Txn::PARTS_COUNT_LEN;
        for part in parts {
            let op = self.part(part).and_then(|op| {
                len += Op::PART_FRAME_LEN + op.record_len();
                self.check_len(len).map(|()| op)
            });
            match op {
                Ok(op) => ops.push(op),
                Err(code) => {
                    self.outstanding.undo_multi();
                    self.warnings.clear();
                    if code == ErrorCode::MarshallingError {
                        return Err(code);
                    }
                    let errors = parts.len() - ops.len();
                    let last = error(code);
                    self.check_len(len + errors * (Op::PART_FRAME_LEN + last.record_len()))?;
                    ops.push(last);
                    ops.resize(parts.len(), error(ErrorCode::RuntimeInconsistency));
                    return Ok(ops);
                }
            }
        }
        self.outstanding.keep_multi();
        Ok(ops)
    }

    fn part(&mut self, part: &MultiOp) -> Result<Op, ErrorCode> {
        match part {
            MultiOp::Create(r) => self.create(&NewZnode::of(r, Op::Create, Place::InMulti)),
            MultiOp::Create2(r) => self.create(&NewZnode::of(r, Op::Create2, Place::InMulti)),
            MultiOp::CreateContainer(r) => self.create(&NewZnode::container(r, Place::InMulti)),
            MultiOp::CreateTtl(r) => self.create(&NewZnode::with_ttl(r, Place::InMulti)),
            MultiOp::Delete(r) => self.delete(r.path.as_ref(), r.version),
            MultiOp::SetData(r) => self.set_data(r.path.as_ref(), r.data.as_ref(), r.version),
            MultiOp::Check(r) => self.check(r.path.as_ref(), r.version),
            // Requests that have these in them are refused as a whole.
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => Err(ErrorCode::MarshallingError),
        }
    }
}

fn error(code: ErrorCode) -> Op {
    Op::Error(ErrorTxn { err: code.code() })
}
