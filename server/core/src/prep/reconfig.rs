//! reconfig: other members, by a transaction that says which.

use std::collections::BTreeSet;

use zk_proto::acl::Perms;
use zk_proto::request::ReconfigRequest;
use zk_proto::{Bytes, ErrorCode, ServerId, Version};

use crate::ensemble::{BadChange, Change, Configs};
use crate::mutation::mutated;
use crate::tree::CONFIG_PATH;
use crate::wire::txn::{Op, SetDataTxn};

use super::attempt::Attempt;

/// What a leader knows of its ensemble when a change is asked for.
#[derive(Debug, Clone)]
pub struct EnsembleView {
    /// Who the members are, and who they are about to be.
    pub configs: Configs,
    /// Those that have all that is committed: the leader, and the followers in step with it, with a
    /// vote or without.
    pub in_step: BTreeSet<ServerId>,
}

impl Attempt<'_> {
    /// # Errors
    /// [`ErrorCode::ReconfigDisabled`]; session; [`ErrorCode::Unimplemented`] where there is no
    /// ensemble; [`ErrorCode::ReconfigInProgress`]; [`ErrorCode::BadVersion`];
    /// [`ErrorCode::MarshallingError`] for an id that is no number, [`ErrorCode::BadArguments`] for all
    /// else that is wrong with the change; [`ErrorCode::NewConfigNoQuorum`]; permission.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `reconfig`.
    pub(super) fn reconfig(&mut self, request: &ReconfigRequest) -> Result<Op, ErrorCode> {
        if !self.options.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.check_session()?;
        let Some(view) = self.ensemble.filter(|_| !self.options.is_standalone) else {
            return Err(ErrorCode::Unimplemented);
        };
        if view.configs.next().is_some() && !mutated!(ReconfigsOverlap) {
            return Err(ErrorCode::ReconfigInProgress);
        }
        let current = view.configs.current();
        let expected = request.cur_config_id;
        if expected != -1 && expected != current.version().get() {
            return Err(ErrorCode::BadVersion);
        }
        let change = match &request.new_members {
            Some(members) => Change::All(members),
            None => Change::Some {
                joining: request.joining_servers.as_deref().unwrap_or_default(),
                leaving: request.leaving_servers.as_deref().unwrap_or_default(),
            },
        };
        let changed = current.changed(change, self.zxid, self.options.voters_min);
        let changed = changed.map_err(|bad| match bad {
            BadChange::Id(_) => ErrorCode::MarshallingError,
            BadChange::Shape(_)
            | BadChange::Addresses(_)
            | BadChange::Member { .. }
            | BadChange::Clash(..)
            | BadChange::Hierarchical
            | BadChange::Config(_)
            | BadChange::Groups
            | BadChange::Voters { .. } => ErrorCode::BadArguments,
        })?;
        if !changed.is_quorum(&view.in_step) {
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        let znode = self.existing(CONFIG_PATH)?;
        self.check_acl(znode.acl(), Perms::WRITE)?;

        let data = Bytes::copy_from_slice(changed.text().as_bytes());
        let (zxid, time) = (self.zxid, self.time);
        self.outstanding
            .alter(self.tree, zxid, CONFIG_PATH, |znode| {
                znode.set_data(CONFIG_PATH, Some(&data));
                znode.stat.version = VERSION;
                znode.stat.mzxid = zxid;
                znode.stat.mtime = time;
            });
        Ok(Op::Reconfig(SetDataTxn {
            path: CONFIG_PATH.into(),
            data: Some(data),
            version: VERSION,
        }))
    }
}

/// What the znode has for a version, however often it is changed.
const VERSION: Version = Version::new(-1);
