//! Recovery of a data directory over the local file system, and the vectors' JSON.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests read their vectors from files, and fail by panicking"
)]

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zk_core::tree::{Applied, DigestCheck, LoadError, OwnerRules, Tree, TreeLoader, TreeOptions};
use zk_core::wire::file_name::{Compression, FileName};
use zk_core::wire::log_record::{self, ENTRY_MAX, Ending, Found};
use zk_core::wire::recovery::{self, Refusal, Replay, Start, Step};
use zk_core::wire::snapshot::{self, Item, SnapshotDecoder, Trailer};
use zk_core::wire::txn::{Op, Txn, TxnEntry};
use zk_proto::{Acl, Bytes, Zxid};

/// What a server would have after a start.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) tree: Tree,
    pub(crate) snapshot: Option<FileName>,
    /// Zxid and result of each transaction that was applied.
    pub(crate) applied: Vec<(TxnEntry, Applied)>,
    /// Checks of digests, in order.
    pub(crate) checks: Vec<DigestCheck>,
    /// Why the server must not start after all.
    pub(crate) refusal: Option<Refusal>,
}

pub(crate) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn options(extended_types: bool) -> TreeOptions {
    TreeOptions {
        hash_seed: 42,
        owners: OwnerRules {
            extended_types,
            emulate_353_ttl: false,
        },
        digest: true,
    }
}

/// Recovers what is in a `version-2` directory.
pub(crate) fn recover(
    dir: &Path,
    options: TreeOptions,
    trust_empty: bool,
) -> Result<Recovered, Refusal> {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let listing: Vec<_> = names
        .filter_map(|name| FileName::parse(name.to_str()?))
        .collect();
    let read = |name: FileName| std::fs::read(dir.join(name.to_string())).unwrap();

    let mut loaded = None;
    for name in recovery::snapshots_to_try(&listing) {
        if let Ok((tree, check)) = load(name, read(name), options) {
            loaded = Some((name, tree, check));
            break;
        }
    }
    let whole = loaded.as_ref().map(|(name, ..)| name.zxid());
    let base = match recovery::start(&listing, whole, trust_empty)? {
        Start::Snapshot(zxid) => zxid,
        Start::Empty => Zxid::ZERO,
    };
    let mut recovered = match loaded {
        Some((name, tree, check)) => Recovered {
            tree,
            snapshot: Some(name),
            applied: Vec::new(),
            checks: vec![check],
            refusal: None,
        },
        None => Recovered {
            tree: Tree::new(options),
            snapshot: None,
            applied: Vec::new(),
            checks: Vec::new(),
            refusal: None,
        },
    };
    let mut replay = Replay::new(base, recovery::logs_to_read(&listing, base));
    while let Some(log) = replay.log() {
        let file = Bytes::from(read(FileName::Log(log)));
        if let Err(refusal) = read_log(&file, &mut replay, &mut recovered) {
            recovered.refusal = Some(refusal);
            break;
        }
    }
    Ok(recovered)
}

fn read_log(file: &Bytes, replay: &mut Replay, to: &mut Recovered) -> Result<(), Refusal> {
    if let Err(bad) = log_record::check_header(file) {
        return replay.bad_header(bad);
    }
    let mut offset = log_record::HEADER_LEN;
    loop {
        match log_record::read(file, offset, ENTRY_MAX) {
            Found::Record { entry, next } => {
                offset = next;
                let entry = TxnEntry::decode(&file.slice_ref(entry)).unwrap();
                if replay.record(entry.header.zxid)? == Step::Apply {
                    let applied = to.tree.apply(&entry.header, &entry.txn);
                    let check = to
                        .tree
                        .check_digest(entry.header.zxid, entry.digest.as_ref());
                    to.checks.push(check);
                    to.applied.push((entry, applied));
                }
            }
            Found::Ending(Ending::Clean | Ending::Torn(_)) => {
                replay.end_log();
                return Ok(());
            }
            Found::Ending(Ending::Corrupt(damage)) => return Err(replay.damaged(damage)),
            Found::Ending(Ending::TooLong(len)) => panic!("an entry of {len} bytes"),
        }
    }
}

/// Loads a snapshot file; an error if it is damaged in any way.
pub(crate) fn load(
    name: FileName,
    file: Vec<u8>,
    options: TreeOptions,
) -> Result<(Tree, DigestCheck), String> {
    let FileName::Snapshot(zxid, compression) = name else {
        return Err("no snapshot".to_owned());
    };
    if compression == Compression::None
        && !snapshot::looks_whole(file.len() as u64, &file[file.len().saturating_sub(5)..])
    {
        return Err("cut".to_owned());
    }
    let stream = Bytes::from(decompress(compression, file)?);
    let mut loader = TreeLoader::new(options);
    let trailer = decode(&stream, |item| loader.add(&item))?;
    loader.finish(zxid, &trailer).map_err(|err| err.to_string())
}

/// Shows every entry of a stream.
pub(crate) fn decode(
    stream: &Bytes,
    mut each: impl FnMut(Item) -> Result<(), LoadError>,
) -> Result<Trailer, String> {
    let mut decoder = SnapshotDecoder::default();
    for piece in stream.chunks(1000) {
        decoder.feed(stream.slice_ref(piece));
        while let Some(item) = decoder.next_item().map_err(|err| err.to_string())? {
            each(item).map_err(|err| err.to_string())?;
        }
    }
    decoder.finish().map_err(|err| err.to_string())
}

pub(crate) fn decompress(compression: Compression, file: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut stream = Vec::new();
    match compression {
        Compression::None => return Ok(file),
        Compression::Gzip => {
            let mut decoder = flate2::read::GzDecoder::new(file.as_slice());
            decoder
                .read_to_end(&mut stream)
                .map_err(|err| err.to_string())?;
        }
        Compression::Snappy => {
            let mut rest = file.strip_prefix(compression.magic()).ok_or("magic")?;
            rest = &rest[8..];
            while let Some((len, behind)) = rest.split_first_chunk::<4>() {
                let (block, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
                let plain = snap::raw::Decoder::new().decompress_vec(block);
                stream.extend(plain.map_err(|err| err.to_string())?);
                rest = behind;
            }
        }
    }
    Ok(stream)
}

/// A number written as `0x…`.
pub(crate) fn hex(value: &Value) -> i64 {
    let text = value.as_str().unwrap();
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16)
        .unwrap()
        .cast_signed()
}

pub(crate) fn hex_bytes(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Data as the vectors have it: null is null.
pub(crate) fn data(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(hex_bytes)
}

pub(crate) fn acl(list: &[Acl]) -> Value {
    let entry = |acl: &Acl| {
        serde_json::json!({
            "perms": acl.perms.bits(),
            "scheme": acl.id.scheme.as_deref(),
            "id": acl.id.id.as_deref(),
        })
    };
    list.iter().map(entry).collect()
}

/// Whether a multi has a create2 in it: 3.9 writes that as what it is, we write it as create.
pub(crate) fn has_create2_part(txn: &Txn) -> bool {
    matches!(txn, Txn::Multi(ops) if ops.iter().any(|op| matches!(op, Op::Create2(_))))
}
