use std::time::Duration;

use crate::kernel::hold::LossReason;

/// Something that was won is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: lost, {}", reason.text())]
pub struct Lost {
    /// Path of the own znode.
    pub path: String,
    /// Why.
    pub reason: LossReason,
}

impl LossReason {
    fn text(self) -> &'static str {
        match self {
            Self::SessionExpired => "because the session has expired",
            Self::PresumedExpired => "because the session may have expired",
            Self::NodeDeleted => "because somebody deleted its znode",
            Self::ClientClosed => "because the client is closed",
            Self::Released => "because it was released",
        }
    }
}

/// Why a lock, a lease or a leadership was not acquired. In any case nothing is left behind.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// It was not free in time.
    #[error("{path}: not acquired within {within:?}")]
    Timeout {
        /// Path of the recipe.
        path: String,
        /// The time given.
        within: Duration,
    },
    /// Contenders of another recipe stand in line, who would not wait for this one.
    #[error("{path}: used by another kind of recipe, whose znode {name:?} is there")]
    PathInUse {
        /// Path of the recipe.
        path: String,
        /// Name of one of them.
        name: String,
    },
    /// The same owner holds it in another way already, or waits for it, and would wait for itself for ever.
    #[error("{path}: the same owner holds {held}, for which this would wait for ever")]
    WouldDeadlock {
        /// Path of the recipe.
        path: String,
        /// What is held.
        held: &'static str,
    },
    /// The same path stands in a list twice.
    #[error("{path}: stands in the list twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// More is asked for than there can ever be.
    #[error("{path}: {wanted} leases asked for, of at most {max}")]
    TooMany {
        /// Path of the recipe.
        path: String,
        /// Leases asked for.
        wanted: usize,
        /// Leases there are.
        max: usize,
    },
    /// No lease at all is asked for.
    #[error("{path}: no leases asked for")]
    NoLeases {
        /// Path of the recipe.
        path: String,
    },
    /// The recipe's own data says something else than this program.
    #[error("{path}: {what}")]
    Mismatch {
        /// Path of the recipe.
        path: String,
        /// What does not agree.
        what: String,
    },
    /// The client could not: no permission, an illegal path, a parent that cannot have children, a
    /// session that is over, a client that is closed.
    #[error("{path}: not acquired")]
    Client {
        /// Path of the recipe.
        path: String,
        /// What went wrong.
        source: zk_client::Error,
    },
}

impl AcquireError {
    pub(crate) fn client(path: &str, source: zk_client::Error) -> Self {
        Self::Client {
            path: path.to_owned(),
            source,
        }
    }

    /// What the client had to say, if it was the client.
    pub fn client_error(&self) -> Option<&zk_client::Error> {
        if let Self::Client { source, .. } = self {
            Some(source)
        } else {
            None
        }
    }

    /// Whether time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}
