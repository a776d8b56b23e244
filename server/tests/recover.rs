//! Whole data directories: those of Apache `ZooKeeper` 3.8.0 and 3.9.3, and our own after crashes.

#![cfg(feature = "sim")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use zk_core::session::SessionIds;
use zk_core::time::WallTime;
use zk_core::tree::{OwnerRules, Tree, TreeOptions};
use zk_core::wire::file_name::Compression;
use zk_core::wire::log_record::ENTRY_MAX;
use zk_core::wire::txn::{
    CreateSessionTxn, CreateTxn, Op, SetDataTxn, Txn, TxnDigest, TxnEntry, TxnHeader,
};
use zk_proto::jute::Encode as _;
use zk_proto::{Bytes, SessionId, Version, Xid, Zxid};
use zk_server::storage::{
    Disk, DiskFile, Fault, FileLog, LogEntry, LogOptions, Name, RecoverError, RecoverOptions,
    Recovered, SimDisk, Standing, Survival, recover, write_snapshot,
};

fn options(standing: Standing) -> RecoverOptions {
    RecoverOptions {
        tree: TreeOptions {
            hash_seed: 42,
            owners: OwnerRules {
                extended_types: true,
                emulate_353_ttl: false,
            },
            digest: true,
        },
        trust_empty: false,
        entry_bytes_max: ENTRY_MAX,
        standing,
        compression: Compression::None,
    }
}

/// Directories that must not be started on, and what the message says.
const REFUSED: &[(&str, &str)] = &[
    ("gap-torn-non-last-log", "transactions are missing"),
    ("log-bad-magic-last-file", "has an invalid header"),
    ("no-snapshot", "there are logs but no snapshot"),
    ("snapshot-all-bit-flip", "snapshots can be read"),
    ("snapshot-all-cut", "snapshots can be read"),
    ("torn-bit-flip-middle-entry", "is damaged at offset"),
];

/// Copies a `version-2` directory.
fn load(directory: &Path) -> SimDisk {
    let disk = SimDisk::new(1);
    for entry in fs::read_dir(directory.join("data/version-2")).expect("a data directory") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(Name::parse);
        if let Some(name) = name {
            let mut file = disk.create(name).expect("created");
            file.write_at(0, &fs::read(&path).expect("read"))
                .expect("written");
        }
    }
    disk
}

/// The znodes of a tree, to be compared.
fn contents(tree: &Tree) -> BTreeMap<String, String> {
    let mut contents = BTreeMap::new();
    tree.each_znode(|path, znode| {
        let (stat, data, acl) = (znode.stored_stat(), znode.data(), znode.acl());
        contents.insert(path.to_owned(), format!("{stat:?} {data:?} {acl:?}"));
    });
    contents
}

#[test]
fn every_directory_of_the_reference_gives_its_state_or_is_refused() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/vectors/disk");
    let mut count = 0;
    for entry in fs::read_dir(vectors).expect("the vectors") {
        let directory = entry.expect("an entry").path();
        let Ok(expected) = fs::read_to_string(directory.join("expected.json")) else {
            continue;
        };
        count += 1;
        let expected: Value = serde_json::from_str(&expected).expect("json");
        let label = directory
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let mut options = options(Standing::Member);
        options.trust_empty = label == "no-snapshot-trust-empty";
        if let Some(extended) = expected["settings"]["extendedTypesEnabled"].as_bool() {
            options.tree.owners.extended_types = extended;
        }
        let disk = load(&directory);
        let recovered = recover(&disk, &options);
        if let Some((_, reason)) = REFUSED.iter().find(|(name, _)| *name == label) {
            let error = recovered.expect_err(label).to_string();
            assert!(error.contains(reason), "{label}: {error}");
            continue;
        }
        let recovered = recovered.unwrap_or_else(|error| panic!("{label}: {error}"));
        let wanted = &expected["recovery"]["recovered"];
        assert_eq!(
            format!("0x{:x}", recovered.tree.applied().get()),
            wanted["lastZxid"].as_str().expect("a zxid"),
            "{label}"
        );
        assert_eq!(
            recovered
                .report
                .snapshot
                .map(|name| name.to_string())
                .as_deref(),
            wanted["snapshot"].as_str(),
            "{label}"
        );
        assert_eq!(
            Some(recovered.report.replayed),
            wanted["replayedTxns"].as_u64()
        );
        assert_eq!(recovered.report.mismatch, None, "{label}");
        assert_eq!(
            recovered.tree.digest(),
            Some(recovered.tree.recompute_digest()),
            "{label}"
        );
        let again = recover(&disk, &options).unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(contents(&again.tree), contents(&recovered.tree), "{label}");
        assert_eq!(again.epochs, recovered.epochs, "{label}");
    }
    assert_eq!(count, 41);
}

