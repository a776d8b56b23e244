use bytes::{BufMut as _, BytesMut};

use crate::jute::{Decode, DecodeError, Encode, Reader};
use crate::{SessionId, Version, Zxid};

/// What is known of a znode beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// Transaction that created the znode.
    pub czxid: Zxid,
    /// Transaction that last set its data.
    pub mzxid: Zxid,
    /// When it was created, milliseconds since 1970 by the leader's clock.
    pub ctime: i64,
    /// When its data was last set, milliseconds since 1970 by the leader's clock.
    pub mtime: i64,
    /// Number of changes of its data.
    pub version: Version,
    /// Number of changes of its children.
    pub cversion: Version,
    /// Number of changes of its ACL.
    pub aversion: Version,
    /// Session that the znode dies with; [`SessionId::NONE`] if persistent, and a marker with the
    /// high bits set for container and TTL znodes.
    pub ephemeral_owner: SessionId,
    /// Length of the data in bytes.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// Transaction that last created or deleted a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Bytes on the wire.
    pub const LEN: usize = 68;
}

impl Encode for Stat {
    fn encoded_len(&self) -> usize {
        Self::LEN
    }

    fn encode(&self, out: &mut BytesMut) {
        // Filled on the stack, so that the output grows once instead of eleven times.
        let mut wire = [0; Self::LEN];
        let mut rest = wire.as_mut_slice();
        rest.put_i64(self.czxid.get());
        rest.put_i64(self.mzxid.get());
        rest.put_i64(self.ctime);
        rest.put_i64(self.mtime);
        rest.put_i32(self.version.get());
        rest.put_i32(self.cversion.get());
        rest.put_i32(self.aversion.get());
        rest.put_i64(self.ephemeral_owner.get());
        rest.put_i32(self.data_length);
        rest.put_i32(self.num_children);
        rest.put_i64(self.pzxid.get());
        out.put_slice(&wire);
    }
}

impl Decode for Stat {
    const LEN_MIN: usize = Self::LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        fn field<T: Decode>(reader: &mut Reader<'_>, name: &str) -> Result<T, DecodeError> {
            T::decode(reader).map_err(|err| err.at("Stat", name))
        }
        Ok(Self {
            czxid: field(reader, "czxid")?,
            mzxid: field(reader, "mzxid")?,
            ctime: field(reader, "ctime")?,
            mtime: field(reader, "mtime")?,
            version: field(reader, "version")?,
            cversion: field(reader, "cversion")?,
            aversion: field(reader, "aversion")?,
            ephemeral_owner: field(reader, "ephemeral_owner")?,
            data_length: field(reader, "data_length")?,
            num_children: field(reader, "num_children")?,
            pzxid: field(reader, "pzxid")?,
        })
    }
}
