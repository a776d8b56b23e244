//! What leaders say.

use bytes::{BufMut as _, BytesMut};
use zk_proto::jute::{Decode as _, DecodeError, Encode as _, Reader, Reason};
use zk_proto::{Bytes, Epoch, ServerId, SessionId, Zxid};

use super::PROTOCOL_VERSION;
use super::packet::QuorumPacket;

const PROPOSAL: i32 = 2;
const COMMIT: i32 = 4;
const PING: i32 = 5;
const REVALIDATE: i32 = 6;
const SYNC: i32 = 7;
const INFORM: i32 = 8;
const COMMIT_AND_ACTIVATE: i32 = 9;
const NEW_LEADER: i32 = 10;
const UP_TO_DATE: i32 = 12;
const DIFF: i32 = 13;
const TRUNC: i32 = 14;
const SNAP: i32 = 15;
const LEADER_INFO: i32 = 17;
const INFORM_AND_ACTIVATE: i32 = 19;

/// What a leader tells a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderPacket {
    /// The new epoch.
    LeaderInfo {
        /// The epoch.
        epoch: Epoch,
    },
    /// The learner gets the transactions that it lacks.
    Diff {
        /// The last one committed, for information.
        committed: Zxid,
    },
    /// The learner forgets all transactions behind this one.
    Trunc {
        /// The last one that stays.
        target: Zxid,
    },
    /// The learner gets the whole tree: its stream follows.
    Snap {
        /// The last transaction that is in it for certain.
        zxid: Zxid,
    },
    /// The learner has the initial history of the epoch.
    NewLeader {
        /// The epoch.
        epoch: Epoch,
        /// Text of the configuration; null for learners that do not know of it.
        config: Option<Bytes>,
    },
    /// A quorum has the initial history of the epoch.
    UpToDate,
    /// A transaction, to be logged and acknowledged.
    Proposal {
        /// Its place in history.
        zxid: Zxid,
        /// The entry of the log.
        entry: Bytes,
    },
    /// A proposal is to be applied.
    Commit {
        /// Its place in history.
        zxid: Zxid,
    },
    /// A transaction for an observer, to be applied.
    Inform {
        /// Its place in history.
        zxid: Zxid,
        /// The entry of the log.
        entry: Bytes,
    },
    /// A proposal that changes the ensemble is to be applied.
    CommitAndActivate {
        /// Its place in history.
        zxid: Zxid,
        /// Who leads from there on.
        leader: ServerId,
    },
    /// A transaction for an observer, to be applied, that changes the ensemble.
    InformAndActivate {
        /// Its place in history.
        zxid: Zxid,
        /// Who leads from there on.
        leader: ServerId,
        /// The entry of the log.
        entry: Bytes,
    },
    /// A sign of life that wants one.
    Ping {
        /// The last proposal.
        zxid: Zxid,
    },
    /// Whether a session lives.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Whether it may be resumed.
        is_valid: bool,
    },
    /// Everything committed before the oldest unanswered sync of this learner was sent.
    Sync,
    /// Something that this server does not know.
    Unknown {
        /// Its kind.
        kind: i32,
    },
}

