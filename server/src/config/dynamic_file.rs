//! The files that tell who the members are, when those change while the server runs.
//!
//! ```text
//!  zoo.cfg.dynamic.next        proposed, and not known to be committed
//!  zoo.cfg.dynamic.<version>   in force, or was once
//!  zoo.cfg                     names the one in force; comments and order stay as they were
//!  zoo.cfg.bak                 as it was when the members still stood in it
//! ```
//!
//! Each is written under another name, synced and renamed, one after the other in this order, so that
//! a crash leaves either the old members or the new ones in force. That a change was proposed is known
//! from the log in any case.
//!
//! Where the directory of `zoo.cfg` cannot be written, or there is no such file, the files go into
//! `dataDir`, where [`newest`] finds them.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumPeerConfig#writeDynamicConfig`, `#editStaticConfig`,
//! `#backupOldConfig`. Differs: it loses comments and order, and keeps all earlier files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use zk_core::ensemble::{Configs, EnsembleConfig};
use zk_proto::{ServerId, Zxid};

use super::resolve::Config;
use super::topology::{Topology, dynamic_version};
use super::zoo_cfg::{Properties, Strictness};

/// Name of the files in `dataDir`, in front of the version.
const IN_DATA_DIR: &str = "zoo.cfg";

/// Writes the files of one member.
#[derive(Clone, Debug)]
pub(crate) struct DynamicFiles {
    me: ServerId,
    file: Option<PathBuf>,
    data_dir: PathBuf,
    retain: usize,
    /// Versions that the files tell.
    active: Zxid,
    next: Option<Zxid>,
}

impl DynamicFiles {
    /// The files of a member, if its members change while it runs: as of this configuration, which was
    /// read from them.
    pub(crate) fn open(config: &Config, current: &EnsembleConfig) -> Option<Self> {
        let Topology::Ensemble(ensemble) = &config.topology else {
            return None;
        };
        if !config.ensemble.reconfig_enabled {
            return None;
        }
        let file = config
            .file
            .as_ref()
            .and_then(|file| fs::canonicalize(file).ok());
        let files = Self {
            me: ensemble.my_id,
            file,
            data_dir: config.data_dir.clone(),
            retain: usize::try_from(config.ensemble.dynamic_retain).unwrap_or(usize::MAX),
            active: current.version(),
            next: None,
        };
        if let Some(file) = &files.file
            && let Err(error) = back_up(file)
        {
            tracing::warn!(err = %error, file = %file.display(), "no backup was made");
        }
        Some(files)
    }

    /// Has the files tell these members. What cannot be written is reported to the operator: a server
    /// that starts again without it hears of the members from the others.
    pub(crate) fn keep(&mut self, configs: &Configs) {
        let kept = match self.file.clone() {
            None => self.keep_at(&self.data_dir.join(IN_DATA_DIR), None, configs),
            Some(file) => self.keep_at(&file, Some(&file), configs).or_else(|error| {
                tracing::warn!(
                    err = %error, file = %file.display(),
                    "cannot be rewritten for other members, they are kept in dataDir from here on"
                );
                self.file = None;
                self.keep_at(&self.data_dir.join(IN_DATA_DIR), None, configs)
            }),
        };
        match kept {
            Ok(()) => {
                self.active = configs.current().version();
                self.next = configs.next().map(|next| next.version());
            }
            Err(error) => tracing::error!(err = %error, "members cannot be written to disk"),
        }
    }

