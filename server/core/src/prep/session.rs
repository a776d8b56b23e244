//! createSession and closeSession.

use std::collections::BTreeSet;

use bytestring::ByteString;
use zk_proto::ErrorCode;
use zk_proto::jute::Encode;

use crate::mutation::mutated;
use crate::session::SessionFault;
use crate::tree::Lifetime;
use crate::wire::txn::{CloseSessionTxn, CreateSessionTxn, Txn};

use super::attempt::Attempt;
use super::path;

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
    /// A session may own more than a record may list. Whoever applies it deletes first what is listed,
    /// then, by path, what the session still owns: what is not listed goes all the same. The record is
    /// not left out for that: Apache's servers take the digest behind it for a list then, and with a
    /// small tree start no more.
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
        let (listed, others) = split(paths, self.options.record_bytes_max());
        // As they are deleted when it is applied.
        for path in listed.iter().chain(&others) {
            self.remove(path);
        }
        self.outstanding.set_session(self.zxid, session, false);
        let paths = Some(listed);
        Ok(Txn::CloseSession(CloseSessionTxn { paths }))
    }
}

/// Paths that fit into a list of `bytes_max`, and the others.
///
/// If there are others, one path of each parent comes first: Apache's snapshots may have the parent from
/// before the deletion and the child no more, and then only the list tells to change the parent's pzxid.
fn split(paths: BTreeSet<ByteString>, bytes_max: usize) -> (Vec<ByteString>, BTreeSet<ByteString>) {
    let len: usize = paths.iter().map(Encode::encoded_len).sum();
    let Some(mut room) = bytes_max.checked_sub(COUNT_LEN).filter(|room| len > *room) else {
        return (paths.into_iter().collect(), BTreeSet::new());
    };
    let mut others = paths;
    let mut parents = BTreeSet::new();
    let (firsts, more): (Vec<&ByteString>, Vec<_>) = others
        .iter()
        .partition(|&path| parents.insert(path::parent_of(path).unwrap_or_default()));
    let fitting = firsts.into_iter().chain(more).take_while(|path| {
        let left = room.checked_sub(path.encoded_len());
        room = left.unwrap_or(0);
        left.is_some()
    });
    let listed: Vec<_> = fitting.cloned().collect();
    for path in &listed {
        others.remove(path);
    }
    (listed, others)
}

/// Bytes of a list beside its items.
const COUNT_LEN: usize = 4;
