//! From requests to transactions: what the leader decides before anybody else hears of it.
//!
//! ```text
//!  request ─┐                                    ┌─► Txn + digest ──► log, proposals
//!           ├─► check against tree ⊕ outstanding ┤
//!  tree ────┘             ▲                      └─► error txn, or a multi of errors
//!                         │
//!             outstanding ┴─◄─ what the txn will do; dropped when the tree has applied it
//! ```
//!
//! Requests are prepared one by one, in the order in which they come. Each that is refused takes a
//! zxid too, so that its client learns of it in its place. The law of this module: how far the tree
//! lags behind changes nothing. The transactions, errors and digests are those that would come out
//! if each transaction were applied before the next request is looked at.
//!
//! A standalone server is a leader with a quorum of one, and prepares in the same way.
//!
//! | file | what it is about |
//! |---|---|
//! | `attempt` | one request, or one part of a multi, and what it may look at |
//! | `outstanding` | changes that the tree does not have yet |
//! | `lists` | access control lists of those changes |
//! | `access` | session, permission and version checks |
//! | `path` | which text is good enough as a path, for whom |
//! | `quota` | limits of subtrees |
//! | the others | one kind of request each |
//!
//! What differs from the reference, on purpose; each has a test in `tests/divergence.rs`:
//!
//! - a list that setACL sets counts for the next request, applied or not;
//! - closeSession lowers the number of children of the parents at once;
//! - the root has one name among the outstanding changes, so that its digest stays right;
//! - an undecodable request takes a zxid of its own;
//! - `create` with the flags of a container makes a container; `createTTL` without the flags of one
//!   is refused whatever time to live it has; `createContainer` makes what the digest says;
//! - deleteContainer of a client needs what delete needs; that of the server looks again whether the
//!   znode's time is over;
//! - quotas count changes that are not applied yet, so that neither pipelining nor a multi gets
//!   beyond a hard limit;
//! - a transaction that members could not read again is refused, and closeSession lists as many
//!   znodes as it may.

mod access;
mod attempt;
mod create;
mod delete;
mod lists;
mod multi;
mod outstanding;
mod path;
mod quota;
mod reconfig;
mod session;
mod set_acl;
mod set_data;

#[cfg(test)]
mod tests;

pub use quota::{QuotaResource, QuotaWarning};
pub use reconfig::{EnsembleView, ReconfigRefusal};

use zk_proto::request::Request;
use zk_proto::{Epoch, ErrorCode, SessionId, Xid, Zxid};

use crate::conn::auth::{Access, Identities};
use crate::conn::handshake::SessionKind;
use crate::session::SessionFault;
use crate::time::WallTime;
use crate::tree::Tree;
use crate::wire::log_record::ENTRY_MAX;
use crate::wire::txn::{ErrorTxn, Op, Txn, TxnDigest, TxnEntry, TxnHeader};

use attempt::Attempt;
use lists::Lists;
use outstanding::Outstanding;

/// The last counter that the reference gives out: with the next one, the epoch would run over.
const COUNTER_MAX: u32 = u32::MAX - 1;

/// Bytes around a record in the longest buffer that it stands in: header, digest, and the leader that
/// INFORMANDACTIVATE names before them.
const ENVELOPE: usize = TxnHeader::LEN + TxnDigest::LEN + 8;

/// What all requests are judged by.
#[derive(Debug, Clone)]
pub struct PrepOptions {
    /// How lists on znodes are compared with identities.
    pub access: Access,
    /// Whether hard limits refuse requests (`zookeeper.enforceQuota`).
    pub enforces_quota: bool,
    /// Whether the ensemble may be reconfigured (`reconfigEnabled`).
    pub reconfig_enabled: bool,
    /// Fewest voters that a reconfig may leave: one where a single one may be an ensemble
    /// (`standaloneEnabled=false`), else two.
    pub voters_min: usize,
    /// Whether there is no ensemble: other errors for lost sessions and reconfig, and no end of an
    /// epoch.
    pub is_standalone: bool,
    /// After how many milliseconds a container that never had a child may be deleted; 0 is never
    /// (`znode.container.maxNeverUsedIntervalMs`).
    pub never_used_ms: i64,
    /// The last counter of an epoch that is given out. Fewer only to see epochs end soon.
    pub counter_max: u32,
    /// Longest buffer that members read, from their logs and from each other. Unit: bytes
    /// (`jute.maxbuffer` and what `jute.maxbuffer.extrasize` adds to it).
    pub buffer_bytes_max: usize,
}

impl PrepOptions {
    /// What a server has unless it is told otherwise.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            enforces_quota: false,
            reconfig_enabled: false,
            voters_min: 2,
            is_standalone: false,
            never_used_ms: 0,
            counter_max: COUNTER_MAX,
            buffer_bytes_max: ENTRY_MAX,
        }
    }

    /// Most bytes of a record, so that members can read the transaction wherever it stands.
    fn record_bytes_max(&self) -> usize {
        self.buffer_bytes_max.saturating_sub(ENVELOPE)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Requester {
    /// The session; of createSession, the new one. [`SessionId::NONE`] if the server itself asks for
    /// a deleteContainer, which then needs no permission.
    pub session: SessionId,
    /// The client's number for the request; 0 for what the server asks for.
    pub cxid: Xid,
    /// Identities that the connection had when it sent the request.
    pub identities: Identities,
    /// What the session tracker says: the outcome of
    /// [`SessionTracker::check`](crate::session::SessionTracker::check) for a global session.
    pub standing: Result<SessionKind, SessionFault>,
}

/// A transaction that nobody has applied yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What is logged and proposed.
    pub entry: TxnEntry,
    /// Soft limits that it goes beyond; only if quotas are enforced.
    pub warnings: Vec<QuotaWarning>,
    /// Why a change of the members is refused, if it is for more than what the code says.
    pub refusal: Option<ReconfigRefusal>,
}

