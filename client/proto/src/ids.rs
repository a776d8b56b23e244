//! Identifiers and counters, each its own type.

use std::fmt;

use bytes::BytesMut;

use crate::jute::{Decode, DecodeError, Encode, Reader};

/// Gives a newtype the codec of the number inside.
macro_rules! codec {
    ($name:ident, $inner:ty) => {
        impl Encode for $name {
            fn encoded_len(&self) -> usize {
                size_of::<$inner>()
            }

            fn encode(&self, out: &mut BytesMut) {
                self.0.encode(out);
            }
        }

        impl Decode for $name {
            const LEN_MIN: usize = size_of::<$inner>();

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <$inner>::decode(reader).map(Self)
            }
        }

        impl $name {
            /// Wraps a number as it stands on the wire.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The number as it goes on the wire.
            pub const fn get(self) -> $inner {
                self.0
            }
        }
    };
}

/// Transaction id: the epoch of the leader that made it in the high half, a counter in the low.
///
/// Prints in hexadecimal, as operators know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(i64);

codec!(Zxid, i64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Self = Self(0);

    /// The zxid with this epoch and counter.
    pub const fn from_parts(epoch: Epoch, counter: u32) -> Self {
        Self(((epoch.0 as i64) << 32) | counter as i64)
    }

    /// Epoch of the leader that made the transaction.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as i32)
    }

    /// Position of the transaction within its epoch.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the low half is 32 bits wide"
    )]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zxid({self})")
    }
}

/// Number of a leader's reign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(i32);

codec!(Epoch, i32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Session of a client with the ensemble. Prints in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(i64);

codec!(SessionId, i64);

impl SessionId {
    /// No session: asks for a new one in a handshake, owns a persistent znode in a `Stat`.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// Number of a server in its ensemble: the content of `myid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ServerId(i64);

codec!(ServerId, i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number that pairs a reply with its request on one connection.
///
/// The server never checks it and echoes whatever came. Requests of ours count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Xid(i32);

codec!(Xid, i32);

impl Xid {
    /// Of a watch event, server to client only.
    pub const NOTIFICATION: Self = Self(-1);
    /// Of a ping and its answer, whatever the ping carried.
    pub const PING: Self = Self(-2);
    /// Of an auth packet, by convention of all clients.
    pub const AUTH: Self = Self(-4);
    /// Of a setWatches request, by convention of some clients.
    pub const SET_WATCHES: Self = Self(-8);

    /// The xid after this one for ordinary requests: positive, wrapping to 1.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 < 1 || self.0 == i32::MAX {
            Self(1)
        } else {
            Self(self.0 + 1)
        }
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of changes of a znode's data, children or ACL; in a request, the number expected.
///
/// It wraps, so it has no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Version(i32);

codec!(Version, i32);

impl Version {
    /// In a request: whatever the version is.
    pub const ANY: Self = Self(-1);
}

impl From<i32> for Version {
    fn from(value: i32) -> Self {
        Self(value)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_is_epoch_and_counter() {
        let zxid = Zxid::from_parts(Epoch::new(5), 0xffff_fff0);
        assert_eq!(zxid.get(), 0x5_ffff_fff0);
        assert_eq!((zxid.epoch(), zxid.counter()), (Epoch::new(5), 0xffff_fff0));
        assert_eq!(zxid.to_string(), "0x5fffffff0");
    }

    #[test]
    fn xid_wraps_to_one() {
        assert_eq!(Xid::new(i32::MAX).next(), Xid::new(1));
        assert_eq!(Xid::new(0).next(), Xid::new(1));
        assert_eq!(Xid::new(-8).next(), Xid::new(1));
    }

    #[test]
    fn negative_session_ids_print_as_operators_know_them() {
        assert_eq!(SessionId::new(-2).to_string(), "0xfffffffffffffffe");
    }
}
