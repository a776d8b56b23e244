//! One server per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// File that is locked, in each data directory.
const LOCK_FILE: &str = "zookeeper.lock";

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("data directory {} is in use by another server{}", path.display(), Holder(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Process id of the other server, when it left one.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock data directory {}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A process id in words.
struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (pid {pid})"),
            None => Ok(()),
        }
    }
}

/// A lock on a data directory, held until dropped or the process ends, however it ends.
///
/// The reference takes no such lock, so this keeps out servers of ours only.
#[derive(Debug)]
pub struct DirectoryLock {
    /// Keeps the lock; the system releases it with the file.
    _file: File,
}

impl DirectoryLock {
    /// Locks `directory`, which must exist.
    ///
    /// # Errors
    ///
    /// Another server runs on it, or the lock file cannot be written.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            path: directory.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK_FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(LockError::InUse {
                    path: directory.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_path_and_pid() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DirectoryLock::acquire(directory.path()).expect("free");
        let error = DirectoryLock::acquire(directory.path()).expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!(
                "data directory {} is in use by another server (pid {})",
                directory.path().display(),
                std::process::id()
            )
        );
        drop(first);
        DirectoryLock::acquire(directory.path()).expect("free again");
    }

    #[test]
    fn a_lock_file_left_behind_locks_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(LOCK_FILE), "4711\nold").expect("write");
        DirectoryLock::acquire(directory.path()).expect("free");
        let left = std::fs::read_to_string(directory.path().join(LOCK_FILE)).expect("read");
        assert_eq!(left, format!("{}\n", std::process::id()));
    }
}
