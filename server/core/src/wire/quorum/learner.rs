//! What learners say.

use bytes::{BufMut as _, BytesMut};
use zk_proto::jute::{Decode as _, DecodeError, Encode as _, Reader};
use zk_proto::{Bytes, Epoch, Id, ServerId, SessionId, Xid, Zxid};

use crate::session::SessionTimeout;

use super::PROTOCOL_VERSION;
use super::packet::QuorumPacket;

const REQUEST: i32 = 1;
const ACK: i32 = 3;
const PING: i32 = 5;
const REVALIDATE: i32 = 6;
const FOLLOWER_INFO: i32 = 11;
const OBSERVER_INFO: i32 = 16;
const ACK_EPOCH: i32 = 18;

/// Behind what the reference reads of a LEARNERINFO: "this server keeps the rules that ours keep".
const OURS: i32 = 0x7a6b_7273;

/// What a learner tells its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnerPacket {
    /// Who it is, and the last epoch that it promised to follow in.
    Info {
        /// With a vote or without.
        kind: LearnerKind,
        /// The epoch.
        accepted: Epoch,
        /// Who it is.
        info: LearnerInfo,
    },
    /// It promises to follow in the epoch that it was told.
    AckEpoch {
        /// The last transaction of its log; −1 if it asks for the whole tree and does not tell.
        zxid: Zxid,
        /// The last epoch whose initial history it has; none if it had promised this epoch before.
        current: Option<Epoch>,
        /// Whether it asks for the whole tree.
        wants_tree: bool,
    },
    /// It has this, and all before it, on disk.
    Ack {
        /// A transaction; the zeroth of an epoch is its initial history.
        zxid: Zxid,
    },
    /// The answer to a ping, with the sessions that it heard of since the last one.
    Ping {
        /// What the ping said.
        zxid: Zxid,
        /// The sessions, each with the timeout of its connection.
        touches: Vec<(SessionId, SessionTimeout)>,
    },
    /// A client of its asks for something that the leader decides.
    Request(ForwardedRequest),
    /// A client of its says that this session is its own.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Timeout that it is granted.
        timeout: SessionTimeout,
    },
    /// Something that this server does not know.
    Unknown {
        /// Its kind.
        kind: i32,
    },
}

/// Whether a learner votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LearnerKind {
    /// It may.
    Follower,
    /// It may not.
    Observer,
}

/// Who a learner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnerInfo {
    /// Its id, unless it is too old to tell.
    pub server: Option<ServerId>,
    /// Its version of the protocol.
    pub protocol: i32,
    /// Version of its configuration.
    pub config_version: Zxid,
    /// Whether it is a server of ours.
    pub is_ours: bool,
}

/// A request on its way from the server of its client to the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedRequest {
    /// Session of the client.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: Xid,
    /// What it asks for.
    pub op: i32,
    /// The rest, as the client sent it.
    pub body: Bytes,
    /// Who the client is; null where nobody is asked.
    pub identities: Option<Vec<Id>>,
}

impl LearnerPacket {
    /// What a packet means.
    ///
    /// # Errors
    /// [`DecodeError`] names the packet and the field.
    pub fn from_wire(packet: QuorumPacket) -> Result<Self, DecodeError> {
        let zxid = packet.zxid;
        Ok(match packet.kind {
            FOLLOWER_INFO => Self::info(LearnerKind::Follower, zxid, packet.data.as_ref())?,
            OBSERVER_INFO => Self::info(LearnerKind::Observer, zxid, packet.data.as_ref())?,
            ACK_EPOCH => {
                let data = packet.data_of("ACKEPOCH")?;
                let mut reader = Reader::shared(&data);
                let at = |field| move |err: DecodeError| err.at("ACKEPOCH", field);
                let current = Epoch::decode(&mut reader).map_err(at("epoch"))?;
                let wants_tree = zxid == Zxid::new(-1);
                let has_more = wants_tree && reader.remaining() >= 8;
                Self::AckEpoch {
                    zxid: if has_more {
                        Zxid::decode(&mut reader).map_err(at("zxid"))?
                    } else {
                        zxid
                    },
                    current: (current != Epoch::new(-1)).then_some(current),
                    wants_tree,
                }
            }
            ACK => Self::Ack { zxid },
            PING => Self::Ping {
                zxid,
                touches: touches(&packet.data.unwrap_or_default())?,
            },
            REQUEST => {
                let identities = packet.authinfo.clone();
                Self::Request(ForwardedRequest::decode(
                    &packet.data_of("REQUEST")?,
                    identities,
                )?)
            }
            REVALIDATE => {
                let data = packet.data_of("REVALIDATE")?;
                let mut reader = Reader::shared(&data);
                let (session, timeout) =
                    touch(&mut reader).map_err(|(field, err)| err.at("REVALIDATE", field))?;
                Self::Revalidate { session, timeout }
            }
            kind => Self::Unknown { kind },
        })
    }

