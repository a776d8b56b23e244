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

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::layout::{Area, Name};

/// Unit that disks write as a whole, nearly always.
const SECTOR: usize = 512;

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

#[derive(Clone, Debug)]
struct State {
    random: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    is_off: bool,
    capacity: u64,
    inodes: Vec<Inode>,
    names: BTreeMap<Name, usize>,
    durable_names: BTreeMap<Name, usize>,
    unsynced_names: Vec<Rename>,
}

/// Content of a file, as programs see it and as it is on the platter.
#[derive(Clone, Debug, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
struct Change {
    kind: ChangeKind,
    /// A sync that should have made it durable failed.
    is_doomed: bool,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A change of names that is not durable yet.
#[derive(Clone, Copy, Debug)]
enum Rename {
    Create(Name, usize),
    Remove(Name),
    Move { from: Name, to: Name, inode: usize },
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

/// Whether an operation may go ahead.
#[derive(Clone, Copy)]
enum Outcome {
    Go,
    Fail(Fault),
}

impl Outcome {
    fn fail(self) -> io::Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Fail(fault) => Err(fault.error()),
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::PowerCut => io::Error::other("simulated power cut"),
            Self::Io => io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
            Self::NoSpace => io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
        }
    }
}

impl State {
    /// Counts an operation and draws its fate.
    fn begin(&mut self, needs_space: bool) -> io::Result<Outcome> {
        self.check_power()?;
        self.operations += 1;
        let fault = self.faults.get(&self.operations).copied();
        let fault = fault.filter(|&fault| needs_space || fault != Fault::NoSpace);
        self.is_off = fault == Some(Fault::PowerCut);
        Ok(fault.map_or(Outcome::Go, Outcome::Fail))
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_off {
            Err(Fault::PowerCut.error())
        } else {
            Ok(())
        }
    }

    fn used(&self) -> u64 {
        let inodes = self
            .names
            .values()
            .filter_map(|&inode| self.inodes.get(inode));
        inodes.map(|inode| inode.content.len() as u64).sum()
    }

    /// How long a file can become.
    fn room(&self, inode: usize) -> usize {
        let now = self
            .inodes
            .get(inode)
            .map_or(0, |inode| inode.content.len());
        let free = self.capacity.saturating_sub(self.used());
        usize::try_from(free)
            .unwrap_or(usize::MAX)
            .saturating_add(now)
    }

    /// The first bytes of a write that failed: some, none or all.
    fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let len = self.below(bytes.len() + 1);
        bytes.get(..len).unwrap_or_default()
    }

    fn change(&mut self, inode: usize, kind: ChangeKind) {
        let inode = self
            .inodes
            .get_mut(inode)
            .expect("files outlive their names");
        kind.apply(&mut inode.content);
        inode.unsynced.push(Change {
            kind,
            is_doomed: false,
        });
    }

    fn change_names(&mut self, change: Rename) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Turns what survives into what is.
    fn settle(&mut self, survival: Survival) {
        let mut names = self.durable_names.clone();
        for change in std::mem::take(&mut self.unsynced_names) {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::Everything => true,
                Survival::Some | Survival::Torn => self.below(2) == 0,
            };
            if survives {
                change.apply(&mut names);
            }
        }
        self.names.clone_from(&names);
        self.durable_names = names;
        let mut inodes = std::mem::take(&mut self.inodes);
        for inode in &mut inodes {
            let survivor = match survival {
                Survival::Nothing => inode.durable.clone(),
                Survival::Everything => inode.content.clone(),
                Survival::Some => self.mix(inode, false),
                Survival::Torn => self.mix(inode, true),
            };
            *inode = Inode {
                content: survivor.clone(),
                durable: survivor,
                unsynced: Vec::new(),
            };
        }
        self.inodes = inodes;
    }

    /// Content after some of the unsynced changes, sector by sector.
    fn mix(&mut self, inode: &Inode, tears: bool) -> Vec<u8> {
        let mut states = vec![inode.durable.clone()];
        for change in &inode.unsynced {
            let mut next = states.last().cloned().unwrap_or_default();
            change.kind.apply(&mut next);
            states.push(next);
        }
        let len = states.get(self.below(states.len())).map_or(0, Vec::len);
        let mut survivor = Vec::with_capacity(len);
        while survivor.len() < len {
            let start = survivor.len();
            let end = len.min(start + SECTOR);
            let sector = |state: Option<&Vec<u8>>| {
                let mut sector = state
                    .and_then(|state| state.get(start..end.min(state.len())))
                    .unwrap_or_default()
                    .to_vec();
                sector.resize(end - start, 0);
                sector
            };
            let mut chosen = sector(states.get(self.below(states.len())));
            if tears && self.below(8) == 0 {
                let torn = sector(states.get(self.below(states.len())));
                let cut = self.below(chosen.len() + 1);
                chosen.splice(cut.., torn.into_iter().skip(cut));
            }
            survivor.append(&mut chosen);
        }
        survivor
    }

    /// The next number of the seed, below `bound` (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or_default()
    }
}

