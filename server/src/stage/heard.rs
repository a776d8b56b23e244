//! Signs of life, between the connections that hear them and the core that counts them.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use zk_core::peer::Event;
use zk_core::session::SessionTimeout;
use zk_core::time::Time;
use zk_proto::SessionId;

/// The last sign of life of each session since the core looked.
///
/// Kept out of the mailbox: a client that only reads would otherwise send the core an event for
/// every turn. Bounded by the number of sessions connected here.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<BTreeMap<SessionId, (SessionTimeout, Time)>>);

impl Heard {
    /// Notes a sign of life.
    pub(crate) fn note(&self, session: SessionId, timeout: SessionTimeout, at: Time) {
        self.0.lock().insert(session, (timeout, at));
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> impl Iterator<Item = Event> + use<> {
        let heard = std::mem::take(&mut *self.0.lock());
        heard
            .into_iter()
            .map(|(session, (timeout, at))| Event::SessionHeard {
                session,
                timeout,
                at,
            })
    }
}
