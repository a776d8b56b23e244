//! Files of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use super::disk::{Disk, DiskFile};
use super::layout::{Area, Name, Role, VERSION_DIR};
use super::lock::{DirectoryLock, LockError};

/// Where a server keeps its files.
#[derive(Clone, Debug)]
pub struct DataDirs {
    /// `dataDir`.
    pub data: PathBuf,
    /// `dataLogDir`; may be the same.
    pub log: PathBuf,
    /// Whether missing directories are created.
    pub autocreate: bool,
}

/// Why data directories cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// A directory is missing and must not be created.
    #[error(
        "missing data directory {}, automatic data directory creation is disabled \
         (zookeeper.datadir.autocreate is false). please create this directory manually",
        path.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A directory could not be created.
    #[error("unable to create data directory {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory could not be read or written.
    #[error("cannot use data directory {}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `dataDir` and `dataLogDir` seem swapped.
    #[error(
        "{area} directory {} has {} files, such as {found}. check if dataLogDir and dataDir \
         configuration is correct",
        path.display(),
        if *area == "log" { "snapshot" } else { "log" }
    )]
    Swapped {
        /// What the directory is for.
        area: &'static str,
        /// The directory.
        path: PathBuf,
        /// A file that does not belong.
        found: Name,
    },
    /// Another server uses them.
    #[error(transparent)]
    Locked(#[from] LockError),
}

impl DataDirError {
    /// Exit code of the process, as scripts around the reference expect it.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `ExitCode.UNABLE_TO_ACCESS_DATADIR`.
    pub const fn exit_code(&self) -> i32 {
        3
    }
}

/// The data directories of this process, locked against others.
///
/// Clones share the lock.
#[derive(Clone, Debug)]
pub struct StdDisk {
    data: PathBuf,
    log: PathBuf,
    _locks: Arc<Vec<DirectoryLock>>,
}

impl StdDisk {
    /// Opens the data directories, creating and locking them.
    ///
    /// # Errors
    ///
    /// In the order of the variants of [`DataDirError`]; nothing is removed.
    pub fn open(dirs: &DataDirs) -> Result<Self, DataDirError> {
        let data = version_dir(&dirs.data, dirs.autocreate)?;
        let log = version_dir(&dirs.log, dirs.autocreate)?;
        let mut locks = vec![DirectoryLock::acquire(&dirs.data)?];
        let shared = same_directory(&data, &log);
        if !shared {
            locks.push(DirectoryLock::acquire(&dirs.log)?);
        }
        let disk = Self {
            data,
            log,
            _locks: Arc::new(locks),
        };
        if !shared {
            disk.refuse_strangers(Area::Data, "snapshot", |role| matches!(role, Role::Log(_)))?;
            disk.refuse_strangers(Area::Log, "log", |role| matches!(role, Role::Snapshot(..)))?;
        }
        Ok(disk)
    }

    /// Path of a file, for messages and tools.
    pub fn path(&self, name: Name) -> PathBuf {
        self.directory(name.area()).join(name.to_string())
    }

    fn directory(&self, area: Area) -> &Path {
        match area {
            Area::Data => &self.data,
            Area::Log => &self.log,
        }
    }

    fn refuse_strangers(
        &self,
        area: Area,
        label: &'static str,
        is_stranger: impl Fn(Role) -> bool,
    ) -> Result<(), DataDirError> {
        let path = self.directory(area);
        let names = names_in(path).map_err(|source| DataDirError::Unusable {
            path: path.to_owned(),
            source,
        })?;
        match names.into_iter().find(|name| is_stranger(name.role())) {
            Some(found) => Err(DataDirError::Swapped {
                area: label,
                path: path.to_owned(),
                found,
            }),
            None => Ok(()),
        }
    }
}

impl Disk for StdDisk {
    type File = StdFile;

