//! Why a configuration was refused.

use std::fmt;
use std::io;

use super::zoo_cfg::Origin;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The files were read; these settings are wrong. Never empty.
    #[error("{}", Lines(.0))]
    Invalid(Vec<Problem>),
    /// A file could not be read.
    #[error("cannot read {file}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ConfigError {
    /// Exit code of the process, as scripts around the reference expect it.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `ExitCode.INVALID_INVOCATION`.
    pub const fn exit_code(&self) -> i32 {
        2
    }
}

/// One wrong setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands; `None` when something is missing.
    pub origin: Option<Origin>,
    /// The key; empty when the problem is not one of a single key.
    pub key: String,
    /// The value as written, secrets masked.
    pub value: Option<String>,
    /// What is wrong and what was expected.
    pub reason: String,
}

impl Problem {
    /// A problem without a value to show.
    pub fn new(origin: Option<Origin>, key: &str, reason: impl Into<String>) -> Self {
        Self {
            origin,
            key: key.to_owned(),
            value: None,
            reason: reason.into(),
        }
    }

    /// The same problem, showing the value.
    #[must_use]
    pub fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        match (&*self.key, &self.value) {
            ("", _) => {}
            (key, Some(value)) => write!(f, "{key}={value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
        }
        f.write_str(&self.reason)
    }
}

/// Problems, one per line.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
