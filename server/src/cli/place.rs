//! Where a server's files are, by the rules of `zkServer.sh` and `zkEnv.sh`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use zk_server::config::{Properties, Strictness};

/// Name of the configuration file, unless `ZOOCFG` has another.
const CONFIG: &str = "zoo.cfg";
/// Name of the file with the id of the process, in `dataDir`.
const PID_FILE: &str = "zookeeper_server.pid";

/// The files of one server.
#[derive(Debug)]
pub(super) struct Place {
    /// The configuration file; whether it exists is another matter.
    pub(super) config: PathBuf,
    /// What it says; nothing when it cannot be read, which whoever needs it will find out.
    pub(super) properties: Properties,
    /// File with the id of the process that `start` started.
    pub(super) pid_file: PathBuf,
    /// Where that process writes its log to.
    pub(super) log_dir: PathBuf,
}

impl Place {
    /// Finds them.
    ///
    /// The configuration is a path when it has a directory part, else a name in the configuration
    /// directory: `--config`, `ZOOCFGDIR`, or `conf` or `etc/zookeeper` beside the directory of
    /// this program.
    pub(super) fn find(config_dir: Option<&Path>, config: Option<&str>) -> Self {
        let prefix = prefix();
        let config_dir = config_dir
            .map(Path::to_owned)
            .or_else(|| variable("ZOOCFGDIR").map(PathBuf::from))
            .unwrap_or_else(|| match prefix.join("conf") {
                conf if conf.is_dir() => conf,
                _ => prefix.join("etc/zookeeper"),
            });
        let config = config.map(str::to_owned).or_else(|| variable("ZOOCFG"));
        let config = match config.as_deref() {
            Some(path) if path.contains('/') => PathBuf::from(path),
            name => config_dir.join(name.unwrap_or(CONFIG)),
        };
        let content = fs::read(&config).unwrap_or_default();
        let file = config.display().to_string();
        let properties = Properties::parse(&file, &content, Strictness::Normal).unwrap_or_default();
        let data_dir = properties
            .get("dataDir")
            .map(|dir| PathBuf::from(&dir.value));
        let pid_file = variable("ZOOPIDFILE").map(PathBuf::from);
        Self {
            pid_file: pid_file.unwrap_or_else(|| data_dir.unwrap_or_default().join(PID_FILE)),
            log_dir: variable("ZOO_LOG_DIR").map_or_else(|| prefix.join("logs"), PathBuf::from),
            config,
            properties,
        }
    }

    /// What `key` says, if anything.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let setting = self.properties.get(key)?;
        Some(setting.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Where a server in the background writes its log to.
    pub(super) fn log_file(&self) -> PathBuf {
        let user = variable("USER").unwrap_or_default();
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        self.log_dir
            .join(format!("zookeeper-{user}-server-{host}.out"))
    }

    /// The complaint of the script when directories must be there and are not.
    pub(super) fn missing_directory(&self) -> Option<String> {
        variable("ZOO_DATADIR_AUTOCREATE_DISABLE")?;
        [("dataDir", "data"), ("dataLogDir", "txnlog")]
            .iter()
            .filter_map(|(key, label)| Some((self.get(key)?, label)))
            .find(|(directory, _)| !Path::new(directory).join("version-2").is_dir())
            .map(|(directory, label)| {
                format!(
                    "ZooKeeper {label} directory is missing at {directory} fix the path or run \
                     initialize"
                )
            })
    }
}

/// The directory above that of this program.
fn prefix() -> PathBuf {
    let program = env::current_exe().ok();
    let prefix = program.as_deref().and_then(Path::parent);
    prefix
        .and_then(Path::parent)
        .map_or_else(PathBuf::new, Path::to_owned)
}

/// An environment variable, unless it is empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
