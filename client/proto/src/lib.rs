//! `ZooKeeper`'s client protocol: the jute codec, frames, and every record and opcode that a client
//! and a server exchange. Both directions of every record, so that clients, servers, proxies and
//! test tools stand on one codec. No I/O and no runtime.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use zk_proto::frame;
//! use zk_proto::header::RequestHeader;
//! use zk_proto::jute::{Decode, Reader};
//! use zk_proto::request::{GetDataRequest, Request};
//! use zk_proto::{OpCode, Xid};
//!
//! // A client writes a frame …
//! let request = Request::GetData(GetDataRequest { path: Some("/app".into()), watch: true });
//! let mut wire = BytesMut::new();
//! frame::write_request(&mut wire, Xid::new(1), &request);
//!
//! // … and a server reads it back.
//! let payload: Bytes = frame::take(&mut wire, frame::DEFAULT_FRAME_MAX)?.expect("a whole frame");
//! let mut reader = Reader::shared(&payload);
//! let header = RequestHeader::decode(&mut reader)?;
//! assert_eq!(header.op(), Some(OpCode::GetData));
//! assert_eq!(Request::decode(OpCode::GetData, &mut reader)?, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it deliberately does not do: it keeps no session state, validates no path inside a record
//! (a server must answer an illegal path with an error code, so it has to be representable; see
//! [`ZPath`] for checked paths), and does not know the formats that servers use among themselves.
//!
//! # Limits
//! A decoder allocates no more than the bytes at hand justify: a length or count read from the wire
//! is checked against what is left of the frame before anything is allocated for it. By how much a
//! decoded value can exceed its frame is told in [`jute`].

pub mod acl;
pub mod connect;
pub mod event;
pub mod frame;
pub mod header;
pub mod jute;
pub mod request;
pub mod response;
pub mod sasl;

mod error_code;
mod ids;
mod op;
mod path;
mod stat;

pub use acl::{Acl, Id, Perms};
pub use error_code::ErrorCode;
pub use event::{EventType, KeeperState, WatcherEvent};
pub use ids::{Epoch, ServerId, SessionId, Version, Xid, Zxid};
pub use op::OpCode;
pub use path::{
    PathError, PathReason, ZPath, ZPathBuf, join_chroot, sequence_number, strip_chroot,
};
pub use stat::Stat;

#[doc(no_inline)]
pub use bytes::Bytes;
#[doc(no_inline)]
pub use bytestring::ByteString;
