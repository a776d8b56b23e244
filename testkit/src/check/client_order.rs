//! S21: what one session is told never runs back, its writes are done in its order, and what it is
//! told was done is in the committed history.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees: sequential consistency, single system image,
//! reliability".

use zk_proto::{SessionId, Xid, Zxid};

use super::model::Model;
use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "client order (S21)";

/// What one session was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientOrder {
    last: Zxid,
    last_write: Zxid,
}

impl ClientOrder {
    /// A reply came that names a zxid.
    pub fn replied(&mut self, session: SessionId, xid: Xid, zxid: Zxid) -> Verdict {
        hold(LAW, zxid >= self.last, || {
            let (last, xid) = (self.last, xid.get());
            format!("{session} is told {zxid} by reply {xid}, after {last}")
        })?;
        self.last = zxid;
        Ok(())
    }

    /// A write was answered, well or with an error: it has a transaction, that one.
    pub fn wrote(&mut self, session: SessionId, xid: Xid, zxid: Zxid, model: &Model) -> Verdict {
        hold(LAW, zxid > self.last_write, || {
            let last = self.last_write;
            format!("{session} is told that its write is {zxid}, and the one before {last}")
        })?;
        self.last_write = zxid;
        let known = model.request(session, xid);
        hold(LAW, known == Some(zxid), || {
            let xid = xid.get();
            format!("{session} is told that its write {xid} is {zxid}, and committed is {known:?}")
        })
    }

    /// A reply came that ends the session: it has ended indeed, or is about to.
    pub fn last(&self) -> Zxid {
        self.last
    }
}
