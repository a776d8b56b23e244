//! Snapshots of the reference read back, and ours written on a disk that fails.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zk_core::wire::file_name::Compression;
use zk_core::wire::snapshot::{ITEM_MAX, Item};
use zk_proto::Zxid;

use super::*;
use crate::storage::disk::{Disk as _, DiskFile as _};
use crate::storage::layout::Name;
use crate::storage::sim_disk::{Fault, SimDisk};

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Snappy];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("core/vectors/disk")
}

/// A stream that Apache wrote.
fn stream() -> Vec<u8> {
    fs::read(vectors().join("zk393-mixed/data/version-2/snapshot.2c")).expect("a vector")
}

/// Loads the snapshots of a directory.
fn load(directory: &Path) -> SimDisk {
    let disk = SimDisk::new(1);
    for entry in fs::read_dir(directory.join("data/version-2")).expect("a data directory") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(Name::parse);
        if let Some(name) = name.filter(|name| name.as_snapshot().is_some()) {
            let mut file = disk.create(name).expect("created");
            file.write_at(0, &fs::read(&path).expect("read"))
                .expect("written");
        }
    }
    disk
}

/// Paths of the newest whole snapshot.
fn paths(disk: &SimDisk) -> Result<Option<LoadedSnapshot<Vec<String>>>, SnapshotReadError> {
    load_newest_snapshot(
        disk,
        ITEM_MAX,
        Vec::new,
        |item| item,
        |paths, items| {
            for item in items {
                if let Item::Znode(path, _) = item {
                    paths.push(path.to_string());
                }
            }
            Ok(())
        },
    )
}

fn write(disk: &SimDisk, zxid: i64, compression: Compression) -> std::io::Result<Name> {
    let mut writer = SnapshotWriter::create(disk.clone(), Zxid::new(zxid), compression)?;
    for part in stream().chunks(700) {
        writer.write(part)?;
    }
    writer.finish().map(|(name, _)| name)
}

#[test]
fn the_snapshot_the_reference_recovers_from_is_found() {
    let mut count = 0;
    for entry in fs::read_dir(vectors()).expect("the vectors") {
        let directory = entry.expect("an entry").path();
        let Ok(expected) = fs::read_to_string(directory.join("expected.json")) else {
            continue;
        };
        let expected: Value = serde_json::from_str(&expected).expect("json");
        let label = expected["name"].as_str().expect("a name");
        let recovered = &expected["recovery"]["recovered"];
        if recovered.is_null() {
            continue;
        }
        count += 1;
        let found = paths(&load(&directory));
        if label.starts_with("snapshot-all") {
            let error = found.err().map(|error| error.to_string()).expect(label);
            assert!(error.contains("snapshots can be read"), "{label}: {error}");
            continue;
        }
        let found = found.unwrap_or_else(|error| panic!("{label}: {error:?}"));
        let name = found.as_ref().map(|loaded| loaded.name.to_string());
        assert_eq!(name.as_deref(), recovered["snapshot"].as_str(), "{label}");
        let snapshots = expected["snapshots"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for snapshot in snapshots
            .iter()
            .filter(|s| s["file"].as_str() == name.as_deref())
        {
            if let Some(nodes) = snapshot["nodes"].as_array() {
                let read = &found.as_ref().expect("a snapshot").value;
                let expected: Vec<&str> = nodes
                    .iter()
                    .filter_map(|node| node["path"].as_str())
                    .collect();
                assert_eq!(read, &expected, "{label}");
            }
        }
    }
    assert!(count > 35, "only {count} directories");
}

#[test]
fn every_compression_goes_there_and_back() {
    for compression in COMPRESSIONS {
        let disk = SimDisk::new(1);
        let name = write(&disk, 0x2c, compression).expect("written");
        assert!(looks_whole(&disk, name).expect("read"));
        let loaded = paths(&disk).expect("whole").expect("there");
        assert_eq!((loaded.name, loaded.zxid), (name, Zxid::new(0x2c)));
        let mut reader = SnapshotReader::open(&disk, name).expect("opens");
        let mut read = Vec::new();
        while let Some(chunk) = reader.next_chunk().expect("reads") {
            read.extend_from_slice(&chunk);
        }
        assert!(read == stream(), "{compression:?}");
    }
}

#[test]
fn damage_anywhere_falls_back_to_the_older_snapshot() {
    for compression in COMPRESSIONS {
        for at in (0..40).map(|part| part * 17) {
            let disk = SimDisk::new(1);
            let old = write(&disk, 1, Compression::None).expect("written");
            let new = write(&disk, 2, compression).expect("written");
            let len = disk.read(new).expect("read").len();
            let at = at % len;
            disk.flip(new, at, 0x10);
            let loaded = paths(&disk).expect("one is whole").expect("there");
            // Some bits of a compressed file can change without changing what it unpacks to.
            if loaded.name == new {
                assert_ne!(compression, Compression::None, "{at}");
            } else {
                assert_eq!(loaded.name, old);
            }
        }
    }
}

#[test]
fn an_entry_that_makes_no_sense_falls_back_too() {
    let disk = SimDisk::new(1);
    write(&disk, 1, Compression::None).expect("written");
    write(&disk, 2, Compression::None).expect("written");
    let mut begun = 0;
    let loaded = load_newest_snapshot(
        &disk,
        ITEM_MAX,
        || {
            begun += 1;
            begun
        },
        |item| item,
        |attempt, _| {
            if *attempt == 1 {
                Err("no parent".into())
            } else {
                Ok(())
            }
        },
    );
    let loaded = loaded.expect("one makes sense").expect("there");
    assert_eq!((loaded.zxid, loaded.skipped.len()), (Zxid::new(1), 1));
}

#[test]
fn a_fault_at_any_operation_leaves_whole_snapshots_only() {
    for fault in [Fault::PowerCut, Fault::Io, Fault::NoSpace] {
        for compression in COMPRESSIONS {
            for seed in 0..6 {
                for step in 1.. {
                    let disk = SimDisk::new(seed);
                    write(&disk, 1, Compression::None).expect("written");
                    disk.fail_at(disk.operations() + step, fault);
                    let before = disk.operations();
                    let written = write(&disk, 2, compression);
                    let is_through = disk.operations() - before < step;
                    let after = disk.restart();
                    remove_unfinished_snapshots(&after).expect("removed");
                    let loaded = paths(&after).expect("whole").expect("the first one");
                    assert!(loaded.skipped.is_empty(), "{:?}", loaded.skipped);
                    assert!(written.is_err() || loaded.zxid == Zxid::new(2));
                    assert!(
                        after
                            .list(crate::storage::Area::Data)
                            .expect("listed")
                            .len()
                            <= 2
                    );
                    if is_through {
                        break;
                    }
                }
            }
        }
    }
}
