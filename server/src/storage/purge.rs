//! Deleting files that recovery does not need.

use std::io;

use zk_proto::Zxid;

use super::disk::Disk;
use super::file_snapshot::looks_whole;
use super::layout::{Area, Name};

/// What a purge did.
#[derive(Debug, Default)]
pub struct PurgeReport {
    /// Files removed.
    pub removed: Vec<Name>,
    /// Files that could not be removed; a later purge tries again.
    pub failed: Vec<(Name, io::Error)>,
}

/// Removes what recovery does not need when the newest `retain` whole snapshots stay.
///
/// Safe beside a running server: the log being written and snapshots in the making stay.
///
/// # Errors
///
/// If the disk fails; whatever was removed by then was superfluous.
pub fn purge<D: Disk>(disk: &D, retain: usize) -> io::Result<PurgeReport> {
    let mut files = disk.list(Area::Data)?;
    let mut whole = Vec::new();
    for &name in &files {
        if name.as_snapshot().is_some() && looks_whole(disk, name)? {
            whole.push(name);
        }
    }
    files.extend(disk.list(Area::Log)?);
    execute_purge(
        disk,
        &plan_purge(&files, |name| whole.contains(&name), retain),
    )
}

/// Decides which of `files` may go when the newest `retain` whole snapshots stay, snapshots first,
/// oldest first.
///
/// With s the zxid of the oldest snapshot kept: snapshots before s go, and logs before s except
/// the newest one at or before s, which may hold what follows s. Without a whole snapshot nothing
/// goes; snapshots that are not whole and newer than s stay, as they may be in the making.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `PurgeTxnLog#purgeOlderSnapshots`.
pub fn plan_purge(files: &[Name], is_whole: impl Fn(Name) -> bool, retain: usize) -> Vec<Name> {
    let whole = files.iter().copied().filter(|name| is_whole(*name));
    let mut whole: Vec<Zxid> = whole.filter_map(Name::as_snapshot).collect();
    whole.sort_unstable();
    // Two files of one zxid that differ in compression count as one state.
    whole.dedup();
    let oldest_kept = whole.iter().rev().take(retain.max(1)).next_back().copied();
    let Some(oldest_kept) = oldest_kept else {
        return Vec::new();
    };
    let logs = files.iter().copied().filter_map(Name::as_log);
    let needed_log = logs.filter(|first| *first <= oldest_kept).max();
    let mut superfluous: Vec<Name> = files
        .iter()
        .copied()
        .filter(|name| {
            name.as_snapshot().is_some_and(|zxid| zxid < oldest_kept)
                || name.as_log().is_some_and(|first| Some(first) < needed_log)
        })
        .collect();
    superfluous.sort_unstable_by_key(|name| (name.area() == Area::Log, *name));
    superfluous
}

