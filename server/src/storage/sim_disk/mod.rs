//! A disk in memory that loses, tears and fails as told, the same way for the same seed.
//!
//! What survives a power cut, beyond what was synced:
//!
//! - bytes: sector by sector either as synced or after any of the later writes, on request torn
//!   within a sector; the length is one the file had since its last sync;
//! - names: any subset of the creations, removals and renames since the last sync of their
//!   directory, each whole or not at all;
//! - after a failed sync, what it should have made durable stays at risk for ever, although
//!   later syncs succeed.

mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::layout::{Area, Name};
use state::{ChangeKind, Inode, Outcome, Rename, State};

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: the operation may or may not have begun, and nothing works any more until
    /// [`SimDisk::restart`].
    PowerCut,
    /// The device reports an error; a write may have written some of its bytes, a sync leaves
    /// everything at risk.
    Io,
    /// No space is left; a write may have written some of its bytes. Does not happen to
    /// operations that need none.
    NoSpace,
}

/// How much of what was not synced survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything, as if the process alone had died.
    Everything,
    /// Some, by the seed: whole sectors.
    Some,
    /// Some, by the seed: now and then a sector is torn too, which disks promise not to do.
    Torn,
}

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
}
impl SimDisk {
    /// An empty disk without limits or faults.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed,
            operations: 0,
            faults: BTreeMap::new(),
            is_off: false,
            capacity: u64::MAX,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
        })))
    }

    /// A copy of this disk whose fate comes from another seed.
    #[must_use]
    pub fn reseeded(&self, seed: u64) -> Self {
        let state = State {
            random: seed,
            ..self.state().clone()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Operations so far that changed or synced something, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the operation with this number fail; the first one is 1.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// The disk after a power cut, with what survived of it. The old handle stays off.
    #[must_use]
    pub fn restart(&self) -> Self {
        let survival = match self.state().below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Some,
        };
        self.restart_with(survival)
    }

    /// As [`SimDisk::restart`], with a say in what survives.
    #[must_use]
    pub fn restart_with(&self, survival: Survival) -> Self {
        let mut old = self.state();
        old.is_off = true;
        let mut new = old.clone();
        new.is_off = false;
        new.faults.clear();
        new.settle(survival);
        Self(Arc::new(Mutex::new(new)))
    }

    /// Changes a byte of a file behind the back of everyone, durably.
    ///
    /// # Panics
    ///
    /// If there is no such byte.
    pub fn flip(&self, name: Name, offset: usize, mask: u8) {
        let mut state = self.state();
        let inode = *state.names.get(&name).expect("a file to damage");
        let inode = state.inodes.get_mut(inode).expect("names lead to files");
        for content in [&mut inode.content, &mut inode.durable] {
            *content.get_mut(offset).expect("a byte to damage") ^= mask;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, name: Name) -> io::Result<SimFile> {
        let mut state = self.state();
        state.begin(true)?.fail()?;
        if state.names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_names(Rename::Create(name, inode));
        Ok(SimFile {
            disk: self.clone(),
            inode,
        })
    }

    fn open(&self, name: Name) -> io::Result<SimFile> {
        let state = self.state();
        state.check_power()?;
        let inode = *state.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile {
            disk: self.clone(),
            inode,
        })
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        let state = self.state();
        state.check_power()?;
        Ok(state
            .names
            .keys()
            .copied()
            .filter(|name| name.area() == area)
            .collect())
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?.fail()?;
        let inode = *state.names.get(&from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(Rename::Move { from, to, inode });
        Ok(())
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?.fail()?;
        if !state.names.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(Rename::Remove(name));
        Ok(())
    }

    fn sync_dir(&self, area: Area) -> io::Result<()> {
        let mut state = self.state();
        state.begin(false)?.fail()?;
        let (synced, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.unsynced_names)
            .into_iter()
            .partition(|change| change.area() == area);
        state.unsynced_names = rest;
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _: Area) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.begin(true)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let room = state
            .room(self.inode)
            .saturating_sub(offset)
            .min(bytes.len());
        let fitting = bytes.get(..room).unwrap_or_default();
        let (written, result) = match outcome {
            Outcome::Go if room == bytes.len() => (bytes, Ok(())),
            Outcome::Go => (state.part(fitting), Err(Fault::NoSpace.error())),
            Outcome::Fail(fault) => (state.part(fitting), Err(fault.error())),
        };
        if !written.is_empty() {
            state.change(
                self.inode,
                ChangeKind::Write {
                    offset,
                    bytes: written.to_vec(),
                },
            );
        }
        result
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        state.check_power()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let content = state
            .inodes
            .get(self.inode)
            .map_or(&[][..], |inode| &inode.content);
        let rest = content.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_power()?;
        Ok(state
            .inodes
            .get(self.inode)
            .map_or(0, |inode| inode.content.len() as u64))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.begin(true)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        outcome.fail()?;
        if len > state.room(self.inode) {
            return Err(Fault::NoSpace.error());
        }
        state.change(self.inode, ChangeKind::SetLen(len));
        Ok(())
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            self.set_len(len)
        } else {
            Ok(())
        }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.begin(false)?;
        let inode = state
            .inodes
            .get_mut(self.inode)
            .expect("files outlive their names");
        if let Outcome::Fail(fault) = outcome {
            inode
                .unsynced
                .iter_mut()
                .for_each(|change| change.is_doomed = true);
            return Err(fault.error());
        }
        let Inode {
            durable, unsynced, ..
        } = inode;
        unsynced.retain(|change| {
            if !change.is_doomed {
                change.kind.apply(durable);
            }
            change.is_doomed
        });
        Ok(())
    }
}
