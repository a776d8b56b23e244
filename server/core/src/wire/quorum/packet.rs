//! The record on the wire.

use bytes::BytesMut;
use zk_proto::jute::{Decode as _, DecodeError, Encode, Reader, Reason};
use zk_proto::{Bytes, Id, Zxid};

/// Most identities that a request can carry; more are an attack on memory.
const IDENTITIES_MAX: usize = 1 << 16;

/// A packet as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumPacket {
    /// What it is.
    pub kind: i32,
    /// What it is about.
    pub zxid: Zxid,
    /// The rest, by kind.
    pub data: Option<Bytes>,
    /// Who asks; of requests only.
    pub authinfo: Option<Vec<Id>>,
}

/// How many times as much as one of them may have all strings and buffers of a packet may have: the data of
/// a request, and who asks, are less than half of that.
const WHOLE_MAX: usize = 4;

/// Longest string or buffer of a packet.
///
/// Unit: bytes. The reference takes `jute.maxbuffer` plus `zookeeper.jute.maxbuffer.extrasize`,
/// which is `jute.maxbuffer` again unless it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthLimit(pub usize);

/// A length that no packet may have. Nothing behind it can be read any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("QuorumPacket.{field} claims {claimed} bytes where {max} are allowed")]
pub struct BadLength {
    /// The field.
    pub field: &'static str,
    /// What it claims.
    pub claimed: i32,
    /// The limit.
    pub max: usize,
}

impl QuorumPacket {
    /// Finds the end of the packet that begins at the start of `bytes`: its length, or `None` if it
    /// goes on beyond them. Reads lengths only, so that a reader asks again without cost.
    ///
    /// # Errors
    /// [`BadLength`], as soon as the length is there.
    pub fn find(bytes: &[u8], limit: LengthLimit) -> Result<Option<usize>, BadLength> {
        let mut scan = Scan {
            bytes,
            at: 12,
            stepped: 0,
            limit,
        };
        if !scan.skip("data")? {
            return Ok(None);
        }
        let Some(count) = scan.length() else {
            return Ok(None);
        };
        let max = IDENTITIES_MAX;
        if usize::try_from(count).is_ok_and(|count| count > max) {
            return Err(BadLength {
                field: "authinfo",
                claimed: count,
                max,
            });
        }
        for _ in 0..count.max(0) {
            if !(scan.skip("authinfo.scheme")? && scan.skip("authinfo.id")?) {
                return Ok(None);
            }
        }
        Ok((scan.at <= bytes.len()).then_some(scan.at))
    }

    /// Reads a packet that was found whole. Its data is a slice of `packet`.
    ///
    /// # Errors
    /// [`DecodeError`] names the field.
    pub fn decode(packet: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::shared(packet);
        let at = |field| move |err: DecodeError| err.at("QuorumPacket", field);
        Ok(Self {
            kind: i32::decode(&mut reader).map_err(at("type"))?,
            zxid: Zxid::decode(&mut reader).map_err(at("zxid"))?,
            data: Option::decode(&mut reader).map_err(at("data"))?,
            authinfo: Option::decode(&mut reader).map_err(at("authinfo"))?,
        })
    }

    /// A packet without data.
    pub(super) fn bare(kind: i32, zxid: Zxid) -> Self {
        Self {
            kind,
            zxid,
            data: None,
            authinfo: None,
        }
    }

    /// A packet with data.
    pub(super) fn with(kind: i32, zxid: Zxid, data: impl Into<Bytes>) -> Self {
        Self {
            data: Some(data.into()),
            ..Self::bare(kind, zxid)
        }
    }

    /// The data of a packet that must have some.
    pub(super) fn data_of(self, packet: &'static str) -> Result<Bytes, DecodeError> {
        let missing = || DecodeError::new(Reason::Null).at(packet, "data");
        self.data.ok_or_else(missing)
    }
}

impl Encode for QuorumPacket {
    fn encoded_len(&self) -> usize {
        12 + self.data.encoded_len() + self.authinfo.encoded_len()
    }

    fn encode(&self, out: &mut BytesMut) {
        self.kind.encode(out);
        self.zxid.encode(out);
        self.data.encode(out);
        self.authinfo.encode(out);
    }
}

/// Steps over lengths.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of strings and buffers so far.
    stepped: usize,
    limit: LengthLimit,
}

impl Scan<'_> {
    /// Steps over a string or buffer; false if not even its length is there.
    fn skip(&mut self, field: &'static str) -> Result<bool, BadLength> {
        let Some(claimed) = self.length() else {
            return Ok(false);
        };
        if claimed == -1 {
            return Ok(true);
        }
        let max = self.limit.0;
        let len = usize::try_from(claimed).ok().filter(|len| *len <= max);
        let len = len.ok_or(BadLength {
            field,
            claimed,
            max,
        })?;
        self.at = self.at.saturating_add(len);
        self.stepped = self.stepped.saturating_add(len);
        let max = max.saturating_mul(WHOLE_MAX);
        if self.stepped > max {
            let claimed = i32::try_from(self.stepped).unwrap_or(i32::MAX);
            return Err(BadLength {
                field,
                claimed,
                max,
            });
        }
        Ok(true)
    }

    fn length(&mut self) -> Option<i32> {
        let (length, _) = self.bytes.get(self.at..)?.split_first_chunk::<4>()?;
        self.at += 4;
        Some(i32::from_be_bytes(*length))
    }
}
