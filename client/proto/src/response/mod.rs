//! What servers answer.

mod multi;

pub use multi::{MultiResponse, MultiResult};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::acl::{Acl, ClientInfo};
use crate::jute::{Decode, DecodeError, Encode, Reader, record};
use crate::{OpCode, Stat};

record! {
    /// Of create.
    pub struct CreateResponse {
        /// Path of the new znode, with its number if sequential.
        pub path: ByteString,
    }

    /// Of create2, createContainer and createTTL.
    pub struct Create2Response {
        /// Path of the new znode, with its number if sequential.
        pub path: ByteString,
        /// Its stat.
        pub stat: Stat,
    }

    /// Of exists.
    pub struct ExistsResponse {
        /// Stat of the znode.
        pub stat: Stat,
    }

    /// Of getData; of reconfig, about the configuration znode.
    pub struct GetDataResponse {
        /// Data; null if it was created so.
        pub data: Option<Bytes>,
        /// Stat of the znode.
        pub stat: Stat,
    }

    /// Of setData.
    pub struct SetDataResponse {
        /// Stat after the change.
        pub stat: Stat,
    }

    /// Of getACL.
    pub struct GetAclResponse {
        /// The ACL; digests are masked for those who may not administer the znode.
        pub acl: Option<Vec<Acl>>,
        /// Stat of the znode.
        pub stat: Stat,
    }

    /// Of setACL.
    pub struct SetAclResponse {
        /// Stat after the change.
        pub stat: Stat,
    }

    /// Of getChildren.
    pub struct GetChildrenResponse {
        /// Names of the children, in no order.
        pub children: Vec<ByteString>,
    }

    /// Of getChildren2.
    pub struct GetChildren2Response {
        /// Names of the children, in no order.
        pub children: Vec<ByteString>,
        /// Stat of the znode.
        pub stat: Stat,
    }

    /// Of sync.
    pub struct SyncResponse {
        /// The path of the request.
        pub path: Option<ByteString>,
    }

    /// Of addWatch, and of an operation that failed inside a multi.
    pub struct ErrorResponse {
        /// 0, or the number of an [`crate::ErrorCode`].
        pub err: i32,
    }

    /// Of sasl.
    pub struct SetSaslResponse {
        /// What the server's mechanism says; null if it refuses.
        pub token: Option<Bytes> as secret,
    }

    /// Of getEphemerals.
    pub struct GetEphemeralsResponse {
        /// Full paths, in no order.
        pub ephemerals: Vec<ByteString>,
    }

    /// Of getAllChildrenNumber.
    pub struct GetAllChildrenNumberResponse {
        /// Number of descendants, the znode itself not counted.
        pub total_number: i32,
    }

    /// Of whoAmI.
    pub struct WhoAmIResponse {
        /// Identities of the connection, in no order.
        pub client_info: Vec<ClientInfo>,
    }
}

/// Declares [`Response`] and pairs each opcode with its body.
macro_rules! responses {
    ($( $(#[$meta:meta])* $name:ident($record:ty) = $( $op:ident )|+, )*; $( $empty:ident )|+ ) => {
        /// The body of a reply, without its header.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Response {
            $( $(#[$meta])* $name($record), )*
            /// No body.
            Empty,
        }

        impl Response {
            /// Reads the body that goes with the opcode of the request, for a reply without error.
            /// Bytes behind it are left and legal.
            ///
            /// With an error in the header there is nothing to decode, whatever follows.
            ///
            /// # Errors
            /// [`DecodeError`] names record and field.
            pub fn decode(op: OpCode, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match op {
                    $( $( OpCode::$op )|+ => <$record>::decode(reader).map(Self::$name), )*
                    $( OpCode::$empty )|+ => Ok(Self::Empty),
                }
            }
        }

        impl Encode for Response {
            fn encoded_len(&self) -> usize {
                match self {
                    $( Self::$name(body) => body.encoded_len(), )*
                    Self::Empty => 0,
                }
            }

            fn encode(&self, out: &mut BytesMut) {
                match self {
                    $( Self::$name(body) => body.encode(out), )*
                    Self::Empty => {}
                }
            }
        }
    };
}

responses! {
    /// Of create.
    Create(CreateResponse) = Create,
    /// Of create2, createContainer and createTTL.
    Create2(Create2Response) = Create2 | CreateContainer | CreateTtl,
    /// Of exists.
    Exists(ExistsResponse) = Exists,
    /// Of getData and reconfig.
    GetData(GetDataResponse) = GetData | Reconfig,
    /// Of setData.
    SetData(SetDataResponse) = SetData,
    /// Of getACL.
    GetAcl(GetAclResponse) = GetAcl,
    /// Of setACL.
    SetAcl(SetAclResponse) = SetAcl,
    /// Of getChildren.
    GetChildren(GetChildrenResponse) = GetChildren,
    /// Of getChildren2.
    GetChildren2(GetChildren2Response) = GetChildren2,
    /// Of sync.
    Sync(SyncResponse) = Sync,
    /// Of multi and multiRead.
    Multi(MultiResponse) = Multi | MultiRead,
    /// Of sasl.
    Sasl(SetSaslResponse) = Sasl,
    /// Of getEphemerals.
    GetEphemerals(GetEphemeralsResponse) = GetEphemerals,
    /// Of getAllChildrenNumber.
    GetAllChildrenNumber(GetAllChildrenNumberResponse) = GetAllChildrenNumber,
    /// Of addWatch.
    AddWatch(ErrorResponse) = AddWatch,
    /// Of whoAmI.
    WhoAmI(WhoAmIResponse) = WhoAmI,;
    Delete | DeleteContainer | Ping | Check | CheckWatches | RemoveWatches | Auth | SetWatches
        | SetWatches2 | CreateSession | CloseSession
}
