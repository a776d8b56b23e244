//! The table of all rows: lookup and the documentation made from it.

use std::fmt::Write as _;

use super::unused::{FAMILIES, IGNORED, REFUSED, UNREAD};
use super::{
    AdminSettings, AuthSettings, Basics, Disposition, EnsembleSettings, Key, Kind, LimitSettings,
    MetricsSettings, PurgeSettings, QuorumAuthSettings, ServiceSettings, StorageSettings,
    ThrottleSettings, TlsSettings, TlsSwitches, Twin,
};

/// Sections in reading order.
const SECTIONS: &[(&str, &[Key])] = &[
    ("Basics", Basics::ROWS),
    ("Members and other families", FAMILIES),
    ("Log and snapshots", StorageSettings::ROWS),
    ("Purge", PurgeSettings::ROWS),
    ("Ensemble", EnsembleSettings::ROWS),
    ("Clients and limits", LimitSettings::ROWS),
    ("Throttles", ThrottleSettings::ROWS),
    ("Admin HTTP", AdminSettings::ROWS),
    ("Metrics", MetricsSettings::ROWS),
    ("Log and audit", ServiceSettings::ROWS),
    ("TLS", TlsSettings::ROWS),
    ("TLS switches", TlsSwitches::ROWS),
    ("Client authentication", AuthSettings::ROWS),
    ("Quorum authentication", QuorumAuthSettings::ROWS),
    ("Refused", REFUSED),
    ("Without effect so far", UNREAD),
    ("Ignored", IGNORED),
];

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|(_, rows)| rows.iter())
}

/// The row of a key as written in a file: by name, by alias, else by the longest family.
pub fn find(key: &str) -> Option<&'static Key> {
    let exact = rows().find(|row| row.name == key || row.aliases.contains(&key));
    exact.or_else(|| {
        let families =
            rows().filter(|row| row.family().is_some_and(|start| key.starts_with(start)));
        families.max_by_key(|row| row.name.len())
    })
}

/// The row that a system property sets, and the name of the key in the file.
pub fn find_property(property: &str) -> Option<(&'static Key, &str)> {
    let raw = rows().find(|row| row.twin == Twin::Raw(row.name) && row.name == property);
    if let Some(row) = raw {
        return Some((row, property));
    }
    // The reference reads this one under both names.
    let key = match property.strip_prefix("zookeeper.") {
        Some(key) => key,
        None if property == "fsync.warningthresholdms" => property,
        None => return None,
    };
    find(key)
        .filter(|row| row.twin != Twin::None)
        .map(|row| (row, key))
}

/// The known key an operator may have meant: equal but for case, else one or two letters off.
pub fn nearest(key: &str) -> Option<&'static str> {
    let names = || {
        rows()
            .filter(|row| row.family().is_none())
            .map(|row| row.name)
    };
    let lower = key.to_lowercase();
    if let Some(name) = names().find(|name| name.to_lowercase() == lower) {
        return Some(name);
    }
    let families = rows().filter_map(|row| Some((row.name, row.family()?.to_lowercase())));
    if let Some((name, _)) = families
        .into_iter()
        .find(|(_, start)| lower.starts_with(start))
    {
        return Some(name);
    }
    let limit = 1 + key.len() / 8;
    // No fewer letters are wrong than one is longer than the other.
    let like = names().filter(|name| name.len().abs_diff(key.len()) <= limit);
    let scored = like.map(|name| (distance(&lower, &name.to_lowercase()), name));
    scored
        .min()
        .filter(|&(letters, _)| letters <= limit)
        .map(|(_, name)| name)
}

/// The table as Markdown.
pub fn markdown() -> String {
    let mut out = String::from("# Configuration keys\n");
    for (title, rows) in SECTIONS {
        write!(
            out,
            "\n## {title}\n\n| key | property | value | meaning |\n|---|---|---|---|\n"
        )
        .expect("writing to a string cannot fail");
        for row in *rows {
            let property = match row.twin {
                Twin::None => "–".to_owned(),
                Twin::Prefixed => "`zookeeper.`…".to_owned(),
                Twin::Raw(name) => format!("`{name}`"),
            };
            let name = std::iter::once(&row.name).chain(row.aliases);
            let names = name
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let reason = row.reason.trim().replace('|', "\\|");
            writeln!(out, "| {names} | {property} | {} | {reason} |", row.value())
                .expect("writing to a string cannot fail");
        }
    }
    out
}

