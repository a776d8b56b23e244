//! Reading the files a configuration is made of.

use std::fs;
use std::io;
use std::path::Path;

use super::dynamic_file::newest;
use super::error::ConfigError;
use super::resolve::{Config, Resolved, Sources};
use super::topology::{dynamic_version, wants_strict};
use super::zoo_cfg::{Properties, Strictness};

impl Config {
    /// Reads the configuration file at `path` and what it refers to: the dynamic file and
    /// `myid`.
    ///
    /// `environment` holds the variables of the process; only a few are looked at.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and whatever [`Config::resolve`] refuses.
    pub fn load(
        path: &Path,
        environment: &[(String, String)],
        strictness: Strictness,
    ) -> Result<Resolved, ConfigError> {
        let mut strictness = strictness;
        let content = read(path)?;
        let name = path.display().to_string();
        let mut main = Properties::parse(&name, &content, strictness)?;
        if wants_strict(strictness, main.get("strictConfig")) {
            strictness = Strictness::Strict;
            main = Properties::parse(&name, &content, strictness)?;
        }
        let mut dynamic = match main.dynamic_config_file() {
            Some(file) => {
                let version = Path::new(file).file_name().and_then(|name| name.to_str());
                let content = read(Path::new(file))?;
                let properties = Properties::parse(file, &content, strictness)?;
                Some((version.map_or(0, dynamic_version), properties))
            }
            None => None,
        };
        let my_id_path = main
            .get("dataDir")
            .map(|dir| Path::new(&dir.value).join("myid"));
        let my_id = match &my_id_path {
            Some(path) => match fs::read(path) {
                Ok(content) => Some((path.display().to_string(), content)),
                // A path that leads through a file is the data directory's problem.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    None
                }
                Err(source) => return Err(unreadable(path, source)),
            },
            None => None,
        };
        if let Some((version, members)) = newer_members(&main, dynamic.as_ref(), strictness)? {
            let me = my_id.as_ref().map(|(_, content)| content.as_slice());
            let me = String::from_utf8_lossy(me.unwrap_or_default());
            main = main.without_members(&members, me.trim());
            dynamic = Some((version, members));
        }
        let mut resolved = Self::resolve(Sources {
            main: &main,
            dynamic: dynamic.as_ref().map(|(version, file)| (*version, file)),
            environment,
            my_id: my_id.as_ref().map(|(path, content)| (&**path, &**content)),
            strictness,
        })?;
        resolved.config.file = Some(path.to_owned());
        Ok(resolved)
    }
}

/// Members that were put in force while the server ran, and could not be told in the file that tells
/// the others.
pub(crate) fn newer_members(
    main: &Properties,
    known: Option<&(u64, Properties)>,
    strictness: Strictness,
) -> Result<Option<(u64, Properties)>, ConfigError> {
    let is_enabled = main.get("reconfigEnabled");
    let data_dir = main.get("dataDir");
    let (Some(is_enabled), Some(data_dir)) = (is_enabled, data_dir) else {
        return Ok(None);
    };
    if !is_enabled.value.eq_ignore_ascii_case("true") {
        return Ok(None);
    }
    let above = known.map_or(0, |(version, _)| *version);
    let Some((version, path)) = newest(Path::new(&data_dir.value), above) else {
        return Ok(None);
    };
    let content = read(&path)?;
    let members = Properties::parse(&path.display().to_string(), &content, strictness)?;
    Ok(Some((version, members)))
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Unreadable {
        file: path.display().to_string(),
        source,
    }
}
