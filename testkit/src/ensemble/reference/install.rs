//! Finds what Debian's packages install: Java and the jars of the server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::LaunchError;
use super::super::layout::find_program;

/// Where Debian puts jars.
pub(super) const JAR_DIR: &str = "/usr/share/java";

/// Jars the server loads, with the package that brings each.
///
/// The manifest of `zookeeper.jar` names most of them by absolute path, but not the log4j binding
/// and not all of netty; naming all of them here lets a given jar directory stand on its own.
const JARS: [(&str, &str); 20] = [
    ("zookeeper.jar", "libzookeeper-java"),
    ("zookeeper-jute.jar", "libzookeeper-java"),
    ("slf4j-api.jar", "libslf4j-java"),
    ("slf4j-log4j12.jar", "libslf4j-java"),
    ("log4j-1.2.jar", "liblog4j1.2-java"),
    ("netty-buffer.jar", "libnetty-java"),
    ("netty-codec.jar", "libnetty-java"),
    ("netty-common.jar", "libnetty-java"),
    ("netty-handler.jar", "libnetty-java"),
    ("netty-resolver.jar", "libnetty-java"),
    ("netty-transport.jar", "libnetty-java"),
    ("netty-transport-native-epoll.jar", "libnetty-java"),
    ("netty-transport-native-unix-common.jar", "libnetty-java"),
    ("snappy-java.jar", "libsnappy-java"),
    ("metrics-core.jar", "libdropwizard-metrics-java"),
    ("commons-cli.jar", "libcommons-cli-java"),
    ("commons-io.jar", "libcommons-io-java"),
    ("jackson-annotations.jar", "libjackson2-annotations-java"),
    ("jackson-core.jar", "libjackson2-core-java"),
    ("jackson-databind.jar", "libjackson2-databind-java"),
];

/// An installation that has been checked to be complete.
#[derive(Debug, Clone)]
pub(super) struct Installation {
    /// The Java launcher.
    pub(super) java: PathBuf,
    /// `setpriv` of util-linux, which ties the life of a server to ours; absent on odd systems.
    pub(super) setpriv: Option<PathBuf>,
    /// The jars, joined for `-cp`.
    pub(super) class_path: OsString,
}

impl Installation {
    /// Looks for Java on `PATH` and for the jars in `jar_dir`.
    ///
    /// # Errors
    /// [`LaunchError::MissingFile`] for the first file that is not there.
    pub(super) fn find(jar_dir: &Path) -> Result<Self, LaunchError> {
        let java = find_program("java").ok_or_else(|| LaunchError::MissingFile {
            path: PathBuf::from("/usr/bin/java"),
            package: "default-jre-headless",
        })?;
        let mut class_path = OsString::new();
        for (jar, package) in JARS {
            let path = jar_dir.join(jar);
            if !path.is_file() {
                return Err(LaunchError::MissingFile { path, package });
            }
            if !class_path.is_empty() {
                class_path.push(":");
            }
            class_path.push(path);
        }
        Ok(Self {
            java,
            setpriv: find_program("setpriv"),
            class_path,
        })
    }
}
