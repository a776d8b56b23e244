//! Quotas: text in znodes below `/zookeeper/quota`, which servers read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use zk_client::{Client, ErrorKind};

use super::super::failure::Failure;
use super::super::options::{Options, parse};
use super::super::shell::Shell;
use super::super::show::{complain, say};
use super::usage_of;
use super::write::put;

const QUOTAS: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The limits, by their letter, with what they are called where they are kept.
const KINDS: [(&str, &str); 4] = [
    ("n", "count"),
    ("b", "bytes"),
    ("N", "countHardLimit"),
    ("B", "byteHardLimit"),
];

/// Limits or counts, by name; −1 is none.
type Numbers = BTreeMap<String, i64>;

fn read(text: &str) -> Numbers {
    let parts = text.split([',', ';']);
    let numbers = parts.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        // Old clients end what they know of with an equals sign.
        Some((name.to_owned(), value.trim_end_matches('=').parse().ok()?))
    });
    numbers.collect()
}

/// As clients of old read it, with what they do not know behind it.
fn written(numbers: &Numbers) -> String {
    let get = |name: &str| numbers.get(name).copied().unwrap_or(-1);
    let mut text = format!("count={},bytes={}", get("count"), get("bytes"));
    let hard = ["byteHardLimit", "countHardLimit"].map(|name| (name, get(name)));
    if hard.iter().any(|(_, value)| *value >= 0) {
        text.push('=');
        for (name, value) in hard.iter().filter(|(_, value)| *value >= 0) {
            let _infallible = write!(text, ";{name}={value}");
        }
    }
    text
}

fn quota_path(path: &str) -> String {
    format!("{QUOTAS}{}", if path == "/" { "" } else { path })
}

async fn numbers(client: &Client, path: &str) -> Result<Option<Numbers>, Failure> {
    let found = client.get(path).await.map_err(Failure::about(path))?;
    Ok(found.map(|node| read(&String::from_utf8_lossy(&node.data))))
}

/// Every limit of a quota may be given, once.
fn given<'a>(options: &Options<'a>) -> Vec<(&'static str, &'a str)> {
    let value = |(letter, name): (&'static str, &'static str)| Some((name, options.value(letter)?));
    KINDS.into_iter().filter_map(value).collect()
}

pub(super) async fn set(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let letters = KINDS.map(|(letter, _)| letter);
    let options = parse(words, usage_of("setquota"), &[], &letters)?;
    let given = given(&options);
    let [(name, value)] = given.as_slice() else {
        return Err(Failure::said(
            "Missing required option: one of -n num soft quota, -b bytes soft quota, -N num hard \
             quota, -B bytes hard quota",
        ));
    };
    let path = options.path(0)?;
    let value: i64 = value
        .parse()
        .map_err(|_| Failure::said("the quota must be a number"))?;
    if value <= 0 {
        let kind = if name.starts_with("count") {
            "num"
        } else {
            "bytes"
        };
        let text = format!("the {kind} quota must be greater than zero");
        return Err(Failure::said(text));
    }
    if path == QUOTAS || path.starts_with("/zookeeper/quota/") {
        let text = format!("cannot set a quota under the path: {QUOTAS}");
        return Err(Failure::said(text));
    }
    let client = shell.client()?.root();
    let exists = client.exists(path).await.map_err(Failure::about(path))?;
    if exists.is_none() {
        return Err(Failure::said(format!("{path} does not exist.")));
    }
    refuse_relatives(&client, path).await?;
    let quota = quota_path(path);
    let (limits, stats) = (format!("{quota}/{LIMITS}"), format!("{quota}/{STATS}"));
    let mut known = numbers(&client, &limits).await?.unwrap_or_default();
    known.insert((*name).to_owned(), value);
    put(&client, &limits, written(&known))
        .await
        .map_err(Failure::about(&limits))?;
    if numbers(&client, &stats).await?.is_none() {
        // The server counts from then on.
        let count = client.count_descendants(path).await;
        let count = count.map_err(Failure::about(path))?;
        let none = "count=-1,bytes=-1".to_owned();
        put(&client, &stats, none)
            .await
            .map_err(Failure::about(&stats))?;
        if name.starts_with("count") && i64::try_from(count + 1).is_ok_and(|count| count > value) {
            say(&format!(
                "[Warning]: the count quota you create is less than the existing count:{}",
                count + 1
            ));
        }
    }
    Ok(())
}

