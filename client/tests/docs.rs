//! What the documentation owes to whoever reads it.

use std::fs;
use std::path::{Path, PathBuf};

/// Every public future says what dropping it does: an `async fn`, and a method that returns a builder
/// of an operation.
#[test]
fn every_public_future_states_its_cancel_safety() {
    let mut missing = Vec::new();
    let mut stated = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        if file.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file is read");
        let mut comment = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(more) = line.strip_prefix("///") {
                comment.push_str(more);
            } else if line.starts_with("pub async fn ") || is_operation(line) {
                let says = comment.to_lowercase().contains("cancel safety");
                stated += usize::from(says);
                if !says {
                    missing.push(format!("{}: {line}", file.display()));
                }
                comment.clear();
            } else if !line.starts_with("#[") {
                comment.clear();
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(
        stated > 30,
        "{stated} are found: what is looked for has other looks"
    );
}

/// Whether a method of the client begins an operation.
fn is_operation(line: &str) -> bool {
    let is_method = line.starts_with("pub fn ") && line.contains("self");
    is_method
        && (line.contains("(&'a self") || line.contains("(&self) ->") && line.ends_with("<'_> {"))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder is listed") {
        let path = entry.expect("an entry is read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}
