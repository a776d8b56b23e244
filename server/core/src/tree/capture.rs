//! Snapshots of a tree that goes on changing: every one is exactly the state at one zxid.
//!
//! Beginning costs nothing. While a capture is active, the tree keeps the old record of a znode that
//! it changes or removes, and takes no handle, list or session away that the capture may still need.
//! The capture visits the slots of the arena in order, in pieces as large as its driver likes, and
//! writes each znode as it was, its parents first.
//!
//! # Ordering
//! A driver calls [`Tree::capture`], [`Tree::release_emitted`] and [`Tree::end_capture`] where it
//! applies transactions, and [`Capture::next_chunk`] where it reads.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::BytesMut;
use zk_proto::{SessionId, Zxid};

use super::Tree;
use super::arena::{Arena, Handle};
use super::owners::Owners;
use super::record::{Rare, ZnodeRecord};
use crate::wire::snapshot::{Form, SnapshotDigest, SnapshotEncoder, Trailer};

/// What the tree keeps for the captures that are active.
#[derive(Debug, Default)]
pub(super) struct Captures {
    active: Vec<Kept>,
    next_id: u64,
}

/// What the tree keeps for one capture.
#[derive(Debug)]
struct Kept {
    id: u64,
    /// Slots from here on were not in use when it began.
    slots: u32,
    /// Slots below are written already, so that changes there need not be kept.
    emitted: u32,
    /// Znodes that were changed or removed since, as they were.
    znodes: BTreeMap<Handle, OldZnode>,
    /// Sessions that began or ended since: the timeout they had.
    sessions: BTreeMap<SessionId, Option<i32>>,
}

#[derive(Debug)]
struct OldZnode {
    record: ZnodeRecord,
    data: Option<Box<[u8]>>,
    /// What most have nothing of.
    elsewhere: Option<Box<Elsewhere>>,
}

/// What stands elsewhere than in the record, and is forgotten with a znode.
#[derive(Debug)]
struct Elsewhere {
    /// A name that the record has no room for.
    name: Option<Box<str>>,
    rare: Rare,
    /// The owner that `rare` tells.
    owner: SessionId,
}

impl Captures {
    /// Whether handles and lists must not be used again.
    pub(super) fn are_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Keeps a znode that is about to be changed.
    pub(super) fn keep(&mut self, handle: Handle, arena: &Arena, owners: &Owners) {
        for kept in &mut self.active {
            if handle.slot() >= kept.emitted {
                kept.keep(handle, arena, owners);
            }
        }
    }

    /// Keeps a znode that is about to be removed: even if it is written, the paths of others may
    /// lead through it.
    pub(super) fn keep_removed(&mut self, handle: Handle, arena: &Arena, owners: &Owners) {
        for kept in &mut self.active {
            kept.keep(handle, arena, owners);
        }
    }

    /// Keeps a session that is about to begin or end.
    pub(super) fn keep_session(&mut self, session: SessionId, sessions: &BTreeMap<SessionId, i32>) {
        for kept in &mut self.active {
            let old = || sessions.get(&session).copied();
            kept.sessions.entry(session).or_insert_with(old);
        }
    }

    fn get(&self, id: u64) -> Option<&Kept> {
        self.active.iter().find(|kept| kept.id == id)
    }
}

impl Kept {
    fn keep(&mut self, handle: Handle, arena: &Arena, owners: &Owners) {
        if handle.slot() >= self.slots {
            return;
        }
        self.znodes.entry(handle).or_insert_with(|| {
            let record = arena.at(handle).clone();
            let is_long = record.name.get().is_err();
            let elsewhere = (is_long || record.rare.is_some()).then(|| {
                let rare = arena.rare(&record);
                Box::new(Elsewhere {
                    name: is_long.then(|| arena.name(&record).into()),
                    rare,
                    owner: owners.owner(rare.owner),
                })
            });
            let data = arena.data(&record).map(Box::from);
            OldZnode {
                record,
                data,
                elsewhere,
            }
        });
    }
}

/// A snapshot in the making. It belongs to the tree that began it, and must be given back to it with
/// [`Tree::end_capture`].
#[derive(Debug)]
pub struct Capture {
    id: u64,
    zxid: Zxid,
    trailer: Trailer,
    form: Form,
    sessions: usize,
    acls: usize,
    acl_slots: u32,
    slots: u32,
    phase: Phase,
    /// Slots of the arena that are written, a bit each; those beyond the end are not.
    emitted: Vec<u64>,
    /// The parent of the last znode that was written, and its path.
    last_parent: Option<(Handle, String)>,
}

