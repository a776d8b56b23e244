//! Arbitrary values of every record, request and response.

use bytes::Bytes;
use proptest::prelude::*;
use zk_proto::acl::{Acl, ClientInfo, Id, Perms};
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::header::{MultiHeader, ReplyHeader, RequestHeader};
use zk_proto::request::{
    AddWatchRequest, AuthPacket, CheckVersionRequest, CheckWatchesRequest, CreateRequest,
    CreateSessionRequest, CreateTtlRequest, DeleteContainerRequest, DeleteRequest, ExistsRequest,
    GetAclRequest, GetAllChildrenNumberRequest, GetChildren2Request, GetChildrenRequest,
    GetDataRequest, GetEphemeralsRequest, GetSaslRequest, MultiOp, MultiRequest, ReconfigRequest,
    RemoveWatchesRequest, Request, SetAclRequest, SetDataRequest, SetWatches, SetWatches2,
    SyncRequest,
};
use zk_proto::response::{
    Create2Response, CreateResponse, ErrorResponse, ExistsResponse, GetAclResponse,
    GetAllChildrenNumberResponse, GetChildren2Response, GetChildrenResponse, GetDataResponse,
    GetEphemeralsResponse, MultiResponse, MultiResult, Response, SetAclResponse, SetDataResponse,
    SetSaslResponse, SyncResponse, WhoAmIResponse,
};
use zk_proto::{ByteString, OpCode, SessionId, Stat, Version, WatcherEvent, Xid, Zxid};

/// A type with a strategy for any of its values.
pub(crate) trait Any: std::fmt::Debug + Sized + 'static {
    fn any() -> BoxedStrategy<Self>;
}

impl Any for bool {
    fn any() -> BoxedStrategy<Self> {
        any::<Self>().boxed()
    }
}

impl Any for i32 {
    fn any() -> BoxedStrategy<Self> {
        prop_oneof![any::<Self>(), -2..10i32, Just(Self::MIN), Just(Self::MAX)].boxed()
    }
}

impl Any for i64 {
    fn any() -> BoxedStrategy<Self> {
        prop_oneof![any::<Self>(), -2..10i64, Just(Self::MIN), Just(Self::MAX)].boxed()
    }
}

impl Any for ByteString {
    fn any() -> BoxedStrategy<Self> {
        let text = prop::collection::vec(any::<char>(), 0..6);
        prop_oneof!["/[a-z]{0,4}", text.prop_map(String::from_iter)]
            .prop_map(Self::from)
            .boxed()
    }
}

impl Any for Bytes {
    fn any() -> BoxedStrategy<Self> {
        prop::collection::vec(any::<u8>(), 0..12)
            .prop_map(Self::from)
            .boxed()
    }
}

impl<T: Any> Any for Option<T> {
    fn any() -> BoxedStrategy<Self> {
        prop::option::weighted(0.8, T::any()).boxed()
    }
}

impl<T: Any> Any for Vec<T> {
    fn any() -> BoxedStrategy<Self> {
        prop::collection::vec(T::any(), 0..4).boxed()
    }
}

macro_rules! any_number {
    ($( $name:ident :: $new:ident ),*) => {$(
        impl Any for $name {
            fn any() -> BoxedStrategy<Self> {
                Any::any().prop_map(Self::$new).boxed()
            }
        }
    )*};
}

any_number!(
    Zxid::new,
    SessionId::new,
    Xid::new,
    Version::new,
    Perms::from_bits
);

/// The strategy of a field, its type told by how it is reached.
fn of<R, T: Any>(_: fn(&R) -> &T) -> BoxedStrategy<T> {
    T::any()
}

/// Gives records their strategy: any value of every field. A field left out here does not compile.
macro_rules! any_record {
    ($( $name:ident { $( $field:ident ),* } )*) => {$(
        impl Any for $name {
            fn any() -> BoxedStrategy<Self> {
                ($( of(|record: &Self| &record.$field), )*)
                    .prop_map(|($( $field, )*)| Self { $( $field ),* })
                    .boxed()
            }
        }
    )*};
}

any_record! {
    Id { scheme, id }
    Acl { perms, id }
    ClientInfo { auth_scheme, user }
    Stat {
        czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, data_length,
        num_children, pzxid
    }

    ConnectRequest { protocol_version, last_zxid_seen, timeout_ms, session_id, password, read_only }
    ConnectResponse { protocol_version, timeout_ms, session_id, password, read_only }
    RequestHeader { xid, op_code }
    ReplyHeader { xid, zxid, err }
    MultiHeader { op_code, done, err }
    WatcherEvent { event_type, state, path }

    CreateRequest { path, data, acl, flags }
    CreateTtlRequest { path, data, acl, flags, ttl_ms }
    DeleteRequest { path, version }
    DeleteContainerRequest { path }
    ExistsRequest { path, watch }
    GetDataRequest { path, watch }
    SetDataRequest { path, data, version }
    GetAclRequest { path }
    SetAclRequest { path, acl, version }
    GetChildrenRequest { path, watch }
    GetChildren2Request { path, watch }
    SyncRequest { path }
    CheckVersionRequest { path, version }
    MultiRequest { ops }
    ReconfigRequest { joining_servers, leaving_servers, new_members, cur_config_id }
    CheckWatchesRequest { path, watcher_type }
    RemoveWatchesRequest { path, watcher_type }
    AuthPacket { auth_type, scheme, auth }
    SetWatches { relative_zxid, data_watches, exist_watches, child_watches }
    SetWatches2 {
        relative_zxid, data_watches, exist_watches, child_watches, persistent_watches,
        persistent_recursive_watches
    }
    GetSaslRequest { token }
    GetEphemeralsRequest { prefix_path }
    GetAllChildrenNumberRequest { path }
    AddWatchRequest { path, mode }
    CreateSessionRequest { timeout_ms }

    CreateResponse { path }
    Create2Response { path, stat }
    ExistsResponse { stat }
    GetDataResponse { data, stat }
    SetDataResponse { stat }
    GetAclResponse { acl, stat }
    SetAclResponse { stat }
    GetChildrenResponse { children }
    GetChildren2Response { children, stat }
    SyncResponse { path }
    MultiResponse { results }
    ErrorResponse { err }
    SetSaslResponse { token }
    GetEphemeralsResponse { ephemerals }
    GetAllChildrenNumberResponse { total_number }
    WhoAmIResponse { client_info }
}

