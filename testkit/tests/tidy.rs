//! What lints cannot check: the shape of the repository and the purity of the cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest file that is not test data, in bytes.
const FILE_MAX: u64 = 512 * 1024;

/// What may stand at the top beside dot-files.
const TOP: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "client",
    "examples",
    "recipes",
    "server",
    "testkit",
];

/// Folders whose code takes time, randomness and the outside world as arguments only.
const PURE: &[&str] = &["client/proto/src", "client/src/core", "server/core/src"];

/// Who reads the clock on the wall.
const WALL_CLOCKS: &[&str] = &[
    // When an instance was registered, for people.
    "recipes/src/discovery/instance.rs",
    // Lines of the log.
    "server/src/cli/log_format.rs",
    // Times of znodes, and with them the end of TTL znodes; where ids of sessions begin.
    "server/src/stage/clock.rs",
];

/// What would make a pure core depend on more than its arguments.
const IMPURE: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "std::thread",
    "std::process",
    "std::env",
    "std::io::stdin",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "thread_local!",
    "tokio",
    "Rng::new()",
    "async fn",
    ".await",
];

fn root() -> PathBuf {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit
        .parent()
        .expect("the testkit is a folder of the workspace")
        .to_path_buf()
}

/// The files of the repository that are tracked, or would be if they were added: by git where there
/// is a checkout, else by walking.
fn files() -> Vec<PathBuf> {
    let root = root();
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output();
    let files: Vec<PathBuf> = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .expect("file names are UTF-8")
            .lines()
            .map(PathBuf::from)
            .filter(|file| root.join(file).is_file())
            .collect(),
        _ => walk(&root, Path::new("")),
    };
    assert!(
        files.len() > 50,
        "only {} files found below {}",
        files.len(),
        root.display()
    );
    files
}

fn walk(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder)).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let path = folder.join(entry.file_name());
        let is_skipped = ["target", ".git"]
            .iter()
            .any(|name| entry.file_name() == **name);
        if is_skipped {
            continue;
        }
        if entry.path().is_dir() {
            files.extend(walk(root, &path));
        } else {
            files.push(path);
        }
    }
    files
}

fn is_data(file: &Path) -> bool {
    file.components()
        .any(|component| component.as_os_str() == "vectors")
}

/// Text files with their content, test data left out.
fn texts() -> Vec<(PathBuf, String)> {
    let files = files().into_iter().filter(|file| !is_data(file));
    files
        .map(|file| {
            let text = fs::read_to_string(root().join(&file));
            let text = text.unwrap_or_else(|err| panic!("{} is no text: {err}", file.display()));
            (file, text)
        })
        .collect()
}

/// The code of a source file, by line: comments and the tests at its end left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let marks = ["#[cfg(test)]\nmod ", "#[cfg(feature = \"mutants\")]\nmod "];
    let is_inline = |at: &usize| {
        let rest = text.get(*at..).unwrap_or_default();
        rest.lines().nth(1).is_some_and(|line| line.ends_with('{'))
    };
    let starts = marks.iter().flat_map(|mark| text.match_indices(mark));
    let end = starts.map(|(at, _)| at).filter(is_inline).min();
    let end = end.unwrap_or(text.len());
    let body = text.get(..end).unwrap_or_default();
    body.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn complain(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn top_level_is_what_was_agreed() {
    let mut tops: Vec<_> = files()
        .iter()
        .filter_map(|file| Some(file.components().next()?.as_os_str().to_str()?.to_owned()))
        .collect();
    tops.sort();
    tops.dedup();
    let strange: Vec<_> = tops
        .into_iter()
        .filter(|top| !top.starts_with('.') && !TOP.contains(&&**top))
        .collect();
    complain("not agreed at the top", &strange);
}

#[test]
fn pure_cores_reach_for_nothing_outside() {
    let mut found = Vec::new();
    let mut seen = 0;
    for (file, text) in texts() {
        let is_pure = PURE.iter().any(|folder| file.starts_with(folder));
        let is_test = file.components().any(|part| part.as_os_str() == "tests")
            || file.file_name().is_some_and(|name| name == "tests.rs");
        if !is_pure || is_test || file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        seen += 1;
        for (line, code) in code(&text) {
            for impure in IMPURE.iter().filter(|impure| code.contains(**impure)) {
                found.push(format!("{}:{line}: {impure}", file.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} files of pure cores were found");
    complain("a pure core depends on more than its arguments", &found);
}

/// A clock on a wall may be set at any time, by hours: nothing but what is for people, or comes back to a
/// client as the time of a znode, goes by it.
#[test]
fn few_read_the_clock_on_the_wall() {
    let mut found = Vec::new();
    let mut seen = 0;
    for (file, text) in texts() {
        let is_ours = ["client", "recipes", "server"]
            .iter()
            .any(|folder| file.starts_with(folder));
        let is_test = ["tests", "benches"]
            .iter()
            .any(|folder| file.components().any(|part| part.as_os_str() == *folder));
        if !is_ours || is_test || file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        for (line, code) in code(&text) {
            let reads = [
                "SystemTime::now",
                "Utc::now",
                "UtcDateTime::now",
                "OffsetDateTime::now",
                "Realtime",
            ];
            if !reads.iter().any(|read| code.contains(read)) {
                continue;
            }
            if WALL_CLOCKS.iter().any(|known| file == Path::new(known)) {
                seen += 1;
            } else {
                found.push(format!("{}:{line}", file.display()));
            }
        }
    }
    assert_eq!(seen, WALL_CLOCKS.len(), "the list is of some other code");
    complain("reads the clock on the wall", &found);
}

#[test]
fn work_left_over_has_an_owner() {
    let marks = ["TODO", "FIXME", "HACK"];
    let mut found = Vec::new();
    for (file, text) in texts() {
        if file.ends_with("tidy.rs") || file.extension().is_none_or(|ext| ext != "rs") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            let is_owned = line.contains("TODO(#");
            if !is_owned && marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", file.display(), index + 1, line.trim()));
            }
        }
    }
    complain(
        "work left over without an owner; write TODO(#issue)",
        &found,
    );
}

#[test]
fn no_binaries_and_no_huge_files() {
    let mut found = Vec::new();
    for file in files().into_iter().filter(|file| !is_data(file)) {
        let len = fs::metadata(root().join(&file))
            .expect("a listed file is there")
            .len();
        if len > FILE_MAX {
            found.push(format!("{}: {len} bytes", file.display()));
        }
        let bytes = fs::read(root().join(&file)).expect("a listed file is readable");
        if bytes.contains(&0) {
            found.push(format!("{}: not text", file.display()));
        }
    }
    complain("binaries or files that are too large", &found);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    for (file, text) in texts() {
        if file.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = root().join(file.parent().expect("a listed file stands in a folder"));
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !folder.join(target).exists() {
                found.push(format!("{}: {target}", file.display()));
            }
        }
    }
    complain("links that lead nowhere", &found);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut found = Vec::new();
    for (file, text) in texts() {
        let is_fuzz = file.components().any(|part| part.as_os_str() == "fuzz");
        let is_member = file.ends_with("Cargo.toml") && file != Path::new("Cargo.toml") && !is_fuzz;
        if is_member && !text.contains("[lints]\nworkspace = true") {
            found.push(file.display().to_string());
        }
    }
    complain("crates without the workspace's lints", &found);
}
