//! All laws of a run, and what only an onlooker knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use zk_core::ensemble::EnsembleConfig;
use zk_core::wire::txn::{Op, Txn, TxnEntry};
use zk_proto::{Bytes, Epoch, ServerId, Zxid};

use crate::check::committed::Committed;
use crate::check::linearizability::Operation;
use crate::check::model::Model;
use crate::check::one_leader::OneLeader;
use crate::check::proposals::Proposals;
use crate::check::real_time::RealTime;
use crate::check::recency::Recency;
use crate::check::reconfig::{self, Reconfig};
use crate::check::{Member, Past, Pasts, Verdict, Violation, sessions};

/// The laws, and all histories.
#[derive(Debug)]
pub struct Laws {
    pub(crate) pasts: Pasts,
    pub(crate) one_leader: OneLeader,
    pub(crate) proposals: Proposals,
    pub(crate) committed: Committed,
    pub(crate) recency: Recency,
    pub(crate) reconfig: Reconfig,
    pub(crate) real_time: RealTime,
    pub(crate) model: Model,
    /// What was done to keys, by key; none for what certainly did not happen.
    pub(crate) history: BTreeMap<usize, Vec<Option<Operation>>>,
    /// Bytes of every transaction, by the history that ends with it.
    entries: BTreeMap<Past, Bytes>,
}

/// Tells whether a server has a history on disk.
pub(crate) type Disks<'a> = &'a dyn Fn(&Pasts, ServerId, Past) -> bool;

impl Laws {
    /// Nothing happened, and these are the members.
    pub(crate) fn new(first: Arc<EnsembleConfig>) -> Self {
        Self {
            pasts: Pasts::default(),
            one_leader: OneLeader::default(),
            proposals: Proposals::default(),
            committed: Committed::default(),
            recency: Recency::default(),
            reconfig: Reconfig::new(first),
            real_time: RealTime::default(),
            model: Model::default(),
            history: BTreeMap::new(),
            entries: BTreeMap::new(),
        }
    }

    /// A member hands a transaction to its log.
    pub(crate) fn appended(
        &mut self,
        member: Member,
        past: Past,
        bytes: &Bytes,
        leads: Option<Epoch>,
    ) -> Result<Appended, Violation> {
        self.proposals.appended(&self.pasts, member, past, leads)?;
        if self.entries.contains_key(&past) {
            return Ok(Appended::Known);
        }
        self.entries.insert(past, bytes.clone());
        let Some(config) = config_of(&self.decode(past)?)? else {
            return Ok(Appended::New);
        };
        let committed = self.committed.past();
        self.reconfig
            .proposed(&self.pasts, member, past, config, committed)?;
        Ok(Appended::NewChange)
    }

    fn decode(&self, past: Past) -> Result<TxnEntry, Violation> {
        let bytes = self.entries.get(&past).cloned().unwrap_or_default();
        TxnEntry::decode(&bytes).map_err(|error| Violation {
            law: sessions::LAW,
            what: format!("{}: {error}", self.pasts.last(past)),
        })
    }

    /// Somebody takes a history for committed; what is new of it goes into the model.
    pub(crate) fn take(&mut self, member: Member, past: Past, disks: Disks<'_>) -> Verdict {
        let known = self.committed.past();
        let (pasts, reconfig) = (&self.pasts, &self.reconfig);
        if pasts.has(past, known) {
            reconfig.taken(pasts, member, known, past, disks)?;
        }
        self.committed.taken(pasts, member, past, |past| {
            reconfig.is_decided(pasts, known, past, disks)
        })?;
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
            let entry = self.decode(past)?;
            if config_of(&entry)?.is_some() {
                self.reconfig.note_committed();
            }
            sessions::committed(&mut self.model, &entry)?;
        }
        Ok(())
    }

    /// A leader tells others that a transaction is committed.
    pub(crate) fn commit(&mut self, member: Member, zxid: Zxid, disks: Disks<'_>) -> Verdict {
        let Some(past) = self.proposals.past(zxid) else {
            return Err(Violation {
                law: crate::check::committed::LAW,
                what: format!("member {member} commits {zxid}, which nobody proposed"),
            });
        };
        self.take(member, past, disks)
    }
}

/// What a transaction is to those who look on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// Some member has it already.
    Known,
    /// It was just proposed.
    New,
    /// It was just proposed, and makes other members.
    NewChange,
}

/// The members that a transaction makes, if it does.
fn config_of(entry: &TxnEntry) -> Result<Option<Arc<EnsembleConfig>>, Violation> {
    let Txn::Single(Op::Reconfig(record)) = &entry.txn else {
        return Ok(None);
    };
    let text = record.data.as_deref().map(std::str::from_utf8);
    let config = text.and_then(|text| EnsembleConfig::parse(text.ok()?).ok());
    match config {
        Some(config) => Ok(Some(Arc::new(config))),
        None => Err(Violation {
            law: reconfig::LAW,
            what: format!("{} makes no configuration", entry.header.zxid),
        }),
    }
}
