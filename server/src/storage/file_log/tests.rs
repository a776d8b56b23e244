//! The log on a disk that fails at every possible moment.

use bytes::{BufMut as _, BytesMut};
use zk_core::wire::file_name::Compression;
use zk_core::wire::log_record::ENTRY_MAX;

use super::*;
use crate::storage::disk::{Disk as _, DiskFile as _, write_durably};
use crate::storage::layout::{Area, Name};
use crate::storage::sim_disk::{Fault, SimDisk, Survival};

/// Options that make rare things happen often.
const SMALL: LogOptions = LogOptions {
    preallocate_bytes: 2048,
    file_bytes_max: Some(6000),
    sync: true,
    entry_bytes_max: ENTRY_MAX,
};

/// A transaction that only its zxid and length tell from others.
fn entry(zxid: i64) -> LogEntry {
    let mut bytes = BytesMut::new();
    bytes.put_i64(7);
    bytes.put_i32(1);
    bytes.put_i64(zxid);
    bytes.put_i64(0);
    bytes.put_i32(5);
    let len = usize::try_from(zxid * 7919 % 1800).expect("positive");
    bytes.put_bytes(u8::try_from(zxid % 250 + 1).expect("small"), len);
    LogEntry {
        zxid: Zxid::new(zxid),
        bytes: bytes.freeze(),
    }
}

/// Everything in the log behind a base.
fn read(disk: &SimDisk, base: i64) -> Result<(Vec<i64>, LogTail), LogError> {
    let mut found = Vec::new();
    let tail = read_log(disk, Zxid::new(base), ENTRY_MAX, |read| {
        assert_eq!(read, entry(read.zxid.get()), "an entry changed");
        found.push(read.zxid.get());
        Ok(())
    })?;
    assert_eq!(tail.last.map(Zxid::get), found.last().copied());
    Ok((found, tail))
}

/// Appends batches of growing and shrinking size; returns the last zxid acknowledged.
fn append_some(log: &mut FileLog<SimDisk>, batches: i64) -> (i64, Result<(), LogError>) {
    for batch in 1..=batches {
        let first = log.last().get() + 1;
        let entries: Vec<LogEntry> = (first..=first + batch % 4).map(entry).collect();
        if let Err(error) = log.append(&entries) {
            return (first - 1, Err(error));
        }
        if batch % 5 == 0 {
            log.roll();
        }
    }
    (log.last().get(), Ok(()))
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Area::Log)
        .expect("listed")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_is_appended_is_read_in_order() {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
    let (last, result) = append_some(&mut log, 20);
    result.expect("appended");
    assert_eq!(
        read(&disk, 0).expect("reads").0,
        (1..=last).collect::<Vec<_>>()
    );
    assert_eq!(
        read(&disk, 17).expect("reads").0,
        (18..=last).collect::<Vec<_>>()
    );
    let (_, tail) = read(&disk, last).expect("reads");
    assert_eq!(
        tail,
        LogTail {
            last: None,
            torn: None,
            end: tail.end,
        }
    );
    assert!(names(&disk).len() > 4, "{:?}", names(&disk));
    assert_eq!(log.append(&[]).expect("nothing to do"), Zxid::new(last));
}

#[test]
fn a_batch_costs_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let options = LogOptions {
        preallocate_bytes: 1 << 20,
        ..LogOptions::default()
    };
    let mut log = FileLog::open(disk.clone(), options, Zxid::ZERO).expect("opens");
    log.append(&[entry(1)]).expect("appended");
    let before = disk.operations();
    log.append(&[entry(2), entry(3), entry(4)])
        .expect("appended");
    assert_eq!(disk.operations() - before, 2);
    assert_eq!(
        disk.read(Name::log(Zxid::new(1))).expect("read").len(),
        1 << 20
    );
}

#[test]
fn zxids_must_increase() {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::new(4)).expect("opens");
    let error = log.append(&[entry(5), entry(5)]).expect_err("twice");
    assert_eq!(
        error.to_string(),
        "transaction 0x5 cannot be logged after 0x5"
    );
    assert!(matches!(log.append(&[entry(6)]), Err(LogError::Poisoned)));
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let disk = SimDisk::new(1);
    let options = LogOptions {
        preallocate_bytes: 0,
        ..SMALL
    };
    let mut log = FileLog::open(disk.clone(), options, Zxid::ZERO).expect("opens");
    log.append(&[entry(1)]).expect("appended");
    disk.fail_at(disk.operations() + 2, Fault::Io);
    let error = log.append(&[entry(2)]).expect_err("told");
    assert_eq!(error.to_string(), "cannot sync log.1");
    assert!(matches!(log.append(&[entry(2)]), Err(LogError::Poisoned)));
}

