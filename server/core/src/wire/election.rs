//! What goes over election connections: who dials, and votes.
//!
//! ```text
//! initial message   i64 version (−65536 | −65535), i64 sid, i32 n, n bytes host:port[|host:port…]
//!                   or, before 3.5, i64 sid (≥ 0) alone
//! frame             i32 length, then a notification
//! notification      i32 state, i64 leader, i64 zxid, i64 round, i64 peer epoch, i32 version,
//!                   i32 length and text of the configuration, then what future versions add
//! ```
//!
//! Behind the configuration stands what one of ours tells others of ours: who it is, and of members
//! that are proposed as far as it knows, length and text. Apache servers read over it.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumCnxManager.InitialMessage`, `FastLeaderElection#buildMsg`,
//! `FastLeaderElection.Messenger.WorkerReceiver`.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::{ServerId, Zxid};

/// Longest notification. Longer ones end the connection.
pub const FRAME_MAX: usize = 512 << 10;
/// Longest text of addresses in an initial message.
pub const ADDRESSES_MAX: usize = 2048;
/// Sid of an observer that has none.
pub const ANONYMOUS: ServerId = ServerId::new(i64::MAX);

/// First version of the initial message that has one.
const ONE_ADDRESS: i64 = -65_536;
/// The version with several addresses.
const MANY_ADDRESSES: i64 = -65_535;
/// Length of the shortest notification: up to the round.
const SHORT: usize = 28;
/// Length of one with a peer epoch and a version that is not read.
const UNVERSIONED: usize = 40;
/// Length of one with a version and the length of a configuration.
const LONG: usize = 44;
/// The version written, and the first with a configuration.
const VERSION: i32 = 2;
/// Marks what one of ours tells others of ours: "zk", "rs".
const OURS: [u8; 8] = *b"\0zkrs\0\0\x01";

/// Number of an election. Rounds of different servers meet at the highest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Round(i64);

impl Round {
    /// Before the first election of a process.
    pub const ZERO: Self = Self(0);
    /// In the vote of a server that has not decided anything since it started.
    pub const NONE: Self = Self(-1);

    /// Wraps a number as it stands on the wire.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number as it goes on the wire.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The round after this one; the last has none.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a server is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeerState {
    /// Takes part in an election.
    Looking,
    /// Follows with a vote.
    Following,
    /// Leads.
    Leading,
    /// Follows without a vote.
    Observing,
}

impl PeerState {
    const fn to_wire(self) -> i32 {
        match self {
            Self::Looking => 0,
            Self::Following => 1,
            Self::Leading => 2,
            Self::Observing => 3,
        }
    }

    const fn from_wire(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Looking),
            1 => Some(Self::Following),
            2 => Some(Self::Leading),
            3 => Some(Self::Observing),
            _ => None,
        }
    }
}

/// A vote, and what its sender is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// What the sender is doing; `None` for a number that stands for nothing.
    pub state: Option<PeerState>,
    /// Whom it votes for.
    pub leader: ServerId,
    /// Last transaction of that server, as far as the sender knows.
    pub zxid: Zxid,
    /// The sender's round.
    pub round: Round,
    /// Current epoch of that server. Not always an epoch: who has no vote says `i64::MIN`.
    pub peer_epoch: i64,
    /// Version of the format; 0 for those that have none.
    pub version: i32,
    /// The sender's configuration.
    pub config: Option<ByteString>,
    /// Whether the sender is one of ours.
    pub is_ours: bool,
    /// The youngest configuration that is proposed as far as the sender knows, if it is one of ours.
    pub proposed: Option<ByteString>,
}

impl Notification {
    /// Version of the format that is written.
    pub const VERSION: i32 = VERSION;

