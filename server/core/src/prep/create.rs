//! The create family: create, create2, createContainer, createTTL.

use std::sync::Arc;

use bytestring::ByteString;
use zk_proto::acl::{Acl, Perms};
use zk_proto::request::{CreateFlags, CreateRequest, CreateTtlRequest};
use zk_proto::{Bytes, ErrorCode, SessionId, Version};

use crate::mutation::mutated;
use crate::tree::Lifetime;
use crate::wire::snapshot::StoredStat;
use crate::wire::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, Op};

use super::attempt::{Attempt, next_version};
use super::outstanding::{Pending, Spot};
use super::path;

/// Where a request stands. Flags are not judged alike in both places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Alone,
    InMulti,
}

/// What is asked for.
pub(super) struct NewZnode<'a> {
    path: Option<&'a ByteString>,
    data: Option<&'a Bytes>,
    acl: Option<&'a [Acl]>,
    flags: i32,
    form: Form,
    place: Place,
}

/// What the opcode says.
#[derive(Clone, Copy)]
enum Form {
    /// create or create2, with what it is logged as.
    Plain(fn(CreateTxn) -> Op),
    Container,
    Ttl(i64),
}

/// What is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Persistent,
    Ephemeral,
    Container,
    /// With this time to live and the owner that tells it.
    Ttl(i64, SessionId),
}

impl<'a> NewZnode<'a> {
    /// Of create and create2.
    pub(super) fn of(request: &'a CreateRequest, op: fn(CreateTxn) -> Op, place: Place) -> Self {
        Self {
            path: request.path.as_ref(),
            data: request.data.as_ref(),
            acl: request.acl.as_deref(),
            flags: request.flags,
            form: Form::Plain(op),
            place,
        }
    }

    /// Of createContainer.
    pub(super) fn container(request: &'a CreateRequest, place: Place) -> Self {
        Self {
            form: Form::Container,
            ..Self::of(request, Op::Create, place)
        }
    }

    /// Of createTTL.
    pub(super) fn with_ttl(request: &'a CreateTtlRequest, place: Place) -> Self {
        Self {
            path: request.path.as_ref(),
            data: request.data.as_ref(),
            acl: request.acl.as_deref(),
            flags: request.flags,
            form: Form::Ttl(request.ttl_ms),
            place,
        }
    }
}

