//! Names of the files in a data directory.
//!
//! ```text
//! <dataDir>/myid                              read by config
//! <dataDir>/zookeeper.lock                    lock
//! <dataDir>/version-2/snapshot.<zxid>[.gz|.snappy]
//! <dataDir>/version-2/acceptedEpoch, currentEpoch
//! <dataLogDir>/version-2/log.<zxid>
//! ```
//!
//! A name with `.tmp` behind it is a file that is being written and does not count yet.

use std::fmt;

use zk_core::wire::file_name::{Compression, FileName};
use zk_proto::Zxid;

/// Folder in each data directory that holds the files; a number of the format.
pub(super) const VERSION_DIR: &str = "version-2";

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Transactions from this zxid on.
    Log(Zxid),
    /// The tree at this zxid, or a little later.
    Snapshot(Zxid, Compression),
    /// Newest epoch this server accepted.
    AcceptedEpoch,
    /// Epoch of the last leader this server followed to the end of its sync.
    CurrentEpoch,
}

/// Name of a file in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A file that counts.
    Final(Role),
    /// The same file before it is complete.
    Temporary(Role),
}

/// A directory: what is in it is made durable together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// `<dataDir>/version-2`.
    Data,
    /// `<dataLogDir>/version-2`; may be the same directory.
    Log,
}

impl Name {
    /// Name of a log.
    pub const fn log(first: Zxid) -> Self {
        Self::Final(Role::Log(first))
    }

    /// Name of a snapshot.
    pub const fn snapshot(zxid: Zxid, compression: Compression) -> Self {
        Self::Final(Role::Snapshot(zxid, compression))
    }

    /// What the file is for.
    pub const fn role(self) -> Role {
        match self {
            Self::Final(role) | Self::Temporary(role) => role,
        }
    }

    /// First zxid of a log that counts.
    pub const fn as_log(self) -> Option<Zxid> {
        match self {
            Self::Final(Role::Log(first)) => Some(first),
            Self::Final(Role::Snapshot(..) | Role::AcceptedEpoch | Role::CurrentEpoch)
            | Self::Temporary(_) => None,
        }
    }

    /// Zxid of a snapshot that counts.
    pub const fn as_snapshot(self) -> Option<Zxid> {
        match self {
            Self::Final(Role::Snapshot(zxid, _)) => Some(zxid),
            Self::Final(Role::Log(_) | Role::AcceptedEpoch | Role::CurrentEpoch)
            | Self::Temporary(_) => None,
        }
    }

    /// The directory it stands in.
    pub const fn area(self) -> Area {
        match self.role() {
            Role::Log(_) => Area::Log,
            Role::Snapshot(..) | Role::AcceptedEpoch | Role::CurrentEpoch => Area::Data,
        }
    }

    /// Reads a name; `None` for a file that is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix(".tmp") {
            Some(rest) => Role::parse(rest).map(Self::Temporary),
            None => Role::parse(text).map(Self::Final),
        }
    }
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "acceptedEpoch" => return Some(Self::AcceptedEpoch),
            "currentEpoch" => return Some(Self::CurrentEpoch),
            _ => {}
        }
        FileName::parse(text).map(Self::from)
    }
}

impl From<FileName> for Role {
    fn from(name: FileName) -> Self {
        match name {
            FileName::Log(zxid) => Self::Log(zxid),
            FileName::Snapshot(zxid, compression) => Self::Snapshot(zxid, compression),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Log(zxid) => FileName::Log(zxid).fmt(f),
            Self::Snapshot(zxid, compression) => FileName::Snapshot(zxid, compression).fmt(f),
            Self::AcceptedEpoch => f.write_str("acceptedEpoch"),
            Self::CurrentEpoch => f.write_str("currentEpoch"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Final(role) => role.fmt(f),
            Self::Temporary(role) => write!(f, "{role}.tmp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for text in [
            "log.1",
            "log.10000000a",
            "snapshot.0",
            "snapshot.1f.gz",
            "snapshot.e.snappy",
            "snapshot.5.tmp",
            "acceptedEpoch",
            "currentEpoch",
            "currentEpoch.tmp",
        ] {
            assert_eq!(Name::parse(text).expect(text).to_string(), text);
        }
        for text in [
            "myid",
            "log",
            "log.x",
            "snapshot.1.bak",
            "updatingEpoch",
            ".tmp",
            "",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn logs_stand_in_the_log_directory() {
        let area = |text| Name::parse(text).expect(text).area();
        assert_eq!(area("log.1.tmp"), Area::Log);
        assert_eq!(area("snapshot.1"), Area::Data);
        assert_eq!(area("acceptedEpoch"), Area::Data);
    }
}