fn boxed<T: Any, U: std::fmt::Debug + 'static>(wrap: fn(T) -> U) -> BoxedStrategy<U> {
    T::any().prop_map(wrap).boxed()
}

impl Any for MultiOp {
    fn any() -> BoxedStrategy<Self> {
        prop_oneof![
            boxed(Self::Create),
            boxed(Self::Create2),
            boxed(Self::CreateContainer),
            boxed(Self::CreateTtl),
            boxed(Self::Delete),
            boxed(Self::SetData),
            boxed(Self::Check),
            boxed(Self::GetData),
            boxed(Self::GetChildren),
        ]
        .boxed()
    }
}

impl Any for MultiResult {
    fn any() -> BoxedStrategy<Self> {
        prop_oneof![
            boxed(Self::Create),
            boxed(Self::Create2),
            Just(Self::Delete),
            boxed(Self::SetData),
            Just(Self::Check),
            boxed(Self::GetData),
            boxed(Self::GetChildren),
            boxed(Self::Error),
        ]
        .boxed()
    }
}

/// Any request with this opcode. An opcode left out here fails the test that asks for it.
pub(crate) fn request(op: OpCode) -> BoxedStrategy<Request> {
    macro_rules! table {
        ($( $name:ident ),*; $( $empty:ident ),*) => {
            match op {
                $( OpCode::$name => boxed(Request::$name), )*
                $( OpCode::$empty => Just(Request::$empty).boxed(), )*
                other => panic!("no strategy for requests of {other}"),
            }
        };
    }
    table!(
        Create, Create2, CreateContainer, CreateTtl, Delete, DeleteContainer, Exists, GetData,
        SetData, GetAcl, SetAcl, GetChildren, GetChildren2, Sync, Check, Multi, MultiRead, Reconfig,
        CheckWatches, RemoveWatches, Auth, SetWatches, SetWatches2, Sasl, GetEphemerals,
        GetAllChildrenNumber, AddWatch, CreateSession; Ping, WhoAmI, CloseSession
    )
}

/// Any response to a request with this opcode.
pub(crate) fn response(op: OpCode) -> BoxedStrategy<Response> {
    macro_rules! table {
        ($( $name:ident = $( $op:ident )|+ ),*; $( $empty:ident )|+) => {
            match op {
                $( $( OpCode::$op )|+ => boxed(Response::$name), )*
                $( OpCode::$empty )|+ => Just(Response::Empty).boxed(),
                other => panic!("no strategy for responses of {other}"),
            }
        };
    }
    table!(
        Create = Create,
        Create2 = Create2 | CreateContainer | CreateTtl,
        Exists = Exists,
        GetData = GetData | Reconfig,
        SetData = SetData,
        GetAcl = GetAcl,
        SetAcl = SetAcl,
        GetChildren = GetChildren,
        GetChildren2 = GetChildren2,
        Sync = Sync,
        Multi = Multi | MultiRead,
        Sasl = Sasl,
        GetEphemerals = GetEphemerals,
        GetAllChildrenNumber = GetAllChildrenNumber,
        AddWatch = AddWatch,
        WhoAmI = WhoAmI;
        Delete | DeleteContainer | Ping | Check | CheckWatches | RemoveWatches | Auth | SetWatches
            | SetWatches2 | CreateSession | CloseSession
    )
}

/// Bytes that may be anything: noise, or something like `wire` with a few bytes changed, so that
/// decoders get past the first field.
pub(crate) fn bytes_like(wire: BoxedStrategy<Bytes>) -> BoxedStrategy<Vec<u8>> {
    let noise = prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 0..160);
    let changes = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            prop_oneof![any::<u8>(), 0..20u8, Just(0xff)],
        ),
        0..4,
    );
    let near_miss = (wire, changes).prop_map(|(wire, changes)| {
        let mut wire = wire.to_vec();
        for (index, byte) in changes {
            if !wire.is_empty() {
                *index.get_mut(&mut wire) = byte;
            }
        }
        wire
    });
    prop_oneof![1 => noise, 2 => near_miss].boxed()
}
