//! setACL.

use bytestring::ByteString;
use zk_proto::acl::{Acl, Perms};
use zk_proto::{ErrorCode, Version};

use crate::wire::txn::{Op, SetAclTxn};

use super::access::check_version;
use super::attempt::{Attempt, next_version};
use super::path;

impl Attempt<'_> {
    /// # Errors
    /// Session; path; list; znode there and permitted; version of the list; length.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `setACL`.
    pub(super) fn set_acl(
        &mut self,
        path: Option<&ByteString>,
        acl: Option<&[Acl]>,
        version: Version,
    ) -> Result<Op, ErrorCode> {
        self.check_session()?;
        let path = path::legal(path)?;
        let acl = self.normal_acl(acl)?;
        let znode = self.existing(path)?;
        self.check_acl(znode.acl(), Perms::ADMIN)?;
        let (at, current) = (znode.spot(), znode.stat().aversion);
        check_version(current, version)?;

        let version = next_version(current);
        let list = self.lists.share(&acl);
        let op = Op::SetAcl(SetAclTxn {
            path: path.clone(),
            acl: Some(acl),
            version,
        });
        self.check_len(op.record_len())?;
        self.outstanding
            .alter(self.tree, self.zxid, at, path, |znode| {
                znode.acl = list;
                znode.stat.aversion = version;
            });
        Ok(op)
    }
}