    /// The notification with its length in front.
    pub fn to_frame(&self) -> Bytes {
        let config = self.config.as_deref().unwrap_or_default();
        let ours = if self.is_ours { &OURS[..] } else { &[] };
        let proposed = self.proposed.as_ref().filter(|_| self.is_ours);
        let len = LONG + config.len() + ours.len();
        let len = len + proposed.map_or(0, |text| 4 + text.len());
        let mut out = BytesMut::with_capacity(4 + len);
        out.put_i32(wire_len(len));
        out.put_i32(self.state.map_or(-1, PeerState::to_wire));
        out.put_i64(self.leader.get());
        out.put_i64(self.zxid.get());
        out.put_i64(self.round.get());
        out.put_i64(self.peer_epoch);
        out.put_i32(self.version);
        out.put_i32(wire_len(config.len()));
        out.put_slice(config.as_bytes());
        out.put_slice(ours);
        if let Some(text) = proposed {
            out.put_i32(wire_len(text.len()));
            out.put_slice(text.as_bytes());
        }
        out.freeze()
    }

    /// Reads a frame without its length; `None` if it is to be ignored. What is read keeps nothing
    /// of the frame.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let mut fields = Fields(frame);
        let state = PeerState::from_wire(fields.i32()?);
        let leader = ServerId::new(fields.i64()?);
        let zxid = Zxid::new(fields.i64()?);
        let round = Round::new(fields.i64()?);
        let mut notification = Self {
            state,
            leader,
            zxid,
            round,
            peer_epoch: i64::from(zxid.epoch().get()),
            version: 0,
            config: None,
            is_ours: false,
            proposed: None,
        };
        if frame.len() == SHORT {
            return Some(notification);
        }
        notification.peer_epoch = fields.i64()?;
        if frame.len() == UNVERSIONED {
            return Some(notification);
        }
        notification.version = fields.i32()?;
        if notification.version >= VERSION {
            notification.config = Some(fields.text()?);
            if let Some(rest) = fields.0.strip_prefix(&OURS) {
                notification.is_ours = true;
                // Whatever else stands there, a later version will have put.
                notification.proposed = Fields(rest).text();
            }
        }
        Some(notification)
    }
}

/// What a server says first when it dials another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialMessage {
    /// Who it is.
    pub sid: ServerId,
    /// Where it can be dialled for elections, as `host:port`; empty if it did not say.
    pub addresses: Vec<String>,
}

/// Why an initial message is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadInitial {
    /// It starts with a version that is not known.
    #[error("initial message of unknown version {0}")]
    Version(i64),
    /// Its addresses have an impossible length.
    #[error("initial message with addresses of {0} bytes, 1 to {ADDRESSES_MAX} are read")]
    Length(i32),
    /// An address is none.
    #[error("initial message with address {0:?}, which is not host:port")]
    Address(String),
}

/// What [`InitialMessage::read`] made of the bytes at hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// This many bytes are needed next; none more, as what follows is not the message's.
    Need(usize),
    /// That was all.
    Done(InitialMessage),
}

impl InitialMessage {
    /// The whole message, to be sent with one write.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9 reads the addresses with one call, and drops who sends them in two.
    pub fn to_bytes(&self) -> Bytes {
        let text = self.addresses.join("|");
        let version = match self.addresses.len() {
            0 | 1 => ONE_ADDRESS,
            _ => MANY_ADDRESSES,
        };
        let mut out = BytesMut::with_capacity(20 + text.len());
        out.put_i64(version);
        out.put_i64(self.sid.get());
        out.put_i32(wire_len(text.len()));
        out.put_slice(text.as_bytes());
        out.freeze()
    }

    /// Looks at what came so far.
    ///
    /// # Errors
    /// [`BadInitial`] as soon as it shows.
    pub fn read(bytes: &[u8]) -> Result<Reading, BadInitial> {
        let mut fields = Fields(bytes);
        let need = |len: usize| Ok(Reading::Need(len - bytes.len()));
        let Some(first) = fields.i64() else {
            return need(8);
        };
        if first >= 0 {
            return Ok(Reading::Done(Self {
                sid: ServerId::new(first),
                addresses: Vec::new(),
            }));
        }
        if first != ONE_ADDRESS && first != MANY_ADDRESSES {
            return Err(BadInitial::Version(first));
        }
        let (Some(sid), Some(len)) = (fields.i64(), fields.i32()) else {
            return need(20);
        };
        let bounded = usize::try_from(len).ok();
        let Some(wanted) = bounded.filter(|len| (1..=ADDRESSES_MAX).contains(len)) else {
            return Err(BadInitial::Length(len));
        };
        let Some(text) = fields.take(wanted) else {
            return need(20 + wanted);
        };
        let text = String::from_utf8_lossy(text);
        let addresses = text.split('|').map(|address| {
            let port = address.rsplit_once(':').map(|(_, port)| port.parse());
            match port {
                Some(Ok::<u16, _>(_)) => Ok(address.to_owned()),
                Some(Err(_)) | None => Err(BadInitial::Address(address.to_owned())),
            }
        });
        Ok(Reading::Done(Self {
            sid: ServerId::new(sid),
            addresses: addresses.collect::<Result<_, _>>()?,
        }))
    }
}

