//! createSession and closeSession.

use std::collections::BTreeSet;

use bytestring::ByteString;
use zk_proto::ErrorCode;

use crate::mutation::mutated;
use crate::session::SessionFault;
use crate::tree::Lifetime;
use crate::wire::txn::{CloseSessionTxn, CreateSessionTxn, Txn};

use super::attempt::Attempt;

impl Attempt<'_> {
    /// Begins the session, or makes a local one global.
    pub(super) fn create_session(&mut self, timeout_ms: i32) -> Txn {
        let session = self.from.session;
        self.outstanding.set_session(self.zxid, session, true);
        Txn::CreateSession(CreateSessionTxn { timeout_ms })
    }

    /// Ends the session and deletes its ephemeral znodes, also those that nobody has applied yet, but
    /// not those whose deletion is outstanding. Their paths come in order.
    ///
    /// A session that is closing already, or that nobody knows, ends once more.
    ///
    /// # Errors
    /// [`ErrorCode::SessionMoved`]: a connection that was left behind cannot end it.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `closeSession`.
    pub(super) fn close_session(&mut self) -> Result<Txn, ErrorCode> {
        if self.from.standing == Err(SessionFault::Moved) {
            return Err(ErrorCode::SessionMoved);
        }
        let session = self.from.session;
        let mut paths = BTreeSet::new();
        if self.tree.options().owners.lifetime(session) == Lifetime::Ephemeral(session) {
            let applied = self.tree.ephemerals(session);
            paths.extend(
                applied
                    .filter(|path| !self.outstanding.has(self.tree, path))
                    .map(ByteString::from),
            );
            let owned = self.outstanding.owned_by(session);
            paths.extend(owned.map(|path| ByteString::from(&**path)));
        }
        if mutated!(EphemeralLeftBehind) {
            paths.pop_first();
        }
        for path in &paths {
            self.remove(path);
        }
        self.outstanding.set_session(self.zxid, session, false);
        let paths = Some(paths.into_iter().collect());
        Ok(Txn::CloseSession(CloseSessionTxn { paths }))
    }
}