/// What is to be written next.
#[derive(Debug)]
enum Phase {
    Header,
    /// Sessions behind this one.
    Sessions(SnapshotEncoder, Option<SessionId>),
    /// Access control lists from this slot on.
    Acls(SnapshotEncoder, u32),
    /// Znodes from this slot on.
    Znodes(SnapshotEncoder, u32),
    Done,
}

impl Tree {
    /// Begins a snapshot of the tree as it is now.
    pub fn capture(&mut self) -> Capture {
        let id = self.captures.next_id;
        self.captures.next_id += 1;
        self.captures.active.push(Kept {
            id,
            slots: self.arena.slots(),
            emitted: 0,
            znodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
        });
        Capture {
            id,
            zxid: self.applied,
            trailer: Trailer {
                digest: self.digest().map(|tree| SnapshotDigest {
                    zxid: self.applied,
                    tree: Some(tree),
                }),
                last_zxid: Some(self.applied),
            },
            form: Form::File,
            sessions: self.sessions.len(),
            acls: self.acls.len(),
            acl_slots: self.acls.slots(),
            slots: self.arena.slots(),
            phase: Phase::Header,
            emitted: Vec::new(),
            last_parent: None,
        }
    }

    /// Lets go of old records that a capture has written since. Optional: without it, they are kept
    /// until the capture ends.
    pub fn release_emitted(&mut self, capture: &Capture) {
        let emitted = match capture.phase {
            Phase::Header | Phase::Sessions(..) | Phase::Acls(..) => 0,
            Phase::Znodes(_, next) => next,
            Phase::Done => capture.slots,
        };
        let arena = &self.arena;
        if let Some(kept) = self
            .captures
            .active
            .iter_mut()
            .find(|kept| kept.id == capture.id)
        {
            kept.emitted = emitted;
            kept.znodes
                .retain(|handle, _| handle.slot() >= emitted || arena.get(*handle).is_none());
        }
    }

    /// Number of old records kept for captures: what they cost in memory.
    pub fn retained_records(&self) -> usize {
        self.captures
            .active
            .iter()
            .map(|kept| kept.znodes.len())
            .sum()
    }

    /// Ends a capture, finished or not.
    #[expect(clippy::needless_pass_by_value, reason = "it cannot be continued")]
    pub fn end_capture(&mut self, capture: Capture) {
        self.captures.active.retain(|kept| kept.id != capture.id);
        if !self.captures.are_active() {
            self.arena.reuse_deferred();
            self.acls.reuse_deferred();
        }
    }
}

impl Capture {
    /// Last zxid whose effects are in the snapshot: the one for its name.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Whether everything is written.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Leaves sections out of the stream, for readers that do not expect them. Has no effect once
    /// the end is written.
    pub fn limit_trailer(&mut self, digest: bool, last_zxid: bool) {
        self.trailer.digest = self.trailer.digest.filter(|_| digest);
        self.trailer.last_zxid = self.trailer.last_zxid.filter(|_| last_zxid);
    }

    /// Writes the stream for a learner instead of a file. Has no effect once the start is written.
    pub fn set_form(&mut self, form: Form) {
        self.form = form;
    }