/// A path with a quota has none above or below it.
async fn refuse_relatives(client: &Client, path: &str) -> Result<(), Failure> {
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .filter(|at| *at > 0);
    for ancestor in ends.filter_map(|at| path.get(..at)) {
        let limits = format!("{}/{LIMITS}", quota_path(ancestor));
        if numbers(client, &limits).await?.is_some() {
            let text = format!("{path} has a parent {ancestor} which has a quota");
            return Err(Failure::said(text));
        }
    }
    let quota = quota_path(path);
    let mut tree = client.list_tree(&quota);
    while let Some(found) = tree.next().await {
        let found = found.map_err(Failure::about(&quota))?;
        let owner = found
            .strip_suffix(LIMITS)
            .and_then(|owner| owner.strip_prefix(QUOTAS))
            .map(|owner| owner.trim_end_matches('/'));
        if let Some(owner) = owner.filter(|owner| *owner != path && path != "/") {
            let text = format!("{path} has a child {owner} which has a quota");
            return Err(Failure::said(text));
        }
    }
    Ok(())
}

pub(super) async fn list(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let options = parse(words, usage_of("listquota"), &[], &[])?;
    let path = options.path(0)?;
    let client = shell.client()?.root();
    let quota = quota_path(path);
    let limits = format!("{quota}/{LIMITS}");
    complain(&format!("absolute path is {limits}"));
    let Some(known) = numbers(&client, &limits).await? else {
        complain(&format!("quota for {path} does not exist."));
        return Ok(());
    };
    say(&format!("Output quota for {path} {}", written(&known)));
    if let Some(stats) = numbers(&client, &format!("{quota}/{STATS}")).await? {
        say(&format!("Output stat for {path} {}", written(&stats)));
    }
    Ok(())
}

pub(super) async fn delete(shell: &mut Shell, words: &[String]) -> Result<(), Failure> {
    let letters = KINDS.map(|(letter, _)| letter);
    let options = parse(words, usage_of("delquota"), &letters, &[])?;
    let path = options.path(0)?;
    let client = shell.client()?.root();
    let quota = quota_path(path);
    let limits = format!("{quota}/{LIMITS}");
    let Some(mut known) = numbers(&client, &limits).await? else {
        say(&format!("Quota does not exist for {path}"));
        return Ok(());
    };
    let gone: Vec<_> = KINDS
        .iter()
        .filter(|(letter, _)| options.has(letter))
        .collect();
    if !gone.is_empty() {
        for (_, name) in gone {
            known.insert((*name).to_owned(), -1);
        }
        let put = put(&client, &limits, written(&known)).await;
        return put.map_err(Failure::about(&limits));
    }
    for name in [LIMITS, STATS] {
        let path = format!("{quota}/{name}");
        let deleted = client.delete(&path).if_exists().await;
        deleted.map_err(Failure::about(&path))?;
    }
    // What led there goes with it, unless something else is there.
    let mut at = quota.as_str();
    while at != QUOTAS
        && let Some((parent, _)) = at.rsplit_once('/')
    {
        match client.delete(at).if_exists().await {
            Err(error) if error.kind() == ErrorKind::NotEmpty => break,
            result => _ = result.map_err(Failure::about(at))?,
        }
        at = parent;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_the_reference_writes_them() {
        let text = "count=3,bytes=100=;byteHardLimit=200;countHardLimit=4";
        assert_eq!(written(&read(text)), text);
        assert_eq!(written(&read("count=3,bytes=-1")), "count=3,bytes=-1");
        assert_eq!(written(&Numbers::new()), "count=-1,bytes=-1");
    }
}
