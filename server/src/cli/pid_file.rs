//! The file with the id of the process that `start` started.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Pid, test_kill_process};

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
    let number = text.trim().parse().unwrap_or(0);
    // Negative numbers name groups of processes, and are no ids.
    match Some(number).filter(|&id| id > 0).and_then(Pid::from_raw) {
        Some(pid) if is_server(pid) => Found::Running(pid),
        _ => Found::Stale(number),
    }
}

/// Writes one.
pub(super) fn write(path: &Path, pid: u32) -> io::Result<()> {
    fs::write(path, pid.to_string())
}

/// Whether a process is there and is a server, ours or the reference's. One that ended and was not
/// waited for has no command line any more.
pub(super) fn is_server(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return false;
    }
    match fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) {
        Ok(command) => ["zkserver", "zookeeper"].iter().any(|name| {
            command
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        }),
        // No such file system here: the signal has to do.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