impl LeaderPacket {
    /// What a packet means.
    ///
    /// # Errors
    /// [`DecodeError`] names the packet and the field.
    pub fn from_wire(packet: QuorumPacket) -> Result<Self, DecodeError> {
        let zxid = packet.zxid;
        Ok(match packet.kind {
            PROPOSAL => Self::Proposal {
                zxid,
                entry: packet.data_of("PROPOSAL")?,
            },
            COMMIT => Self::Commit { zxid },
            PING => Self::Ping { zxid },
            REVALIDATE => {
                let data = packet.data_of("REVALIDATE")?;
                let mut reader = Reader::shared(&data);
                let at = |field| move |err: DecodeError| err.at("REVALIDATE", field);
                Self::Revalidate {
                    session: SessionId::decode(&mut reader).map_err(at("session"))?,
                    is_valid: bool::decode(&mut reader).map_err(at("valid"))?,
                }
            }
            SYNC => Self::Sync,
            INFORM => Self::Inform {
                zxid,
                entry: packet.data_of("INFORM")?,
            },
            COMMIT_AND_ACTIVATE => {
                let data = packet.data_of("COMMITANDACTIVATE")?;
                let leader = ServerId::decode(&mut Reader::shared(&data))
                    .map_err(|err| err.at("COMMITANDACTIVATE", "leader"))?;
                Self::CommitAndActivate { zxid, leader }
            }
            NEW_LEADER => Self::NewLeader {
                epoch: epoch(zxid, "NEWLEADER")?,
                config: packet.data,
            },
            UP_TO_DATE => Self::UpToDate,
            DIFF => Self::Diff { committed: zxid },
            TRUNC => Self::Trunc { target: zxid },
            SNAP => Self::Snap { zxid },
            LEADER_INFO => Self::LeaderInfo {
                epoch: epoch(zxid, "LEADERINFO")?,
            },
            INFORM_AND_ACTIVATE => {
                let data = packet.data_of("INFORMANDACTIVATE")?;
                let mut reader = Reader::shared(&data);
                let leader = ServerId::decode(&mut reader)
                    .map_err(|err| err.at("INFORMANDACTIVATE", "leader"))?;
                let entry = reader.share(reader.rest());
                Self::InformAndActivate {
                    zxid,
                    leader,
                    entry,
                }
            }
            kind => Self::Unknown { kind },
        })
    }

    /// The packet as it goes on the wire; one that is unknown goes without data.
    pub fn to_wire(&self) -> QuorumPacket {
        match self {
            Self::LeaderInfo { epoch } => {
                let version = PROTOCOL_VERSION.to_bytes();
                QuorumPacket::with(LEADER_INFO, Zxid::from_parts(*epoch, 0), version)
            }
            Self::Diff { committed } => QuorumPacket::bare(DIFF, *committed),
            Self::Trunc { target } => QuorumPacket::bare(TRUNC, *target),
            Self::Snap { zxid } => QuorumPacket::bare(SNAP, *zxid),
            Self::NewLeader { epoch, config } => QuorumPacket {
                data: config.clone(),
                ..QuorumPacket::bare(NEW_LEADER, Zxid::from_parts(*epoch, 0))
            },
            Self::UpToDate => QuorumPacket::bare(UP_TO_DATE, Zxid::new(-1)),
            Self::Proposal { zxid, entry } => QuorumPacket::with(PROPOSAL, *zxid, entry.clone()),
            Self::Commit { zxid } => QuorumPacket::bare(COMMIT, *zxid),
            Self::Inform { zxid, entry } => QuorumPacket::with(INFORM, *zxid, entry.clone()),
            Self::CommitAndActivate { zxid, leader } => {
                QuorumPacket::with(COMMIT_AND_ACTIVATE, *zxid, leader.to_bytes())
            }
            Self::InformAndActivate {
                zxid,
                leader,
                entry,
            } => {
                let mut data = BytesMut::with_capacity(8 + entry.len());
                leader.encode(&mut data);
                data.put_slice(entry);
                QuorumPacket::with(INFORM_AND_ACTIVATE, *zxid, data)
            }
            Self::Ping { zxid } => QuorumPacket::bare(PING, *zxid),
            Self::Revalidate { session, is_valid } => {
                let mut data = BytesMut::with_capacity(9);
                session.encode(&mut data);
                is_valid.encode(&mut data);
                QuorumPacket::with(REVALIDATE, Zxid::new(-1), data)
            }
            Self::Sync => QuorumPacket::bare(SYNC, Zxid::ZERO),
            Self::Unknown { kind } => QuorumPacket::bare(*kind, Zxid::ZERO),
        }
    }
}

/// The epoch of a packet that is about one as a whole.
fn epoch(zxid: Zxid, packet: &'static str) -> Result<Epoch, DecodeError> {
    if zxid.counter() == 0 && zxid >= Zxid::ZERO {
        Ok(zxid.epoch())
    } else {
        let counter = zxid.counter().cast_signed();
        Err(DecodeError::new(Reason::Undefined(counter)).at(packet, "zxid"))
    }
}
