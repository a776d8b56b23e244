//! Digest of a whole tree: equal on all members that applied the same transactions.
//!
//! The sum, modulo 2⁶⁴, of a CRC-32 for each znode, so that a change costs only the znodes it
//! touches. Access control lists, lists of children and sessions are not part of it, nor is anything
//! below `/zookeeper`, where members may differ.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `DigestCalculator#calculateDigest`, `AdHash`.

use bytes::BufMut as _;
use crc32fast::Hasher;

use crate::wire::snapshot::StoredStat;

/// Digest of a znode; `path` is empty for the root. Zero for those that are not covered.
pub fn znode_digest(path: &str, data: Option<&[u8]>, stat: &StoredStat) -> u64 {
    if !covers(path) {
        return 0;
    }
    let data = data.unwrap_or_default();
    let mut all = [0; ONE_PASS];
    let len = path.len() + data.len() + StoredStat::LEN;
    let Some(mut rest) = all.get_mut(..len) else {
        return finish(&content(path, Some(data)), stat);
    };
    rest.put_slice(path.as_bytes());
    rest.put_slice(data);
    put_stat(stat, rest);
    let mut hasher = Hasher::new();
    hasher.update(all.get(..len).unwrap_or_default());
    u64::from(hasher.finalize())
}

/// What is no longer than this is put together and summed up at once: the checksum is fast for long
/// pieces, and most znodes are short.
const ONE_PASS: usize = 512;

/// Whether a znode is part of the digest.
pub fn covers(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// The part that does not depend on the stat, of a znode that is covered.
#[derive(Clone)]
pub(crate) struct Summed(Hasher);

impl std::fmt::Debug for Summed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Summed").finish_non_exhaustive()
    }
}

/// See [`Summed`].
pub(crate) fn content(path: &str, data: Option<&[u8]>) -> Summed {
    let mut hasher = Hasher::new();
    hasher.update(path.as_bytes());
    hasher.update(data.unwrap_or_default());
    Summed(hasher)
}

/// Adds the stat, in an order of its own.
pub(crate) fn finish(content: &Summed, stat: &StoredStat) -> u64 {
    let mut bytes = [0; StoredStat::LEN];
    put_stat(stat, &mut bytes);
    let mut hasher = content.0.clone();
    hasher.update(&bytes);
    u64::from(hasher.finalize())
}

fn put_stat(stat: &StoredStat, mut rest: &mut [u8]) {
    rest.put_i64(stat.czxid.get());
    rest.put_i64(stat.mzxid.get());
    rest.put_i64(stat.pzxid.get());
    rest.put_i64(stat.ctime.as_millis());
    rest.put_i64(stat.mtime.as_millis());
    rest.put_i32(stat.version.get());
    rest.put_i32(stat.cversion.get());
    rest.put_i32(stat.aversion.get());
    rest.put_i64(stat.owner.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_what_several_give() {
        let stat = StoredStat::default();
        for len in [0, 1, 100, 400, 452 - 2, 452 - 1, 452, 4000] {
            let data = vec![7; len];
            let several = finish(&content("/a", Some(&data)), &stat);
            assert_eq!(znode_digest("/a", Some(&data), &stat), several, "{len}");
        }
    }

    #[test]
    fn built_in_znodes_have_the_digests_of_the_reference() {
        let stat = StoredStat::default();
        assert_eq!(znode_digest("", Some(b""), &stat), 0x0412_8908);
        assert_eq!(znode_digest("/zookeeper", None, &stat), 0x4db4_4d58);
        assert_eq!(znode_digest("/zookeeper/quota", None, &stat), 0);
    }
}