#[test]
fn first_start_writes_the_empty_tree_before_anything_else() {
    let disk = SimDisk::new(1);
    let first = recover(&disk, &options(Standing::Alone)).expect("empty");
    let name = Name::snapshot(Zxid::ZERO, Compression::None);
    assert_eq!(first.report.written.map(|(name, _)| name), Some(name));
    assert_eq!(first.epochs, None);
    let second = recover(&disk.restart(), &options(Standing::Alone)).expect("one snapshot");
    assert_eq!(second.report.snapshot, Some(name));
    assert_eq!(second.report.written, None);
    assert_eq!(contents(&second.tree), contents(&first.tree));
}

/// Writes history as a server does, and remembers what the tree was after each transaction.
struct Writer {
    log: FileLog<SimDisk>,
    tree: Tree,
    states: Vec<BTreeMap<String, String>>,
}

impl Writer {
    fn start(disk: &SimDisk) -> Result<Self, RecoverError> {
        let Recovered { tree, .. } = recover(disk, &options(Standing::Alone))?;
        let log_options = LogOptions {
            preallocate_bytes: 4096,
            file_bytes_max: Some(3000),
            ..LogOptions::default()
        };
        let log = FileLog::open(disk.clone(), log_options, tree.applied())?;
        let states = vec![contents(&tree)];
        Ok(Self { log, tree, states })
    }

    /// One transaction, logged and then applied; false when the disk failed.
    fn step(&mut self, session: SessionId) -> bool {
        let zxid = Zxid::new(self.tree.applied().get() + 1);
        let number = zxid.get();
        let header = TxnHeader {
            session,
            cxid: Xid::new(0),
            zxid,
            time: WallTime::from_millis(1_700_000_000_000 + number),
        };
        let data = Bytes::from(vec![b'x'; usize::try_from(number * 37 % 900).unwrap_or(0)]);
        let txn = match number {
            1 => Txn::CreateSession(CreateSessionTxn { timeout_ms: 9000 }),
            n if n % 4 == 0 => Txn::Single(Op::SetData(SetDataTxn {
                path: format!("/z{}", n - 1).into(),
                data: Some(data),
                version: Version::new(1),
            })),
            n => Txn::Single(Op::Create(CreateTxn {
                path: format!("/z{n}").into(),
                data: Some(data),
                acl: Some(vec![zk_proto::Acl::new(
                    zk_proto::Perms::ALL,
                    zk_proto::Id::ANYONE,
                )]),
                ephemeral: n % 3 == 0,
                parent_cversion: CreateTxn::NEXT_CVERSION,
            })),
        };
        let mut after = TxnEntry {
            header,
            txn,
            digest: None,
        };
        // The leader knows the digest beforehand; here it is taken from a copy that applies it.
        self.tree.apply(&after.header, &after.txn);
        after.digest = self.tree.digest().map(TxnDigest::new);
        self.states.push(contents(&self.tree));
        let bytes = after.to_bytes();
        self.log.append(&[LogEntry { zxid, bytes }]).is_ok()
    }
}

