//! reconfig, as far as it is refused before anybody looks at what it asks for.

use zk_proto::ErrorCode;

use super::attempt::Attempt;

impl Attempt<'_> {
    /// The error that a reconfig ends with: switched off; session; nothing to reconfigure.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `reconfig`.
    pub(super) fn refuse_reconfig(&self) -> ErrorCode {
        if !self.options.reconfig_enabled {
            return ErrorCode::ReconfigDisabled;
        }
        match self.check_session() {
            Ok(_) => ErrorCode::Unimplemented,
            Err(code) => code,
        }
    }
}
