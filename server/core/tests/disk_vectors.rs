//! Data directories of Apache servers, whole and damaged: each gives the state that is expected of
//! it, or is refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests read their vectors from files, and fail by panicking"
)]

mod common;

use std::collections::BTreeMap;

use bytes::BytesMut;
use common::{Recovered, acl, data, decode, decompress, hex, json, options, recover, vectors};
use serde_json::Value;
use zk_core::tree::{DigestCheck, Lifetime, Tree};
use zk_core::wire::file_name::FileName;
use zk_core::wire::log_record::{self, ENTRY_MAX, Found};
use zk_core::wire::recovery::Refusal;
use zk_core::wire::snapshot::{Form, Item, SnapshotEncoder};
use zk_core::wire::txn::TxnEntry;
use zk_proto::Bytes;
use zk_proto::jute::Encode as _;

type IsRight = fn(&Refusal) -> bool;

/// Directories that must not be started with, and whether the refusal is the right one.
const REFUSED: &[(&str, IsRight)] = &[
    ("gap-torn-non-last-log", |why| {
        matches!(why, Refusal::Gap { .. })
    }),
    ("log-bad-magic-last-file", |why| {
        matches!(why, Refusal::NoLog(..))
    }),
    ("no-snapshot", |why| {
        matches!(why, Refusal::LogsWithoutSnapshot)
    }),
    ("snapshot-all-bit-flip", |why| {
        matches!(why, Refusal::NoWholeSnapshot(3))
    }),
    ("snapshot-all-cut", |why| {
        matches!(why, Refusal::NoWholeSnapshot(3))
    }),
    ("torn-bit-flip-middle-entry", |why| {
        matches!(why, Refusal::Damaged(..))
    }),
];

/// Each directory's name, content and expectations.
fn directories() -> Vec<(String, std::path::PathBuf, Value)> {
    let disk = vectors().join("disk");
    let mut directories = Vec::new();
    for entry in std::fs::read_dir(&disk).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let expected = json(&path.join("expected.json"));
            directories.push((name, path.join("data/version-2"), expected));
        }
    }
    directories.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(directories.len(), 41);
    directories
}

fn recover_vector(
    name: &str,
    dir: &std::path::Path,
    expected: &Value,
) -> Result<Recovered, Refusal> {
    let extended = expected["settings"]["extendedTypesEnabled"].as_bool();
    recover(
        dir,
        options(extended.unwrap_or(true)),
        name == "no-snapshot-trust-empty",
    )
}

#[test]
fn every_directory_gives_the_expected_state_or_is_refused() {
    for (name, dir, expected) in directories() {
        let wanted = &expected["recovery"]["recovered"];
        let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
        let recovered = match (recover_vector(&name, &dir, &expected), refused) {
            (Err(why), Some((_, is_right))) => {
                assert!(is_right(&why), "{name}: {why}");
                continue;
            }
            (Err(why), None) => panic!("{name}: {why}"),
            (Ok(recovered), _) => recovered,
        };
        match (&recovered.refusal, refused) {
            (None, None) => {}
            (Some(why), Some((_, is_right))) if is_right(why) => {
                if name == "gap-torn-non-last-log" {
                    continue;
                }
            }
            (why, _) => panic!("{name}: {why:?}"),
        }
        assert_eq!(
            recovered.tree.applied().get(),
            hex(&wanted["lastZxid"]),
            "{name}"
        );
        let file = recovered.snapshot.map(|file| file.to_string());
        assert_eq!(file.as_deref(), wanted["snapshot"].as_str(), "{name}");
        check_replay(&name, &recovered, wanted);
        check_tree(&name, &recovered.tree, wanted);
    }
}

fn check_replay(name: &str, recovered: &Recovered, wanted: &Value) {
    let count = wanted["replayedTxns"].as_u64().unwrap();
    assert_eq!(recovered.applied.len() as u64, count, "{name}");
    let errors = recovered.applied.iter().filter_map(|(entry, applied)| {
        let err = applied.result.error()?;
        Some(serde_json::json!({
            "zxid": entry.header.zxid.to_string(),
            "type": entry.txn.type_name(),
            "err": err.code(),
        }))
    });
    assert_eq!(errors.collect::<Value>(), wanted["replayErrors"], "{name}");
    let different = |check: &&DigestCheck| matches!(check, DigestCheck::Different(..));
    assert_eq!(recovered.checks.iter().find(different), None, "{name}");
}

fn check_tree(name: &str, tree: &Tree, wanted: &Value) {
    assert_eq!(
        tree.digest().unwrap().cast_signed(),
        hex(&wanted["treeDigest"]),
        "{name}"
    );
    assert_eq!(tree.recompute_digest(), tree.digest().unwrap(), "{name}");
    assert_eq!(tree.unresolved_acls(), 0, "{name}");
    let sessions = tree.sessions().map(|(session, timeout)| {
        serde_json::json!({"sessionId": session.to_string(), "timeout": timeout})
    });
    assert_eq!(sessions.collect::<Value>(), wanted["sessions"], "{name}");
    if let Some(nodes) = wanted["nodes"].as_object() {
        assert_eq!(tree.len(), nodes.len(), "{name}");
        for (path, wanted) in nodes {
            check_znode(&format!("{name}: {path}"), tree, path, wanted);
        }
    }
}

