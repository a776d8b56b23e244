//! S21: a read shows the state after the transaction that its reply names: of all that was committed
//! up to it, and nothing else.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees"; ZOOKEEPER-3713 read from a tree that was half loaded.

use zk_proto::{Stat, Zxid};

use super::model::{self, Model};
use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "reads (S21)";

/// A client was told what is at a path, or that nothing is; data only by getData.
///
/// # Errors
/// If that is not what was there.
pub fn shown(
    model: &Model,
    path: &str,
    zxid: Zxid,
    stat: Option<&Stat>,
    data: Option<Option<&[u8]>>,
) -> Verdict {
    hold(LAW, zxid <= model.last() || zxid.counter() == 0, || {
        let last = model.last();
        format!("{path} is shown as of {zxid}, and only {last} is committed")
    })?;
    let known = model.at(path, zxid);
    let told = stat.map(|stat| {
        (
            stat.version.get(),
            stat.czxid,
            stat.mzxid,
            stat.ephemeral_owner,
        )
    });
    let true_stat = known.map(|value| (value.version, value.created, value.modified, value.owner));
    hold(LAW, told == true_stat, || {
        format!("{path} is shown as {told:?} as of {zxid}, and was {true_stat:?}")
    })?;
    let told = data.map(model::data);
    let true_data = known.map(|value| value.data);
    hold(LAW, told.is_none() || told == true_data, || {
        format!("{path} is shown with other data than it had as of {zxid}")
    })
}

/// A client was told the children of a znode.
///
/// # Errors
/// If it has others.
pub fn listed(model: &Model, path: &str, zxid: Zxid, names: &[&str]) -> Verdict {
    let mut told = names.to_vec();
    told.sort_unstable();
    let mut known = model.children_at(path, zxid);
    known.sort_unstable();
    hold(LAW, told == known, || {
        format!("{path} is shown with {told:?} as of {zxid}, and had {known:?}")
    })
}
