//! Whether a request may be executed at all: its session, its permissions, the version it expects.

use zk_proto::acl::{Acl, Perms};
use zk_proto::{ErrorCode, Version};

use crate::conn::handshake::SessionKind;
use crate::session::SessionFault;

use super::attempt::Attempt;

impl Attempt<'_> {
    /// Checks that the session may ask for something.
    ///
    /// # Errors
    /// What the tracker says; then, of a global session, [`ErrorCode::SessionExpired`] if its end is
    /// outstanding, or the error of an unknown one.
    pub(super) fn check_session(&self) -> Result<SessionKind, ErrorCode> {
        let kind = self
            .from
            .standing
            .map_err(|fault| self.session_error(fault))?;
        if kind == SessionKind::Local {
            // No transaction tells of it: the server that has it is trusted.
            return Ok(kind);
        }
        let session = self.from.session;
        match self.outstanding.is_session_open(session) {
            Some(true) => Ok(kind),
            Some(false) => Err(ErrorCode::SessionExpired),
            None if self.tree.session_timeout(session).is_some() => Ok(kind),
            None => Err(self.session_error(SessionFault::Unknown)),
        }
    }

    /// Checks that the session may own ephemeral znodes.
    ///
    /// # Errors
    /// As [`Self::check_session`], then [`ErrorCode::EphemeralOnLocalSession`].
    pub(super) fn check_global_session(&self) -> Result<(), ErrorCode> {
        match self.check_session()? {
            SessionKind::Global => Ok(()),
            SessionKind::Local => Err(ErrorCode::EphemeralOnLocalSession),
        }
    }

    /// What a client is told about its session.
    pub(super) fn session_error(&self, fault: SessionFault) -> ErrorCode {
        match fault {
            SessionFault::Unknown if self.options.is_standalone => ErrorCode::UnknownSession,
            SessionFault::Unknown | SessionFault::Closing => ErrorCode::SessionExpired,
            SessionFault::Moved => ErrorCode::SessionMoved,
        }
    }

    /// # Errors
    /// [`ErrorCode::NoAuth`] unless the list grants any of the permissions.
    pub(super) fn check_acl(&self, acl: &[Acl], wanted: Perms) -> Result<(), ErrorCode> {
        self.options
            .access
            .check(&self.from.identities, acl, wanted)
    }
}

/// # Errors
/// [`ErrorCode::BadVersion`] unless the version is as expected, or any will do.
pub(super) fn check_version(version: Version, expected: Version) -> Result<(), ErrorCode> {
    if expected == Version::ANY || expected == version {
        Ok(())
    } else {
        Err(ErrorCode::BadVersion)
    }
}