fn check_znode(at: &str, tree: &Tree, path: &str, wanted: &Value) {
    let znode = tree.get(path).unwrap_or_else(|| panic!("{at} is missing"));
    assert_eq!(znode.path(), path);
    assert_eq!(
        znode.data().map(<[u8]>::to_vec),
        data(&wanted["dataHex"]),
        "{at}"
    );
    assert_eq!(acl(znode.acl()), wanted["acl"], "{at}");
    let (stored, stat) = (znode.stored_stat(), &wanted["stat"]);
    assert_eq!(stored.czxid.get(), hex(&stat["czxid"]), "{at}");
    assert_eq!(stored.mzxid.get(), hex(&stat["mzxid"]), "{at}");
    assert_eq!(stored.pzxid.get(), hex(&stat["pzxid"]), "{at}");
    assert_eq!(stored.owner.get(), hex(&stat["ephemeralOwner"]), "{at}");
    assert_eq!(
        stored.ctime.as_millis(),
        stat["ctime"].as_i64().unwrap(),
        "{at}"
    );
    assert_eq!(
        stored.mtime.as_millis(),
        stat["mtime"].as_i64().unwrap(),
        "{at}"
    );
    assert_eq!(stored.version.get(), number(&stat["version"]), "{at}");
    assert_eq!(stored.cversion.get(), number(&stat["cversion"]), "{at}");
    assert_eq!(stored.aversion.get(), number(&stat["aversion"]), "{at}");
    let (seen, view) = (znode.stat(), &wanted["clientView"]);
    assert_eq!(seen.cversion.get(), number(&view["cversion"]), "{at}");
    assert_eq!(
        seen.ephemeral_owner.get(),
        hex(&view["ephemeralOwner"]),
        "{at}"
    );
    assert_eq!(seen.data_length, number(&view["dataLength"]), "{at}");
    assert_eq!(seen.num_children, number(&view["numChildren"]), "{at}");
    let kind = match znode.lifetime() {
        Lifetime::Persistent => "persistent",
        Lifetime::Ephemeral(_) => "ephemeral",
        Lifetime::Container => "container",
        Lifetime::Ttl { millis } => {
            assert_eq!(Some(millis), wanted["ttl"].as_u64(), "{at}");
            "ttl"
        }
        Lifetime::Unknown => panic!("{at}: of an unknown type"),
    };
    assert_eq!(Some(kind), wanted["type"].as_str(), "{at}");
}

fn number(value: &Value) -> i32 {
    value.as_i64().unwrap().try_into().unwrap()
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
fn a_snapshot_of_every_recovered_tree_loads_as_the_same_tree() {
    for (name, dir, expected) in directories() {
        let Ok(mut recovered) = recover_vector(&name, &dir, &expected) else {
            continue;
        };
        let tree = &mut recovered.tree;
        let mut capture = tree.capture();
        let mut file = BytesMut::new();
        while capture.next_chunk(tree, 100, &mut file) {}
        tree.end_capture(capture);
        let snapshot = FileName::parse(&format!("snapshot.{:x}", tree.applied().get())).unwrap();
        let (loaded, check) = common::load(snapshot, file.to_vec(), tree.options()).unwrap();
        assert_eq!(contents(&loaded), contents(tree), "{name}");
        assert_eq!(loaded.digest(), tree.digest(), "{name}");
        assert!(loaded.sessions().eq(tree.sessions()), "{name}");
        let skipped = tree.applied() == zk_proto::Zxid::ZERO;
        assert_eq!(check == DigestCheck::Skipped, skipped, "{name}");
        assert!(!matches!(check, DigestCheck::Different(..)), "{name}");
    }
}

#[test]
fn snapshots_read_as_expected_and_are_written_byte_for_byte() {
    let mut seen = 0;
    for (name, dir, expected) in directories() {
        for wanted in expected["snapshots"].as_array().unwrap_or(&Vec::new()) {
            let file = wanted["file"].as_str().unwrap();
            let at = format!("{name}/{file}");
            let Some(FileName::Snapshot(_, compression)) = FileName::parse(file) else {
                panic!("{at}");
            };
            let bytes = std::fs::read(dir.join(file)).unwrap();
            let stream = Bytes::from(decompress(compression, bytes).unwrap());
            let mut items = Vec::new();
            let trailer = decode(&stream, |item| {
                items.push(item);
                Ok(())
            });
            if !wanted["invalid"].is_null() {
                assert!(trailer.is_err(), "{at}");
                continue;
            }
            let trailer = trailer.unwrap_or_else(|err| panic!("{at}: {err}"));
            seen += 1;
            check_items(&at, &items, wanted);
            let digest = trailer
                .digest
                .map(|digest| digest.tree.unwrap().cast_signed());
            let is_written = |field: &Value| !field.is_null();
            let wanted_digest = &wanted["digest"];
            let digest_hex = is_written(wanted_digest).then(|| hex(&wanted_digest["digest"]));
            assert_eq!(digest, digest_hex, "{at}");
            let last = &wanted["lastProcessedZxid"];
            let last_hex = is_written(last).then(|| hex(last));
            assert_eq!(trailer.last_zxid.map(zk_proto::Zxid::get), last_hex, "{at}");
            assert_eq!(written(&items, &trailer), stream, "{at}");
        }
    }
    assert!(seen > 40, "{seen}");
}

fn check_items(at: &str, items: &[Item], wanted: &Value) {
    let (mut sessions, mut acls, mut znodes) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Session(session, timeout) => sessions
                .push(serde_json::json!({"sessionId": session.to_string(), "timeout": timeout})),
            Item::Acl(key, list) => {
                acls.push(serde_json::json!({"key": key.get(), "acl": acl(list)}));
            }
            Item::Znode(path, znode) => znodes.push((path, znode)),
        }
    }
    assert_eq!(Value::from(sessions), wanted["sessions"], "{at}");
    assert_eq!(Value::from(acls), wanted["aclCache"], "{at}");
    let nodes = wanted["nodes"].as_array().unwrap();
    assert_eq!(znodes.len(), nodes.len(), "{at}");
    for ((path, znode), node) in znodes.into_iter().zip(nodes) {
        assert_eq!(Some(path.as_ref()), node["path"].as_str(), "{at}");
        assert_eq!(
            znode.data.as_deref(),
            data(&node["dataHex"]).as_deref(),
            "{at}"
        );
        assert_eq!(znode.acl.get(), node["aclKey"].as_i64().unwrap(), "{at}");
        assert_eq!(znode.stat.pzxid.get(), hex(&node["stat"]["pzxid"]), "{at}");
    }
}

