//! The record of each type of transaction.

use bytes::{Buf as _, BytesMut};
use bytestring::ByteString;
use zk_proto::jute::{Decode, DecodeError, Encode, Reader};
use zk_proto::{Acl, Bytes, Version};

use crate::wire::record;

/// Creates a persistent or ephemeral znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTxn {
    /// Final path: a sequential name has its number.
    pub path: ByteString,
    /// Data; null and empty are different.
    pub data: Option<Bytes>,
    /// Normalised access control list. Null or empty: open to everyone.
    pub acl: Option<Vec<Acl>>,
    /// Whether the znode dies with the session of the header.
    pub ephemeral: bool,
    /// Stored cversion that the parent has after this; [`CreateTxn::NEXT_CVERSION`] if the record
    /// does not tell.
    pub parent_cversion: Version,
}

impl CreateTxn {
    /// Of records written before 3.4: one more than the parent has.
    pub const NEXT_CVERSION: Version = Version::new(-1);
}

impl Encode for CreateTxn {
    fn encoded_len(&self) -> usize {
        self.path.encoded_len()
            + self.data.encoded_len()
            + self.acl.encoded_len()
            + self.ephemeral.encoded_len()
            + self.parent_cversion.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.path.encode(out);
        self.data.encode(out);
        self.acl.encode(out);
        self.ephemeral.encode(out);
        self.parent_cversion.encode(out);
    }
}

impl Decode for CreateTxn {
    const LEN_MIN: usize = 13;

    /// # Source
    /// Apache `ZooKeeper` 3.9, `SerializeUtils#deserializeTxn`: a record that ends before
    /// `parent_cversion` is of the form before 3.4.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = |field| move |err: DecodeError| err.at("CreateTxn", field);
        let path = Decode::decode(reader).map_err(at("path"))?;
        let data = Decode::decode(reader).map_err(at("data"))?;
        let acl = Decode::decode(reader).map_err(at("acl"))?;
        let ephemeral = Decode::decode(reader).map_err(at("ephemeral"))?;
        let parent_cversion = if reader.is_empty() {
            Self::NEXT_CVERSION
        } else {
            Decode::decode(reader).map_err(at("parent_cversion"))?
        };
        Ok(Self {
            path,
            data,
            acl,
            ephemeral,
            parent_cversion,
        })
    }
}

record! {
    /// Creates a znode with a time to live.
    pub struct CreateTtlTxn {
        /// Final path.
        pub path: ByteString,
        /// Data; null and empty are different.
        pub data: Option<Bytes>,
        /// Normalised access control list. Null or empty: open to everyone.
        pub acl: Option<Vec<Acl>>,
        /// Stored cversion that the parent has after this.
        pub parent_cversion: Version,
        /// Time to live in milliseconds.
        pub ttl: i64,
    }

    /// Creates a container.
    pub struct CreateContainerTxn {
        /// Final path.
        pub path: ByteString,
        /// Data; null and empty are different.
        pub data: Option<Bytes>,
        /// Normalised access control list. Null or empty: open to everyone.
        pub acl: Option<Vec<Acl>>,
        /// Stored cversion that the parent has after this.
        pub parent_cversion: Version,
    }

    /// Deletes a znode.
    pub struct DeleteTxn {
        /// Its path.
        pub path: ByteString,
    }

    /// Sets the data of a znode.
    pub struct SetDataTxn {
        /// Its path.
        pub path: ByteString,
        /// New data; null and empty are different.
        pub data: Option<Bytes>,
        /// Version that the znode has after this.
        pub version: Version,
    }

    /// Sets the access control list of a znode.
    pub struct SetAclTxn {
        /// Its path.
        pub path: ByteString,
        /// New normalised list.
        pub acl: Option<Vec<Acl>>,
        /// ACL version that the znode has after this.
        pub version: Version,
    }

    /// Records that a version was as expected. Changes nothing.
    pub struct CheckVersionTxn {
        /// Path of the znode.
        pub path: ByteString,
        /// The version that was expected, plus one.
        pub version: Version,
    }

    /// Records a request that failed. Changes nothing but the last zxid.
    pub struct ErrorTxn {
        /// Number of the error.
        pub err: i32,
    }

    /// Begins a session.
    pub struct CreateSessionTxn {
        /// Timeout in milliseconds.
        pub timeout_ms: i32,
    }
}

/// Ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseSessionTxn {
    /// Ephemeral znodes to delete, in any order. `None` if the record has no body, as written
    /// before 3.6 or with `closeSessionTxn.enabled=false`: then all that the session owns.
    pub paths: Option<Vec<ByteString>>,
}

impl Encode for CloseSessionTxn {
    fn encoded_len(&self) -> usize {
        self.paths.as_ref().map_or(0, Encode::encoded_len)
    }

    fn encode(&self, out: &mut BytesMut) {
        if let Some(paths) = &self.paths {
            paths.encode(out);
        }
    }
}

impl Decode for CloseSessionTxn {
    const LEN_MIN: usize = 0;

    /// Whether there is a body is told by what is left: nothing, or just a digest, means none. Twelve
    /// bytes are a digest if they begin with its version, 2; as a vector they would hold two empty
    /// paths, which nobody can own.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let rest = reader.rest();
        let is_digest =
            |mut rest: &[u8]| rest.len() == TxnDigest::LEN && rest.get_i32() == TxnDigest::VERSION;
        if rest.is_empty() || is_digest(rest) {
            return Ok(Self { paths: None });
        }
        let paths = Option::<Vec<ByteString>>::decode(reader)
            .map_err(|err| err.at("CloseSessionTxn", "paths"))?;
        Ok(Self {
            paths: Some(paths.unwrap_or_default()),
        })
    }
}

record! {
    /// Digest of the whole tree after a transaction.
    pub struct TxnDigest {
        /// How it was computed; see [`TxnDigest::VERSION`].
        pub version: i32,
        /// The digest.
        pub tree: i64,
    }
}

impl TxnDigest {
    /// The way of computing that is known here.
    pub const VERSION: i32 = 2;
    /// Bytes on the wire.
    pub const LEN: usize = 12;

    /// A digest computed here.
    pub const fn new(tree: u64) -> Self {
        Self {
            version: Self::VERSION,
            tree: tree.cast_signed(),
        }
    }

    /// The digest as a number, if it was computed in the known way.
    pub const fn known(&self) -> Option<u64> {
        if self.version == Self::VERSION {
            Some(self.tree.cast_unsigned())
        } else {
            None
        }
    }
}
