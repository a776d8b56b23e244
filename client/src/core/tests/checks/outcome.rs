use std::collections::BTreeSet;

use super::super::super::Time;
use super::super::world::{Fact, is_answer};
use super::Check;

/// N4: no request of which bytes were handed to a connection fails as one that was not sent. Nor the
/// other way round: a request that was never sent is not of unknown outcome. What must not be sent
/// again is sent once.
///
/// # Source
/// `client-api.md` §4 "Outcome"; §14 N4.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    sent: BTreeSet<u32>,
    once: BTreeSet<u32>,
}

impl Check for Outcomes {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Submitted {
                id, resend: false, ..
            } => {
                self.once.insert(*id);
                Ok(())
            }
            Fact::Sent { id, .. } => {
                if !self.sent.insert(*id) && self.once.contains(id) {
                    return Err(format!("{id} was sent again"));
                }
                Ok(())
            }
            Fact::Resolved {
                id,
                result: Err(failure),
                ..
            } if !is_answer(&failure.cause) => match (self.sent.contains(id), failure.unknown) {
                (true, false) => Err(format!("{id} was sent: {:?}", failure.cause)),
                (false, true) => Err(format!("{id} was not sent: {:?}", failure.cause)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
