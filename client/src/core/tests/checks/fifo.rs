use std::collections::{BTreeMap, BTreeSet};

use zk_proto::SessionId;

use super::super::super::Time;
use super::super::ensemble::ConnId;
use super::super::world::{Fact, is_answer};
use super::Check;

/// N1: requests reach servers in the order of submission, on each connection and across them, and
/// are answered in that order. Only the first execution of a read that is sent again counts. No two
/// requests of a session have the same xid, on whichever connections: servers tell by it which of a
/// session's requests a transaction answers.
///
/// # Source
/// `client-api.md` §6 "FIFO", "replies", "across reconnect"; §14 N1.
#[derive(Debug, Default)]
pub(super) struct Fifo {
    /// Last request sent on each connection, and last answered.
    sent: BTreeMap<ConnId, u32>,
    answered: BTreeMap<ConnId, u32>,
    executed: BTreeSet<u32>,
    /// Sessions and xids of what was executed.
    numbers: BTreeSet<(SessionId, i32)>,
}

impl Check for Fifo {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Sent {
                conn,
                id,
                is_auth: false,
            } => ordered(&mut self.sent, *conn, *id, "sent"),
            Fact::Executed {
                id, session, xid, ..
            } => {
                if !self.numbers.insert((*session, xid.get())) {
                    return Err(format!("{id} has xid {xid} again in {session}"));
                }
                if !self.executed.insert(*id) {
                    return Ok(());
                }
                match self.executed.range(id + 1..).next() {
                    None => Ok(()),
                    Some(later) => Err(format!("{id} was executed after {later}")),
                }
            }
            Fact::Resolved {
                conn: Some(conn),
                id,
                result,
            } if result
                .as_ref()
                .err()
                .is_none_or(|failure| is_answer(&failure.cause)) =>
            {
                // Credentials are answered out of order.
                if self.sent.contains_key(conn) && self.executed.contains(id) {
                    ordered(&mut self.answered, *conn, *id, "answered")
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }
}

fn ordered(
    last: &mut BTreeMap<ConnId, u32>,
    conn: ConnId,
    id: u32,
    what: &str,
) -> Result<(), String> {
    match last.insert(conn, id) {
        Some(before) if before >= id => Err(format!(
            "{id} was {what} after {before} on connection {conn}"
        )),
        _ => Ok(()),
    }
}
