//! The file with the id of the process that `start` started.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// How long a process may take from its beginning to its command line, which is no time at all.
const BEGINS: Duration = Duration::from_millis(500);

/// What a pid file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// A process that is gone, or is no server: the file was left behind, or copied from elsewhere.
    Stale(i32),
    /// A server.
    Running(Pid),
}

/// Reads a pid file.
pub(super) fn read(path: &Path) -> Found {
    let Ok(text) = fs::read_to_string(path) else {
        return Found::Nothing;
    };
    let number = number(&text);
    // Negative numbers name groups of processes, and are no ids.
    match Some(number).filter(|&id| id > 0).and_then(Pid::from_raw) {
        Some(pid) if is_server(pid) => Found::Running(pid),
        _ => Found::Stale(number),
    }
}

/// The right to change a pid file. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: Option<File>,
}

impl Lock {
    /// Waits for whoever else changes it. Where no file can be had beside it, everybody may.
    pub(super) fn take(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let options = File::options().create(true).append(true).clone();
        let file = options.open(PathBuf::from(name)).ok();
        let file = file.filter(|file| flock(file, FlockOperation::LockExclusive).is_ok());
        Self {
            path: path.to_owned(),
            _file: file,
        }
    }

    /// Writes the id of a process.
    pub(super) fn write(&self, pid: u32) -> io::Result<()> {
        fs::write(&self.path, pid.to_string())
    }

    /// Removes the file if it is about this process still.
    pub(super) fn remove(&self, pid: i32) {
        if fs::read_to_string(&self.path).is_ok_and(|text| number(&text) == pid) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The id in a pid file; 0 if it has none.
fn number(text: &str) -> i32 {
    text.trim().parse().unwrap_or(0)
}

/// Whether a process is there and is a server, ours or the reference's. One that ended and was not
/// waited for has no command line any more.
pub(super) fn is_server(pid: Pid) -> bool {
    if is_gone(test_kill_process(pid)) {
        return false;
    }
    match command_line(pid) {
        Ok(command) => ["zkserver", "zookeeper"].iter().any(|name| {
            command
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        }),
        // No such file system here: the signal has to do.
        Err(_) => true,
    }
}

/// The command line of a process. One that begins just now has none yet, and will in a moment.
fn command_line(pid: Pid) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    loop {
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))?;
        if !command.is_empty() || has_ended(pid) || begun.elapsed() >= BEGINS {
            return Ok(command);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process has ended, and nobody has waited for it.
fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| {
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        behind_name.trim_start().starts_with(['Z', 'X'])
    })
}

/// What a signal to a process tells of it: one that may not be sent found somebody.
fn is_gone(signalled: Result<(), Errno>) -> bool {
    signalled.is_err_and(|error| error != Errno::PERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_user_is_there() {
        assert!(!is_gone(Ok(())) && !is_gone(Err(Errno::PERM)));
        assert!(is_gone(Err(Errno::SRCH)));
    }

    #[test]
    fn a_process_that_ended_has_no_command_line_and_is_known_by_that() {
        let mut child = std::process::Command::new("true").spawn().expect("begun");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
        while !has_ended(pid) {
            thread::yield_now();
        }
        assert_eq!(command_line(pid).expect("there"), b"");
        assert!(!is_server(pid));
        child.wait().expect("gone");
        let me = Pid::from_raw(i32::try_from(std::process::id()).expect("an id")).expect("an id");
        assert!(!has_ended(me) && !command_line(me).expect("there").is_empty());
    }

    #[test]
    fn a_file_about_another_process_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        let lock = Lock::take(&path);
        lock.write(7).expect("written");
        lock.remove(8);
        assert!(path.exists());
        lock.remove(7);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_left_behind_names_no_server() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        assert_eq!(read(&path), Found::Nothing);
        for (text, number) in [("999999999", 999_999_999), ("", 0), ("x", 0), ("-4\n", -4)] {
            fs::write(&path, text).expect("written");
            assert_eq!(read(&path), Found::Stale(number), "{text}");
        }
        // The first process of the system is no server.
        fs::write(&path, "1\n").expect("written");
        assert_eq!(read(&path), Found::Stale(1));
    }
}