    fn create(&self, name: Name) -> io::Result<StdFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(self.path(name)).map(StdFile)
    }

    fn open(&self, name: Name) -> io::Result<StdFile> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(name))
            .map(StdFile)
    }

    fn list(&self, area: Area) -> io::Result<Vec<Name>> {
        let mut names = names_in(self.directory(area))?;
        names.retain(|name| name.area() == area);
        Ok(names)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_dir(&self, area: Area) -> io::Result<()> {
        sync_dir(self.directory(area))
    }

    fn free_bytes(&self, area: Area) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(self.directory(area))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A file of the operating system.
#[derive(Debug)]
pub struct StdFile(File);

impl DiskFile for StdFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn data_end(&self) -> io::Result<u64> {
        // The position that this moves is used by nobody.
        let mut end = 0;
        loop {
            match rustix::fs::seek(&self.0, SeekFrom::Data(end)) {
                Ok(data) => end = rustix::fs::seek(&self.0, SeekFrom::Hole(data))?,
                // Nothing but a hole follows.
                Err(Errno::NXIO) => return Ok(end),
                // Some file systems do not tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return self.len(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len <= now {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), now, len - now) {
            // Some file systems cannot reserve; a longer file is the best they can do.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.0.set_len(len),
            result => result.map_err(io::Error::from),
        }
    }

    fn begin_writing(&mut self, offset: u64, len: u64) -> io::Result<()> {
        // Bytes that are not needed any more can only be forgotten once they are written.
        let len = NonZeroU64::new(len);
        rustix::fs::fadvise(&self.0, offset, len, Advice::DontNeed).or_else(|error| match error {
            // Pipes and the like have no such notion, nor some file systems.
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Ok(()),
            error => Err(error.into()),
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// `version-2` in a data directory, created durably if it may be.
fn version_dir(base: &Path, autocreate: bool) -> Result<PathBuf, DataDirError> {
    let path = base.join(VERSION_DIR);
    if path.is_dir() {
        return Ok(path);
    }
    if !autocreate {
        return Err(DataDirError::Missing { path });
    }
    let created = fs::create_dir_all(&path)
        .and_then(|()| sync_dir(&path))
        .and_then(|()| {
            // The directories above may be new too; those further up are somebody else's.
            sync_dir(base)?;
            base.parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .map_or(Ok(()), sync_dir)
        });
    match created {
        Ok(()) => Ok(path),
        Err(source) => Err(DataDirError::Create { path, source }),
    }
}

/// Names of ours in a directory, sorted.
fn names_in(directory: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().to_str().and_then(Name::parse));
    }
    names.sort_unstable();
    Ok(names)
}

fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether two paths are one directory, links followed.
fn same_directory(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use zk_core::wire::file_name::Compression;
    use zk_proto::Zxid;

    use super::super::disk::write_durably;
    use super::*;

    fn dirs(home: &Path) -> DataDirs {
        DataDirs {
            data: home.join("data"),
            log: home.join("log"),
            autocreate: true,
        }
    }

    #[test]
    fn files_go_where_their_role_says() {
        let home = tempfile::tempdir().expect("a directory");
        let disk = StdDisk::open(&dirs(home.path())).expect("opens");
        let log = Name::log(Zxid::new(0x1f));
        let snapshot = Name::snapshot(Zxid::new(1), Compression::Gzip);
        let mut file = disk.create(log).expect("new");
        file.write_at(3, b"abc").expect("written");
        file.allocate(100).expect("longer");
        file.sync_data().expect("synced");
        assert_eq!(file.len().expect("length"), 100);
        write_durably(&disk, snapshot, b"one").expect("written");
        write_durably(&disk, snapshot, b"two").expect("replaced");
        assert_eq!(
            disk.create(log).expect_err("exists").kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(
            disk.read(log).expect("read").get(..7),
            Some(b"\0\0\0abc\0".as_slice())
        );
        assert_eq!(disk.read(snapshot).expect("read"), b"two");
        assert!(home.path().join("log/version-2/log.1f").exists());
        assert!(home.path().join("data/version-2/snapshot.1.gz").exists());
        assert_eq!(disk.list(Area::Log).expect("listed"), [log]);
        assert_eq!(disk.list(Area::Data).expect("listed"), [snapshot]);
        disk.remove(log).expect("removed");
        disk.sync_dir(Area::Log).expect("synced");
        assert_eq!(disk.list(Area::Log).expect("listed"), []);
        assert!(disk.free_bytes(Area::Log).expect("known") > 0);
    }

    #[test]
    fn zeros_that_were_only_reserved_are_not_read() {
        let home = tempfile::tempdir().expect("a directory");
        let disk = StdDisk::open(&dirs(home.path())).expect("opens");
        let log = Name::log(Zxid::new(1));
        let mut file = disk.create(log).expect("new");
        assert_eq!(file.data_end().expect("known"), 0);
        file.write_at(0, b"abc").expect("written");
        file.allocate(1 << 20).expect("longer");
        assert!(file.data_end().expect("known") >= 3);
        assert_eq!(disk.read(log).expect("read").len(), 1 << 20);
        // What stands behind a hole is data again, and so is the hole.
        file.write_at(500_000, b"def").expect("written");
        assert!(file.data_end().expect("known") >= 500_003);
        file.write_at((1 << 20) - 1, b"!").expect("written");
        assert_eq!(file.data_end().expect("known"), 1 << 20);
    }

    #[test]
    fn one_directory_may_hold_both() {
        let home = tempfile::tempdir().expect("a directory");
        let dirs = DataDirs {
            log: home.path().join("data"),
            ..dirs(home.path())
        };
        let disk = StdDisk::open(&dirs).expect("opens");
        disk.create(Name::log(Zxid::new(1))).expect("new");
        write_durably(&disk, Name::Final(Role::CurrentEpoch), b"1").expect("written");
        assert_eq!(disk.list(Area::Log).expect("listed").len(), 1);
        assert_eq!(disk.list(Area::Data).expect("listed").len(), 1);
        drop(disk);
        StdDisk::open(&dirs).expect("opens again");
    }

    #[test]
    fn swapped_directories_are_refused() {
        let home = tempfile::tempdir().expect("a directory");
        drop(StdDisk::open(&dirs(home.path())).expect("opens"));
        fs::write(home.path().join("data/version-2/log.1"), "").expect("written");
        let error = StdDisk::open(&dirs(home.path())).expect_err("a log among snapshots");
        let text = error.to_string();
        assert!(text.starts_with("snapshot directory "), "{text}");
        assert!(text.contains("has log files, such as log.1"), "{text}");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn missing_directories_are_created_only_if_allowed() {
        let home = tempfile::tempdir().expect("a directory");
        let error = StdDisk::open(&DataDirs {
            autocreate: false,
            ..dirs(home.path())
        });
        let text = error.expect_err("missing").to_string();
        assert!(text.contains("data/version-2, automatic data directory creation is disabled"));
        fs::write(home.path().join("data"), "a file").expect("written");
        let error = StdDisk::open(&dirs(home.path())).expect_err("a file in the way");
        assert!(matches!(error, DataDirError::Create { .. }), "{error:?}");
    }

    #[test]
    fn two_servers_cannot_share_a_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let _first = StdDisk::open(&dirs(home.path())).expect("opens");
        let error = StdDisk::open(&dirs(home.path())).expect_err("taken");
        assert!(matches!(
            error,
            DataDirError::Locked(LockError::InUse { pid: Some(_), .. })
        ));
    }
}