impl Attempt<'_> {
    /// # Errors
    /// Flags; times to live; session; path; list; parent there and permitted; path again, with its
    /// number; znode there; parent is ephemeral; quota; length.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2TxnCreate`.
    pub(super) fn create(&mut self, new: &NewZnode<'_>) -> Result<Op, ErrorCode> {
        let flags = CreateFlags::from_code(new.flags).ok_or(ErrorCode::BadArguments)?;
        let kind = self.kind(new, flags)?;
        if flags.is_ephemeral() {
            self.check_global_session()?;
        } else {
            self.check_session()?;
        }
        let asked = path::present(new.path)?;
        let parent_path = path::parent_of(asked)?;
        let acl = self.normal_acl(new.acl)?;

        let parent = self.existing(parent_path)?;
        self.check_acl(parent.acl(), Perms::CREATE)?;
        let above = parent.spot();
        // As stored, it is the number of children ever created.
        let cversion = parent.stat().cversion;
        let is_below_ephemeral = matches!(self.lifetime(&parent), Lifetime::Ephemeral(_));
        let path = if flags.is_sequential() {
            {
                let number = if mutated!(SequenceRepeats) {
                    cversion.get() / 2
                } else {
                    cversion.get()
                };
                format!("{asked}{number:010}").into()
            }
        } else {
            asked.clone()
        };
        path::check(&path)?;
        let at = self.locate(&path);
        if self.see(at).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if is_below_ephemeral {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let len = new.data.map_or(0, Bytes::len);
        self.check_quota(&path, 1, len_of(len))?;

        let list = self.lists.share(&acl);
        let op = to_op(new, path.clone(), kind, acl, next_version(cversion));
        self.check_len(op.record_len())?;
        self.add((parent_path, above), (&path, at), kind, new.data, list);
        Ok(op)
    }

    /// # Errors
    /// [`ErrorCode::Unimplemented`] for a time to live while they are switched off, else
    /// [`ErrorCode::BadArguments`] for flags and times that do not go together.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#validateCreateRequest`, `EphemeralType#validateTTL`,
    /// `MultiOperationRecord#deserialize`.
    fn kind(&self, new: &NewZnode<'_>, flags: CreateFlags) -> Result<Kind, ErrorCode> {
        let rules = self.tree.options().owners;
        if flags.has_ttl() {
            if !rules.extended_types {
                return Err(ErrorCode::Unimplemented);
            }
            let owner = |ttl| Some(Kind::Ttl(ttl, rules.ttl(ttl)?));
            return match new.form {
                Form::Ttl(ttl) => owner(ttl).ok_or(ErrorCode::BadArguments),
                Form::Plain(_) | Form::Container => Err(ErrorCode::BadArguments),
            };
        }
        match new.form {
            Form::Ttl(_) if new.place == Place::Alone => Err(ErrorCode::BadArguments),
            Form::Container => Ok(Kind::Container),
            Form::Plain(_) | Form::Ttl(_) if flags == CreateFlags::Container => Ok(Kind::Container),
            Form::Plain(_) | Form::Ttl(_) if flags.is_ephemeral() => Ok(Kind::Ephemeral),
            Form::Plain(_) | Form::Ttl(_) => Ok(Kind::Persistent),
        }
    }

    /// Enters a new znode among the outstanding ones.
    fn add(
        &mut self,
        (parent_path, above): (&str, Spot),
        (path, at): (&str, Spot),
        kind: Kind,
        data: Option<&Bytes>,
        acl: Arc<[Acl]>,
    ) {
        let (zxid, tree) = (self.zxid, self.tree);
        self.outstanding
            .alter(tree, zxid, above, parent_path, |parent| {
                parent.children += 1;
                // As it is applied: a counter that would go down stays, and the parent with it.
                let next = next_version(parent.stat.cversion);
                if next.get() > parent.stat.cversion.get() {
                    parent.stat.cversion = next;
                    parent.stat.pzxid = zxid;
                }
            });
        let owner = match kind {
            Kind::Persistent => SessionId::NONE,
            Kind::Ephemeral => self.from.session,
            Kind::Container => tree.options().owners.container(),
            Kind::Ttl(_, owner) => owner,
        };
        let stat = StoredStat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: self.time,
            mtime: self.time,
            owner,
            ..StoredStat::default()
        };
        let znode = Pending::new(path, data, acl, stat);
        self.outstanding.create(zxid, at, path, znode);
        self.count_created(parent_path, path, len_of(data.map_or(0, Bytes::len)));
    }
}

/// What is logged.
fn to_op(
    new: &NewZnode<'_>,
    path: ByteString,
    kind: Kind,
    acl: Vec<Acl>,
    parent_cversion: Version,
) -> Op {
    let data = new.data.cloned();
    let acl = Some(acl);
    match kind {
        Kind::Persistent | Kind::Ephemeral => {
            let op = match new.form {
                Form::Plain(op) => op,
                Form::Container | Form::Ttl(_) => Op::Create,
            };
            op(CreateTxn {
                path,
                data,
                acl,
                ephemeral: kind == Kind::Ephemeral,
                parent_cversion,
            })
        }
        Kind::Container => Op::CreateContainer(CreateContainerTxn {
            path,
            data,
            acl,
            parent_cversion,
        }),
        Kind::Ttl(ttl, _) => Op::CreateTtl(CreateTtlTxn {
            path,
            data,
            acl,
            parent_cversion,
            ttl,
        }),
    }
}

/// A length as a difference.
pub(super) fn len_of(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
