use std::collections::BTreeMap;

use zk_proto::{EventType, Zxid};

use super::super::super::{Delivery, Time, WatchKind};
use super::super::ensemble::{Change, Txn, parent};
use super::super::world::{Fact, Held, reaches};
use super::Check;

/// N2 for added watches: between two gaps a stream tells every change in its reach, in order, and
/// before any reply that could show it; a gap says truly from when on something may be missing.
///
/// # Source
/// `client-api.md` §7 "persistent streams emit `Gap` after every reconnect, then `Armed`"; §14 N2.
/// `server-semantics.md` §5.2, §5.4.
#[derive(Debug, Default)]
pub(super) struct Streams {
    log: Vec<Txn>,
    live: BTreeMap<u32, Stream>,
}

#[derive(Debug)]
struct Stream {
    held: Held,
    /// Nothing behind this zxid is missing; `None` in a gap.
    since: Option<Zxid>,
    told: Vec<Seen>,
}

type Seen = (i64, EventType, String);

impl Check for Streams {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed(txn) => self.log.push((*txn).clone()),
            Fact::Armed {
                watch, held, zxid, ..
            } if matches!(held.kind, WatchKind::Added(_)) => {
                let stream = Stream {
                    held: (*held).clone(),
                    since: Some(*zxid),
                    told: Vec::new(),
                };
                self.live.insert(*watch, stream);
            }
            Fact::Disarmed { watch } => {
                self.live.remove(watch);
            }
            Fact::Told {
                watch,
                delivery,
                zxid,
            } => {
                let log = &self.log;
                let Some(stream) = self.live.get_mut(watch) else {
                    return Ok(());
                };
                match delivery {
                    Delivery::Event { kind, path, .. } => {
                        if !reaches(&stream.held, *kind, path) {
                            return Err(format!("{watch} was told {kind} of {path}"));
                        }
                        // What only catches up may be told twice.
                        if let Some(zxid) = zxid {
                            let is_late = stream.told.last().is_some_and(|last| last.0 > *zxid);
                            if is_late {
                                return Err(format!("{watch} was told {zxid} late"));
                            }
                            stream.told.push((*zxid, *kind, path.to_string()));
                        }
                    }
                    Delivery::Gap { since } => {
                        stream.is_complete(*watch, log, *since)?;
                        stream.since = None;
                    }
                    Delivery::Armed { zxid } => {
                        stream.is_complete(*watch, log, *zxid)?;
                        stream.since = Some(*zxid);
                        stream.told.clear();
                    }
                    Delivery::SessionEnded(_) | Delivery::Closed(_) => {}
                }
            }
            Fact::Observed {
                state: Some(zxid), ..
            } => {
                for (watch, stream) in &self.live {
                    stream.is_complete(*watch, &self.log, *zxid)?;
                }
            }
            Fact::Settled {
                is_closed: false,
                last_zxid,
                ..
            } => {
                for (watch, stream) in &self.live {
                    if stream.since.is_none() {
                        return Err(format!("{watch} was never armed again"));
                    }
                    stream.is_complete(*watch, &self.log, *last_zxid)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Stream {
    /// Whether everything up to there was told.
    fn is_complete(&self, watch: u32, log: &[Txn], upto: Zxid) -> Result<(), String> {
        let Some(since) = self.since else {
            return Ok(());
        };
        let span = |zxid: i64| zxid > since.get() && zxid <= upto.get();
        let mut told = self.told.iter().filter(|seen| span(seen.0));
        for txn in log.iter().filter(|txn| span(txn.zxid)) {
            for change in &txn.changes {
                for (kind, path) in effects(change) {
                    if !reaches(&self.held, kind, path) {
                        continue;
                    }
                    let wanted = (txn.zxid, kind, path.to_owned());
                    let next = told.next();
                    if next != Some(&wanted) {
                        return Err(format!(
                            "{watch}, complete since {since}, was told {next:?} where {wanted:?} is \
                             due, up to {upto}"
                        ));
                    }
                }
            }
        }
        match told.next() {
            None => Ok(()),
            Some(seen) => Err(format!("{watch} was told {seen:?}, which did not happen")),
        }
    }
}

fn effects(change: &Change) -> Vec<(EventType, &str)> {
    let mut effects = vec![(change.kind(), change.path())];
    if !matches!(change, Change::Set { .. }) {
        effects.push((EventType::NodeChildrenChanged, parent(change.path())));
    }
    effects
}
