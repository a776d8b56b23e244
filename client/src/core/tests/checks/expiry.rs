use std::collections::BTreeMap;

use zk_proto::SessionId;

use super::super::super::{CloseReason, Delivery, Time, WatchKind};
use super::super::world::{Fact, Held};
use super::Check;

/// N9: the end of a session is noticed with the answer to the handshake and not invented; one-shot
/// watches end with it; and what is promised about how long it lives at least is true.
///
/// # Source
/// `client-api.md` §5.1 "local expiry", "order of events"; §14 N9. `recipes.md` §1.7.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// When a server said that the session is gone.
    refused: Option<Time>,
    is_closed: bool,
    session: Option<SessionId>,
    one_shot: BTreeMap<u32, Held>,
}

impl Check for Expiry {
    fn see(&mut self, now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Refused => self.refused = Some(now),
            Fact::Expired { session, is_true } => {
                self.refused = None;
                if !is_true {
                    return Err(format!("session {session} is not over"));
                }
            }
            Fact::Suspended {
                safe_until,
                truth: Some(truth),
                ..
            } if safe_until > truth => {
                return Err(format!("safe until {safe_until:?}, and over at {truth:?}"));
            }
            Fact::Armed { watch, held, .. } if !matches!(held.kind, WatchKind::Added(_)) => {
                self.one_shot.insert(*watch, (*held).clone());
            }
            Fact::Disarmed { watch } => {
                self.one_shot.remove(watch);
            }
            Fact::Connected { session } => {
                if self.session.replace(*session) != Some(*session)
                    && let Some((watch, _)) = self.one_shot.first_key_value()
                {
                    return Err(format!("{watch} outlived its session"));
                }
            }
            Fact::Told {
                watch,
                delivery: Delivery::SessionEnded(_),
                ..
            } if self.is_closed => {
                return Err(format!("{watch} outlived the client"));
            }
            Fact::Closed(reason) => {
                self.is_closed = true;
                if self.refused.is_some() && *reason == CloseReason::Requested {
                    self.refused = None;
                }
            }
            Fact::Turned { .. } if self.refused.is_some() => {
                return Err(
                    "a server said that the session is gone, and nothing came of it".into(),
                );
            }
            _ => {}
        }
        Ok(())
    }
}
