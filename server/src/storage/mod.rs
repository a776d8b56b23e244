//! What survives: transaction log, snapshots and epoch files on disk.
//!
//! Everything here is synchronous and knows no runtime. It reaches files only through [`Disk`],
//! so that tests run the very same code on a disk that loses what was not synced.
//!
//! ```text
//! recover   FileLog   Epochs   purge
//!     \         \       /       /
//!      Disk + DiskFile          names by role: layout::Name
//!      /            \
//!  StdDisk        SimDisk (feature `sim`)
//! ```

mod disk;
mod epoch_file;
mod file_log;
mod file_snapshot;
mod layout;
mod lock;
mod purge;
mod recover;
#[cfg(feature = "sim")]
mod sim_disk;
mod std_disk;

pub use disk::{Disk, DiskFile, write_durably};
pub use epoch_file::{EpochError, Epochs};
pub use file_log::{
    FileLog, Landmarks, LogEntry, LogError, LogOptions, LogTail, finish_restart, read_log,
    sync_tail,
};
pub use file_snapshot::{
    LoadedSnapshot, SnapshotReadError, SnapshotReader, SnapshotWriter, load_newest_snapshot,
    looks_whole, remove_unfinished_snapshots,
};
pub use layout::{Area, Name, Role};
pub use lock::{DirectoryLock, LockError};
pub use purge::{PurgeReport, execute_purge, plan_purge, purge};
pub use recover::{
    DigestMismatch, RecoverError, RecoverOptions, RecoverReport, Recovered, Standing, recover,
    write_snapshot,
};
#[cfg(feature = "sim")]
pub use sim_disk::{Fault, SimDisk, SimFile, Survival};
pub use std_disk::{DataDirError, DataDirs, StdDisk, StdFile};
