//! What the system says about this process.

use std::fs;

/// Figures of the process; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) open_files: u64,
    pub(crate) open_files_max: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) cpu_seconds: f64,
    /// Memory of the machine, or of the group that the process is limited to.
    pub(crate) memory_max_bytes: u64,
}

impl Process {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let kib = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.split_whitespace().next());
            value
                .and_then(|value| value.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let group = text("/sys/fs/cgroup/memory.max").trim().parse().ok();
        let machine = kib(&text("/proc/meminfo"), "MemTotal:");
        Self {
            open_files: u64::try_from(open_files).unwrap_or(0),
            open_files_max: limit.current.unwrap_or(u64::MAX),
            resident_bytes: kib(&status, "VmRSS:"),
            virtual_bytes: kib(&status, "VmSize:"),
            cpu_seconds: cpu_seconds(&text("/proc/self/stat")),
            memory_max_bytes: group.unwrap_or(machine),
        }
    }
}

/// User and system time in a line of `/proc/self/stat`.
#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn cpu_seconds(stat: &str) -> f64 {
    // The name of the program, in parentheses, may have anything in it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_stand_behind_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 5 6 7 8 150 50 0 0 20";
        let ticks = rustix::param::clock_ticks_per_second();
        let expected = 200.0 / f64::from(u32::try_from(ticks).expect("few"));
        assert!((cpu_seconds(stat) - expected).abs() < 1e-9);
        assert!(cpu_seconds("").abs() < 1e-9);
    }
}