/// Removes the files of a plan: all snapshots, durably, then logs.
///
/// In this order no snapshot can be left that its logs do not continue, wherever a crash or a
/// failure comes in between; when a snapshot cannot be removed, all logs stay.
///
/// # Errors
///
/// If it is unknown whether removals are durable; harmless for recovery.
pub fn execute_purge<D: Disk>(disk: &D, plan: &[Name]) -> io::Result<PurgeReport> {
    let mut report = PurgeReport::default();
    for area in [Area::Data, Area::Log] {
        let before = report.removed.len();
        for &name in plan.iter().filter(|name| name.area() == area) {
            match disk.remove(name) {
                Ok(()) => report.removed.push(name),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => report.failed.push((name, error)),
            }
        }
        if report.removed.len() > before {
            disk.sync_dir(area)?;
        }
        if !report.failed.is_empty() {
            break;
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use zk_core::wire::file_name::Compression;

    use super::*;

    fn plan(files: &[&str], torn: &[&str], retain: usize) -> Vec<String> {
        let names: Vec<Name> = files
            .iter()
            .map(|text| Name::parse(text).expect(text))
            .collect();
        let is_whole = |name: Name| !torn.contains(&&*name.to_string());
        plan_purge(&names, is_whole, retain)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_recorded_purge_keeps_what_the_reference_kept() {
        let files = [
            "snapshot.0",
            "snapshot.22",
            "snapshot.2c",
            "snapshot.3b",
            "snapshot.42",
            "snapshot.4c",
            "log.1",
            "log.23",
            "log.2d",
            "log.34",
            "log.3d",
            "log.44",
            "log.4e",
        ];
        assert_eq!(
            plan(&files, &[], 3),
            [
                "snapshot.0",
                "snapshot.22",
                "snapshot.2c",
                "log.1",
                "log.23",
                "log.2d"
            ]
        );
    }

    #[test]
    fn snapshots_that_are_not_whole_do_not_count() {
        let files = ["snapshot.1", "snapshot.5", "snapshot.9", "log.2", "log.6"];
        assert_eq!(plan(&files, &["snapshot.9"], 1), ["snapshot.1"]);
        assert_eq!(
            plan(&files, &["snapshot.1", "snapshot.5", "snapshot.9"], 1),
            [""; 0]
        );
        assert_eq!(plan(&files, &["snapshot.1"], 2), ["snapshot.1"]);
        assert_eq!(plan(&files, &[], 9), [""; 0]);
    }

    #[test]
    fn other_files_are_left_alone() {
        let files = [
            "snapshot.1.tmp",
            "currentEpoch",
            "log.1.tmp",
            "snapshot.5",
            "snapshot.6",
        ];
        assert_eq!(plan(&files, &[], 1), ["snapshot.5"]);
        assert_eq!(
            plan(&["snapshot.5", "snapshot.5.gz", "snapshot.3"], &[], 1),
            ["snapshot.3"]
        );
    }

    /// Wherever a purge is interrupted, every snapshot left has the logs that continue it.
    #[cfg(feature = "sim")]
    #[test]
    fn an_interrupted_purge_leaves_no_snapshot_without_its_logs() {
        use super::super::disk::DiskFile as _;
        use super::super::sim_disk::{Fault, SimDisk};

        const END: &[u8] = b"a snapshot\0\0\0\x01/";
        for fault in [Fault::PowerCut, Fault::Io] {
            for (seed, step) in (0..20).flat_map(|seed| (1..12).map(move |step| (seed, step))) {
                let disk = SimDisk::new(seed);
                let logs: Vec<i64> = (0..8).map(|at| at * 10 + 1).collect();
                let snapshots: Vec<i64> = (0..8).map(|at| at * 10 + 5).collect();
                for first in &logs {
                    disk.create(Name::log(Zxid::new(*first))).expect("created");
                }
                for zxid in &snapshots {
                    let name = Name::snapshot(Zxid::new(*zxid), Compression::None);
                    let mut file = disk.create(name).expect("created");
                    file.write_at(0, END).expect("written");
                    file.sync_data().expect("synced");
                }
                disk.sync_dir(Area::Data).expect("synced");
                disk.sync_dir(Area::Log).expect("synced");
                disk.fail_at(disk.operations() + step, fault);
                let _report = purge(&disk, 3);
                let after = disk.restart();
                let left = after.list(Area::Log).expect("listed");
                let kept = after.list(Area::Data).expect("listed");
                assert!(kept.len() >= 3);
                for base in kept.into_iter().filter_map(Name::as_snapshot) {
                    let needed = logs.iter().filter(|first| **first + 10 > base.get());
                    for first in needed {
                        assert!(
                            left.contains(&Name::log(Zxid::new(*first))),
                            "{base} {first}"
                        );
                    }
                }
            }
        }
    }

    proptest::proptest! {
        /// After any purge the kept snapshots can be continued exactly as before.
        #[test]
        fn a_kept_snapshot_keeps_its_logs(
            snapshots in proptest::collection::btree_set(0i64..60, 1..8),
            logs in proptest::collection::btree_set(0i64..60, 0..8),
            retain in 1usize..5,
        ) {
            let snapshot = |zxid: &i64| Name::snapshot(Zxid::new(*zxid), Compression::None);
            let log = |zxid: &i64| Name::log(Zxid::new(*zxid));
            let files: Vec<Name> = snapshots.iter().map(snapshot).chain(logs.iter().map(log)).collect();
            let gone = plan_purge(&files, |_| true, retain);
            let kept: Vec<i64> =
                snapshots.iter().filter(|zxid| !gone.contains(&snapshot(zxid))).copied().collect();
            proptest::prop_assert_eq!(kept.len(), retain.min(snapshots.len()));
            for base in kept {
                // Replay reads the newest log that does not begin behind the snapshot, and all
                // later ones.
                let first = logs.range(..=base).next_back().copied().unwrap_or(0);
                for needed in logs.range(first..) {
                    proptest::prop_assert!(!gone.contains(&log(needed)));
                }
            }
        }
    }
}
