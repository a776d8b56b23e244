//! What a tree has to compute for each znode that it gets, computed ahead by others: to load a million
//! of them takes as long as one thread is busy with it.

use super::TreeOptions;
use super::apply::owner;
use super::digest::znode_digest;
use crate::hash::hash_of;
use crate::wire::snapshot::{Item, StoredStat};
use crate::wire::txn::{CreateTxn, Op, Txn, TxnEntry, TxnHeader};

/// Prepares what a tree with these options is to take, on any thread.
#[derive(Debug, Clone, Copy)]
pub struct Preparer {
    options: TreeOptions,
}

/// An entry of a snapshot, prepared.
#[derive(Debug)]
pub struct PreparedItem {
    pub(super) item: Item,
    pub(super) known: Option<Known>,
}

/// A transaction, prepared.
#[derive(Debug)]
pub struct PreparedTxn {
    entry: TxnEntry,
    pub(super) known: Option<Known>,
}

/// What is known of a znode before it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Of its path.
    pub(super) hash: u64,
    /// Its part of the digest of the tree.
    pub(super) digest: u64,
}

impl Preparer {
    /// For a tree with these options; what others made of it is wrong for that.
    pub fn new(options: TreeOptions) -> Self {
        Self { options }
    }

    /// Prepares an entry of a snapshot.
    pub fn item(&self, item: Item) -> PreparedItem {
        let known = match &item {
            // The root is there already.
            Item::Znode(path, znode) if !path.is_empty() => {
                Some(self.znode(path, znode.data.as_deref(), &znode.stat))
            }
            Item::Znode(..) | Item::Session(..) | Item::Acl(..) => None,
        };
        PreparedItem { item, known }
    }

    /// Prepares a transaction.
    pub fn txn(&self, entry: TxnEntry) -> PreparedTxn {
        let known = match &entry.txn {
            Txn::Single(Op::Create(record) | Op::Create2(record)) => {
                Some(self.created(&entry.header, record))
            }
            Txn::Single(_) | Txn::Multi(_) | Txn::CreateSession(_) | Txn::CloseSession(_) => None,
        };
        PreparedTxn { entry, known }
    }

    fn created(&self, header: &TxnHeader, record: &CreateTxn) -> Known {
        let stat = StoredStat {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            owner: owner(header, record),
            ..StoredStat::default()
        };
        self.znode(&record.path, record.data.as_deref(), &stat)
    }

    fn znode(&self, path: &str, data: Option<&[u8]>, stat: &StoredStat) -> Known {
        let has_digest = self.options.digest;
        Known {
            hash: hash_of(self.options.hash_seed, path),
            digest: if has_digest {
                znode_digest(path, data, stat)
            } else {
                0
            },
        }
    }
}

impl PreparedTxn {
    /// The transaction.
    pub fn entry(&self) -> &TxnEntry {
        &self.entry
    }
}
