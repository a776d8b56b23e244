use std::fmt;

use zk_client::{Error, ErrorKind};
use zk_proto::{PathReason, ZPath};

/// Why a command did not do what it was to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What there is to say of it.
    Said(String),
    /// There is no such command.
    NoCommand(String),
    /// A request failed, about this path or identity.
    Request(Error, Option<String>),
    /// The user wants to leave.
    Quit,
}

impl Failure {
    pub(crate) fn said(text: impl Into<String>) -> Self {
        Self::Said(text.into())
    }

    /// For `map_err`: the request was about `path`.
    pub(crate) fn about(path: &str) -> impl Fn(Error) -> Self {
        move |error| Self::Request(error, Some(path.to_owned()))
    }

    /// Checks a path in the words of the reference.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_path(path: &str, is_sequential: bool) -> Result<(), Self> {
        let checked = if is_sequential {
            ZPath::check_sequential(path)
        } else {
            ZPath::new(path).map(drop)
        };
        checked.map_err(|err| {
            let invalid = |what: String| format!("Invalid path string \"{path}\" caused by {what}");
            Self::Said(match err.reason {
                PathReason::Empty => "Path length must be > 0".to_owned(),
                PathReason::NotAbsolute => "Path must start with / character".to_owned(),
                PathReason::TrailingSlash => "Path must not end with / character".to_owned(),
                PathReason::EmptyComponent(at) => {
                    invalid(format!("empty node name specified @{at}"))
                }
                PathReason::RelativeComponent(at) => {
                    invalid(format!("relative paths not allowed @{at}"))
                }
                PathReason::Character { at, .. } => invalid(format!("invalid character @{at}")),
                other => other.to_string(),
            })
        })
    }

    /// What the program ends with after this.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Said(_) | Self::Request(..) => 1,
            Self::NoCommand(_) => 127,
            Self::Quit => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(text) => f.write_str(text),
            Self::NoCommand(name) => {
                f.write_str(&super::commands::usages())?;
                write!(f, "Command not found: Command not found {name}")
            }
            Self::Request(error, path) => {
                let path = path.as_deref().or_else(|| error.path()).unwrap_or("null");
                f.write_str(&request(error, path))
            }
            Self::Quit => Ok(()),
        }
    }
}

/// The text that the reference has for an error.
fn request(error: &Error, path: &str) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the reference has texts for some kinds, and a form for all others"
    )]
    match error.kind() {
        ErrorKind::NoNode => format!("Node does not exist: {path}"),
        ErrorKind::NodeExists => format!("Node already exists: {path}"),
        ErrorKind::NotEmpty => format!("Node not empty: {path}"),
        ErrorKind::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {path}"),
        ErrorKind::BadVersion => format!("version No is not valid : {path}"),
        ErrorKind::NoAuth => format!("Insufficient permission : {path}"),
        ErrorKind::InvalidAcl => {
            format!("KeeperErrorCode = InvalidACL for {path}\nAcl is not valid : {path}")
        }
        ErrorKind::BadArguments => format!("Arguments are not valid : {path}"),
        ErrorKind::NotReadOnly => format!("Not a read-only call: {path}"),
        ErrorKind::QuotaExceeded => format!("Quota has exceeded : {path}"),
        ErrorKind::ReconfigInProgress => "Another reconfiguration is in progress -- concurrent \
             reconfigs not supported (yet)"
            .to_owned(),
        ErrorKind::NewConfigNoQuorum => "No quorum of new config is connected and up-to-date with \
             the leader of last commmitted config - try invoking reconfiguration after new servers \
             are connected and synced"
            .to_owned(),
        ErrorKind::ReconfigDisabled => "KeeperErrorCode = Reconfig is disabled".to_owned(),
        ErrorKind::EphemeralOnLocalSession => {
            "Unable to create ephemeral node on a local session".to_owned()
        }
        ErrorKind::NoWatcher => format!("KeeperErrorCode = No such watcher for {path}"),
        ErrorKind::SessionClosedRequireSasl => format!(
            "KeeperErrorCode = Session closed because client failed to authenticate for {path}"
        ),
        ErrorKind::Disconnected | ErrorKind::Io | ErrorKind::Dns | ErrorKind::Tls => {
            format!("KeeperErrorCode = ConnectionLoss for {path}\n{error}")
        }
        ErrorKind::Timeout => format!("KeeperErrorCode = OperationTimeout for {path}\n{error}"),
        ErrorKind::Unimplemented => format!("KeeperErrorCode = Unimplemented for {path}"),
        ErrorKind::Closed => "Not connected".to_owned(),
        kind => format!("KeeperErrorCode = {kind:?} for {path}\n{error}"),
    }
}
