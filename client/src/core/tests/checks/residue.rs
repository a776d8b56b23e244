use super::super::super::{Load, Time};
use super::super::world::Fact;
use super::Check;

/// N8: when the user has let go of everything, nothing is left: no request, no watch, neither here
/// nor at the server. And closing closes the session.
///
/// # Source
/// `client-api.md` §5.4, §6 "Cancellation safety"; §14 N8.
#[derive(Debug, Default)]
pub(super) struct Residue {
    is_settled: bool,
}

impl Check for Residue {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Settled {
                is_connected,
                is_closed,
                ..
            } => {
                self.is_settled = *is_connected;
                if *is_connected || *is_closed {
                    Ok(())
                } else {
                    Err("the client has not come to rest though all is well".into())
                }
            }
            Fact::Emptied {
                load,
                watches,
                server,
            } => {
                if *load != Load::default() || *watches != 0 {
                    return Err(format!("{load:?} and {watches} watches are left"));
                }
                match server {
                    Some(server) if !server.is_empty() => Err(format!("left: {server:?}")),
                    _ => Ok(()),
                }
            }
            Fact::Ended { session_ended } if self.is_settled && !session_ended => {
                Err("the client is closed and its session is not".into())
            }
            _ => Ok(()),
        }
    }
}