/// The stream that holds these entries.
fn written(items: &[Item], trailer: &zk_core::wire::snapshot::Trailer) -> Bytes {
    let mut out = BytesMut::new();
    let count = |is_it: fn(&&Item) -> bool| items.iter().filter(is_it).count();
    let mut encoder = SnapshotEncoder::begin(
        Form::File,
        count(|item| matches!(item, Item::Session(..))),
        &mut out,
    );
    let mut acls = Some(count(|item| matches!(item, Item::Acl(..))));
    for item in items {
        if !matches!(item, Item::Session(..))
            && let Some(acls) = acls.take()
        {
            encoder.begin_acls(acls, &mut out);
        }
        match item {
            Item::Session(session, timeout) => encoder.session(*session, *timeout, &mut out),
            Item::Acl(key, acl) => encoder.acl(*key, acl, &mut out),
            Item::Znode(path, znode) => {
                encoder.znode(
                    path,
                    znode.data.as_deref(),
                    znode.acl,
                    &znode.stat,
                    &mut out,
                );
            }
        }
    }
    encoder.finish(trailer, &mut out);
    out.freeze()
}

#[test]
fn log_records_stand_where_expected_and_are_written_byte_for_byte() {
    let (mut seen, mut create2s) = (0, 0);
    for (name, dir, expected) in directories() {
        for wanted in expected["logs"].as_array().unwrap_or(&Vec::new()) {
            let Some(txns) = wanted["txns"].as_array() else {
                continue;
            };
            let at = format!("{name}/{}", wanted["file"]);
            let file = std::fs::read(dir.join(wanted["file"].as_str().unwrap())).unwrap();
            let file = Bytes::from(file);
            let mut offset = log_record::HEADER_LEN;
            let mut rewritten = BytesMut::from(log_record::header().as_slice());
            for txn in txns {
                assert_eq!(Some(offset as u64), txn["offset"].as_u64(), "{at}");
                let Found::Record { entry, next } = log_record::read(&file, offset, ENTRY_MAX)
                else {
                    panic!("{at}: no record at {offset}");
                };
                assert_eq!(Some(entry.len() as u64), txn["length"].as_u64(), "{at}");
                let decoded = TxnEntry::decode(&file.slice_ref(entry)).unwrap();
                assert_eq!(
                    decoded.header.zxid.get(),
                    hex(&txn["header"]["zxid"]),
                    "{at}"
                );
                assert_eq!(
                    Some(decoded.txn.type_name()),
                    txn["header"]["typeName"].as_str()
                );
                if common::has_create2_part(&decoded.txn) {
                    create2s += 1;
                    log_record::write(entry, &mut rewritten);
                } else {
                    log_record::write(&decoded.to_bytes(), &mut rewritten);
                }
                offset = next;
                seen += 1;
            }
            assert_eq!(rewritten, file[..offset], "{at}");
            let end = log_record::read(&file, offset, ENTRY_MAX);
            assert!(!matches!(end, Found::Record { .. }), "{at}: {end:?}");
        }
    }
    assert!(seen > 300, "{seen}");
    assert!(create2s < seen / 20, "{create2s} of {seen}");
}
