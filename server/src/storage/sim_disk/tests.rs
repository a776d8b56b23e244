//! The simulated disk does what it says.

use zk_proto::Zxid;

use super::state::SECTOR;
use super::*;
use crate::storage::disk::write_durably;
use crate::storage::layout::Role;

const LOG: Name = Name::log(Zxid::new(1));
const EPOCH: Name = Name::Final(Role::CurrentEpoch);

#[test]
fn what_was_not_synced_is_lost() {
    let disk = SimDisk::new(1);
    let mut file = disk.create(LOG).expect("created");
    file.write_at(0, b"abc").expect("written");
    assert_eq!(disk.read(LOG).expect("seen"), b"abc");
    let after = disk.restart_with(Survival::Nothing);
    assert_eq!(after.list(Area::Log).expect("listed"), []);
    assert!(disk.list(Area::Log).is_err(), "the old handle is off");

    let after = SimDisk::new(1);
    let mut file = after.create(LOG).expect("created");
    file.write_at(0, b"abc").expect("written");
    file.sync_data().expect("synced");
    file.write_at(1, b"xyz").expect("written");
    after.sync_dir(Area::Log).expect("synced");
    assert_eq!(
        after
            .restart_with(Survival::Nothing)
            .read(LOG)
            .expect("kept"),
        b"abc"
    );
    assert_eq!(
        after
            .restart_with(Survival::Everything)
            .read(LOG)
            .expect("kept"),
        b"axyz"
    );
}

#[test]
fn survivors_are_mixed_by_sector_and_by_seed() {
    let disk = SimDisk::new(1);
    let mut file = disk.create(LOG).expect("created");
    file.write_at(0, &[1; 8 * SECTOR]).expect("written");
    file.sync_data().expect("synced");
    disk.sync_dir(Area::Log).expect("synced");
    file.write_at(0, &[2; 8 * SECTOR]).expect("written");
    let mut mixed = 0;
    for seed in 0..50 {
        let after = disk
            .reseeded(seed)
            .restart_with(Survival::Some)
            .read(LOG)
            .expect("kept");
        assert_eq!(after.len(), 8 * SECTOR);
        mixed += u32::from(after.contains(&1) && after.contains(&2));
        let again = disk
            .reseeded(seed)
            .restart_with(Survival::Some)
            .read(LOG)
            .expect("kept");
        assert_eq!(after, again);
    }
    assert!(mixed > 40, "{mixed} of 50");
}

#[test]
fn a_failed_sync_dooms_what_it_should_have_kept() {
    let disk = SimDisk::new(1);
    let mut file = disk.create(LOG).expect("created");
    disk.sync_dir(Area::Log).expect("synced");
    file.write_at(0, b"abc").expect("written");
    disk.fail_at(disk.operations() + 1, Fault::Io);
    assert_eq!(file.sync_data().expect_err("told").raw_os_error(), Some(5));
    file.write_at(3, b"def").expect("written");
    file.sync_data().expect("claims to work");
    assert_eq!(disk.read(LOG).expect("cached"), b"abcdef");
    let after = disk.restart_with(Survival::Nothing);
    assert_eq!(after.read(LOG).expect("kept"), b"\0\0\0def");
}

#[test]
fn a_full_disk_writes_part_and_says_so() {
    let disk = SimDisk::new(3);
    disk.set_capacity(10);
    let mut file = disk.create(LOG).expect("created");
    file.write_at(0, b"01234567").expect("fits");
    let error = file.write_at(8, b"89abcdef").expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        disk.free_bytes(Area::Log).expect("known"),
        2 - (disk.read(LOG).expect("read").len() as u64 - 8)
    );
    assert!(file.set_len(11).is_err());
    disk.fail_at(disk.operations() + 1, Fault::NoSpace);
    file.sync_data().expect("needs no space");
}

#[test]
fn durable_writes_have_the_old_or_the_new_content_after_any_cut() {
    for seed in 0..30 {
        for step in 1..=6 {
            let disk = SimDisk::new(seed);
            write_durably(&disk, EPOCH, b"old").expect("written");
            disk.fail_at(disk.operations() + step, Fault::PowerCut);
            let written = write_durably(&disk, EPOCH, b"new").is_ok();
            let after = disk.restart().read(EPOCH).expect("never missing");
            assert!(
                after == b"new" || (after == b"old" && !written),
                "{step}: {after:?}"
            );
        }
    }
}
