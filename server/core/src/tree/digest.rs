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
        return in_pieces(path, data, stat);
    };
    rest.put_slice(path.as_bytes());
    rest.put_slice(data);
    put_stat(stat, rest);
    let mut hasher = Hasher::new();
    hasher.update(all.get(..len).unwrap_or_default());
    u64::from(hasher.finalize())
}

/// The same, whatever the length.
fn in_pieces(path: &str, data: &[u8], stat: &StoredStat) -> u64 {
    let mut last = [0; StoredStat::LEN];
    put_stat(stat, &mut last);
    let mut hasher = Hasher::new();
    hasher.update(path.as_bytes());
    hasher.update(data);
    hasher.update(&last);
    u64::from(hasher.finalize())
}

/// What is no longer than this is put together and summed up at once: the checksum is fast for long
/// pieces, and most znodes are short.
const ONE_PASS: usize = 512;

/// Whether a znode is part of the digest.
pub fn covers(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

/// Digest of a znode that is covered, when nothing but its stat changed. Sums of texts of equal length
/// differ by the sum of what the texts differ by, which is nothing but for the stat.
pub(crate) fn restated(digest: u64, before: &StoredStat, after: &StoredStat) -> u64 {
    let (mut all, mut others) = ([0; StoredStat::LEN], [0; StoredStat::LEN]);
    put_stat(before, &mut all);
    put_stat(after, &mut others);
    for (byte, other) in all.iter_mut().zip(others) {
        *byte ^= other;
    }
    // Neither begun nor finished with ones, as it is where zeros before it shall count for nothing.
    let mut hasher = Hasher::new_with_initial(u32::MAX);
    hasher.update(&all);
    digest ^ u64::from(!hasher.finalize())
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
    use zk_proto::{SessionId, Version, Zxid};

    use super::*;
    use crate::time::WallTime;

    #[test]
    fn one_pass_gives_what_several_give() {
        let stat = StoredStat::default();
        for len in [0, 1, 100, 400, 452 - 2, 452 - 1, 452, 4000] {
            let data = vec![7; len];
            let several = in_pieces("/a", &data, &stat);
            assert_eq!(znode_digest("/a", Some(&data), &stat), several, "{len}");
        }
    }

    #[test]
    fn another_stat_gives_what_all_from_scratch_gives() {
        let stats = [
            StoredStat::default(),
            StoredStat {
                czxid: Zxid::new(0x1_0000_0001),
                version: Version::new(-1),
                ..StoredStat::default()
            },
            StoredStat {
                pzxid: Zxid::new(-5),
                mtime: WallTime::from_millis(1_700_000_000_000),
                cversion: Version::new(7),
                aversion: Version::new(3),
                owner: SessionId::new(i64::MIN),
                ..StoredStat::default()
            },
        ];
        for data in [&b""[..], b"data", &[9; 1000]] {
            for (before, after) in stats.iter().flat_map(|a| stats.iter().map(move |b| (a, b))) {
                let digest = znode_digest("/a", Some(data), before);
                let scratch = znode_digest("/a", Some(data), after);
                assert_eq!(restated(digest, before, after), scratch);
            }
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
