//! What leaders and learners tell each other on the quorum port.
//!
//! The packets follow each other without framing. Only behind a SNAP comes something else: the
//! stream of a snapshot, see [`crate::wire::snapshot`], closed by [`SNAP_SIGNATURE`].
//!
//! Two layers: [`QuorumPacket`] is the record as it stands on the wire; [`LeaderPacket`] and
//! [`LearnerPacket`] are what one side or the other means by it.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `zookeeper.jute`, `Leader`, `LearnerHandler`, `Learner`.

mod leader;
mod learner;
mod packet;

#[cfg(test)]
mod tests;

pub use leader::LeaderPacket;
pub use learner::{ForwardedRequest, LearnerInfo, LearnerKind, LearnerPacket};
pub use packet::{BadLength, LengthLimit, QuorumPacket};

/// String at the end of the stream of a snapshot.
pub const SNAP_SIGNATURE: &str = "BenWasHere";

/// Version of the protocol, since 3.4. Below, a leader asks for no acknowledgement of its epoch.
pub const PROTOCOL_VERSION: i32 = 0x10000;
