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
    if covers(path) {
        finish(content(path, data), stat)
    } else {
        0
    }
}

/// Whether a znode is part of the digest.
pub fn covers(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// The part that does not depend on the stat, of a znode that is covered.
pub(crate) fn content(path: &str, data: Option<&[u8]>) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(path.as_bytes());
    hasher.update(data.unwrap_or_default());
    hasher
}

/// Adds the stat, in an order of its own.
pub(crate) fn finish(mut content: Hasher, stat: &StoredStat) -> u64 {
    let mut bytes = [0; StoredStat::LEN];
    let mut rest = bytes.as_mut_slice();
    rest.put_i64(stat.czxid.get());
    rest.put_i64(stat.mzxid.get());
    rest.put_i64(stat.pzxid.get());
    rest.put_i64(stat.ctime.as_millis());
    rest.put_i64(stat.mtime.as_millis());
    rest.put_i32(stat.version.get());
    rest.put_i32(stat.cversion.get());
    rest.put_i32(stat.aversion.get());
    rest.put_i64(stat.owner.get());
    content.update(&bytes);
    u64::from(content.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_znodes_have_the_digests_of_the_reference() {
        let stat = StoredStat::default();
        assert_eq!(znode_digest("", Some(b""), &stat), 0x0412_8908);
        assert_eq!(znode_digest("/zookeeper", None, &stat), 0x4db4_4d58);
        assert_eq!(znode_digest("/zookeeper/quota", None, &stat), 0);
    }
}