impl ChangeKind {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(target) = content.get_mut(*offset..end) {
                    target.copy_from_slice(bytes);
                }
            }
        }
    }
}

impl Rename {
    fn area(self) -> Area {
        match self {
            Self::Create(name, _) | Self::Remove(name) | Self::Move { to: name, .. } => name.area(),
        }
    }

    fn apply(self, names: &mut BTreeMap<Name, usize>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name, inode);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
            Self::Move { from, to, inode } => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::Zxid;

    use super::super::disk::write_durably;
    use super::super::layout::Role;
    use super::*;

    const LOG: Name = Name::log(Zxid::new(1));
    const EPOCH: Name = Name::Final(Role::CurrentEpoch);

    #[test]
    fn what_was_not_synced_is_lost() {
        let disk = SimDisk::new(1);
        let mut file = disk.create(LOG).expect("created");
        file.write_at(0, b"abc").expect("written");
        assert_eq!(disk.read(LOG).expect("seen"), b"abc");
        let after = disk.restart_with(Survival::Nothing);
        assert_eq!(after.list(Area::Log).expect("listed"), []);
        assert!(disk.list(Area::Log).is_err(), "the old handle is off");

        let after = SimDisk::new(1);
        let mut file = after.create(LOG).expect("created");
        file.write_at(0, b"abc").expect("written");
        file.sync_data().expect("synced");
        file.write_at(1, b"xyz").expect("written");
        after.sync_dir(Area::Log).expect("synced");
        assert_eq!(
            after
                .restart_with(Survival::Nothing)
                .read(LOG)
                .expect("kept"),
            b"abc"
        );
        assert_eq!(
            after
                .restart_with(Survival::Everything)
                .read(LOG)
                .expect("kept"),
            b"axyz"
        );
    }

    #[test]
    fn survivors_are_mixed_by_sector_and_by_seed() {
        let disk = SimDisk::new(1);
        let mut file = disk.create(LOG).expect("created");
        file.write_at(0, &[1; 8 * SECTOR]).expect("written");
        file.sync_data().expect("synced");
        disk.sync_dir(Area::Log).expect("synced");
        file.write_at(0, &[2; 8 * SECTOR]).expect("written");
        let mut mixed = 0;
        for seed in 0..50 {
            let after = disk
                .reseeded(seed)
                .restart_with(Survival::Some)
                .read(LOG)
                .expect("kept");
            assert_eq!(after.len(), 8 * SECTOR);
            mixed += u32::from(after.contains(&1) && after.contains(&2));
            let again = disk
                .reseeded(seed)
                .restart_with(Survival::Some)
                .read(LOG)
                .expect("kept");
            assert_eq!(after, again);
        }
        assert!(mixed > 40, "{mixed} of 50");
    }

    #[test]
    fn a_failed_sync_dooms_what_it_should_have_kept() {
        let disk = SimDisk::new(1);
        let mut file = disk.create(LOG).expect("created");
        disk.sync_dir(Area::Log).expect("synced");
        file.write_at(0, b"abc").expect("written");
        disk.fail_at(disk.operations() + 1, Fault::Io);
        assert_eq!(file.sync_data().expect_err("told").raw_os_error(), Some(5));
        file.write_at(3, b"def").expect("written");
        file.sync_data().expect("claims to work");
        assert_eq!(disk.read(LOG).expect("cached"), b"abcdef");
        let after = disk.restart_with(Survival::Nothing);
        assert_eq!(after.read(LOG).expect("kept"), b"\0\0\0def");
    }

    #[test]
    fn a_full_disk_writes_part_and_says_so() {
        let disk = SimDisk::new(3);
        disk.set_capacity(10);
        let mut file = disk.create(LOG).expect("created");
        file.write_at(0, b"01234567").expect("fits");
        let error = file.write_at(8, b"89abcdef").expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            disk.free_bytes(Area::Log).expect("known"),
            2 - (disk.read(LOG).expect("read").len() as u64 - 8)
        );
        assert!(file.set_len(11).is_err());
        disk.fail_at(disk.operations() + 1, Fault::NoSpace);
        file.sync_data().expect("needs no space");
    }

    #[test]
    fn durable_writes_have_the_old_or_the_new_content_after_any_cut() {
        for seed in 0..30 {
            for step in 1..=6 {
                let disk = SimDisk::new(seed);
                write_durably(&disk, EPOCH, b"old").expect("written");
                disk.fail_at(disk.operations() + step, Fault::PowerCut);
                let written = write_durably(&disk, EPOCH, b"new").is_ok();
                let after = disk.restart().read(EPOCH).expect("never missing");
                assert!(
                    after == b"new" || (after == b"old" && !written),
                    "{step}: {after:?}"
                );
            }
        }
    }
}