/// Whatever goes wrong and whenever: what was acknowledged is there, in order and unchanged, and
/// the log can go on.
#[test]
fn acknowledged_transactions_survive_a_fault_at_any_operation() {
    for fault in [Fault::PowerCut, Fault::Io, Fault::NoSpace] {
        for seed in 0..12 {
            for step in 1.. {
                let disk = SimDisk::new(seed);
                disk.fail_at(step, fault);
                let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
                let (acked, result) = append_some(&mut log, 8);
                // What cannot be given back stays, and that is all.
                let is_over = result.is_ok() && disk.operations() < step;
                let after = disk.restart();
                let context = format!("{fault:?}, seed {seed}, step {step}");
                let (found, tail) = read(&after, 0).unwrap_or_else(|e| panic!("{context}: {e:?}"));
                let last = found.last().copied().unwrap_or(0);
                assert_eq!(found, (1..=last).collect::<Vec<_>>(), "{context}");
                assert!(last >= acked, "{context}: {last} of {acked}");
                sync_tail(&after, &tail).expect("synced");
                let (again, _) = read(&after, 0).expect("reads again");
                assert_eq!(again, found, "{context}");
                if let Some((name, end)) = tail.end {
                    let len = after.read(name).expect("read").len() as u64;
                    assert_eq!(len, end, "{context}");
                }

                let mut log =
                    FileLog::open(after.clone(), SMALL, Zxid::new(last)).expect("opens again");
                let (acked, more) = append_some(&mut log, 3);
                more.expect("appended");
                let (found, _) = read(&after.restart(), 0)
                    .unwrap_or_else(|e| panic!("{context}, second start: {e:?}"));
                assert_eq!(found, (1..=acked).collect::<Vec<_>>(), "{context}");
                if is_over {
                    break;
                }
            }
        }
    }
}

/// What is reserved for records to come is given back when none will.
#[test]
fn a_file_ends_with_its_last_record_once_another_follows() {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
    append_some(&mut log, 9).1.expect("appended");
    let files = disk.list(Area::Log).expect("listed");
    let [older @ .., last] = files.as_slice() else {
        panic!("no file");
    };
    assert!(older.len() > 2, "{files:?}");
    for &name in older {
        assert_eq!(disk.read(name).expect("read").last(), Some(&b'B'), "{name}");
    }
    assert_eq!(disk.read(*last).expect("read").last(), Some(&0));
    log.roll();
    assert_eq!(disk.read(*last).expect("read").last(), Some(&b'B'));
}

/// As long as there is room for what is written.
#[test]
fn a_disk_with_less_room_than_is_reserved_at_once_is_written_to_its_end() {
    let disk = SimDisk::new(1);
    let capacity = 1 << 20;
    disk.set_capacity(capacity);
    let mut log = FileLog::open(disk.clone(), LogOptions::default(), Zxid::ZERO).expect("opens");
    let mut bytes = 0;
    let error = loop {
        let next = entry(log.last().get() + 1);
        bytes += next.bytes.len() as u64;
        if let Err(error) = log.append(&[next]) {
            break error;
        }
    };
    assert!(bytes > capacity - 2 * (64 << 10), "{error} after {bytes}");
    assert!(matches!(error, LogError::Disk { .. }), "{error}");
    let (found, _) = read(&disk.restart(), 0).expect("reads");
    assert!(found.last().copied().unwrap_or(0) >= log.last().get());
}