impl Key {
    /// What names of a family start with; `None` for a single key.
    pub fn family(&self) -> Option<&'static str> {
        self.name.strip_suffix('*')
    }

    /// Whether the value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }

    /// Form, default and bounds in words.
    fn value(&self) -> String {
        let words = |words: &[&str]| {
            let shown = words.iter().map(|word| format!("`{word}`"));
            shown.collect::<Vec<_>>().join(", ")
        };
        match self.disposition {
            Disposition::Refused { harmless } => return format!("only {}", words(harmless)),
            Disposition::Ignored => return "ignored".to_owned(),
            Disposition::Honoured => {}
        }
        match self.kind {
            Kind::Int { default, min, max } if default < min => match max {
                i64::MAX => format!("≥ {min}"),
                _ => format!("{min} to {max}"),
            },
            Kind::Int { default, min, max } if max >= i64::from(i32::MAX) => {
                format!("{default}; ≥ {min}")
            }
            Kind::Int { default, min, max } => format!("{default}; {min} to {max}"),
            Kind::Raised {
                default,
                floor,
                instead,
            } => {
                format!("{default}; below {floor} is {instead}")
            }
            Kind::Float { default, min, max } => format!("{default}; {min} to {max}"),
            Kind::Interval {
                default_ms,
                unit_ms,
            } => {
                format!("{}; with `ms`, `s`, `m`, `h` or `d`", default_ms / unit_ms)
            }
            Kind::Flag(default) => format!("`{default}`"),
            Kind::YesNo(default) => if default { "`yes`" } else { "`no`" }.to_owned(),
            Kind::Text("") => "text".to_owned(),
            Kind::Text(default) => format!("`{default}`"),
            Kind::Secret => "secret".to_owned(),
            Kind::Choice { default, of } => {
                let rest: Vec<&str> = of.iter().copied().filter(|word| *word != default).collect();
                if default.is_empty() {
                    words(&rest)
                } else {
                    format!("`{default}`; {}", words(&rest))
                }
            }
            Kind::Free => "see meaning".to_owned(),
        }
    }
}

/// Letters to insert, delete or replace to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in (1..).zip(from.chars()) {
        let mut next = vec![line];
        for ((&right, &diagonal), &above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let before = next.last().copied().unwrap_or_default();
            let replaced = diagonal + usize::from(left != right);
            next.push(replaced.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<&str> = rows()
            .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
            .collect();
        names.sort_unstable();
        let doubles: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(doubles.is_empty(), "{doubles:?}");
    }

    #[test]
    fn families_give_way_to_longer_names() {
        assert_eq!(
            find("nio.numSelectorThreads").expect("family").name,
            "nio.*"
        );
        assert_eq!(
            find("nio.sessionlessCnxnTimeout").expect("key").name,
            "nio.sessionlessCnxnTimeout"
        );
        assert_eq!(
            find("watcherCleanThreadsNum").expect("family").name,
            "watcherClean*"
        );
        assert!(find("fooBar").is_none());
    }

    #[test]
    fn properties_are_found_by_their_own_names_only() {
        let name = |property| find_property(property).map(|(row, _)| row.name);
        assert_eq!(name("zookeeper.snapCount"), Some("snapCount"));
        assert_eq!(name("jute.maxbuffer"), Some("jute.maxbuffer"));
        assert_eq!(
            name("fsync.warningthresholdms"),
            Some("fsync.warningthresholdms")
        );
        assert_eq!(name("zookeeper.observer.syncEnabled"), Some("syncEnabled"));
        assert_eq!(name("zookeeper.tickTime"), None);
        assert_eq!(name("snapCount"), None);
    }

    #[test]
    fn a_typo_finds_the_key_meant() {
        assert_eq!(nearest("clientport"), Some("clientPort"));
        assert_eq!(nearest("tickTme"), Some("tickTime"));
        assert_eq!(nearest("Server.1"), Some("server.*"));
        assert_eq!(nearest("completelyDifferent"), None);
    }
}
