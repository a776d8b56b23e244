//! Quotas: which subtrees are counted, and the text in which usage is kept.
//!
//! A znode `/zookeeper/quota<P>/zookeeper_limits` makes the tree count the znodes and bytes of `<P>`;
//! the counts stand in the data of its sibling `zookeeper_stats`, and change without a transaction.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `DataTree#updateQuotaStat`, `StatsTrack`, `Quotas`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where quotas are defined.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// Name of the znode that defines a quota.
pub const LIMITS: &str = "zookeeper_limits";
/// Name of the znode that tells usage.
pub const STATS: &str = "zookeeper_stats";

/// Path of the usage of `path`.
pub fn stats_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{STATS}")
}

/// Path of the limits of `path`.
pub fn limits_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{LIMITS}")
}

/// The path that a znode below [`QUOTA_ROOT`] is about, given its parent's path; `None` for the
/// quota of the root, which the reference never counts.
pub(super) fn subject(parent: &str) -> Option<&str> {
    let subject = parent.strip_prefix(QUOTA_ROOT)?;
    subject.starts_with('/').then_some(subject)
}

/// Paths with a quota.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    paths: BTreeSet<Box<str>>,
}

impl Quotas {
    pub(super) fn add(&mut self, path: &str) {
        self.paths.insert(path.into());
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
    }

    /// The deepest path with a quota that is `path` or stands above it. Only this one is counted.
    pub(super) fn nearest<'a>(&self, mut path: &'a str) -> Option<&'a str> {
        if self.paths.is_empty() {
            return None;
        }
        loop {
            if self.paths.contains(path) {
                return Some(path);
            }
            match path.rsplit_once('/') {
                Some((parent, _)) if !parent.is_empty() => path = parent,
                _ => return None,
            }
        }
    }
}

/// Numbers of a limits or stats znode. −1 is no limit, or not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Znodes, `path` included.
    pub count: i64,
    /// Bytes of data.
    pub bytes: i64,
    /// Other keys, such as `countHardLimit` and `byteHardLimit`.
    pub others: BTreeMap<String, i64>,
}

/// Text that is no quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quota text has a value that is no number")]
pub struct BadQuota;

impl Quota {
    /// Usage that was counted.
    pub const fn usage(count: i64, bytes: i64) -> Self {
        Self {
            count,
            bytes,
            others: BTreeMap::new(),
        }
    }

    /// Reads the data of a limits or stats znode. A key without a value is no limit.
    ///
    /// # Errors
    /// If a value is no number.
    pub fn parse(data: &[u8]) -> Result<Self, BadQuota> {
        let mut quota = Self::usage(-1, -1);
        let text = String::from_utf8_lossy(data);
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let key = parts.next().unwrap_or_default();
            let value = match parts.next() {
                None | Some("") => -1,
                Some(value) => value.parse().map_err(|_| BadQuota)?,
            };
            match key {
                "count" => quota.count = value,
                "bytes" => quota.bytes = value,
                other => {
                    quota.others.insert(other.to_owned(), value);
                }
            }
        }
        Ok(quota)
    }
}

/// The text of a limits or stats znode. The odd `=` keeps readers from before there were hard limits
/// from taking them for a part of `bytes`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        for (index, (key, value)) in self.others.iter().enumerate() {
            let first = if index == 0 { "=" } else { "" };
            write!(f, "{first};{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_there_and_back() {
        for text in [
            "count=3,bytes=-1",
            "count=-1,bytes=10=;byteHardLimit=20;countHardLimit=5",
        ] {
            assert_eq!(Quota::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(Quota::parse(b"").unwrap(), Quota::usage(-1, -1));
        assert_eq!(Quota::parse(b"count=,bytes").unwrap(), Quota::usage(-1, -1));
        assert_eq!(Quota::parse(b"count=x"), Err(BadQuota));
    }

    #[test]
    fn the_deepest_quota_counts() {
        let mut quotas = Quotas::default();
        quotas.add("/a");
        quotas.add("/a/b");
        assert_eq!(quotas.nearest("/a/b/c"), Some("/a/b"));
        assert_eq!(quotas.nearest("/a/bc"), Some("/a"));
        assert_eq!(quotas.nearest("/a"), Some("/a"));
        assert_eq!(quotas.nearest("/b"), None);
    }

    #[test]
    fn the_root_has_no_quota() {
        assert_eq!(subject("/zookeeper/quota/a/b"), Some("/a/b"));
        assert_eq!(subject("/zookeeper/quota"), None);
        assert_eq!(subject("/zookeeper/quotas"), None);
        assert_eq!(subject("/a"), None);
    }
}
