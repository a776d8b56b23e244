//! The end of a life: all faults over, everything let go of, the client closed.

use std::time::Duration;

use super::super::ensemble::{ConnId, ServerWatches};
use super::{CLOSE, Fact, Occurrence, SETTLE, SETTLE_STEP, TIDY, World};
use crate::core::link::Stage;
use crate::core::{Event, Phase};

impl World {
    /// Whether the client is connected and everything has come to rest.
    pub(super) fn resting(&self) -> Option<ConnId> {
        let conn = self.current?;
        let (pipe, server) = (self.pipes.get(&conn)?, self.ensemble.conns.get(&conn)?);
        let Phase::Linked(link) = &self.core.phase else {
            return None;
        };
        let is_resting = pipe.is_reliable()
            && pipe.is_quiet()
            && server.pipeline.is_empty()
            && link.stage == Stage::Ready
            && link.watches_sent.is_empty()
            && link.auth_sent.is_empty()
            && self.core.urgent.is_empty()
            && self.core.load().requests == 0
            && self.output.is_empty()
            && self.input.is_empty();
        is_resting.then_some(conn)
    }

    pub(super) fn check_idle(&mut self) {
        let Some(conn) = self.resting() else { return };
        let server = &self.ensemble.servers[self.pipes[&conn].server];
        let none = ServerWatches::default();
        let server = server.watches.get(&conn).unwrap_or(&none);
        let held = &self.held;
        self.checks.see(self.now, &Fact::Idle { held, server });
    }

    pub(super) fn heal(&mut self) {
        for index in 0..self.plan.servers {
            self.ensemble.servers[index].is_up = true;
            self.ensemble.set_read_only(self.now, index, false);
        }
        self.blackholes.clear();
        self.lags.clear();
        self.dial_delay = Duration::ZERO;
        self.slow = Duration::from_millis(1);
        self.ensemble.refuses_auth = false;
        self.ensemble.throttles = 0;
        self.next_budget = None;
        for pipe in self.pipes.values_mut() {
            (pipe.up.budget, pipe.down.budget) = (None, None);
        }
        for index in 0..self.plan.servers {
            let upto = self.ensemble.log.len();
            self.after(Duration::from_millis(5), Occurrence::Apply(index, upto));
        }
    }

    pub(super) fn settled(&mut self) {
        let is_connected = self.resting().is_some();
        let is_closed = self.core.is_closed();
        let is_late = self.now >= self.heal_at + SETTLE;
        if !is_late && !is_closed && !is_connected {
            // A ping may be under way, or much more.
            self.after(SETTLE_STEP / 10, Occurrence::Settled);
            return;
        }
        self.after(TIDY, Occurrence::Emptied);
        self.after(TIDY + CLOSE, Occurrence::Ended);
        let last_zxid = self.core.last_zxid();
        let leader = self.ensemble.leader.clone();
        self.see(&Fact::Settled {
            is_connected,
            is_closed,
            leader: &leader,
            last_zxid,
        });
        for watch in self.held.keys().copied().collect::<Vec<_>>() {
            self.unsubscribe(watch);
        }
    }

    pub(super) fn emptied(&mut self) {
        let none = ServerWatches::default();
        let conn = self
            .current
            .and_then(|conn| self.pipes.get(&conn).map(|pipe| (conn, pipe)));
        let server = conn.map(|(conn, pipe)| {
            let server = &self.ensemble.servers[pipe.server];
            server.watches.get(&conn).unwrap_or(&none)
        });
        let (load, watches) = (self.core.load(), self.core.watches());
        let fact = Fact::Emptied {
            load,
            watches,
            server,
        };
        self.checks.see(self.now, &fact);
        self.handle(Event::Close { within: CLOSE / 2 });
    }

    pub(super) fn ended(&mut self) {
        self.is_over = true;
        let sessions = &self.ensemble.sessions;
        let ended = |id| {
            sessions
                .get(&id)
                .is_some_and(|session| session.ended.is_some())
        };
        let session_ended = self.session.is_none_or(ended);
        self.see(&Fact::Ended { session_ended });
    }
}
