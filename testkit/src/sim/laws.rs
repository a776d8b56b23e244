//! All laws of a run, and what only an onlooker knows.

use std::collections::BTreeMap;

use zk_core::wire::txn::TxnEntry;
use zk_proto::{Bytes, Epoch, Zxid};

use crate::check::committed::Committed;
use crate::check::linearizability::Operation;
use crate::check::model::Model;
use crate::check::one_leader::OneLeader;
use crate::check::proposals::Proposals;
use crate::check::real_time::RealTime;
use crate::check::recency::Recency;
use crate::check::{Member, Past, Pasts, Verdict, Violation, sessions};

/// The laws, and all histories.
#[derive(Debug, Default)]
pub struct Laws {
    pub(crate) pasts: Pasts,
    pub(crate) one_leader: OneLeader,
    pub(crate) proposals: Proposals,
    pub(crate) committed: Committed,
    pub(crate) recency: Recency,
    pub(crate) real_time: RealTime,
    pub(crate) model: Model,
    /// What was done to keys, by key; none for what certainly did not happen.
    pub(crate) history: BTreeMap<usize, Vec<Option<Operation>>>,
    /// Bytes of every transaction, by the history that ends with it.
    entries: BTreeMap<Past, Bytes>,
}

impl Laws {
    /// A member hands a transaction to its log.
    pub(crate) fn appended(
        &mut self,
        member: Member,
        past: Past,
        bytes: &Bytes,
        leads: Option<Epoch>,
    ) -> Verdict {
        self.proposals.appended(&self.pasts, member, past, leads)?;
        self.entries.entry(past).or_insert_with(|| bytes.clone());
        Ok(())
    }

    /// Somebody takes a history for committed; what is new of it goes into the model.
    pub(crate) fn take(
        &mut self,
        member: Member,
        past: Past,
        is_durable: impl FnOnce(&Pasts, Past) -> bool,
    ) -> Verdict {
        let known = self.committed.past();
        let pasts = &self.pasts;
        self.committed
            .taken(pasts, member, past, |past| is_durable(pasts, past))?;
        let now = self.committed.past();
        if now == known {
            return Ok(());
        }
        let mut new = Vec::new();
        let mut at = now;
        while at != known {
            new.push(at);
            at = self.pasts.before(at);
        }
        for past in new.into_iter().rev() {
            let bytes = self.entries.get(&past).cloned().unwrap_or_default();
            let entry = TxnEntry::decode(&bytes).map_err(|error| Violation {
                law: sessions::LAW,
                what: format!("{}: {error}", self.pasts.last(past)),
            })?;
            sessions::committed(&mut self.model, &entry)?;
        }
        Ok(())
    }

    /// A leader tells others that a transaction is committed.
    pub(crate) fn commit(
        &mut self,
        member: Member,
        zxid: Zxid,
        is_durable: impl FnOnce(&Pasts, Past) -> bool,
    ) -> Verdict {
        let Some(past) = self.proposals.past(zxid) else {
            return Err(Violation {
                law: crate::check::committed::LAW,
                what: format!("member {member} commits {zxid}, which nobody proposed"),
            });
        };
        self.take(member, past, is_durable)
    }
}
