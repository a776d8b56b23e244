//! The handshake: the first frame each way, without a header.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::jute::{Decode, DecodeError, Encode, Reader, Secret, record};
use crate::{SessionId, Zxid};

/// Length of a session password in bytes.
pub const PASSWORD_LEN: usize = 16;

/// Asks for a session, or to go on with one.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ConnectRequest {
    /// Always 0.
    pub protocol_version: i32,
    /// Highest zxid that the client has seen; a server that is behind refuses.
    pub last_zxid_seen: Zxid,
    /// Session timeout asked for, in milliseconds.
    pub timeout_ms: i32,
    /// Session to go on with, or [`SessionId::NONE`].
    pub session_id: SessionId,
    /// Password of the session; null, empty or 16 zero bytes for a new one.
    pub password: Option<Bytes>,
    /// Whether a read-only server will do. Clients up to 3.3 do not send it.
    pub read_only: Option<bool>,
}

/// Grants a session, or refuses it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// Session timeout granted, in milliseconds; 0 or less if the session is gone.
    pub timeout_ms: i32,
    /// The session, or [`SessionId::NONE`] when refused.
    pub session_id: SessionId,
    /// Its password; zero bytes when refused.
    pub password: Option<Bytes>,
    /// Whether the server is read-only. Sent only to clients that sent their own.
    pub read_only: Option<bool>,
}

record! {
    /// Body of a createSession request, which only servers send themselves.
    pub struct CreateSessionRequest {
        /// Session timeout in milliseconds.
        pub timeout_ms: i32,
    }
}

/// Gives a handshake record its codec and its `Debug`: the fields, then the password and the
/// optional read-only byte. The number is the length with a null password and without that byte.
macro_rules! handshake {
    ($name:ident, $len_min:literal, { $( $field:ident ),* }) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $( .field(stringify!($field), &self.$field) )*
                    .field("password", &Secret(&self.password))
                    .field("read_only", &self.read_only)
                    .finish()
            }
        }

        impl Encode for $name {
            fn encoded_len(&self) -> usize {
                0 $( + self.$field.encoded_len() )*
                    + self.password.encoded_len()
                    + usize::from(self.read_only.is_some())
            }

            fn encode(&self, out: &mut BytesMut) {
                $( self.$field.encode(out); )*
                self.password.encode(out);
                if let Some(read_only) = self.read_only {
                    read_only.encode(out);
                }
            }
        }

        impl Decode for $name {
            const LEN_MIN: usize = $len_min;

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $(
                    let $field = Decode::decode(reader)
                        .map_err(|err: DecodeError| err.at(stringify!($name), stringify!($field)))?;
                )*
                let password = Decode::decode(reader)
                    .map_err(|err: DecodeError| err.at(stringify!($name), "password"))?;
                let read_only = if reader.is_empty() {
                    None
                } else {
                    Some(bool::decode(reader)?)
                };
                Ok(Self { $( $field, )* password, read_only })
            }
        }
    };
}

handshake!(ConnectRequest, 28, {
    protocol_version,
    last_zxid_seen,
    timeout_ms,
    session_id
});
handshake!(ConnectResponse, 20, {
    protocol_version,
    timeout_ms,
    session_id
});

impl ConnectResponse {
    /// Bytes on the wire, without the read-only byte.
    ///
    /// A read-only server without local sessions answers a new session with the frame of a
    /// [`crate::header::ReplyHeader`]: a first frame shorter than this is a failed handshake.
    pub const LEN: usize = 36;

    /// The answer to a client whose session is gone or whose password is wrong.
    pub fn refused(with_read_only: bool) -> Self {
        Self {
            password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
            read_only: with_read_only.then_some(false),
            ..Self::default()
        }
    }

    /// Whether the session was granted.
    pub const fn is_granted(&self) -> bool {
        self.timeout_ms > 0
    }
}
