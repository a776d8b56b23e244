//! delete and deleteContainer.

use bytestring::ByteString;
use zk_proto::acl::Perms;
use zk_proto::{Bytes, ErrorCode, SessionId, Version};

use crate::tree::Lifetime;
use crate::wire::txn::{DeleteTxn, Op};

use super::access::check_version;
use super::attempt::Attempt;
use super::create::len_of;
use super::outstanding::Seen;
use super::path;

impl Attempt<'_> {
    /// # Errors
    /// Session; path; parent there and permitted; znode there; version; children.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `delete`.
    pub(super) fn delete(
        &mut self,
        path: Option<&ByteString>,
        version: Version,
    ) -> Result<Op, ErrorCode> {
        self.check_session()?;
        let path = path::present(path)?;
        let parent = self.existing(path::parent_of_removable(path)?)?;
        self.check_acl(parent.acl(), Perms::DELETE)?;
        let znode = self.existing(path)?;
        check_version(znode.stat().version, version)?;
        check_childless(&znode)?;
        self.remove(path);
        Ok(Op::Delete(DeleteTxn { path: path.clone() }))
    }

    /// Deletes a container or a znode whose time is over, for the server; for a client, whatever it
    /// may delete.
    ///
    /// # Errors
    /// For a client, what delete has; then znode there; children;
    /// [`ErrorCode::BadVersion`] if it is ephemeral or, for the server, if its time is not over.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `deleteContainer`, which does
    /// not ask who wants it.
    pub(super) fn delete_container(&mut self, path: Option<&Bytes>) -> Result<Op, ErrorCode> {
        let is_server = self.from.session == SessionId::NONE;
        if !is_server {
            self.check_session()?;
        }
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let path = ByteString::from(String::from_utf8_lossy(path).into_owned());
        let parent_path = path::parent_of_removable(&path)?;
        if !is_server {
            let parent = self.existing(parent_path)?;
            self.check_acl(parent.acl(), Perms::DELETE)?;
        }
        let znode = self.existing(&path)?;
        check_childless(&znode)?;
        let may_go = if is_server {
            self.is_over(&znode)
        } else {
            !matches!(self.lifetime(&znode), Lifetime::Ephemeral(_))
        };
        if !may_go {
            return Err(ErrorCode::BadVersion);
        }
        self.remove(&path);
        Ok(Op::DeleteContainer(DeleteTxn { path }))
    }

    /// Takes a znode that is there out of the outstanding state.
    pub(super) fn remove(&mut self, path: &str) {
        let (zxid, tree) = (self.zxid, self.tree);
        let (Some(znode), Ok(parent)) = (self.find(path), path::parent_of(path)) else {
            return;
        };
        let (at, len) = (znode.spot(), len_of(znode.data_len()));
        let above = self.locate(parent);
        self.outstanding.alter(tree, zxid, above, parent, |parent| {
            parent.children = parent.children.saturating_sub(1);
            parent.stat.pzxid = zxid;
        });
        self.outstanding.delete(tree, zxid, at, path);
        self.count_usage(path, -1, -len);
    }

    /// Whether a znode without children may be deleted by the server.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ContainerManager#getCandidates`, which looks when it asks for the
    /// deletion; in between, somebody may have set its data, or put another one in its place.
    fn is_over(&self, znode: &Seen<'_>) -> bool {
        let stat = znode.stat();
        let age = self.time.millis_since(stat.mtime);
        let never_used = self.options.never_used_ms;
        match self.lifetime(znode) {
            Lifetime::Container => stat.cversion.get() > 0 || (never_used != 0 && age > never_used),
            Lifetime::Ttl { millis } => u64::try_from(age).is_ok_and(|age| age > millis),
            Lifetime::Persistent | Lifetime::Ephemeral(_) | Lifetime::Unknown => false,
        }
    }
}

fn check_childless(znode: &Seen<'_>) -> Result<(), ErrorCode> {
    if znode.children() == 0 {
        Ok(())
    } else {
        Err(ErrorCode::NotEmpty)
    }
}
