//! A log file of any bytes: reading it never panics, what reads as a record is one, and what
//! decodes is written as it was read and can be applied.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use zk_core::tree::{Tree, TreeOptions};
use zk_core::wire::log_record;
use zk_core::wire::txn::TxnEntry;
use zk_proto::Zxid;
use zk_proto::jute::Encode as _;
use zk_server::storage::{Disk as _, DiskFile as _, Name, SimDisk, read_log};

/// Longest entry; small, so that the limit is met.
const ENTRY_MAX: usize = 2048;

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let file = if mode % 2 == 0 {
        // The file as it is; its checksums seldom hold.
        rest.to_vec()
    } else {
        // The input is entries, each behind its length: the records around them are right.
        let mut file = bytes::BytesMut::from(&log_record::header()[..]);
        let mut rest = rest;
        while let Some((&len, more)) = rest.split_first() {
            let entry = &more[..more.len().min(usize::from(len))];
            log_record::write(entry, &mut file);
            rest = &more[entry.len()..];
        }
        if mode % 4 == 3 {
            let len = file.len().saturating_sub(usize::from(mode / 4));
            file.truncate(len);
        }
        file.to_vec()
    };
    let disk = SimDisk::new(1);
    let mut log = disk.create(Name::log(Zxid::new(1))).expect("created");
    log.write_at(0, &file).expect("written");
    let mut tree = Tree::new(TreeOptions::default());
    let mut last = Zxid::ZERO;
    let read = read_log(&disk, Zxid::ZERO, ENTRY_MAX, |logged| {
        // The same may come twice: 3.9 logs what it cannot decode with the zxid before.
        assert!(logged.zxid >= last, "zxids do not fall");
        last = logged.zxid;
        let bytes: Bytes = logged.bytes;
        if let Ok(entry) = TxnEntry::decode(&bytes) {
            assert_eq!(entry.header.zxid, logged.zxid);
            let wire = entry.to_bytes();
            // Not the same entry: in a multi, create2 is written as create.
            let again = TxnEntry::decode(&wire).expect("reads back");
            assert_eq!(again.to_bytes(), wire);
            tree.apply(&entry.header, &entry.txn);
        }
        Ok(())
    });
    drop(read);
    assert_eq!(tree.digest(), Some(tree.recompute_digest()));
});