    /// Appends about `bytes_max` bytes of the stream, at least one entry; false when it is complete.
    ///
    /// # Panics
    /// If the capture was begun by another tree.
    pub fn next_chunk(&mut self, tree: &Tree, bytes_max: usize, out: &mut BytesMut) -> bool {
        let kept = tree.captures.get(self.id);
        let kept = kept.expect("a capture is read from the tree that began it");
        let full = out.len().saturating_add(bytes_max.max(1));
        while out.len() < full && !self.is_done() {
            self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Header => {
                    Phase::Sessions(SnapshotEncoder::begin(self.form, self.sessions, out), None)
                }
                Phase::Sessions(mut encoder, last) => {
                    if let Some((session, timeout_ms)) = next_session(tree, kept, last) {
                        encoder.session(session, timeout_ms, out);
                        Phase::Sessions(encoder, Some(session))
                    } else {
                        encoder.begin_acls(self.acls, out);
                        Phase::Acls(encoder, 0)
                    }
                }
                Phase::Acls(mut encoder, from) => {
                    let next = tree.acls.entries(from).next();
                    match next.filter(|(id, _)| id.slot() < self.acl_slots) {
                        Some((id, acl)) => {
                            encoder.acl(id.key(), acl, out);
                            Phase::Acls(encoder, id.slot() + 1)
                        }
                        None => Phase::Znodes(encoder, 0),
                    }
                }
                Phase::Znodes(encoder, slot) if slot == self.slots => {
                    encoder.finish(&self.trailer, out);
                    Phase::Done
                }
                Phase::Znodes(mut encoder, slot) => {
                    let view = View { tree, kept };
                    self.emit(view, Handle::from_slot(slot), &mut encoder, out);
                    Phase::Znodes(encoder, slot + 1)
                }
                Phase::Done => Phase::Done,
            };
        }
        !self.is_done()
    }

    /// Writes what was in a slot, if anything was, and before it those of its ancestors that are not
    /// written.
    fn emit(
        &mut self,
        view: View<'_>,
        handle: Handle,
        encoder: &mut SnapshotEncoder,
        out: &mut BytesMut,
    ) {
        let mut due = Vec::new();
        let mut at = Some(handle);
        while let Some(handle) = at.filter(|&handle| !self.is_emitted(handle)) {
            let Some(was) = view.get(handle) else {
                break;
            };
            due.push((handle, was));
            at = was.record.parent;
        }
        for (handle, was) in due.into_iter().rev() {
            let (record, data) = (was.record, was.data);
            let stat = record.stat(&was.rare, was.owner);
            if let Some(parent) = record.parent {
                let last = self.last_parent.take().filter(|(last, _)| *last == parent);
                let mut path = last.map_or_else(|| view.path(parent), |(_, path)| path);
                let parent_len = path.len();
                path.push('/');
                path.push_str(was.name);
                encoder.znode(&path, data, record.acl.key(), &stat, out);
                path.truncate(parent_len);
                self.last_parent = Some((parent, path));
            } else {
                encoder.znode("", data, record.acl.key(), &stat, out);
            }
            self.mark_emitted(handle);
        }
    }

    fn is_emitted(&self, handle: Handle) -> bool {
        let slot = handle.slot();
        let word = self.emitted.get((slot / 64) as usize);
        word.is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn mark_emitted(&mut self, handle: Handle) {
        let slot = handle.slot();
        let index = (slot / 64) as usize;
        if self.emitted.len() <= index {
            self.emitted.resize(index + 1, 0);
        }
        if let Some(word) = self.emitted.get_mut(index) {
            *word |= 1 << (slot % 64);
        }
    }
}

/// The first session behind `last`, as they were.
fn next_session(tree: &Tree, kept: &Kept, last: Option<SessionId>) -> Option<(SessionId, i32)> {
    let mut behind = last.map_or(Bound::Unbounded, Bound::Excluded);
    loop {
        let range = (behind, Bound::Unbounded);
        let now = tree.sessions.range(range).next();
        let old = kept.sessions.range(range).next();
        let now = now.filter(|(session, _)| old.is_none_or(|(old, _)| *session < old));
        if let Some((&session, &timeout_ms)) = now {
            return Some((session, timeout_ms));
        }
        match old? {
            (&session, &Some(timeout_ms)) => return Some((session, timeout_ms)),
            // It began only later.
            (&session, None) => behind = Bound::Excluded(session),
        }
    }
}

/// The tree as it was when a capture began.
#[derive(Clone, Copy)]
struct View<'a> {
    tree: &'a Tree,
    kept: &'a Kept,
}

/// A znode as it was when a capture began.
#[derive(Clone, Copy)]
struct Was<'a> {
    record: &'a ZnodeRecord,
    name: &'a str,
    rare: Rare,
    data: Option<&'a [u8]>,
    owner: SessionId,
}

impl<'a> View<'a> {
    /// The znode that was at a handle.
    fn get(self, handle: Handle) -> Option<Was<'a>> {
        if let Some(old) = self.kept.znodes.get(&handle) {
            let elsewhere = old.elsewhere.as_deref();
            let name = elsewhere.and_then(|it| it.name.as_deref());
            return Some(Was {
                record: &old.record,
                name: name.unwrap_or_else(|| self.tree.arena.name(&old.record)),
                rare: elsewhere.map_or_else(|| Rare::of(old.record.czxid), |it| it.rare),
                data: old.data.as_deref(),
                owner: elsewhere.map_or(SessionId::NONE, |it| it.owner),
            });
        }
        let record = self.tree.arena.get(handle)?;
        let rare = self.tree.arena.rare(record);
        Some(Was {
            record,
            name: self.tree.arena.name(record),
            rare,
            data: self.tree.arena.data(record),
            owner: self.tree.owners.owner(rare.owner),
        })
    }

    /// The path that a znode had; empty for the root.
    fn path(self, handle: Handle) -> String {
        let mut names = Vec::new();
        let mut at = handle;
        while let Some(was) = self.get(at)
            && let Some(parent) = was.record.parent
        {
            names.push(was.name);
            at = parent;
        }
        let mut path = String::new();
        for name in names.into_iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}
