//! What servers prove to each other by SASL, before anything else is said on the quorum port, and
//! behind the initial message on the election port.
//!
//! ```text
//! packet   i64 magic, i32 status, i32 n, n bytes token
//! ```
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumAuth`.

use bytes::{BufMut as _, Bytes, BytesMut};

/// What every packet begins with, and nothing else that servers say first.
pub const MAGIC: [u8; 8] = 0x5f24_3501_3501_edcc_u64.to_be_bytes();

/// Longest token that is taken.
pub const TOKEN_MAX: usize = 4096;

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStatus {
    /// The other side is to say more.
    InProgress,
    /// The one that dialled is who it says.
    Success,
    /// It is not.
    Error,
}

/// A packet behind its magic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumAuthPacket {
    /// How far the exchange is.
    pub status: AuthStatus,
    /// What the mechanism says.
    pub token: Bytes,
}

/// It is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthPacket {
    /// The status is none that is known.
    #[error("an authentication packet has status {0}, which is none")]
    Status(i32),
    /// The token has a length that no token has.
    #[error("an authentication packet has a token of {0} bytes; {TOKEN_MAX} are allowed")]
    Length(i32),
}

impl QuorumAuthPacket {
    /// Bytes behind the magic and in front of the token.
    pub const HEAD: usize = 8;

    /// The packet with its magic.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.token.len());
        out.put_slice(&MAGIC);
        out.put_i32(match self.status {
            AuthStatus::InProgress => 0,
            AuthStatus::Success => 1,
            AuthStatus::Error => -1,
        });
        out.put_i32(i32::try_from(self.token.len()).unwrap_or(i32::MAX));
        out.put_slice(&self.token);
        out.freeze()
    }

    /// Status and length of the token, from what stands between magic and token.
    ///
    /// # Errors
    /// [`BadAuthPacket`].
    pub fn head(head: [u8; Self::HEAD]) -> Result<(AuthStatus, usize), BadAuthPacket> {
        // Both numbers, as one.
        let both = i64::from_be_bytes(head);
        #[expect(clippy::cast_possible_truncation, reason = "each half by itself")]
        let (status, claimed) = ((both >> 32) as i32, both as i32);
        let status = match status {
            0 => AuthStatus::InProgress,
            1 => AuthStatus::Success,
            -1 => AuthStatus::Error,
            other => return Err(BadAuthPacket::Status(other)),
        };
        // Null is what some send for nothing.
        let len = usize::try_from(claimed.max(0)).unwrap_or(usize::MAX);
        if claimed < -1 || len > TOKEN_MAX {
            return Err(BadAuthPacket::Length(claimed));
        }
        Ok((status, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_captured() {
        // `vectors/quorum/18-sasl-digest.json`: the first packet, and the last without its token.
        let first = QuorumAuthPacket {
            status: AuthStatus::InProgress,
            token: Bytes::new(),
        };
        let hex = |bytes: &Bytes| format!("{bytes:x}");
        assert_eq!(hex(&first.to_bytes()), "5f2435013501edcc0000000000000000");
        let last = QuorumAuthPacket {
            status: AuthStatus::Success,
            token: Bytes::from_static(b"rspauth=31f39ec657765cc32b5745201f476751"),
        };
        let bytes = last.to_bytes();
        assert!(hex(&bytes).starts_with("5f2435013501edcc0000000100000028727370617574"));
        let head = bytes.get(8..16).unwrap().try_into().unwrap();
        assert_eq!(QuorumAuthPacket::head(head), Ok((AuthStatus::Success, 40)));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let head = |status: i32, len: i32| {
            let mut head = [0; 8];
            head[..4].copy_from_slice(&status.to_be_bytes());
            head[4..].copy_from_slice(&len.to_be_bytes());
            QuorumAuthPacket::head(head)
        };
        assert_eq!(head(2, 0), Err(BadAuthPacket::Status(2)));
        assert_eq!(head(0, 4097), Err(BadAuthPacket::Length(4097)));
        assert_eq!(head(0, i32::MIN), Err(BadAuthPacket::Length(i32::MIN)));
        assert_eq!(head(-1, -1), Ok((AuthStatus::Error, 0)));
    }
}
