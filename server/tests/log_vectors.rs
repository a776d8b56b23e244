//! Logs written by Apache `ZooKeeper` 3.8.0 and 3.9.3, whole and damaged, read behind the snapshot
//! their directory recovers from.

#![cfg(feature = "sim")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use zk_proto::Zxid;
use zk_server::storage::{Disk, DiskFile, FileLog, LogOptions, Name, SimDisk, read_log};

/// Directories whose log must be refused, and what the message says.
const REFUSED: &[(&str, &str)] = &[
    ("gap-torn-non-last-log", "transactions are missing"),
    ("log-bad-magic-last-file", "has an invalid header"),
    ("torn-bit-flip-middle-entry", "is damaged at offset"),
];

/// Loads the logs of a directory.
fn load(directory: &Path) -> SimDisk {
    let disk = SimDisk::new(1);
    for entry in fs::read_dir(directory.join("data/version-2")).expect("a data directory") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(Name::parse);
        if let Some(name) = name.filter(|name| name.as_log().is_some()) {
            let mut file = disk.create(name).expect("created");
            file.write_at(0, &fs::read(&path).expect("read"))
                .expect("written");
        }
    }
    disk
}

fn hex(text: &str) -> i64 {
    i64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hexadecimal")
}

#[test]
fn every_recorded_log_is_read_or_refused_as_it_should_be() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/vectors/disk");
    let mut count = 0;
    for entry in fs::read_dir(vectors).expect("the vectors") {
        let directory = entry.expect("an entry").path();
        let Ok(expected) = fs::read_to_string(directory.join("expected.json")) else {
            continue;
        };
        let expected: Value = serde_json::from_str(&expected).expect("json");
        let recovered = &expected["recovery"]["recovered"];
        if recovered.is_null() {
            continue;
        }
        count += 1;
        let label = directory
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let base = recovered["snapshot"].as_str().map_or(0, |name| {
            Name::parse(name)
                .and_then(Name::as_snapshot)
                .expect("a snapshot")
                .get()
        });
        let disk = load(&directory);
        let mut txns = 0;
        let read = read_log(
            &disk,
            Zxid::new(base),
            LogOptions::default().entry_bytes_max,
            |_| {
                txns += 1;
                Ok(())
            },
        );
        if let Some((_, reason)) = REFUSED.iter().find(|(name, _)| *name == label) {
            let error = read.expect_err(label).to_string();
            assert!(error.contains(reason), "{label}: {error}");
            continue;
        }
        let tail = read.unwrap_or_else(|error| panic!("{label}: {error:?}"));
        let last = tail.last.map_or(base, Zxid::get);
        assert_eq!(
            last,
            hex(recovered["lastZxid"].as_str().expect("a zxid")),
            "{label}"
        );
        if let Some(replayed) = recovered["replayedTxns"].as_u64() {
            assert_eq!(txns, replayed, "{label}");
        }
        assert_eq!(
            tail.torn.is_some(),
            label.starts_with("torn-"),
            "{label}: {:?}",
            tail.torn
        );

        let before = names(&disk);
        FileLog::open(disk.clone(), LogOptions::default(), Zxid::new(last)).expect(label);
        let removed: Vec<String> = before
            .into_iter()
            .filter(|name| !names(&disk).contains(name))
            .collect();
        let unborn = matches!(
            label,
            "log-empty-last-file" | "log-partial-header-last-file"
        );
        assert_eq!(
            removed,
            if unborn { vec!["log.31"] } else { vec![] },
            "{label}"
        );
    }
    assert!(count > 35, "only {count} directories");
}

fn names(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(zk_server::storage::Area::Log).expect("listed");
    names.iter().map(ToString::to_string).collect()
}
