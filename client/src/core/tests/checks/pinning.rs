use std::collections::BTreeMap;

use zk_proto::SessionId;

use super::super::super::Time;
use super::super::world::Fact;
use super::Check;

/// N7: a request that is bound to a session is never executed in another.
///
/// # Source
/// `client-api.md` §5.1 "`Session` handle"; §14 N7.
#[derive(Debug, Default)]
pub(super) struct Pinning {
    pinned: BTreeMap<u32, SessionId>,
}

impl Check for Pinning {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Submitted {
                id,
                pinned: Some(session),
                ..
            } => {
                self.pinned.insert(*id, *session);
                Ok(())
            }
            Fact::Executed { id, session, .. } => match self.pinned.get(id) {
                Some(pinned) if pinned != session => Err(format!(
                    "{id} is bound to session {pinned} and was executed in {session}"
                )),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