#[test]
fn a_crash_at_any_moment_keeps_what_was_acknowledged() {
    let session = SessionIds::new(
        zk_proto::ServerId::new(1),
        zk_core::session::IdStart {
            wall: WallTime::from_millis(1_700_000_000_000),
            salt: 7,
            highest_known: None,
            extended_types: true,
        },
    )
    .expect("a legal id")
    .allocate();
    let mut crashes = 0;
    for seed in 0..6 {
        for step in (1..).step_by(3) {
            let disk = SimDisk::new(seed);
            disk.fail_at(step, Fault::PowerCut);
            let mut acknowledged = 0;
            let mut states = vec![contents(&Tree::new(options(Standing::Alone).tree))];
            let mut survived = false;
            if let Ok(mut writer) = Writer::start(&disk) {
                survived = true;
                for number in 1..=24 {
                    if !writer.step(session) {
                        survived = false;
                        break;
                    }
                    acknowledged = number;
                    if number % 10 == 0 {
                        writer.log.roll();
                        if write_snapshot(&disk, &mut writer.tree, Compression::None).is_err() {
                            survived = false;
                            break;
                        }
                    }
                }
                states = writer.states;
            }
            crashes += 1;
            let disk = disk.restart();
            let recovered = recover(&disk, &options(Standing::Alone)).expect("recovered");
            let last = usize::try_from(recovered.tree.applied().get()).expect("small");
            assert!(
                last >= acknowledged,
                "seed {seed} step {step}: {last} < {acknowledged}"
            );
            assert_eq!(
                contents(&recovered.tree),
                states[last],
                "seed {seed} step {step}"
            );
            assert_eq!(recovered.report.mismatch, None, "seed {seed} step {step}");
            // And the server can go on from there.
            let mut writer = Writer::start(&disk).expect("started");
            assert!(writer.step(session));
            let after = recover(&disk.restart(), &options(Standing::Alone)).expect("again");
            assert_eq!(contents(&after.tree), writer.states[1]);
            if survived {
                break;
            }
        }
    }
    assert!(crashes > 60, "{crashes}");
}

/// A process dies between the write of a record and its sync; the next one reads the record, and then the
/// power goes.
#[test]
fn what_recovery_has_read_outlives_a_power_cut() {
    let disk = SimDisk::new(1);
    drop(recover(&disk, &options(Standing::Member)).expect("empty"));
    let log_options = LogOptions {
        sync: false,
        ..LogOptions::default()
    };
    let mut log = FileLog::open(disk.clone(), log_options, Zxid::ZERO).expect("opened");
    let header = TxnHeader {
        session: SessionId::new(1),
        cxid: Xid::new(0),
        zxid: Zxid::new(1),
        time: WallTime::from_millis(1),
    };
    let txn = Txn::CreateSession(CreateSessionTxn { timeout_ms: 9000 });
    let entry = TxnEntry {
        header,
        txn,
        digest: None,
    };
    let zxid = Zxid::new(1);
    let bytes = entry.to_bytes();
    log.append(&[LogEntry { zxid, bytes }]).expect("written");
    let disk = disk.restart_with(Survival::Everything);
    let read = recover(&disk, &options(Standing::Member)).expect("recovered");
    assert_eq!(read.tree.applied(), zxid);
    let disk = disk.restart_with(Survival::Nothing);
    let again = recover(&disk, &options(Standing::Member)).expect("recovered");
    assert_eq!(again.tree.applied(), zxid);
}

#[test]
fn orphans_are_deleted_and_stay_deleted() {
    let disk = SimDisk::new(3);
    {
        let mut writer = Writer::start(&disk).expect("started");
        // The first transaction, which begins the session, belongs to another session.
        assert!(writer.step(SessionId::new(0x100_0000_0000_0001)));
        for _ in 0..5 {
            assert!(writer.step(SessionId::new(0x100_0000_0000_0002)));
        }
    }
    let recovered = recover(&disk, &options(Standing::Alone)).expect("recovered");
    assert_eq!(recovered.report.orphans, 2);
    assert!(recovered.tree.get("/z3").is_none() && recovered.tree.get("/z2").is_some());
    assert!(recovered.report.written.is_some());
    let again = recover(&disk.restart(), &options(Standing::Alone)).expect("recovered");
    assert_eq!(again.report.orphans, 0);
    assert_eq!(again.report.replayed, 0);
    assert_eq!(contents(&again.tree), contents(&recovered.tree));
}

