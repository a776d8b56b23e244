//! Limits of subtrees: whether a change keeps within them, and what it adds to their usage.
//!
//! Usage stands in the data of a znode, which the tree changes by itself when it applies something.
//! While a change is outstanding the same is done to the record of that znode here, so that requests
//! are judged by all changes before them. All of it only if limits are enforced.

use zk_proto::{Bytes, ErrorCode};

use crate::tree::{LIMITS, QUOTA_ROOT, Quota, STATS, limits_path, stats_path};

use super::attempt::Attempt;
use super::create::len_of;

/// A soft limit that a request goes beyond, which is allowed, but should be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaWarning {
    /// Where the quota is defined.
    pub path: String,
    /// What there is too much of.
    pub resource: QuotaResource,
    /// How much there is, with the change.
    pub usage: i64,
    /// How much there should be at most.
    pub limit: i64,
}

/// What quotas count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaResource {
    /// Znodes.
    Count,
    /// Bytes of data.
    Bytes,
}

impl QuotaResource {
    const fn hard_key(self) -> &'static str {
        match self {
            Self::Count => "countHardLimit",
            Self::Bytes => "byteHardLimit",
        }
    }

    const fn of(self, quota: &Quota) -> i64 {
        match self {
            Self::Count => quota.count,
            Self::Bytes => quota.bytes,
        }
    }
}

impl Attempt<'_> {
    /// Checks that a change keeps within the nearest quota. A resource that it does not change is not
    /// looked at; a hard limit makes the soft one void. One that gives back what is too much, but not
    /// enough of it, is refused as well.
    ///
    /// # Errors
    /// [`ErrorCode::MarshallingError`] if limits or usage are no quota text; then
    /// [`ErrorCode::QuotaExceeded`].
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ZooKeeperServer#checkQuota`.
    pub(super) fn check_quota(
        &mut self,
        path: &str,
        count: i64,
        bytes: i64,
    ) -> Result<(), ErrorCode> {
        let Some(subject) = self.subject_of(path) else {
            return Ok(());
        };
        let limits = self.quota_at(&limits_path(&subject))?;
        let changes = [(QuotaResource::Count, count), (QuotaResource::Bytes, bytes)];
        let limited = changes.map(|(resource, change)| {
            let hard = limits.others.get(resource.hard_key()).copied();
            let hard = hard.filter(|&limit| limit > -1);
            let soft = Some(resource.of(&limits)).filter(|&limit| limit > -1);
            let limit = hard.or(soft).filter(|_| change != 0)?;
            Some((resource, change, limit, hard.is_some()))
        });
        if limited.iter().all(Option::is_none) || self.find(&stats_path(&subject)).is_none() {
            return Ok(());
        }
        let usage = self.quota_at(&stats_path(&subject))?;
        let mut warnings = Vec::new();
        for (resource, change, limit, is_hard) in limited.into_iter().flatten() {
            let usage = resource.of(&usage).saturating_add(change);
            if usage <= limit {
                continue;
            }
            if is_hard {
                return Err(ErrorCode::QuotaExceeded);
            }
            warnings.push(QuotaWarning {
                path: subject.clone(),
                resource,
                usage,
                limit,
            });
        }
        self.warnings.append(&mut warnings);
        Ok(())
    }

    /// Counts a znode that was just created.
    pub(super) fn count_created(&mut self, parent_path: &str, path: &str, len: i64) {
        if !self.options.enforces_quota {
            return;
        }
        if path.ends_with(STATS)
            && let Some(subject) = parent_path.strip_prefix(QUOTA_ROOT)
            && path == stats_path(subject)
            && subject.starts_with('/')
        {
            let usage = self.recount(subject);
            self.set_usage(subject, &usage);
        }
        self.count_usage(path, 1, len);
    }

    /// Adds to the usage of the nearest quota.
    pub(super) fn count_usage(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(subject) = self.subject_of(path) else {
            return;
        };
        if self.find(&stats_path(&subject)).is_none() {
            return;
        }
        // What a client wrote there may be no usage, and then it stays.
        let Ok(mut usage) = self.quota_at(&stats_path(&subject)) else {
            return;
        };
        usage.count = usage.count.saturating_add(count);
        usage.bytes = usage.bytes.saturating_add(bytes);
        self.set_usage(&subject, &usage);
    }

    /// The deepest path with a quota that is `path` or above it, but not the root.
    fn subject_of(&self, mut path: &str) -> Option<String> {
        if !self.options.enforces_quota {
            return None;
        }
        let mut limits = String::new();
        while !path.is_empty() && path != "/" {
            limits.clear();
            limits.extend([QUOTA_ROOT, path, "/", LIMITS]);
            if self.find(&limits).is_some() {
                return Some(path.to_owned());
            }
            (path, _) = path.rsplit_once('/')?;
        }
        None
    }

    fn quota_at(&self, path: &str) -> Result<Quota, ErrorCode> {
        let text = self.find(path).map_or(&[][..], |znode| znode.text());
        Quota::parse(text).map_err(|_| ErrorCode::MarshallingError)
    }

    fn set_usage(&mut self, subject: &str, usage: &Quota) {
        let path = stats_path(subject);
        let text = Bytes::from(usage.to_string());
        let (tree, zxid, at) = (self.tree, self.zxid, self.locate(&path));
        self.outstanding
            .set_data(tree, zxid, at, &path, Some(&text), |_| {});
    }

    /// The usage of a subtree, from scratch.
    fn recount(&self, top: &str) -> Quota {
        let (mut count, mut bytes) = (0, 0);
        self.tree.each_within(top, |path, znode| {
            if !self.outstanding.has(self.tree, path) {
                count += 1;
                bytes += len_of(znode.data().map_or(0, <[u8]>::len));
            }
        });
        for (_, znode) in self.outstanding.within(top) {
            count += 1;
            bytes += len_of(znode.data_len());
        }
        Quota::usage(count, bytes)
    }
}