/// Two power cuts in a row, the second one while the log goes on after the first.
#[test]
fn acknowledged_transactions_survive_two_power_cuts() {
    for seed in 0..6 {
        for first in [3, 7, 8, 9, 15] {
            for second in 1..14 {
                let disk = SimDisk::new(seed);
                disk.fail_at(first, Fault::PowerCut);
                let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
                drop(append_some(&mut log, 8));
                let disk = disk.restart();
                let (found, _) = read(&disk, 0).expect("reads");
                let last = found.last().copied().unwrap_or(0);
                disk.fail_at(disk.operations() + second, Fault::PowerCut);
                let acked = match FileLog::open(disk.clone(), SMALL, Zxid::new(last)) {
                    Ok(mut log) => append_some(&mut log, 3).0,
                    Err(_) => last,
                };
                let (found, _) = read(&disk.restart(), 0).expect("reads again");
                let last = found.last().copied().unwrap_or(0);
                assert_eq!(found, (1..=last).collect::<Vec<_>>());
                assert!(last >= acked, "{last} of {acked}");
            }
        }
    }
}

/// A disk that tears within sectors may leave a log that is refused, never one that lost
/// something acknowledged.
#[test]
fn torn_sectors_never_lose_what_was_acknowledged() {
    let mut refused = 0;
    let mut read_back = 0;
    for seed in 0..20 {
        for step in 1..30 {
            let disk = SimDisk::new(seed);
            disk.fail_at(step, Fault::PowerCut);
            let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
            let (acked, _) = append_some(&mut log, 8);
            match read(&disk.restart_with(Survival::Torn), 0) {
                Ok((found, _)) => {
                    read_back += 1;
                    assert!(found.last().copied().unwrap_or(0) >= acked);
                }
                Err(LogError::Corrupt { .. } | LogError::Header { .. }) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(
        refused * 10 < read_back,
        "{refused} refused, {read_back} read"
    );
}

#[test]
fn damage_before_acknowledged_transactions_is_refused() {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open(disk.clone(), LogOptions::default(), Zxid::ZERO).expect("opens");
    log.append(&(1..=10).map(entry).collect::<Vec<_>>())
        .expect("appended");
    disk.flip(Name::log(Zxid::new(1)), 40, 1);
    let error = read(&disk, 0).expect_err("damaged");
    assert_eq!(
        error.to_string(),
        "transaction log: log.1 is damaged at offset 16"
    );
}

/// Also where it has a sector of zeros, as one that a power cut left may have.
#[test]
fn a_transaction_longer_than_the_limit_is_refused_and_not_dropped() {
    let zeros = |zxid: i64| {
        let mut bytes = BytesMut::from(&entry(zxid).bytes[..32]);
        bytes.put_bytes(0, 2000);
        LogEntry {
            zxid: Zxid::new(zxid),
            bytes: bytes.freeze(),
        }
    };
    for last in [entry(2), zeros(2)] {
        let disk = SimDisk::new(1);
        let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
        log.append(&[entry(1), last.clone()]).expect("appended");
        let read_with = |limit| {
            let mut found = Vec::new();
            let tail = read_log(&disk, Zxid::ZERO, limit, |read| {
                found.push(read.zxid.get());
                Ok(())
            });
            tail.map(|_| found)
        };
        let len = last.bytes.len();
        let error = read_with(len - 1).expect_err("too long");
        let max = len - 1;
        assert_eq!(
            error.to_string(),
            format!(
                "transaction log: log.1 has a transaction of {len} bytes at offset 780, \
                at most {max} are read: jute.maxbuffer must be as high as when it was written"
            )
        );
        assert_eq!(read_with(len).expect("read"), [1, 2]);
    }
}

/// A batch whose first record lost a sector leaves later records of it whole. The next file has
/// the same name, and none of them may show in it.
#[test]
fn a_name_is_reused_without_its_old_bytes() {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
    log.append(&[entry(1), entry(2), entry(3)])
        .expect("appended");
    let mut file = disk.open(Name::log(Zxid::new(1))).expect("opens");
    file.write_at(512, &[0; 512]).expect("written");
    let (found, tail) = read(&disk, 0).expect("reads");
    assert_eq!((found.len(), tail.torn.is_some()), (0, true));
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens again");
    log.append(&[entry(1)]).expect("appended");
    assert_eq!(
        read(&disk, 0).expect("reads"),
        (
            vec![1],
            LogTail {
                last: Some(Zxid::new(1)),
                torn: None,
                end: Some((
                    Name::log(Zxid::new(1)),
                    16 + 13 + entry(1).bytes.len() as u64
                )),
            }
        )
    );
}

#[test]
fn a_missing_file_is_a_gap() {
    let disk = SimDisk::new(1);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
    for zxid in 1..=9 {
        log.append(&[entry(zxid)]).expect("appended");
        log.roll();
    }
    disk.remove(Name::log(Zxid::new(5))).expect("removed");
    let error = read(&disk, 0).expect_err("a hole");
    assert_eq!(
        error.to_string(),
        "transaction log: log.6 goes on with 0x6 after 0x4, transactions are missing"
    );
    assert_eq!(read(&disk, 5).expect("behind the hole").0, [6, 7, 8, 9]);
}

#[test]
fn truncation_leaves_exactly_what_is_at_or_before_its_target() {
    for to in 1..=20 {
        let disk = SimDisk::new(1);
        put_snapshots(&disk, &[0, 4, 12]);
        let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
        append_some(&mut log, 8).1.expect("appended");
        assert!(log.truncate(Zxid::new(to)).expect("truncated"));
        assert_eq!(
            read(&disk, 0).expect("reads").0,
            (1..=to).collect::<Vec<_>>()
        );
        let snapshots: Vec<_> = disk
            .list(Area::Data)
            .expect("listed")
            .into_iter()
            .filter_map(Name::as_snapshot)
            .collect();
        assert!(snapshots.iter().all(|zxid| zxid.get() <= to) && !snapshots.is_empty());
        log.append(&[entry(to + 1)]).expect("goes on");
        assert_eq!(
            read(&disk.restart(), 0).expect("reads").0,
            (1..=to + 1).collect::<Vec<_>>()
        );
    }
}

/// Puts snapshots on a disk, as far as a log looks at them.
fn put_snapshots(disk: &SimDisk, zxids: &[i64]) {
    for &zxid in zxids {
        write_durably(disk, snapshot(zxid), b"a snapshot\0\0\0\x01/").expect("written");
    }
}

fn snapshot(zxid: i64) -> Name {
    Name::snapshot(Zxid::new(zxid), Compression::None)
}

/// Names and lengths of all files.
fn files(disk: &SimDisk) -> Vec<(Name, usize)> {
    let names = names_of(disk).into_iter();
    names
        .map(|name| (name, disk.read(name).expect("read").len()))
        .collect()
}

fn names_of(disk: &SimDisk) -> Vec<Name> {
    let areas = [Area::Data, Area::Log].into_iter();
    areas
        .flat_map(|area| disk.list(area).expect("listed"))
        .collect()
}

/// Zxids of an epoch.
fn zxid(epoch: i64, counter: i64) -> i64 {
    (epoch << 32) + counter
}

/// What cannot be made anew is not taken away.
#[test]
fn a_log_is_not_cut_where_nothing_leads() {
    let untouched = |snapshots: &[i64], records: &[i64], last: i64, to: i64| {
        let disk = SimDisk::new(1);
        put_snapshots(&disk, snapshots);
        let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
        for &record in records {
            log.append(&[entry(record)]).expect("appended");
        }
        drop(log);
        let before = files(&disk);
        let mut log = FileLog::open(disk.clone(), SMALL, Zxid::new(last)).expect("opens");
        let context = format!("{snapshots:?} {records:?} {to}");
        assert!(!log.truncate(Zxid::new(to)).expect(&context), "{context}");
        assert_eq!(files(&disk), before, "{context}");
        assert_eq!(log.last(), Zxid::new(last));
        log.append(&[entry(last + 1)]).expect("goes on");
    };
    let some: Vec<i64> = (1..=50).collect();
    // Nothing to begin with, and nothing there.
    untouched(&[], &[1, 2], 2, 1);
    untouched(&[200], &[], 200, 150);
    untouched(&[0], &[1, 2], 2, 3);
    // A hole behind a tree that came from a leader.
    untouched(&[0, 200], &some, 200, 150);
    untouched(&[0, 200], &some, 200, 50);
    // One that zxids do not show, unless a snapshot tells of it.
    let (hole, last) = (zxid(1, 200), zxid(2, 3));
    let mut records: Vec<i64> = (1..=50).map(|counter| zxid(1, counter)).collect();
    records.extend((1..=3).map(|counter| zxid(2, counter)));
    untouched(&[0, hole], &records, last, zxid(2, 1));
    untouched(&[0, hole], &records, last, zxid(1, 40));
    untouched(&[zxid(1, 60)], &records, last, zxid(2, 1));
}

/// Behind the tree of a leader nothing of before is left, wherever a crash comes in between: what was
/// there, as a whole, or the tree alone.
#[test]
fn a_log_begun_anew_leaves_all_or_nothing_of_before() {
    let mut outcomes = [0, 0];
    for (tree, fault) in [3, 13, 200]
        .into_iter()
        .flat_map(|tree| [Fault::PowerCut, Fault::Io].map(|fault| (tree, fault)))
    {
        for (seed, step) in (0..6).flat_map(|seed| (1..24).map(move |step| (seed, step))) {
            let disk = SimDisk::new(seed);
            put_snapshots(&disk, &[0, 9, tree]);
            let twin = Name::snapshot(Zxid::new(tree), Compression::Gzip);
            write_durably(&disk, twin, b"\x1f\x8b").expect("written");
            let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
            append_some(&mut log, 8).1.expect("appended");
            let all = |disk: &SimDisk| {
                let mut names = names_of(disk);
                names.retain(|name| *name != twin);
                names
            };
            let (before, records) = (all(&disk), read(&disk, 0).expect("reads").0);
            disk.fail_at(disk.operations() + step, fault);
            let result = log.restart(snapshot(tree));
            let after = disk.restart();
            finish_restart(&after).expect("finished");
            let context = format!("{tree} {fault:?} {seed} {step}");
            let is_anew = names_of(&after) == [snapshot(tree)];
            outcomes[usize::from(is_anew)] += 1;
            if is_anew {
                continue;
            }
            assert!(result.is_err(), "{context}");
            assert_eq!(all(&after), before, "{context}");
            assert_eq!(read(&after, 0).expect("reads").0, records, "{context}");
        }
    }
    assert!(outcomes.iter().all(|&count| count > 50), "{outcomes:?}");
}

#[test]
fn a_log_begun_anew_needs_its_snapshot_and_goes_on_behind_it() {
    let disk = SimDisk::new(1);
    put_snapshots(&disk, &[0, 200]);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
    append_some(&mut log, 8).1.expect("appended");
    log.restart(snapshot(200)).expect("begun anew");
    log.append(&[entry(201), entry(202)]).expect("goes on");
    let disk = disk.restart_with(Survival::Nothing);
    finish_restart(&disk).expect("nothing to do");
    assert_eq!(read(&disk, 200).expect("reads").0, [201, 202]);
    assert_eq!(names(&disk), ["log.c9"]);
    let before = files(&disk);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::new(202)).expect("opens");
    assert!(matches!(
        log.restart(snapshot(300)),
        Err(LogError::NoSnapshot { .. })
    ));
    assert_eq!(files(&disk), before);
}

/// A mark without its snapshot is not what a crash leaves; nothing is removed by it.
#[test]
fn a_mark_alone_removes_nothing() {
    let disk = SimDisk::new(1);
    put_snapshots(&disk, &[0]);
    let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
    log.append(&[entry(1)]).expect("appended");
    let before = files(&disk);
    let mark = Name::parse("log.9.tmp").expect("a name");
    disk.create(mark).expect("created");
    finish_restart(&disk).expect("nothing to do");
    assert_eq!(files(&disk), before);
}

#[test]
fn a_power_cut_during_truncation_leaves_no_hole() {
    for seed in 0..20 {
        for step in 1.. {
            let disk = SimDisk::new(seed);
            put_snapshots(&disk, &[0, 15]);
            let mut log = FileLog::open(disk.clone(), SMALL, Zxid::ZERO).expect("opens");
            let (last, _) = append_some(&mut log, 8);
            disk.fail_at(disk.operations() + step, Fault::PowerCut);
            let is_done = log.truncate(Zxid::new(6)).is_ok_and(|is_cut| is_cut);
            let after = disk.restart();
            let (found, _) = read(&after, 0).expect("reads");
            let end = found.last().copied().unwrap_or(0);
            assert_eq!(found, (1..=end).collect::<Vec<_>>());
            assert!((6..=last).contains(&end) && (!is_done || end == 6), "{end}");
            if is_done {
                break;
            }
        }
    }
}
