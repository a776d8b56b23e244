use std::fmt;

/// Declares the error codes: name, code, name in the reference's words.
macro_rules! error_codes {
    ($( $(#[$meta:meta])* $name:ident = $code:literal, $text:literal; )*) => {
        /// What a server says is wrong with a request: any value of a reply header's `err` but 0.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $( $(#[$meta])* $name, )*
            /// A code that this list does not know. Never one of the above.
            Other(i32),
        }

        impl ErrorCode {
            /// Every code that has a name, in the order of this list.
            pub const ALL: &[Self] = &[$( Self::$name, )*];

            /// The error with this number; 0 is none.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code {
                    0 => None,
                    $( $code => Some(Self::$name), )*
                    other => Some(Self::Other(other)),
                }
            }

            /// The number on the wire.
            pub const fn code(self) -> i32 {
                match self {
                    $( Self::$name => $code, )*
                    Self::Other(code) => code,
                }
            }

            /// Name as the reference writes it: `NONODE`.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $text, )*
                    Self::Other(_) => "UNKNOWN",
                }
            }
        }
    };
}

error_codes! {
    /// Boundary of the system errors; a server never sends it.
    SystemError = -1, "SYSTEMERROR";
    /// In a multi's results: not tried, because an earlier operation failed.
    RuntimeInconsistency = -2, "RUNTIMEINCONSISTENCY";
    /// Never sent.
    DataInconsistency = -3, "DATAINCONSISTENCY";
    /// Of clients: the connection was lost with the request outstanding.
    ConnectionLoss = -4, "CONNECTIONLOSS";
    /// The request does not decode, or the server failed unexpectedly.
    MarshallingError = -5, "MARSHALLINGERROR";
    /// The server does not know the operation, or has it switched off.
    Unimplemented = -6, "UNIMPLEMENTED";
    /// Of clients: the operation took too long.
    OperationTimeout = -7, "OPERATIONTIMEOUT";
    /// An illegal path, mode or argument.
    BadArguments = -8, "BADARGUMENTS";
    /// The server does not know the session.
    UnknownSession = -12, "UNKNOWNSESSION";
    /// The new configuration has no quorum of servers that are connected and in sync.
    NewConfigNoQuorum = -13, "NEWCONFIGNOQUORUM";
    /// Another reconfiguration is not finished.
    ReconfigInProgress = -14, "RECONFIGINPROGRESS";
    /// Boundary of the API errors; a server never sends it.
    ApiError = -100, "APIERROR";
    /// There is no such znode, or no parent for a new one.
    NoNode = -101, "NONODE";
    /// The ACL does not allow it.
    NoAuth = -102, "NOAUTH";
    /// The version is not the one expected.
    BadVersion = -103, "BADVERSION";
    /// Ephemeral znodes cannot have children.
    NoChildrenForEphemerals = -108, "NOCHILDRENFOREPHEMERALS";
    /// The znode exists already.
    NodeExists = -110, "NODEEXISTS";
    /// The znode has children.
    NotEmpty = -111, "NOTEMPTY";
    /// The session is over.
    SessionExpired = -112, "SESSIONEXPIRED";
    /// Of clients: an invalid callback.
    InvalidCallback = -113, "INVALIDCALLBACK";
    /// The ACL is empty or names an identity that is not valid.
    InvalidAcl = -114, "INVALIDACL";
    /// The credentials are refused.
    AuthFailed = -115, "AUTHFAILED";
    /// The session goes on at another server; a server closes the connection instead of sending it.
    SessionMoved = -118, "SESSIONMOVED";
    /// The server is read-only.
    NotReadOnly = -119, "NOTREADONLY";
    /// A local session cannot own an ephemeral znode.
    EphemeralOnLocalSession = -120, "EPHEMERALONLOCALSESSION";
    /// There is no such watch.
    NoWatcher = -121, "NOWATCHER";
    /// Of clients: the request took too long.
    RequestTimeout = -122, "REQUESTTIMEOUT";
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123, "RECONFIGDISABLED";
    /// The server wants an authentication that the connection does not have.
    SessionClosedRequireSaslAuth = -124, "SESSIONCLOSEDREQUIRESASLAUTH";
    /// A hard quota would be exceeded.
    QuotaExceeded = -125, "QUOTAEXCEEDED";
    /// The request waited too long in an overloaded server and was not executed.
    ThrottledOp = -127, "THROTTLEDOP";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_there_and_back() {
        for &err in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(err.code()), Some(err));
        }
        assert_eq!(ErrorCode::from_code(0), None);
        assert_eq!(ErrorCode::from_code(-126), Some(ErrorCode::Other(-126)));
    }
}