    fn keep_at(&self, base: &Path, rewritten: Option<&Path>, configs: &Configs) -> io::Result<()> {
        let next_file = with_suffix(base, ".dynamic.next");
        if let Some(next) = configs
            .next()
            .filter(|next| Some(next.version()) != self.next)
        {
            replace(&next_file, next.text().as_bytes(), None)?;
        }
        let current = configs.current();
        if current.version() > self.active {
            let suffix = format!(".dynamic.{:x}", current.version().get());
            let dynamic = with_suffix(base, &suffix);
            replace(&dynamic, lines(current).as_bytes(), None)?;
            if let Some(file) = rewritten {
                let has_client = current
                    .member(self.me)
                    .is_some_and(|one| one.client.is_some());
                let text = fs::read(file)?;
                replace(file, &repointed(&text, &dynamic, has_client), Some(file))?;
            }
            remove_old(base, self.retain)?;
        }
        if configs.next().is_none() {
            match fs::remove_file(&next_file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The newest file in `dataDir` that tells members of a version above this.
pub(super) fn newest(data_dir: &Path, above: u64) -> Option<(u64, PathBuf)> {
    let files = versions(&data_dir.join(IN_DATA_DIR)).ok()?;
    files
        .into_iter()
        .next_back()
        .filter(|(version, _)| *version > above)
}

impl Properties {
    /// The same without what the members' own file says, for a server with this id.
    pub(crate) fn without_members(&self, members: &Self, me: &str) -> Self {
        let mine = members.get(&format!("server.{me}"));
        let has_client = mine.is_some_and(|line| line.value.contains(';'));
        self.retaining(|key| !is_dynamic(key, has_client))
    }
}

/// Whether a key of `zoo.cfg` has no place beside a file with the members.
fn is_dynamic(key: &str, has_client: bool) -> bool {
    let is_member = |start: &&str| key.starts_with(*start);
    ["server.", "group", "weight"].iter().any(is_member)
        || matches!(key, "peerType" | "dynamicConfigFile")
        || has_client && matches!(key, "clientPort" | "clientPortAddress")
}

/// A `zoo.cfg` that names this file with the members, and none itself.
fn repointed(text: &[u8], dynamic: &Path, has_client: bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut setting: Vec<u8> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        setting.extend_from_slice(line);
        let end = line.trim_ascii_end();
        let slashes = end.iter().rev().take_while(|byte| **byte == b'\\').count();
        let is_comment = matches!(setting.trim_ascii_start().first(), Some(b'#' | b'!'));
        if slashes % 2 == 1 && !is_comment {
            // It goes on in the next line.
            continue;
        }
        let is_dropped = !is_comment
            && Properties::parse("", &setting, Strictness::Normal).is_ok_and(|parsed| {
                let mut settings = parsed.settings();
                settings.any(|one| is_dynamic(&one.key, has_client))
            });
        if !is_dropped {
            kept.extend_from_slice(&setting);
        }
        setting.clear();
    }
    kept.extend_from_slice(&setting);
    if kept.last().is_some_and(|byte| *byte != b'\n') {
        kept.push(b'\n');
    }
    let path = dynamic.display().to_string().replace('\\', "\\\\");
    kept.extend_from_slice(format!("dynamicConfigFile={path}\n").as_bytes());
    kept
}

/// The members as they stand in a file of their own: sorted, without the version.
fn lines(config: &EnsembleConfig) -> String {
    let lines = config.text().lines();
    let mut lines: Vec<&str> = lines.filter(|line| !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Keeps a copy of a `zoo.cfg` that tells the members itself, before it is rewritten.
fn back_up(file: &Path) -> io::Result<()> {
    let text = fs::read(file)?;
    let parsed = Properties::parse("", &text, Strictness::Normal);
    let tells = parsed.is_ok_and(|parsed| parsed.dynamic_config_file().is_none());
    if !tells {
        return Ok(());
    }
    replace(&with_suffix(file, ".bak"), &text, Some(file))
}

/// Files with members beside `base`, oldest first.
fn versions(base: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let name = with_suffix(base, ".dynamic.");
    let start = name
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let (Some(start), Some(directory)) = (start, base.parent()) else {
        return Ok(found);
    };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|name| name.starts_with(&start)) {
            found.push((dynamic_version(&name), path));
        }
    }
    found.retain(|(version, _)| *version > 0);
    found.sort();
    Ok(found)
}

fn remove_old(base: &Path, retain: usize) -> io::Result<()> {
    let mut files = versions(base)?;
    files.truncate(files.len().saturating_sub(retain));
    files
        .into_iter()
        .try_for_each(|(_, path)| fs::remove_file(path))
}

fn with_suffix(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Puts a file in the place of another, so that one of the two is there whatever happens. Who may read
/// `like`, which may have secrets in it, may read this one, and nobody else.
fn replace(path: &Path, content: &[u8], like: Option<&Path>) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let mut file = match like {
        None => File::create(&temporary)?,
        Some(like) => create_like(&temporary, like)?,
    };
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A new file with the mode of another, and its owner and group where that can be had.
fn create_like(path: &Path, like: &Path) -> io::Result<File> {
    let wanted = fs::metadata(like)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(path)?;
    if fchown(&file, Some(wanted.uid()), Some(wanted.gid())).is_err() {
        fchown(&file, None, Some(wanted.gid())).ok();
    }
    let mut mode = wanted.mode() & 0o777;
    if file.metadata()?.gid() != wanted.gid() {
        // What one group may is nothing to another.
        mode &= !0o070;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const STATIC: &str = "# my comment\ntickTime=1000\nserver.1=h1:1:2\nclientPort=2181\n\
                          group.1=1:\\\n  2\n! server.9=no\npeerType=observer\ndataDir=/d\nserver.2=h2:1:2";

    fn config(text: &str) -> Arc<EnsembleConfig> {
        Arc::new(EnsembleConfig::parse(text).expect("legal"))
    }

    fn files(directory: &Path, file: Option<PathBuf>, retain: usize) -> DynamicFiles {
        DynamicFiles {
            me: ServerId::new(1),
            file,
            data_dir: directory.to_owned(),
            retain,
            active: Zxid::ZERO,
            next: None,
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("there");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("readable").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn comments_and_order_stay_and_members_go() {
        let path = Path::new("/etc/zoo.cfg.dynamic.5");
        let text = repointed(STATIC.as_bytes(), path, false);
        let expected = "# my comment\ntickTime=1000\nclientPort=2181\n! server.9=no\ndataDir=/d\n\
                        dynamicConfigFile=/etc/zoo.cfg.dynamic.5\n";
        assert_eq!(String::from_utf8_lossy(&text), expected);
        let again = repointed(&text, Path::new("/etc/zoo.cfg.dynamic.6"), true);
        let expected = "# my comment\ntickTime=1000\n! server.9=no\ndataDir=/d\n\
                        dynamicConfigFile=/etc/zoo.cfg.dynamic.6\n";
        assert_eq!(String::from_utf8_lossy(&again), expected);
    }

    #[test]
    fn what_is_proposed_is_written_and_then_what_is_in_force() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("zoo.cfg");
        fs::write(&file, STATIC).expect("written");
        back_up(&file).expect("copied");
        let mut files = files(home.path(), Some(file.clone()), 2);
        let mut configs = Configs::new(config("server.1=h1:1:2\nversion=0"));
        let next = config("server.2=h2:1:2;2181\nserver.10=h3:1:2\nversion=100000002");
        configs.see(Arc::clone(&next));
        files.keep(&configs);
        assert_eq!(
            names(home.path()),
            ["zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.next"]
        );
        let read = |name: &str| fs::read_to_string(home.path().join(name)).expect(name);
        assert_eq!(read("zoo.cfg.dynamic.next"), **next.text());
        assert_eq!(read("zoo.cfg.bak"), STATIC);
        configs.activate(next);
        files.keep(&configs);
        assert_eq!(
            names(home.path()),
            ["zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.100000002"]
        );
        assert_eq!(
            read("zoo.cfg.dynamic.100000002"),
            "server.10=h3:1:2:participant\nserver.2=h2:1:2:participant;0.0.0.0:2181"
        );
        assert!(read("zoo.cfg").ends_with("zoo.cfg.dynamic.100000002\n"));
        for version in 3..6 {
            configs.activate(config(&format!(
                "server.1=h1:1:2\nversion=10000000{version}"
            )));
            files.keep(&configs);
        }
        assert_eq!(
            names(home.path()),
            [
                "zoo.cfg",
                "zoo.cfg.bak",
                "zoo.cfg.dynamic.100000004",
                "zoo.cfg.dynamic.100000005"
            ]
        );
    }

    #[test]
    fn a_file_with_secrets_is_rewritten_and_copied_for_those_who_may_read_it() {
        for mode in [0o600, 0o640, 0o644] {
            let home = tempfile::tempdir().expect("a directory");
            let file = home.path().join("zoo.cfg");
            fs::write(&file, STATIC).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
            // Left by a crash.
            fs::write(home.path().join("zoo.cfg.tmp"), "").expect("written");
            back_up(&file).expect("copied");
            let mut files = files(home.path(), Some(file.clone()), 2);
            let mut configs = Configs::new(config("server.1=h1:1:2\nversion=0"));
            configs.activate(config("server.2=h2:1:2\nversion=100000002"));
            files.keep(&configs);
            let text = fs::read_to_string(&file).expect("there");
            assert!(text.contains("dynamicConfigFile="), "{text}");
            for name in ["zoo.cfg", "zoo.cfg.bak"] {
                let found = fs::metadata(home.path().join(name)).expect("there");
                assert_eq!(found.mode() & 0o777, mode, "{name}");
            }
        }
    }

    /// What a server that starts finds: the members that `zoo.cfg` tells, by itself or by the file it
    /// names.
    fn found(file: &Path) -> String {
        let text = fs::read_to_string(file).expect("there, whole");
        let named = text
            .lines()
            .find_map(|line| line.strip_prefix("dynamicConfigFile="));
        let members = named.map(|path| fs::read_to_string(path).expect("there, as it is named"));
        let text = members.unwrap_or(text);
        let mut lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("server."))
            .collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    #[test]
    fn a_crash_between_two_steps_leaves_the_old_members_or_the_new_ones() {
        let (old, new) = (
            "server.1=h1:1:2\nserver.2=h2:1:2",
            "server.1=h1:1:2:participant",
        );
        let next = config("server.1=h1:1:2\nversion=100000002");
        // A directory in the way of a file that is to be written ends it there, as a crash would.
        for (obstacle, expected) in [
            ("zoo.cfg.dynamic.next.tmp", old),
            ("zoo.cfg.dynamic.100000002.tmp", old),
            ("zoo.cfg.tmp", old),
            ("zoo.cfg.dynamic.1", new),
        ] {
            let home = tempfile::tempdir().expect("a directory");
            let file = home.path().join("zoo.cfg");
            fs::write(&file, STATIC).expect("written");
            let mut before = files(home.path(), Some(file.clone()), 1);
            let mut configs = Configs::new(config("server.1=h1:1:2\nversion=0"));
            configs.see(Arc::clone(&next));
            fs::create_dir(home.path().join(obstacle)).expect("made");
            let keeps = |files: &DynamicFiles, configs: &Configs| {
                files.keep_at(&file, Some(&file), configs)
            };
            let proposed = keeps(&before, &configs);
            assert_eq!(proposed.is_err(), obstacle.contains("next"), "{obstacle}");
            assert_eq!(
                found(&file),
                old,
                "{obstacle}: what is proposed is not in force"
            );
            configs.activate(Arc::clone(&next));
            if proposed.is_ok() {
                before.next = Some(next.version());
                assert!(keeps(&before, &configs).is_err(), "{obstacle}");
            }
            assert_eq!(found(&file), expected, "{obstacle}");
            // The server starts again, with the way free, and hears of the members once more.
            fs::remove_dir(home.path().join(obstacle)).expect("empty");
            let again = files(home.path(), Some(file.clone()), 1);
            keeps(&again, &configs).expect("kept");
            assert_eq!(found(&file), new, "{obstacle}");
            let expected = ["zoo.cfg", "zoo.cfg.dynamic.100000002"];
            assert_eq!(names(home.path()), expected, "{obstacle}");
        }
    }

    #[test]
    fn without_a_file_to_rewrite_the_data_directory_has_the_newest() {
        let home = tempfile::tempdir().expect("a directory");
        let gone = home.path().join("etc/zoo.cfg");
        for file in [None, Some(gone)] {
            let mut files = files(home.path(), file, 5);
            let mut configs = Configs::new(config("server.1=h1:1:2\nversion=0"));
            configs.activate(config("server.1=h1:1:2\nversion=a"));
            files.keep(&configs);
            let expected = home.path().join("zoo.cfg.dynamic.a");
            assert_eq!(newest(home.path(), 9), Some((10, expected)));
            assert_eq!(newest(home.path(), 10), None);
        }
    }
}
