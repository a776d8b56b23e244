//! What is on the disk, what would survive, and what goes wrong next.

use std::collections::BTreeMap;
use std::io;

use super::{Fault, Survival};
use crate::storage::layout::{Area, Name};

/// Unit that disks write as a whole, nearly always.
pub(super) const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) random: u64,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) is_off: bool,
    pub(super) capacity: u64,
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<Name, usize>,
    pub(super) durable_names: BTreeMap<Name, usize>,
    pub(super) unsynced_names: Vec<Rename>,
}

/// Content of a file, as programs see it and as it is on the platter.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) content: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Change>,
}

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: ChangeKind,
    /// A sync that should have made it durable failed.
    pub(super) is_doomed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum ChangeKind {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A change of names that is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rename {
    Create(Name, usize),
    Remove(Name),
    Move { from: Name, to: Name, inode: usize },
}

/// Whether an operation may go ahead.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Go,
    Fail(Fault),
}

impl Outcome {
    pub(super) fn fail(self) -> io::Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Fail(fault) => Err(fault.error()),
        }
    }
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::PowerCut => io::Error::other("simulated power cut"),
            Self::Io => io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
            Self::NoSpace => io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
        }
    }
}

impl State {
    /// Counts an operation and draws its fate.
    pub(super) fn begin(&mut self, needs_space: bool) -> io::Result<Outcome> {
        self.check_power()?;
        self.operations += 1;
        let fault = self.faults.get(&self.operations).copied();
        let fault = fault.filter(|&fault| needs_space || fault != Fault::NoSpace);
        self.is_off = fault == Some(Fault::PowerCut);
        Ok(fault.map_or(Outcome::Go, Outcome::Fail))
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.is_off {
            Err(Fault::PowerCut.error())
        } else {
            Ok(())
        }
    }

    pub(super) fn used(&self) -> u64 {
        let inodes = self
            .names
            .values()
            .filter_map(|&inode| self.inodes.get(inode));
        inodes.map(|inode| inode.content.len() as u64).sum()
    }

    /// How long a file can become.
    pub(super) fn room(&self, inode: usize) -> usize {
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
    pub(super) fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let len = self.below(bytes.len() + 1);
        bytes.get(..len).unwrap_or_default()
    }

    pub(super) fn change(&mut self, inode: usize, kind: ChangeKind) {
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

    pub(super) fn change_names(&mut self, change: Rename) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Turns what survives into what is.
    pub(super) fn settle(&mut self, survival: Survival) {
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
    pub(super) fn mix(&mut self, inode: &Inode, tears: bool) -> Vec<u8> {
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
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or_default()
    }
}

impl ChangeKind {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
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
    pub(super) fn area(self) -> Area {
        match self {
            Self::Create(name, _) | Self::Remove(name) | Self::Move { to: name, .. } => name.area(),
        }
    }

    pub(super) fn apply(self, names: &mut BTreeMap<Name, usize>) {
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
