use std::collections::BTreeMap;

use zk_proto::Zxid;

use super::super::super::{Time, WatchKind};
use super::super::world::{Fact, Held};
use super::Check;

/// N2 for one-shot watches: while one lives, nothing its user reads differs from what the watch saw
/// when it was left; and once everything has settled, what it saw is what there is: no wake-up was
/// lost.
///
/// # Source
/// `client-api.md` §6 "replies", §7 "created by the read that established it", "re-armed"; §14 N2.
/// `server-semantics.md` §5.4.
#[derive(Debug, Default)]
pub(super) struct Order {
    live: BTreeMap<u32, (Held, Option<Zxid>)>,
}

impl Check for Order {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Armed {
                watch, held, state, ..
            } if !matches!(held.kind, WatchKind::Added(_)) => {
                self.live.insert(*watch, ((*held).clone(), *state));
                Ok(())
            }
            Fact::Disarmed { watch } => {
                self.live.remove(watch);
                Ok(())
            }
            Fact::Observed {
                path,
                children,
                state,
            } => {
                for (watch, (held, seen)) in &self.live {
                    let is_comparable = (held.kind == WatchKind::Children) == *children
                        || state.is_none() != seen.is_none();
                    if *held.path == **path && is_comparable && state != seen {
                        return Err(format!(
                            "a read of {path} saw {state:?} before watch {watch} fired, \
                             which saw {seen:?}"
                        ));
                    }
                }
                Ok(())
            }
            Fact::Settled {
                leader,
                is_closed: false,
                ..
            } => {
                for (watch, (held, seen)) in &self.live {
                    let stat = leader.stat(&held.path);
                    let now = if held.kind == WatchKind::Children {
                        stat.map(|stat| stat.pzxid)
                    } else {
                        stat.map(|stat| stat.mzxid)
                    };
                    if now != *seen {
                        let path = &held.path;
                        return Err(format!(
                            "watch {watch} of {path} saw {seen:?}, it is {now:?}, and it never fired"
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
