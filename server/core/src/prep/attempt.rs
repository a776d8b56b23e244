//! One request, or one part of a multi, and what it may look at.

use zk_proto::request::Request;
use zk_proto::{Acl, ErrorCode, Version, Zxid};

use crate::conn::auth::normalize_acl;
use crate::conn::request::is_legal_write;
use crate::time::WallTime;
use crate::tree::{Lifetime, Tree};
use crate::wire::txn::{Op, Txn};

use super::create::{NewZnode, Place};
use super::lists::Lists;
use super::outstanding::{Outstanding, Seen, Spot};
use super::quota::QuotaWarning;
use super::reconfig::EnsembleView;
use super::reconfig::ReconfigRefusal;
use super::{PrepOptions, Requester};

/// A request on its way to become a transaction. Each kind of request adds its methods in a file of
/// its own.
///
/// A method that fails has changed nothing.
pub(super) struct Attempt<'a> {
    pub(super) options: &'a PrepOptions,
    /// The ensemble, for those that want to change it.
    pub(super) ensemble: Option<&'a EnsembleView>,
    pub(super) outstanding: &'a mut Outstanding,
    pub(super) lists: &'a mut Lists,
    pub(super) tree: &'a Tree,
    pub(super) from: &'a Requester,
    /// The zxid that it gets.
    pub(super) zxid: Zxid,
    /// What goes into stats.
    pub(super) time: WallTime,
    pub(super) warnings: Vec<QuotaWarning>,
    /// Why it is refused, if it is to change the members.
    pub(super) refusal: Option<ReconfigRefusal>,
}

impl Attempt<'_> {
    /// # Errors
    /// First [`ErrorCode::MarshallingError`] for what no request may say, then those of its kind.
    pub(super) fn decide(&mut self, request: &Request) -> Result<Txn, ErrorCode> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are no writes")]
        match request {
            Request::CreateSession(r) => return Ok(self.create_session(r.timeout_ms)),
            Request::CloseSession => return self.close_session(),
            Request::Create(_)
            | Request::Create2(_)
            | Request::CreateContainer(_)
            | Request::CreateTtl(_)
            | Request::Delete(_)
            | Request::DeleteContainer(_)
            | Request::SetData(_)
            | Request::SetAcl(_)
            | Request::Multi(_)
            | Request::Reconfig(_) => {}
            _ => return Err(ErrorCode::Unimplemented),
        }
        if !is_legal_write(request) {
            return Err(ErrorCode::MarshallingError);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others went above")]
        let op = match request {
            Request::Create(r) => self.create(&NewZnode::of(r, Op::Create, Place::Alone))?,
            Request::Create2(r) => self.create(&NewZnode::of(r, Op::Create2, Place::Alone))?,
            Request::CreateContainer(r) => self.create(&NewZnode::container(r, Place::Alone))?,
            Request::CreateTtl(r) => self.create(&NewZnode::with_ttl(r, Place::Alone))?,
            Request::Delete(r) => self.delete(r.path.as_ref(), r.version)?,
            Request::DeleteContainer(r) => self.delete_container(r.path.as_ref())?,
            Request::SetData(r) => self.set_data(r.path.as_ref(), r.data.as_ref(), r.version)?,
            Request::SetAcl(r) => self.set_acl(r.path.as_ref(), r.acl.as_deref(), r.version)?,
            Request::Multi(r) => return Ok(Txn::Multi(self.multi(&r.ops)?)),
            Request::Reconfig(r) => self.reconfig(r)?,
            _ => return Err(ErrorCode::Unimplemented),
        };
        Ok(Txn::Single(op))
    }

    /// Where a znode is, or would be.
    pub(super) fn locate(&self, path: &str) -> Spot {
        self.outstanding.locate(self.tree, path)
    }

    /// The znode there, as it will be when all before is applied.
    pub(super) fn see(&self, at: Spot) -> Option<Seen<'_>> {
        self.outstanding.see(self.tree, at)
    }

    /// The znode at a path, as it will be when all before is applied.
    pub(super) fn find(&self, path: &str) -> Option<Seen<'_>> {
        self.see(self.locate(path))
    }

    /// The same, where there must be one.
    pub(super) fn existing(&self, path: &str) -> Result<Seen<'_>, ErrorCode> {
        self.find(path).ok_or(ErrorCode::NoNode)
    }

    pub(super) fn lifetime(&self, znode: &Seen<'_>) -> Lifetime {
        self.tree.options().owners.lifetime(znode.stat().owner)
    }

    /// The list of a request as it is stored.
    pub(super) fn normal_acl(&self, acl: Option<&[Acl]>) -> Result<Vec<Acl>, ErrorCode> {
        let PrepOptions { access, .. } = self.options;
        let bytes_max = self.options.record_bytes_max();
        normalize_acl(&access.schemes, &self.from.identities, acl, bytes_max)
    }

    /// Refuses a record that is too long to be read again: a server would start no more with it in its
    /// log, and followers would leave a leader that proposes it. A request may be shorter than what
    /// becomes of it, as `auth` in a list stands for all identities of the connection.
    ///
    /// # Errors
    /// [`ErrorCode::MarshallingError`]: the whole cannot be written for others to read. Clients take it
    /// for the end of the matter, also as the answer to a multi; [`ErrorCode::BadArguments`] would
    /// have somebody look for what is wrong with a path or a flag.
    pub(super) fn check_len(&self, record_bytes: usize) -> Result<(), ErrorCode> {
        if record_bytes > self.options.record_bytes_max() {
            return Err(ErrorCode::MarshallingError);
        }
        Ok(())
    }
}

/// The version that follows on another, with 32 bits.
pub(super) fn next_version(version: Version) -> Version {
    Version::new(version.get().wrapping_add(1))
}
