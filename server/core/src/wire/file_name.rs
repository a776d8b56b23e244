//! Names of logs and snapshots in a data directory.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `Util#getZxidFromName`, `SnapStream`.

use std::fmt;

use zk_proto::Zxid;

/// How a snapshot is compressed; the extension of its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// One gzip member; `.gz`.
    Gzip,
    /// The stream of snappy-java; `.snappy`.
    Snappy,
}

impl Compression {
    /// Extension of a snapshot's name, with its dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }

    /// First bytes of a compressed file; empty for an uncompressed one.
    pub const fn magic(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::Gzip => &[0x1f, 0x8b],
            Self::Snappy => &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0],
        }
    }
}

/// A file whose name carries a zxid.
///
/// Ordered by zxid, so that the last of a kind is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// Transaction log, named by the zxid of its first record.
    Log(Zxid),
    /// Snapshot, named by the last zxid that was applied before it was begun.
    Snapshot(Zxid, Compression),
}

impl FileName {
    /// Reads a name; `None` for a file that is neither log nor snapshot, or has a name that nobody
    /// gives to one: it could not be opened by what the name says.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(3, '.');
        let (kind, zxid, rest) = (parts.next()?, parts.next()?, parts.next());
        let zxid = Zxid::new(i64::from_str_radix(zxid, 16).ok()?);
        let parsed = match (kind, rest) {
            ("log", None) => Self::Log(zxid),
            ("snapshot", None) => Self::Snapshot(zxid, Compression::None),
            ("snapshot", Some("gz")) => Self::Snapshot(zxid, Compression::Gzip),
            ("snapshot", Some("snappy")) => Self::Snapshot(zxid, Compression::Snappy),
            // A name such as `snapshot.5.tmp` is a file that was never finished.
            _ => return None,
        };
        (parsed.to_string() == name).then_some(parsed)
    }

    /// The zxid in the name.
    pub const fn zxid(self) -> Zxid {
        match self {
            Self::Log(zxid) | Self::Snapshot(zxid, _) => zxid,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(zxid) => write!(f, "log.{:x}", zxid.get()),
            Self::Snapshot(zxid, compression) => {
                write!(f, "snapshot.{:x}{}", zxid.get(), compression.extension())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in [
            "log.1",
            "log.10000000a",
            "snapshot.0",
            "snapshot.1f.gz",
            "snapshot.e.snappy",
        ] {
            assert_eq!(FileName::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn other_files_are_not_taken_for_ours() {
        for name in [
            "log",
            "log.",
            "log.x",
            "log.1.tmp",
            "snapshot.5.tmp",
            "acceptedEpoch",
            "a.1",
            "log.0A",
            "log.0a",
            "log.+1",
            "snapshot.00",
            "snapshot.-5",
            "snapshot.1F.gz",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
