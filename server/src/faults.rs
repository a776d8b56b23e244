//! What a test does to a running server: disks that are slow, full or broken, threads that stand
//! still, a death without last words.
//!
//! The code is the same in production (law L10), where nobody holds the handle and each disk
//! operation looks at one flag.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::storage::{Area, Disk, DiskFile, Name};

/// A handle on the faults of one server. Clones are handles on the same.
///
/// What is set holds for every operation that begins afterwards, until [`Faults::heal`].
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether anything is set: what production looks at.
    is_any: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sync_delay: Duration,
    disk: DiskState,
    is_paused: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum DiskState {
    #[default]
    Whole,
    Full,
    Broken,
    /// The process is gone as far as its disk can tell.
    Abandoned,
}

impl State {
    /// There is no way back from the dead.
    fn set_disk(&mut self, disk: DiskState) {
        if self.disk != DiskState::Abandoned {
            self.disk = disk;
        }
    }
}

impl Faults {
    /// Makes every sync of a file or directory take longer by `delay`. One that waits goes on when the
    /// disk is mended, and when the server stops.
    pub fn slow_disk(&self, delay: Duration) {
        self.change(|state| state.sync_delay = delay);
    }

    /// Lets no file become longer: writes fail with [`io::ErrorKind::StorageFull`].
    pub fn fill_disk(&self) {
        self.change(|state| state.set_disk(DiskState::Full));
    }

    /// Lets writes and syncs fail, as those of a disk that is broken.
    pub fn break_disk(&self) {
        self.change(|state| state.set_disk(DiskState::Broken));
    }

    /// Stops the owner threads of the server where they are, as SIGSTOP would: nothing is decided,
    /// logged or applied, and no deadline is noticed, until [`Faults::resume`]. Sockets stay open.
    pub fn pause(&self) {
        self.change(|state| state.is_paused = true);
    }

    /// Lets the threads go on.
    pub fn resume(&self) {
        self.change(|state| state.is_paused = false);
    }

    /// Whether the threads stand still.
    pub fn is_paused(&self) -> bool {
        self.0.is_any.load(Ordering::Acquire) && self.0.state.lock().is_paused
    }

    /// From here on the server cannot change its disk any more, as if its process had been killed;
    /// whoever holds it drops it next.
    pub fn kill(&self) {
        self.change(|state| {
            state.disk = DiskState::Abandoned;
            state.sync_delay = Duration::ZERO;
            state.is_paused = false;
        });
    }

    /// Lets go of every thread that is held up: the server stops.
    pub(crate) fn let_go(&self) {
        self.change(|state| {
            state.sync_delay = Duration::ZERO;
            state.is_paused = false;
        });
    }

    /// Mends the disk and lets the threads go on. A server that has stopped stays stopped.
    pub fn heal(&self) {
        self.change(|state| {
            state.set_disk(DiskState::Whole);
            state.sync_delay = Duration::ZERO;
            state.is_paused = false;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock();
        change(&mut state);
        self.0.is_any.store(true, Ordering::Release);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Returns once the threads may go on.
    pub(crate) fn wait_while_paused(&self) {
        if self.0.is_any.load(Ordering::Acquire) {
            let mut state = self.0.state.lock();
            while state.is_paused {
                self.0.changed.wait(&mut state);
            }
        }
    }

    fn check(&self, of: Operation) -> io::Result<()> {
        if !self.0.is_any.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.0.state.lock();
        if of == Operation::Sync {
            let deadline = Instant::now() + state.sync_delay;
            while !state.sync_delay.is_zero() && Instant::now() < deadline {
                self.0.changed.wait_until(&mut state, deadline);
            }
        }
        match state.disk {
            DiskState::Abandoned => Err(io::Error::other("the server was killed by its test")),
            DiskState::Broken => Err(io::Error::other("the disk was broken by a test")),
            DiskState::Full if of == Operation::Grow => Err(io::ErrorKind::StorageFull.into()),
            DiskState::Full | DiskState::Whole => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// May need space.
    Grow,
    Sync,
    /// Changes names or lengths, and needs no space.
    Other,
}

/// A disk that does what [`Faults`] say.
#[derive(Debug, Clone)]
pub(crate) struct FaultDisk<D> {
    pub(crate) disk: D,
    pub(crate) faults: Faults,
}

/// A file on one.
#[derive(Debug)]
pub(crate) struct FaultFile<F> {
    file: F,
    faults: Faults,
}

impl<D: Disk> FaultDisk<D> {
    fn file(&self, file: D::File) -> FaultFile<D::File> {
        FaultFile {
            file,
            faults: self.faults.clone(),
        }
    }
}

impl<D: Disk> Disk for FaultDisk<D> {
    type File = FaultFile<D::File>;

    fn create(&self, name: Name) -> io::Result<Self::File> {
        self.faults.check(Operation::Grow)?;
        Ok(self.file(self.disk.create(name)?))
    }

    fn open(&self, name: Name) -> io::Result<Self::File> {
        Ok(self.file(self.disk.open(name)?))
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        self.disk.list(area)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.faults.check(Operation::Other)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        self.faults.check(Operation::Other)?;
        self.disk.remove(name)
    }

    fn sync_dir(&self, area: Area) -> io::Result<()> {
        self.faults.check(Operation::Sync)?;
        self.disk.sync_dir(area)
    }

    fn free_bytes(&self, area: Area) -> io::Result<u64> {
        self.disk.free_bytes(area)
    }
}

impl<F: DiskFile> DiskFile for FaultFile<F> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.faults.check(Operation::Grow)?;
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn data_end(&self) -> io::Result<u64> {
        self.file.data_end()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.faults.check(Operation::Other)?;
        self.file.set_len(len)
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        self.faults.check(Operation::Grow)?;
        self.file.allocate(len)
    }

    fn begin_writing(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.file.begin_writing(offset, len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.faults.check(Operation::Sync)?;
        self.file.sync_data()
    }
}