    /// The packet as it goes on the wire; one that is unknown goes without data.
    pub fn to_wire(&self) -> QuorumPacket {
        match self {
            Self::Info {
                kind,
                accepted,
                info,
            } => {
                let kind = match kind {
                    LearnerKind::Follower => FOLLOWER_INFO,
                    LearnerKind::Observer => OBSERVER_INFO,
                };
                QuorumPacket {
                    data: info.to_wire(),
                    ..QuorumPacket::bare(kind, Zxid::from_parts(*accepted, 0))
                }
            }
            Self::AckEpoch {
                zxid,
                current,
                wants_tree,
            } => {
                let mut data = BytesMut::with_capacity(12);
                current.unwrap_or(Epoch::new(-1)).encode(&mut data);
                let mut from = *zxid;
                if *wants_tree {
                    // Behind what the reference reads, which gets a zxid that no history has.
                    zxid.encode(&mut data);
                    from = Zxid::new(-1);
                }
                QuorumPacket::with(ACK_EPOCH, from, data)
            }
            Self::Ack { zxid } => QuorumPacket::bare(ACK, *zxid),
            Self::Ping { zxid, touches } => {
                let mut data = BytesMut::with_capacity(12 * touches.len());
                for (session, timeout) in touches {
                    session.encode(&mut data);
                    data.put_i32(timeout.as_millis());
                }
                QuorumPacket::with(PING, *zxid, data)
            }
            Self::Request(request) => QuorumPacket {
                authinfo: request.identities.clone(),
                ..QuorumPacket::with(REQUEST, Zxid::new(-1), request.to_wire())
            },
            Self::Revalidate { session, timeout } => {
                let mut data = BytesMut::with_capacity(12);
                session.encode(&mut data);
                data.put_i32(timeout.as_millis());
                QuorumPacket::with(REVALIDATE, Zxid::new(-1), data)
            }
            Self::Unknown { kind } => QuorumPacket::bare(*kind, Zxid::ZERO),
        }
    }

    fn info(kind: LearnerKind, zxid: Zxid, data: Option<&Bytes>) -> Result<Self, DecodeError> {
        Ok(Self::Info {
            kind,
            accepted: zxid.epoch(),
            info: LearnerInfo::from_wire(data)?,
        })
    }
}

impl LearnerInfo {
    /// A server of ours.
    pub const fn ours(server: ServerId, config_version: Zxid) -> Self {
        Self {
            server: Some(server),
            protocol: PROTOCOL_VERSION,
            config_version,
            is_ours: true,
        }
    }

    /// Old servers send less, and get what they can do.
    fn from_wire(data: Option<&Bytes>) -> Result<Self, DecodeError> {
        let empty = Bytes::new();
        let mut reader = Reader::shared(data.unwrap_or(&empty));
        let at = |field| move |err: DecodeError| err.at("LearnerInfo", field);
        let mut info = Self {
            server: None,
            protocol: 1,
            config_version: Zxid::ZERO,
            is_ours: false,
        };
        if data.is_some() {
            info.server = Some(ServerId::decode(&mut reader).map_err(at("serverid"))?);
        }
        if reader.remaining() >= 4 {
            info.protocol = i32::decode(&mut reader).map_err(at("protocolVersion"))?;
        }
        if reader.remaining() >= 8 {
            info.config_version = Zxid::decode(&mut reader).map_err(at("configVersion"))?;
        }
        if reader.remaining() >= 4 {
            info.is_ours = i32::decode(&mut reader).map_err(at("kind"))? == OURS;
        }
        Ok(info)
    }

    fn to_wire(self) -> Option<Bytes> {
        let mut data = BytesMut::with_capacity(24);
        self.server?.encode(&mut data);
        self.protocol.encode(&mut data);
        self.config_version.encode(&mut data);
        if self.is_ours {
            OURS.encode(&mut data);
        }
        Some(data.freeze())
    }
}

impl ForwardedRequest {
    fn decode(data: &Bytes, identities: Option<Vec<Id>>) -> Result<Self, DecodeError> {
        let mut reader = Reader::shared(data);
        let at = |field| move |err: DecodeError| err.at("REQUEST", field);
        Ok(Self {
            session: SessionId::decode(&mut reader).map_err(at("session"))?,
            cxid: Xid::decode(&mut reader).map_err(at("cxid"))?,
            op: i32::decode(&mut reader).map_err(at("op"))?,
            body: reader.share(reader.rest()),
            identities,
        })
    }

    fn to_wire(&self) -> Bytes {
        let mut data = BytesMut::with_capacity(16 + self.body.len());
        self.session.encode(&mut data);
        self.cxid.encode(&mut data);
        self.op.encode(&mut data);
        data.put_slice(&self.body);
        data.freeze()
    }
}

/// The sessions of a ping. A rest that is no session is an error, as it is for the reference.
fn touches(data: &Bytes) -> Result<Vec<(SessionId, SessionTimeout)>, DecodeError> {
    let mut reader = Reader::shared(data);
    let mut touches = Vec::with_capacity(data.len() / 12);
    while !reader.is_empty() {
        let heard = touch(&mut reader);
        touches.push(heard.map_err(|(field, err)| err.at("PING", field))?);
    }
    Ok(touches)
}

fn touch(
    reader: &mut Reader<'_>,
) -> Result<(SessionId, SessionTimeout), (&'static str, DecodeError)> {
    let session = SessionId::decode(reader).map_err(|err| ("session", err))?;
    let timeout = i32::decode(reader).map_err(|err| ("timeout", err))?;
    Ok((session, SessionTimeout::from_millis(timeout)))
}
