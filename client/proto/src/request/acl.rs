use bytes::Bytes;
use bytestring::ByteString;

use crate::Version;
use crate::acl::Acl;
use crate::jute::record;

record! {
    /// Tells a znode's ACL and stat.
    pub struct GetAclRequest {
        /// Path.
        pub path: Option<ByteString>,
    }

    /// Sets a znode's ACL.
    pub struct SetAclRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Access control list.
        pub acl: Option<Vec<Acl>>,
        /// Version expected of its ACL, or [`Version::ANY`].
        pub version: Version,
    }

    /// Adds an identity to this connection.
    pub struct AuthPacket {
        /// Always 0, and ignored.
        pub auth_type: i32,
        /// Authentication scheme.
        pub scheme: Option<ByteString>,
        /// Credentials as the scheme wants them: `user:password` for `digest`.
        pub auth: Option<Bytes> as secret,
    }

    /// One step of a SASL exchange.
    pub struct GetSaslRequest {
        /// What the client's mechanism says; empty at the start for some.
        pub token: Option<Bytes> as secret,
    }
}
