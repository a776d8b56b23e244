//! Every key operators know has a row, every row is a key operators know and tells its fate, and the
//! documentation shows the table as it is.

use std::fs;
use std::path::Path;

use zk_server::config::keys::{Disposition, Key, Kind, find, markdown, rows};
use zk_server::config::{Config, Level, Properties, Resolved, Sources, Strictness};

/// Keys that the configuration itself understands, so that no other part of the server reads their
/// fields.
const UNDERSTOOD: &[(&str, &str)] = &[
    ("4lw.commands.whitelist", "becomes a list of words"),
    (
        "metricsProvider.className",
        "tells whether metrics are exported",
    ),
    ("multiAddress.enabled", "a rule of member lines"),
    ("dynamicConfig.retain", "bounds the files that it writes"),
    ("peerType", "compared with the member line"),
    ("reconfig.secureClientSpec", "a rule of member lines"),
    ("standaloneEnabled", "a rule of the topology"),
    ("strictConfig", "looked at before anything else"),
    ("dynamicConfigFile", "read with the rest"),
    ("clientPortAddress", "becomes a place to listen"),
    ("secureClientPortAddress", "becomes a place to listen"),
    (
        "connectToLearnerMasterLimit",
        "becomes a part of the topology",
    ),
];

/// One key per line.
fn known() -> Vec<&'static str> {
    let lines = include_str!("../vectors/config-keys.txt").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.trim_start_matches('+'))
        .collect()
}

#[test]
fn every_known_key_has_a_row_with_a_reason() {
    let missing: Vec<_> = known()
        .into_iter()
        .filter(|key| find(key).is_none())
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    for row in rows() {
        assert!(
            row.reason.trim().len() > 5,
            "{}: {:?}",
            row.name,
            row.reason
        );
    }
}

#[test]
fn every_honoured_key_is_on_the_list() {
    let known = known();
    let honoured = rows().filter(|row| row.disposition == Disposition::Honoured);
    let extra: Vec<_> = honoured
        .filter(|row| match row.family() {
            Some(start) => !known.iter().any(|key| key.starts_with(start)),
            None => !known.contains(&row.name),
        })
        .map(|row| row.name)
        .collect();
    assert!(extra.is_empty(), "not in config-keys.txt: {extra:?}");
}

/// A field that nobody reads is a key without effect that is said to have one.
#[test]
fn every_honoured_key_is_read_by_the_server() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut server = String::new();
    let mut todo = vec![source.clone()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && path != source.join("config") {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                server.push_str(&fs::read_to_string(path).expect("text"));
            }
        }
    }
    let is_read = |field: &str| {
        server
            .match_indices(&format!(".{field}"))
            .any(|(at, found)| {
                let next = server[at + found.len()..].chars().next();
                next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
            })
    };
    for row in rows() {
        let Some(field) = row.field else {
            assert!(
                row.disposition != Disposition::Honoured || row.family().is_some(),
                "{} sets nothing",
                row.name
            );
            continue;
        };
        let is_understood = UNDERSTOOD.iter().any(|(name, _)| *name == row.name);
        assert_ne!(
            is_read(field),
            is_understood,
            "{}: field {field}, read, or understood by the configuration, but not both",
            row.name
        );
    }
}

/// A value that asks for something, if there is one.
fn wish(row: &Key) -> Option<String> {
    Some(match row.kind {
        Kind::Int { default, max, .. } => (default < max).then(|| (default + 1).to_string())?,
        Kind::Raised { default, .. } => (default + 1).to_string(),
        Kind::Float { max, .. } => max.to_string(),
        Kind::Interval { .. } => "7".to_owned(),
        Kind::Flag(default) => (!default).to_string(),
        Kind::YesNo(default) => if default { "no" } else { "yes" }.to_owned(),
        Kind::Choice { default, of } => (*of.iter().find(|word| **word != default)?).to_owned(),
        Kind::Text(_) | Kind::Secret | Kind::Free => "wished".to_owned(),
    })
}

fn resolve(line: &str) -> Result<Resolved, String> {
    let text = format!("dataDir=/d\nclientPort=2181\nautopurge.purgeInterval=1\n{line}\n");
    let main = Properties::parse("zoo.cfg", text.as_bytes(), Strictness::Normal);
    let sources = Sources {
        main: &main.expect("legal"),
        dynamic: None,
        environment: &[],
        my_id: None,
        strictness: Strictness::Normal,
    };
    Config::resolve(sources).map_err(|error| error.to_string())
}

/// What is not honoured is refused, or told of in one line with the reason; and nothing is said of a
/// key that asks for nothing.
#[test]
fn every_other_key_is_refused_or_told_of_in_one_line() {
    let mut counts = [0; 3];
    for key in known() {
        let row = find(key).expect("a row");
        if row.disposition == Disposition::Honoured {
            continue;
        }
        let key = key.replace('*', "x");
        let Some(wish) = wish(row) else { continue };
        let found = resolve(&format!("{key}={wish}"));
        if let Disposition::Refused { harmless } = row.disposition {
            let error = found.expect_err(&key);
            assert!(error.contains(row.reason), "{error}");
            for word in harmless {
                let found = resolve(&format!("{key}={word}")).expect(&key);
                assert!(found.notices.is_empty(), "{:?}", found.notices);
            }
            counts[0] += 1;
            continue;
        }
        let notices = found.expect(&key).notices;
        assert_eq!(notices.len(), 1, "{key}: {notices:?}");
        assert!(notices[0].text.contains(row.reason), "{notices:?}");
        assert!(!row.is_secret() || !notices[0].text.contains(&wish));
        if row.kind == Kind::Free {
            assert_eq!(notices[0].level, Level::Info, "{key}");
            counts[1] += 1;
            continue;
        }
        assert_eq!(notices[0].level, Level::Warn, "{key}");
        if !matches!(row.kind, Kind::Text(_) | Kind::Secret) {
            let error = resolve(&format!("{key}=not a value")).expect_err(&key);
            assert!(error.contains("zoo.cfg:4"), "{error}");
        }
        counts[2] += 1;
    }
    assert!(counts.iter().all(|count| *count > 12), "{counts:?}");
}

#[test]
fn documentation_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/KEYS.md");
    let table = markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, &table).expect("write the golden file");
    }
    let shown = fs::read_to_string(path).unwrap_or_default();
    assert!(
        shown == table,
        "src/config/KEYS.md is stale: run this test with UPDATE_GOLDEN=1"
    );
}
