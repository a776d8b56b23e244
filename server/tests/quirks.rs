//! The register of quirks: each entry names a test that there is.

use std::fs;
use std::path::Path;

/// Files and functions that a line names, as `file.rs` `function`.
fn named(text: &str) -> Vec<(&str, &str)> {
    let marked: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let pairs = marked.windows(2).filter_map(|pair| match pair {
        [file, function] if Path::new(file).extension().is_some() => Some((*file, *function)),
        _ => None,
    });
    pairs.collect()
}

#[test]
fn every_quirk_is_tested_by_a_test_that_there_is() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(server.join("QUIRKS.md")).expect("the register");
    let (compared, others) = text.split_once("# Not compared").expect("two parts");
    let sections = compared.split("\n## ").skip(1);
    let tests_of = |section| {
        let (_, tests) = str::split_once(section, "\nTested by ").unwrap_or_default();
        (section, tests)
    };
    let rows = others
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cell_of = |row| {
        let cell = str::trim_end_matches(row, '|').rsplit('|').next();
        (row, cell.unwrap_or_default())
    };
    let entries = sections.map(tests_of).chain(rows.skip(1).map(cell_of));
    let mut count = 0;
    for (entry, tests) in entries {
        let named = named(tests);
        assert!(!named.is_empty(), "no test of: {entry}");
        for (file, function) in named {
            let path = server.with_file_name(file);
            let source = fs::read_to_string(&path).unwrap_or_else(|_| panic!("no file {file}"));
            let has_it = source.contains(&format!("fn {function}("));
            assert!(has_it, "no test {function} in {file}");
        }
        count += 1;
    }
    assert!(count > 25, "{count}");
}
