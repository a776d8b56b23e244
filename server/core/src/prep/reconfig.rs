//! reconfig: other members, by a transaction that says which.

use std::collections::BTreeSet;

use zk_proto::acl::Perms;
use zk_proto::request::ReconfigRequest;
use zk_proto::{Bytes, ErrorCode, ServerId, Version, Zxid};

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

/// Why a change of the members is refused, for an operator: clients are told a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconfigRefusal {
    /// Another one is not committed yet.
    #[error("another change is proposed, to version {0}")]
    UnderWay(Zxid),
    /// It is for another version than the one in force.
    #[error("for version {expected:#x}, and {current} is in force")]
    Version {
        /// The version that it is for.
        expected: i64,
        /// The version in force.
        current: Zxid,
    },
    /// There are no such members.
    #[error("members that cannot be")]
    Change(#[from] BadChange),
    /// Those that would vote are not there.
    #[error("of those that would vote only {0:?} are in step with the leader, which is no quorum")]
    NoQuorum(Vec<i64>),
}

impl Attempt<'_> {
    /// # Errors
    /// [`ErrorCode::ReconfigDisabled`]; session; [`ErrorCode::Unimplemented`] where there is no
    /// ensemble; [`ErrorCode::ReconfigInProgress`]; [`ErrorCode::BadVersion`];
    /// [`ErrorCode::MarshallingError`] for an id that is no number, [`ErrorCode::BadArguments`] for all
    /// else that is wrong with the change; [`ErrorCode::NewConfigNoQuorum`]; permission; length.
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
        if let Some(next) = view.configs.next()
            && !mutated!(ReconfigsOverlap)
        {
            self.refusal = Some(ReconfigRefusal::UnderWay(next.version()));
            return Err(ErrorCode::ReconfigInProgress);
        }
        let current = view.configs.current();
        let expected = request.cur_config_id;
        if expected != -1 && expected != current.version().get() {
            let current = current.version();
            self.refusal = Some(ReconfigRefusal::Version { expected, current });
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
        let changed = match changed {
            Ok(changed) => changed,
            Err(bad) => {
                let code = code_of(&bad);
                self.refusal = Some(bad.into());
                return Err(code);
            }
        };
        if !changed.is_quorum(&view.in_step) {
            let voters = changed.voters().filter(|id| view.in_step.contains(id));
            let in_step = voters.map(ServerId::get).collect();
            self.refusal = Some(ReconfigRefusal::NoQuorum(in_step));
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        let znode = self.existing(CONFIG_PATH)?;
        self.check_acl(znode.acl(), Perms::WRITE)?;
        let at = znode.spot();

        let data = Bytes::copy_from_slice(changed.text().as_bytes());
        let op = Op::Reconfig(SetDataTxn {
            path: CONFIG_PATH.into(),
            data: Some(data.clone()),
            version: VERSION,
        });
        self.check_len(op.record_len())?;
        let (zxid, time) = (self.zxid, self.time);
        self.outstanding
            .set_data(self.tree, zxid, at, CONFIG_PATH, Some(&data), |znode| {
                znode.stat.version = VERSION;
                znode.stat.mzxid = zxid;
                znode.stat.mtime = time;
            });
        Ok(op)
    }
}

fn code_of(bad: &BadChange) -> ErrorCode {
    match bad {
        BadChange::Id(_) => ErrorCode::MarshallingError,
        BadChange::Shape(_)
        | BadChange::Addresses(_)
        | BadChange::Member { .. }
        | BadChange::Clash(..)
        | BadChange::Hierarchical
        | BadChange::Config(_)
        | BadChange::Groups
        | BadChange::Voters { .. } => ErrorCode::BadArguments,
    }
}

/// What the znode has for a version, however often it is changed.
const VERSION: Version = Version::new(-1);
