//! Every key operators know has a row, every row is a key operators know, and the documentation
//! shows the table as it is.

use zk_server::config::keys::{Disposition, find, markdown, rows};

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

#[test]
fn documentation_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/KEYS.md");
    let table = markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &table).expect("write the golden file");
    }
    let shown = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        shown == table,
        "src/config/KEYS.md is stale: run this test with UPDATE_GOLDEN=1"
    );
}
