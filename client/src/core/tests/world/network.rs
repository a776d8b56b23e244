//! The network: latencies, broken connections, and what the ensemble sends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::ensemble::{ConnId, Output};
use super::{Fact, Occurrence, World};

impl World {
    pub(super) fn send_up(&mut self, conn: ConnId, mut bytes: Bytes) {
        let latency = self.latency();
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        if pipe.up.is_stalled {
            return;
        }
        let at = pipe.up.free_at.max(self.now + latency);
        pipe.up.free_at = at;
        let mut is_cut = false;
        if let Some(budget) = &mut pipe.up.budget {
            is_cut = bytes.len() >= *budget;
            bytes.truncate(*budget);
            *budget -= bytes.len();
        }
        if !bytes.is_empty() {
            pipe.up.under_way += bytes.len();
            self.at(at, Occurrence::ToServer(conn, bytes));
        }
        if is_cut {
            self.cut(conn);
        }
    }

    pub(super) fn send_down(&mut self, conn: ConnId, wire: BytesMut, tag: Option<i64>) {
        let latency = self.latency();
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        if pipe.down.is_stalled {
            return;
        }
        let at = pipe.down.free_at.max(self.now + latency);
        pipe.down.free_at = at;
        pipe.tags.push_back(tag);
        let mut bytes = wire.freeze();
        let mut is_cut = false;
        if let Some(budget) = &mut pipe.down.budget {
            is_cut = bytes.len() >= *budget;
            bytes.truncate(*budget);
            *budget -= bytes.len();
        }
        if !bytes.is_empty() {
            pipe.down.under_way += bytes.len();
            self.at(at, Occurrence::ToClient(conn, bytes));
        }
        if is_cut {
            self.cut(conn);
        }
    }

    /// The connection breaks: what is on its way arrives, and nothing after it.
    pub(super) fn cut(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        pipe.up.is_stalled = true;
        pipe.down.is_stalled = true;
        let tick = Duration::from_micros(1);
        let (up, down) = (pipe.up.free_at, pipe.down.free_at);
        let (up, down) = (up.max(self.now) + tick, down.max(self.now) + tick);
        self.at(up, Occurrence::EofServer(conn));
        self.at(down, Occurrence::EofClient(conn));
    }

    /// Passes on what the ensemble has done.
    pub(super) fn flush(&mut self) {
        for executed in std::mem::take(&mut self.ensemble.executed) {
            let pipe = self.pipes.get(&executed.conn);
            if let Some(id) = pipe.and_then(|pipe| pipe.id_of(executed.xid)) {
                self.see(&Fact::Executed {
                    conn: executed.conn,
                    session: executed.session,
                    xid: executed.xid,
                    id,
                    err: executed.err,
                    body: &executed.body,
                });
            } else {
                self.note(|| {
                    let (op, err) = (executed.op, executed.err);
                    format!("internal {op:?} on {} answered {err}", executed.conn)
                });
            }
        }
        for (conn, output) in std::mem::take(&mut self.ensemble.out) {
            match output {
                Output::Frame(wire, tag) => self.send_down(conn, wire, tag),
                Output::Close => {
                    let Some(pipe) = self.pipes.get(&conn) else {
                        continue;
                    };
                    if !pipe.down.is_stalled {
                        let at = pipe.down.free_at.max(self.now) + Duration::from_micros(1);
                        self.at(at, Occurrence::EofClient(conn));
                    }
                }
            }
        }
        while self.committed < self.ensemble.log.len() {
            let txn = self.ensemble.log[self.committed].clone();
            self.committed += 1;
            self.see(&Fact::Committed(&txn));
            for server in 0..self.plan.servers {
                let lag = self.lags.get(&server).copied().unwrap_or_default();
                let wait = lag + self.latency();
                self.after(wait, Occurrence::Apply(server, self.committed));
            }
        }
        let sessions = &self.ensemble.sessions;
        let new = sessions
            .iter()
            .filter(|(_, session)| session.ended.is_none());
        let new = new.filter(|(id, _)| !self.watched_sessions.contains(id));
        for id in new.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.watched_sessions.insert(id);
            let due = self.ensemble.expires_at(id);
            self.at(due, Occurrence::CheckSession(id));
        }
    }
}
