//! What clients ask for.

mod acl;
mod children;
mod create;
mod data;
mod delete;
mod multi;
mod reconfig;
mod watch;

pub use crate::connect::CreateSessionRequest;
pub use acl::{AuthPacket, GetAclRequest, GetSaslRequest, SetAclRequest};
pub use children::{
    GetAllChildrenNumberRequest, GetChildren2Request, GetChildrenRequest, GetEphemeralsRequest,
};
pub use create::{CreateFlags, CreateRequest, CreateTtlRequest};
pub use data::{CheckVersionRequest, ExistsRequest, GetDataRequest, SetDataRequest, SyncRequest};
pub use delete::{DeleteContainerRequest, DeleteRequest};
pub use multi::{MultiOp, MultiRequest};
pub use reconfig::ReconfigRequest;
pub use watch::{
    AddWatchMode, AddWatchRequest, CheckWatchesRequest, RemoveWatchesRequest, SetWatches,
    SetWatches2, WatcherType,
};

use bytes::BytesMut;

use crate::OpCode;
use crate::jute::{Decode, DecodeError, Encode, Reader};

/// Declares [`Request`] and pairs each opcode with its body.
macro_rules! requests {
    (
        body { $( $(#[$meta:meta])* $name:ident($record:ty), )* }
        empty { $( $(#[$empty_meta:meta])* $empty:ident, )* }
    ) => {
        /// A request of any kind, without its header.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Request {
            $( $(#[$meta])* $name($record), )*
            $( $(#[$empty_meta])* $empty, )*
        }

        impl Request {
            /// The opcode that its header carries.
            pub const fn op(&self) -> OpCode {
                match self {
                    $( Self::$name(_) => OpCode::$name, )*
                    $( Self::$empty => OpCode::$empty, )*
                }
            }

            /// Reads the body that goes with an opcode. Bytes behind it are left and legal.
            ///
            /// # Errors
            /// [`DecodeError`] names record and field. A server answers it with
            /// `MARSHALLINGERROR`, and with nothing but the end of the connection to auth and sasl.
            pub fn decode(op: OpCode, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match op {
                    $( OpCode::$name => <$record>::decode(reader).map(Self::$name), )*
                    $( OpCode::$empty => Ok(Self::$empty), )*
                }
            }
        }

        impl Encode for Request {
            fn encoded_len(&self) -> usize {
                match self {
                    $( Self::$name(body) => body.encoded_len(), )*
                    $( Self::$empty => 0, )*
                }
            }

            fn encode(&self, out: &mut BytesMut) {
                match self {
                    $( Self::$name(body) => body.encode(out), )*
                    $( Self::$empty => {} )*
                }
            }
        }
    };
}

requests! {
    body {
        /// Creates a znode; answers its path.
        Create(CreateRequest),
        /// Creates a znode; answers its path and stat.
        Create2(CreateRequest),
        /// Creates a container.
        CreateContainer(CreateRequest),
        /// Creates a znode with a time to live.
        CreateTtl(CreateTtlRequest),
        /// Deletes a znode.
        Delete(DeleteRequest),
        /// Deletes a container.
        DeleteContainer(DeleteContainerRequest),
        /// Tells a znode's stat.
        Exists(ExistsRequest),
        /// Tells a znode's data and stat.
        GetData(GetDataRequest),
        /// Sets a znode's data.
        SetData(SetDataRequest),
        /// Tells a znode's ACL.
        GetAcl(GetAclRequest),
        /// Sets a znode's ACL.
        SetAcl(SetAclRequest),
        /// Lists children.
        GetChildren(GetChildrenRequest),
        /// Lists children, with the stat.
        GetChildren2(GetChildren2Request),
        /// Waits for what was committed before.
        Sync(SyncRequest),
        /// Requires a version.
        Check(CheckVersionRequest),
        /// Several writes, all or none.
        Multi(MultiRequest),
        /// Several reads.
        MultiRead(MultiRequest),
        /// Changes the members of the ensemble.
        Reconfig(ReconfigRequest),
        /// Asks whether there is a watch.
        CheckWatches(CheckWatchesRequest),
        /// Removes watches.
        RemoveWatches(RemoveWatchesRequest),
        /// Adds an identity.
        Auth(AuthPacket),
        /// Registers one-shot watches anew.
        SetWatches(SetWatches),
        /// Registers watches of every kind anew.
        SetWatches2(SetWatches2),
        /// One step of a SASL exchange.
        Sasl(GetSaslRequest),
        /// Lists ephemeral znodes.
        GetEphemerals(GetEphemeralsRequest),
        /// Counts descendants.
        GetAllChildrenNumber(GetAllChildrenNumberRequest),
        /// Adds a persistent watch.
        AddWatch(AddWatchRequest),
        /// Begins a session.
        CreateSession(CreateSessionRequest),
    }
    empty {
        /// Keeps the session alive.
        Ping,
        /// Tells the identities of this connection.
        WhoAmI,
        /// Ends the session.
        CloseSession,
    }
}