/// Fixed fields from the front of a frame.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// A text with its length in front.
    fn text(&mut self) -> Option<ByteString> {
        let len = usize::try_from(self.i32()?).ok()?;
        let text = String::from_utf8_lossy(self.take(len)?);
        Some(ByteString::from(text.as_ref()))
    }

    fn i32(&mut self) -> Option<i32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*taken))
    }

    fn i64(&mut self) -> Option<i64> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_be_bytes(*taken))
    }
}

fn wire_len(len: usize) -> i32 {
    i32::try_from(len).expect("texts of ours are short")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn notification() -> Notification {
        Notification {
            state: Some(PeerState::Leading),
            leader: ServerId::new(3),
            zxid: Zxid::new(0x3_0000_0002),
            round: Round::new(7),
            peer_epoch: 4,
            version: Notification::VERSION,
            config: Some("server.1=h:1:2:participant\nversion=0".into()),
            is_ours: true,
            proposed: None,
        }
    }

    #[test]
    fn notifications_go_there_and_back() {
        let text = Some("server.9=h:1:2:participant\nversion=7".into());
        for (is_ours, proposed) in [(false, None), (true, None), (true, text)] {
            let sent = Notification {
                is_ours,
                proposed,
                ..notification()
            };
            let frame = sent.to_frame();
            assert_eq!(Notification::decode(&frame[4..]), Some(sent));
        }
    }

    #[test]
    fn old_and_broken_notifications_are_read_as_the_reference_does() {
        let frame = notification().to_frame();
        let body = &frame[4..];
        let old = Notification::decode(&body[..28]).expect("without a peer epoch");
        assert_eq!((old.peer_epoch, old.version), (3, 0));
        let old = Notification::decode(&body[..40]).expect("without a version");
        assert_eq!((old.peer_epoch, old.version, old.config), (4, 0, None));
        for len in (0..28).chain(29..40).chain(41..44).chain([50]) {
            assert_eq!(Notification::decode(&body[..len]), None, "{len}");
        }
        let mut negative = body.to_vec();
        negative[40] = 0xff;
        assert_eq!(Notification::decode(&negative), None);
    }

    fn read(mut bytes: &[u8]) -> Result<(InitialMessage, usize), BadInitial> {
        let mut got = Vec::new();
        loop {
            match InitialMessage::read(&got)? {
                Reading::Done(message) => return Ok((message, bytes.len())),
                Reading::Need(len) => {
                    let (taken, rest) = bytes.split_at(len);
                    got.extend_from_slice(taken);
                    bytes = rest;
                }
            }
        }
    }

    #[test]
    fn initial_messages_are_read_to_their_end_and_no_further() {
        let message = InitialMessage {
            sid: ServerId::new(4),
            addresses: vec!["[::1]:3888".to_owned(), "host:3889".to_owned()],
        };
        let mut bytes = message.to_bytes().to_vec();
        bytes.push(9);
        assert_eq!(read(&bytes), Ok((message, 1)));
        let old = InitialMessage {
            sid: ServerId::new(9),
            addresses: Vec::new(),
        };
        assert_eq!(read(&9i64.to_be_bytes()), Ok((old, 0)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ignored = Notification::decode(&bytes);
            let _ignored = InitialMessage::read(&bytes);
        }
    }
}
