//! Access control lists as they go over the wire.

use std::fmt;
use std::ops::{BitAnd, BitOr};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use bytestring::ByteString;
use sha1::{Digest as _, Sha1};

use crate::jute::{Decode, DecodeError, Encode, Reader, record};

/// Permission bits. Bits that the protocol does not define are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Perms(i32);

impl Perms {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read the data and list the children.
    pub const READ: Self = Self(1);
    /// Set the data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set the ACL.
    pub const ADMIN: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);

    /// Wraps the bits as they stand on the wire.
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    /// The bits as they go on the wire.
    pub const fn bits(self) -> i32 {
        self.0
    }

    /// Whether every bit of `other` is set here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits of both; `|` for constants.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Perms {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitAnd for Perms {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// `cdrwa` in the order that the command line shell prints; undefined bits in hexadecimal behind.
impl fmt::Display for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (Self::CREATE, "c"),
            (Self::DELETE, "d"),
            (Self::READ, "r"),
            (Self::WRITE, "w"),
            (Self::ADMIN, "a"),
        ];
        for (bit, letter) in letters {
            if self.contains(bit) {
                f.write_str(letter)?;
            }
        }
        match self.0 & !Self::ALL.0 {
            0 => Ok(()),
            undefined => write!(f, "+0x{undefined:x}"),
        }
    }
}

impl fmt::Debug for Perms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Perms({self})")
    }
}

impl Encode for Perms {
    fn encoded_len(&self) -> usize {
        4
    }

    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
}

impl Decode for Perms {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        i32::decode(reader).map(Self)
    }
}

record! {
    /// Whom an ACL entry is about. The wire allows null for both; a server refuses it.
    pub struct Id {
        /// Authentication scheme: `world`, `auth`, `digest`, `ip`, `x509`, `sasl` or a server's own.
        pub scheme: Option<ByteString>,
        /// Identity within the scheme.
        pub id: Option<ByteString>,
    }

    /// One entry of an access control list.
    pub struct Acl {
        /// What is granted.
        pub perms: Perms,
        /// To whom.
        pub id: Id,
    }

    /// One identity of a connection, as whoAmI tells it.
    pub struct ClientInfo {
        /// Authentication scheme.
        pub auth_scheme: Option<ByteString>,
        /// Identity within the scheme, as the scheme chooses to show it.
        pub user: Option<ByteString>,
    }
}

impl Id {
    /// An identity of a scheme.
    pub fn new(scheme: impl Into<ByteString>, id: impl Into<ByteString>) -> Self {
        Self {
            scheme: Some(scheme.into()),
            id: Some(id.into()),
        }
    }

    /// Whoever proves to know the password of a user: what the server makes of the credentials
    /// `user:password` of an [`AuthPacket`](crate::request::AuthPacket) with the scheme `digest`.
    ///
    /// The id is the user, a colon, and the SHA-1 of `user:password` in base64. A user with a colon
    /// in the name cannot be told from its password, so no server accepts such an id in an ACL.
    ///
    /// ```
    /// # use zk_proto::Id;
    /// let id = Id::digest("super", "secret");
    /// assert_eq!(id.to_string(), "digest:super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
    /// ```
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DigestAuthenticationProvider#generateDigest`, with its default
    /// `digestAlg`.
    pub fn digest(user: &str, password: &str) -> Self {
        let hash = Sha1::new()
            .chain_update(user)
            .chain_update(":")
            .chain_update(password)
            .finalize();
        Self::new("digest", format!("{user}:{}", BASE64.encode(hash)))
    }

    /// Whoever connects from this address, or from one of `address/bits`.
    pub fn ip(address: impl Into<ByteString>) -> Self {
        Self::new("ip", address)
    }

    /// Whoever shows a certificate with this subject, as RFC 2253 writes it.
    pub fn x509(subject: impl Into<ByteString>) -> Self {
        Self::new("x509", subject)
    }

    /// Whoever proves by SASL to be this user.
    ///
    /// ```
    /// # use zk_proto::Id;
    /// let ids = [Id::ip("10.0.0.0/8"), Id::x509("CN=bob,O=acme"), Id::sasl("bob")];
    /// let shown = ids.map(|id| id.to_string());
    /// assert_eq!(shown, ["ip:10.0.0.0/8", "x509:CN=bob,O=acme", "sasl:bob"]);
    /// ```
    pub fn sasl(user: impl Into<ByteString>) -> Self {
        Self::new("sasl", user)
    }

    /// Everybody.
    pub const ANYONE: Self = Self {
        scheme: Some(ByteString::from_static("world")),
        id: Some(ByteString::from_static("anyone")),
    };

    /// Whoever sends the request; the server puts the identities of the connection in its place.
    pub const AUTH: Self = Self {
        scheme: Some(ByteString::from_static("auth")),
        id: Some(ByteString::from_static("")),
    };
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &Option<ByteString>| text.clone().unwrap_or_else(|| "(null)".into());
        write!(f, "{}:{}", shown(&self.scheme), shown(&self.id))
    }
}

impl Acl {
    /// Grants `perms` to `id`.
    pub const fn new(perms: Perms, id: Id) -> Self {
        Self { perms, id }
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.perms)
    }
}

/// Why text is no entry of an access control list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclTextError {
    /// It is not of three parts.
    #[error("ACL entry {entry:?} is not of the form scheme:id:perms")]
    Form {
        /// The entry.
        entry: String,
    },
    /// A letter that is no permission.
    #[error("ACL entry {entry:?} has the permission {letter:?}, which is none of c, d, r, w, a")]
    UnknownPerm {
        /// The entry.
        entry: String,
        /// The first such letter.
        letter: char,
    },
}

/// `scheme:id:perms`, as [`Display`](fmt::Display) writes it. The id may hold colons.
///
/// ```
/// # use zk_proto::{Acl, Id, Perms};
/// let entry: Acl = "digest:bob:abc=:rw".parse().unwrap();
/// assert_eq!(entry.id, Id::new("digest", "bob:abc="));
/// assert_eq!(entry.perms, Perms::READ | Perms::WRITE);
/// ```
impl FromStr for Acl {
    type Err = AclTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entry = || text.to_owned();
        let parts = text
            .split_once(':')
            .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, letters))) = parts else {
            return Err(AclTextError::Form { entry: entry() });
        };
        let mut perms = Perms::NONE;
        for letter in letters.chars() {
            perms = perms
                | match letter {
                    'c' => Perms::CREATE,
                    'd' => Perms::DELETE,
                    'r' => Perms::READ,
                    'w' => Perms::WRITE,
                    'a' => Perms::ADMIN,
                    letter => {
                        return Err(AclTextError::UnknownPerm {
                            entry: entry(),
                            letter,
                        });
                    }
                };
        }
        Ok(Self::new(perms, Id::new(scheme.to_owned(), id.to_owned())))
    }
}