/// A snapshot that nothing else leads to: to go on from an older one would be to forget what was
/// acknowledged.
#[test]
fn a_damaged_snapshot_is_passed_over_only_if_the_log_leads_to_it() {
    let session = SessionId::new(0x100_0000_0000_0001);
    let write = |count: i64, disk: &SimDisk| {
        let mut writer = Writer::start(disk).expect("started");
        for _ in 0..count {
            assert!(writer.step(session));
        }
        writer
    };
    let ahead = SimDisk::new(1);
    let mut ahead = write(60, &ahead);
    for (count, is_reached) in [(50, false), (59, false), (60, true), (62, true)] {
        let disk = SimDisk::new(1);
        drop(write(count, &disk));
        let name = write_snapshot(&disk, &mut ahead.tree, Compression::None);
        let (name, len) = name.expect("written");
        let load = || recover(&disk, &options(Standing::Member));
        let whole = load().expect("whole");
        assert_eq!(whole.tree.applied().get(), count.max(60));
        // In the middle, and where it shows without reading it.
        for offset in [len / 2, len - 1] {
            disk.flip(name, usize::try_from(offset).expect("small"), 1);
            match load() {
                Ok(found) => assert!(is_reached && found.tree.applied().get() == count),
                Err(error) => {
                    assert!(!is_reached);
                    assert_eq!(
                        error.to_string(),
                        "snapshot.3c cannot be read, and the log does not lead there from snapshot.0"
                    );
                }
            }
            disk.flip(name, usize::try_from(offset).expect("small"), 1);
        }
    }
}

/// Nor over a hole that zxids do not show, because an epoch begins behind it.
#[test]
fn a_log_that_goes_on_behind_a_damaged_snapshot_does_not_lead_there() {
    let disk = SimDisk::new(1);
    let mut writer = Writer::start(&disk).expect("started");
    let session = SessionId::new(0x100_0000_0000_0001);
    for _ in 0..50 {
        assert!(writer.step(session));
    }
    let txn = |zxid| TxnEntry {
        header: TxnHeader {
            session,
            cxid: Xid::new(0),
            zxid,
            time: WallTime::from_millis(1),
        },
        txn: Txn::CreateSession(CreateSessionTxn { timeout_ms: 9000 }),
        digest: None,
    };
    let tree = txn(Zxid::new(200));
    writer.tree.apply(&tree.header, &tree.txn);
    let written = write_snapshot(&disk, &mut writer.tree, Compression::None);
    let (name, _) = written.expect("written");
    writer.log.roll();
    let next = txn(Zxid::new(0x1_0000_0001));
    let (zxid, bytes) = (next.header.zxid, next.to_bytes());
    writer
        .log
        .append(&[LogEntry { zxid, bytes }])
        .expect("appended");
    let load = || recover(&disk, &options(Standing::Member));
    assert_eq!(load().expect("whole").tree.applied(), zxid);
    disk.flip(name, 40, 1);
    let error = load().expect_err("a hole");
    assert!(matches!(error, RecoverError::NotReached { .. }), "{error}");
}

/// What a server could take, it takes at its next start, too; with a lower limit it says so.
#[test]
fn a_znode_as_long_as_the_limit_is_read_again_and_a_longer_one_refused() {
    let disk = SimDisk::new(1);
    let mut writer = Writer::start(&disk).expect("started");
    let session = SessionId::new(0x100_0000_0000_0001);
    for _ in 0..3 {
        assert!(writer.step(session));
    }
    let header = TxnHeader {
        session,
        cxid: Xid::new(0),
        zxid: Zxid::new(4),
        time: WallTime::from_millis(1),
    };
    let txn = Txn::Single(Op::SetData(SetDataTxn {
        path: "/z3".into(),
        data: Some(Bytes::from(vec![b'x'; 5 << 20])),
        version: Version::new(1),
    }));
    writer.tree.apply(&header, &txn);
    let written = write_snapshot(&disk, &mut writer.tree, Compression::None);
    written.expect("written");
    let mut options = options(Standing::Member);
    options.entry_bytes_max = 16 << 20;
    let found = recover(&disk, &options).expect("within the limit");
    assert_eq!(found.report.skipped.len(), 0);
    assert_eq!(contents(&found.tree), contents(&writer.tree));
    options.entry_bytes_max = ENTRY_MAX;
    let error = recover(&disk, &options).expect_err("beyond it").to_string();
    assert!(error.contains("snapshot.4 has an entry"), "{error}");
    assert!(error.contains("jute.maxbuffer"), "{error}");
}
