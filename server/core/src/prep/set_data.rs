//! setData, and check, which sets nothing.

use bytestring::ByteString;
use zk_proto::acl::Perms;
use zk_proto::{Bytes, ErrorCode, Version};

use crate::wire::txn::{CheckVersionTxn, Op, SetDataTxn};

use super::access::check_version;
use super::attempt::{Attempt, next_version};
use super::create::len_of;
use super::path;

impl Attempt<'_> {
    /// # Errors
    /// Session; path; znode there and permitted; quota; version; length.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `setData`.
    pub(super) fn set_data(
        &mut self,
        path: Option<&ByteString>,
        data: Option<&Bytes>,
        version: Version,
    ) -> Result<Op, ErrorCode> {
        self.check_session()?;
        let path = path::legal(path)?;
        let znode = self.existing(path)?;
        self.check_acl(znode.acl(), Perms::WRITE)?;
        let (at, current) = (znode.spot(), znode.stat().version);
        let difference = len_of(data.map_or(0, Bytes::len)) - len_of(znode.data_len());
        self.check_quota(path, 0, difference)?;
        check_version(current, version)?;

        let (zxid, time) = (self.zxid, self.time);
        let version = next_version(current);
        let op = Op::SetData(SetDataTxn {
            path: path.clone(),
            data: data.cloned(),
            version,
        });
        self.check_len(op.record_len())?;
        self.outstanding
            .set_data(self.tree, zxid, at, path, data, |znode| {
                znode.stat.version = version;
                znode.stat.mzxid = zxid;
                znode.stat.mtime = time;
            });
        self.count_usage(path, 0, difference);
        Ok(op)
    }

    /// # Errors
    /// Session; path; znode there and permitted; version.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `check`.
    pub(super) fn check(
        &self,
        path: Option<&ByteString>,
        version: Version,
    ) -> Result<Op, ErrorCode> {
        self.check_session()?;
        let path = path::legal(path)?;
        let znode = self.existing(path)?;
        self.check_acl(znode.acl(), Perms::READ)?;
        let current = znode.stat().version;
        check_version(current, version)?;
        Ok(Op::Check(CheckVersionTxn {
            path: path.clone(),
            version: next_version(current),
        }))
    }
}
