//! Signs of life that a learner collects for its leader.

use std::collections::BTreeMap;

use zk_proto::SessionId;

use super::timeout::SessionTimeout;

/// The sessions heard of since the last ping of the leader, each once.
///
/// Every request counts, not only writes and pings: a client that only reads lives from these.
#[derive(Debug, Clone, Default)]
pub struct Touches(BTreeMap<SessionId, SessionTimeout>);

impl Touches {
    /// Notes a sign of life on a connection with this negotiated timeout.
    pub fn note(&mut self, id: SessionId, timeout: SessionTimeout) {
        self.0.insert(id, timeout);
    }

    /// Forgets a session that is gone.
    pub fn forget(&mut self, id: SessionId) {
        self.0.remove(&id);
    }

    /// What the answer to the leader's ping carries, in order of ids; begins anew.
    pub fn take(&mut self) -> impl Iterator<Item = (SessionId, SessionTimeout)> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_are_told_once_with_the_last_timeout() {
        let (a, b) = (SessionId::new(1), SessionId::new(2));
        let timeout = SessionTimeout::from_millis;
        let mut touches = Touches::default();
        touches.note(b, timeout(4000));
        touches.note(a, timeout(4000));
        touches.note(b, timeout(6000));
        let told: Vec<_> = touches.take().collect();
        assert_eq!(told, [(a, timeout(4000)), (b, timeout(6000))]);
        assert_eq!(touches.take().count(), 0);
    }
}
