//! Reading the files a configuration is made of.

use std::fs;
use std::io;
use std::path::Path;

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
        let dynamic = match main.dynamic_config_file() {
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
        Self::resolve(Sources {
            main: &main,
            dynamic: dynamic.as_ref().map(|(version, file)| (*version, file)),
            environment,
            my_id: my_id.as_ref().map(|(path, content)| (&**path, &**content)),
            strictness,
        })
    }
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