impl Prepared {
    /// Why the request is refused; of a multi, the first error. `None` if it is not.
    ///
    /// A client whose request ends in [`ErrorCode::SessionMoved`] gets no reply: the connection is
    /// closed.
    pub fn error(&self) -> Option<ErrorCode> {
        let of = |op: &Op| {
            if let Op::Error(record) = op {
                ErrorCode::from_code(record.err)
            } else {
                None
            }
        };
        match &self.entry.txn {
            Txn::Single(op) => of(op),
            Txn::Multi(ops) => ops.iter().find_map(of),
            Txn::CreateSession(_) | Txn::CloseSession(_) => None,
        }
    }
}

/// The epoch has no zxid left: the leader has to make way for a new epoch, and the request was not
/// looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("epoch {epoch} has no zxid left")]
pub struct EpochExhausted {
    /// The epoch.
    pub epoch: Epoch,
}

/// Prepares transactions, for as long as a server leads.
///
/// It owns the counter of zxids: whatever is proposed gets its number here.
#[derive(Debug)]
pub struct Prep {
    options: PrepOptions,
    /// The last zxid given out.
    last: Zxid,
    outstanding: Outstanding,
    ensemble: Option<EnsembleView>,
    lists: Lists,
}

impl Prep {
    /// Begins behind `last`: a new leader's own epoch with counter 0; the last transaction applied of
    /// a standalone server. The tree that comes with the first request must have all before that.
    pub fn new(options: PrepOptions, last: Zxid) -> Self {
        Self {
            options,
            last,
            outstanding: Outstanding::default(),
            ensemble: None,
            lists: Lists::default(),
        }
    }

    /// Tells what the ensemble is, for a reconfig that comes next.
    pub fn set_ensemble(&mut self, view: EnsembleView) {
        self.ensemble = Some(view);
    }

    #[cfg(test)]
    pub(crate) fn options(&self) -> &PrepOptions {
        &self.options
    }

    /// The last zxid given out.
    pub fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// Number of outstanding changes of znodes and sessions.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Forgets what the tree has applied. Preparing does it too; this is for when nobody asks for
    /// anything.
    pub fn release(&mut self, applied: Zxid) {
        self.outstanding.release(applied);
    }

    /// Makes a request into the transaction that does what it asks for, or tells why not.
    ///
    /// The caller keeps the session tracker: it tracks the session of a createSession, and marks
    /// that of a closeSession as closing, when it hands them in. What is no write ends as
    /// `UNIMPLEMENTED`.
    ///
    /// # Errors
    /// [`EpochExhausted`], of an ensemble's leader only.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest`.
    pub fn prepare(
        &mut self,
        now: WallTime,
        from: &Requester,
        request: &Request,
        tree: &Tree,
    ) -> Result<Prepared, EpochExhausted> {
        self.attempt(now, from, tree, |attempt| attempt.decide(request))
    }

    /// Makes a request that cannot even be looked at into an error transaction: one that a learner
    /// forwarded and whose body does not decode.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn refuse(
        &mut self,
        now: WallTime,
        from: &Requester,
        code: ErrorCode,
        tree: &Tree,
    ) -> Result<Prepared, EpochExhausted> {
        self.attempt(now, from, tree, |_| Err(code))
    }

    fn attempt(
        &mut self,
        now: WallTime,
        from: &Requester,
        tree: &Tree,
        decide: impl FnOnce(&mut Attempt<'_>) -> Result<Txn, ErrorCode>,
    ) -> Result<Prepared, EpochExhausted> {
        let zxid = self.next_zxid()?;
        self.outstanding.catch_up(tree);
        let mut attempt = Attempt {
            options: &self.options,
            ensemble: self.ensemble.as_ref(),
            outstanding: &mut self.outstanding,
            lists: &mut self.lists,
            tree,
            from,
            zxid,
            time: now,
            warnings: Vec::new(),
            refusal: None,
        };
        let outcome = decide(&mut attempt);
        let (warnings, refusal) = (attempt.warnings, attempt.refusal);
        self.last = zxid;
        let (txn, digest) = match outcome {
            Ok(txn) => (txn, self.outstanding.digest().map(TxnDigest::new)),
            Err(code) => {
                let record = ErrorTxn { err: code.code() };
                (Txn::Single(Op::Error(record)), None)
            }
        };
        let header = TxnHeader {
            session: from.session,
            cxid: from.cxid,
            zxid,
            time: now,
        };
        let entry = TxnEntry {
            header,
            txn,
            digest,
        };
        Ok(Prepared {
            entry,
            warnings,
            refusal,
        })
    }

    /// The next number. In an ensemble, the last one of an epoch is never given out.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `Leader#propose`, `Leader.XidRolloverException`.
    fn next_zxid(&self) -> Result<Zxid, EpochExhausted> {
        let next = Zxid::new(self.last.get().wrapping_add(1));
        if !self.options.is_standalone && next.counter() > self.options.counter_max {
            let epoch = self.last.epoch();
            return Err(EpochExhausted { epoch });
        }
        Ok(next)
    }
}
