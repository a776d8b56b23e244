//! Replays the whole transaction log of a server and compares every digest on the way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use common::{hex_bytes, json, options, vectors};
use zk_core::tree::{DigestCheck, Tree};
use zk_core::wire::log_record;
use zk_core::wire::txn::{Op, Txn, TxnEntry};
use zk_proto::Bytes;
use zk_proto::jute::Encode as _;

fn entries() -> Vec<(serde_json::Value, Bytes)> {
    let log = json(&vectors().join("txn-log.json"));
    let bytes = |entry: &serde_json::Value| hex_bytes(entry["hex"].as_str().unwrap()).into();
    let entries = log.as_array().unwrap();
    entries
        .iter()
        .map(|entry| (entry.clone(), bytes(entry)))
        .collect()
}

#[test]
fn every_entry_reads_back_as_it_was_written() {
    let mut create2s = 0;
    for (json, bytes) in entries() {
        let entry = TxnEntry::decode(&bytes).unwrap();
        let decoded = &json["decoded"];
        let header = &decoded["header"];
        assert_eq!(
            entry.header.session.get(),
            header["clientId"].as_i64().unwrap()
        );
        assert_eq!(
            i64::from(entry.header.cxid.get()),
            header["cxid"].as_i64().unwrap()
        );
        assert_eq!(entry.header.zxid.get(), header["zxid"].as_i64().unwrap());
        assert_eq!(
            entry.header.time.as_millis(),
            header["time"].as_i64().unwrap()
        );
        assert_eq!(
            i64::from(entry.txn.type_code()),
            header["type"].as_i64().unwrap()
        );
        assert_eq!(entry.txn.type_name(), json["op"].as_str().unwrap());
        if let Txn::Single(op) = &entry.txn {
            let path = decoded["txn"]["path"].as_str();
            assert_eq!(op.path().map(std::ops::Deref::deref), path);
        }
        if let Txn::Single(Op::Create(create) | Op::Create2(create)) = &entry.txn {
            assert_eq!(
                create.data.as_deref(),
                common::data(&decoded["txn"]["data"]).as_deref()
            );
        }
        if common::has_create2_part(&entry.txn) {
            create2s += 1;
        } else {
            assert_eq!(entry.to_bytes(), bytes);
        }

        let mut record = bytes::BytesMut::new();
        log_record::write(&bytes, &mut record);
        let checksum = u64::from_be_bytes(record[..8].try_into().unwrap());
        assert_eq!(checksum, json["adler32"].as_u64().unwrap());
    }
    assert!(create2s < 4, "{create2s}");
}

#[test]
fn every_digest_of_the_log_is_reached() {
    let mut tree = Tree::new(options(true));
    let mut equal = 0;
    for (json, bytes) in entries() {
        let entry = TxnEntry::decode(&bytes).unwrap();
        let applied = tree.apply(&entry.header, &entry.txn);
        let name = &json["name"];
        match (&entry.txn, applied.result.error()) {
            (Txn::Single(Op::Error(record)), err) => assert_eq!(err.unwrap().code(), record.err),
            (Txn::Multi(_), _) => {}
            (_, err) => assert_eq!(err, None, "{name}"),
        }
        match tree.check_digest(entry.header.zxid, entry.digest.as_ref()) {
            DigestCheck::Equal => equal += 1,
            DigestCheck::Skipped => assert_eq!(entry.digest, None),
            DigestCheck::Different(theirs, ours) => panic!("{name}: {theirs:#x}, ours {ours:#x}"),
        }
        assert_eq!(tree.recompute_digest(), tree.digest().unwrap());
        assert_eq!(tree.applied(), entry.header.zxid);
    }
    assert_eq!(equal, 119);
}
