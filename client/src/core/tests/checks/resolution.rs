use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::super::{Cause, Time};
use super::super::ensemble::ConnId;
use super::super::world::Fact;
use super::Check;

/// N3: every request that somebody waits for is resolved exactly once, no later than its deadline,
/// and an answer is the one that a server gave to it.
///
/// # Source
/// `client-api.md` §4 "Deadline"; §14 N3.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    open: BTreeMap<u32, Open>,
    resolved: Vec<u32>,
    /// What servers answered.
    answers: BTreeMap<(ConnId, u32), (i32, Bytes)>,
}

#[derive(Debug)]
struct Open {
    deadline: Time,
    is_abandoned: bool,
}

impl Check for Resolution {
    fn see(&mut self, now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Submitted { id, deadline, .. } => {
                let open = Open {
                    deadline: *deadline,
                    is_abandoned: false,
                };
                self.open.insert(*id, open);
            }
            Fact::Abandoned { id } => {
                if let Some(open) = self.open.get_mut(id) {
                    open.is_abandoned = true;
                }
            }
            Fact::Executed {
                conn,
                id,
                err,
                body,
                ..
            } => {
                self.answers.insert((*conn, *id), (*err, (*body).clone()));
            }
            Fact::Resolved { conn, id, result } => {
                if self.resolved.contains(id) {
                    return Err(format!("{id} was resolved twice"));
                }
                self.resolved.push(*id);
                let Some(open) = self.open.remove(id) else {
                    return Err(format!("{id} was never asked for"));
                };
                if now > open.deadline {
                    return Err(format!("{id} was due at {:?}", open.deadline));
                }
                let answer = conn.and_then(|conn| self.answers.get(&(conn, *id)));
                match (result, answer) {
                    (Ok(reply), Some((0, body))) if reply.body != *body => {
                        return Err(format!("{id} was answered with another's reply"));
                    }
                    // Credentials are not executed.
                    (Ok(_), None) if open.deadline != Time::NEVER => {
                        return Err(format!("{id} was answered without an answer"));
                    }
                    (Err(failure), answer) => {
                        if let Cause::Server(code) = failure.cause
                            && answer.is_some_and(|(err, _)| *err != code.code())
                        {
                            return Err(format!("{id} failed with {code}, not {answer:?}"));
                        }
                        if failure.cause == Cause::Timeout && now < open.deadline {
                            return Err(format!("{id} timed out before {:?}", open.deadline));
                        }
                    }
                    _ => {}
                }
            }
            Fact::Turned { .. } => {
                let due = |(_, open): &(&u32, &Open)| open.deadline < now && !open.is_abandoned;
                if let Some((id, open)) = self.open.iter().find(due) {
                    return Err(format!("{id} hangs since {:?}", open.deadline));
                }
            }
            Fact::Settled { .. } | Fact::Ended { .. } => {
                let waits = |(_, open): &(&u32, &Open)| !open.is_abandoned;
                if let Some((id, _)) = self.open.iter().find(waits) {
                    return Err(format!("{id} is not resolved though all is well"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
