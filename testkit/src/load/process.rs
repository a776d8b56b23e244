//! What the kernel tells about processes.

use std::fs;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::path::PathBuf;
use std::time::Duration;

use super::error::LoadError;

/// Time that processors spent on a process, all its threads together, those that ended included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// In the process itself.
    pub user: Duration,
    /// In the kernel, on its behalf.
    pub system: Duration,
}

impl Cpu {
    /// Both.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

impl Sum for Cpu {
    fn sum<I: Iterator<Item = Self>>(each: I) -> Self {
        each.fold(Self::default(), Add::add)
    }
}

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// What of it is in memory.
    pub resident: u64,
    /// The part of it that is backed by no file: without the program itself.
    pub anonymous: u64,
}

/// What a process used so far. The kernel tells in hundredths of a second.
///
/// # Errors
/// [`LoadError::Process`].
pub fn cpu(pid: u32) -> Result<Cpu, LoadError> {
    /// The field behind the name of the program that has the user time, from 0; the system time
    /// follows.
    const UTIME: usize = 11;
    let (path, text) = read(format!("/proc/{pid}/stat"))?;
    // The name is in parentheses, and may have any characters in it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_whitespace().skip(UTIME);
    let mut ticks = || -> Option<Duration> {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis(ticks * 10))
    };
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => Ok(Cpu { user, system }),
        _ => Err(unclear(path)),
    }
}

/// What the calling thread used so far, to the nanosecond.
///
/// # Errors
/// [`LoadError::Process`].
pub fn thread_cpu() -> Result<Duration, LoadError> {
    let (path, text) = read("/proc/thread-self/schedstat".into())?;
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| unclear(path))
}

/// What memory a process has.
///
/// # Errors
/// [`LoadError::Process`].
pub fn memory(pid: u32) -> Result<Memory, LoadError> {
    let (path, text) = read(format!("/proc/{pid}/status"))?;
    let kib = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    match (kib("VmRSS:"), kib("RssAnon:")) {
        (Some(resident), Some(anonymous)) => Ok(Memory {
            resident: resident << 10,
            anonymous: anonymous << 10,
        }),
        _ => Err(unclear(path)),
    }
}

fn read(path: String) -> Result<(PathBuf, String), LoadError> {
    let path = PathBuf::from(path);
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(LoadError::Process { path, source }),
    }
}

fn unclear(path: PathBuf) -> LoadError {
    let source = std::io::ErrorKind::InvalidData.into();
    LoadError::Process { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn time_and_memory_of_this_process_grow_with_use() {
        let pid = std::process::id();
        let (cpu_before, thread_before) = (cpu(pid).unwrap(), thread_cpu().unwrap());
        let memory_before = memory(pid).unwrap();
        let block = vec![1_u8; 64 << 20];
        let deadline = Instant::now() + Duration::from_secs(30);
        while (cpu(pid).unwrap() - cpu_before).total() < Duration::from_millis(50) {
            assert!(Instant::now() < deadline, "no time is counted");
        }
        assert!(thread_cpu().unwrap() > thread_before);
        let grown = memory(pid).unwrap().anonymous - memory_before.anonymous;
        assert!(grown >= 60 << 20, "{grown} for {}", block.len());
    }
}
