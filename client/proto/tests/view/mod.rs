//! Records as JSON, in the words of the protocol: how the golden vectors write them.
//!
//! Written by hand, field by field, so that it shares nothing with the codec under test.

use bytes::Bytes;
use serde_json::{Map, Value, json};
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
use zk_proto::{ByteString, SessionId, Stat, Version, WatcherEvent, Xid, Zxid};

use crate::vectors::hex;

/// Something with a JSON form.
pub(crate) trait View {
    fn view(&self) -> Value;
}

impl View for bool {
    fn view(&self) -> Value {
        json!(self)
    }
}

impl View for i32 {
    fn view(&self) -> Value {
        json!(self)
    }
}

impl View for i64 {
    fn view(&self) -> Value {
        json!(self)
    }
}

impl View for ByteString {
    fn view(&self) -> Value {
        json!(&**self)
    }
}

impl View for Bytes {
    fn view(&self) -> Value {
        json!(hex(self))
    }
}

impl<T: View> View for Vec<T> {
    fn view(&self) -> Value {
        self.iter().map(View::view).collect()
    }
}

/// Null stays null, apart from empty.
impl<T: View> View for Option<T> {
    fn view(&self) -> Value {
        self.as_ref().map_or(Value::Null, View::view)
    }
}

macro_rules! view_number {
    ($( $name:ident . $get:ident ),*) => {$(
        impl View for $name {
            fn view(&self) -> Value {
                json!(self.$get())
            }
        }
    )*};
}

view_number!(Zxid.get, SessionId.get, Xid.get, Version.get, Perms.bits);

/// Gives records their view: every field, under the protocol's name. A field left out here does not
/// compile.
macro_rules! view_record {
    ($( $name:ident { $( $field:ident: $key:literal ),* } )*) => {$(
        impl View for $name {
            fn view(&self) -> Value {
                let Self { $( $field ),* } = self;
                json!({ $( $key: $field.view() ),* })
            }
        }
    )*};
}

view_record! {
    Id { scheme: "scheme", id: "id" }
    Acl { perms: "perms", id: "id" }
    ClientInfo { auth_scheme: "authScheme", user: "user" }
    Stat {
        czxid: "czxid", mzxid: "mzxid", ctime: "ctime", mtime: "mtime", version: "version",
        cversion: "cversion", aversion: "aversion", ephemeral_owner: "ephemeralOwner",
        data_length: "dataLength", num_children: "numChildren", pzxid: "pzxid"
    }

    RequestHeader { xid: "xid", op_code: "type" }
    ReplyHeader { xid: "xid", zxid: "zxid", err: "err" }
    MultiHeader { op_code: "type", done: "done", err: "err" }
    WatcherEvent { event_type: "type", state: "state", path: "path" }

    CreateRequest { path: "path", data: "data", acl: "acl", flags: "flags" }
    CreateTtlRequest { path: "path", data: "data", acl: "acl", flags: "flags", ttl_ms: "ttl" }
    DeleteRequest { path: "path", version: "version" }
    ExistsRequest { path: "path", watch: "watch" }
    GetDataRequest { path: "path", watch: "watch" }
    SetDataRequest { path: "path", data: "data", version: "version" }
    GetAclRequest { path: "path" }
    SetAclRequest { path: "path", acl: "acl", version: "version" }
    GetChildrenRequest { path: "path", watch: "watch" }
    GetChildren2Request { path: "path", watch: "watch" }
    SyncRequest { path: "path" }
    CheckVersionRequest { path: "path", version: "version" }
    ReconfigRequest {
        joining_servers: "joiningServers", leaving_servers: "leavingServers",
        new_members: "newMembers", cur_config_id: "curConfigId"
    }
    CheckWatchesRequest { path: "path", watcher_type: "type" }
    RemoveWatchesRequest { path: "path", watcher_type: "type" }
    AuthPacket { auth_type: "type", scheme: "scheme", auth: "auth" }
    SetWatches {
        relative_zxid: "relativeZxid", data_watches: "dataWatches", exist_watches: "existWatches",
        child_watches: "childWatches"
    }
    SetWatches2 {
        relative_zxid: "relativeZxid", data_watches: "dataWatches", exist_watches: "existWatches",
        child_watches: "childWatches", persistent_watches: "persistentWatches",
        persistent_recursive_watches: "persistentRecursiveWatches"
    }
    AddWatchRequest { path: "path", mode: "mode" }
    GetSaslRequest { token: "token" }
    GetEphemeralsRequest { prefix_path: "prefixPath" }
    GetAllChildrenNumberRequest { path: "path" }
    CreateSessionRequest { timeout_ms: "timeOut" }

    CreateResponse { path: "path" }
    Create2Response { path: "path", stat: "stat" }
    ExistsResponse { stat: "stat" }
    GetDataResponse { data: "data", stat: "stat" }
    SetDataResponse { stat: "stat" }
    GetAclResponse { acl: "acl", stat: "stat" }
    SetAclResponse { stat: "stat" }
    GetChildrenResponse { children: "children" }
    GetChildren2Response { children: "children", stat: "stat" }
    SyncResponse { path: "path" }
    ErrorResponse { err: "err" }
    SetSaslResponse { token: "token" }
    GetEphemeralsResponse { ephemerals: "ephemerals" }
    GetAllChildrenNumberResponse { total_number: "totalNumber" }
    WhoAmIResponse { client_info: "clientInfo" }
}

/// The one buffer that the vectors show as text.
impl View for DeleteContainerRequest {
    fn view(&self) -> Value {
        let Self { path } = self;
        let text = |path: &Bytes| String::from_utf8(path.to_vec()).expect("a path is UTF-8");
        json!({ "path": path.as_ref().map(text) })
    }
}

impl View for ConnectRequest {
    fn view(&self) -> Value {
        let Self {
            protocol_version,
            last_zxid_seen,
            timeout_ms,
            session_id,
            password,
            read_only,
        } = self;
        with_read_only(
            json!({
                "protocolVersion": protocol_version.view(),
                "lastZxidSeen": last_zxid_seen.view(),
                "timeOut": timeout_ms.view(),
                "sessionId": session_id.view(),
                "passwd": password.view(),
            }),
            *read_only,
        )
    }
}

impl View for ConnectResponse {
    fn view(&self) -> Value {
        let Self {
            protocol_version,
            timeout_ms,
            session_id,
            password,
            read_only,
        } = self;
        with_read_only(
            json!({
                "protocolVersion": protocol_version.view(),
                "timeOut": timeout_ms.view(),
                "sessionId": session_id.view(),
                "passwd": password.view(),
            }),
            *read_only,
        )
    }
}

/// Adds the byte that may be absent.
fn with_read_only(mut record: Value, read_only: Option<bool>) -> Value {
    if let Some(read_only) = read_only {
        record["readOnly"] = json!(read_only);
    }
    record
}

/// Pairs a header with a body, as the vectors show the parts of a multi.
fn part(op_code: i32, err: i32, body: &Value) -> Value {
    json!({ "header": { "type": op_code, "done": false, "err": err }, "body": body })
}

fn multi(mut parts: Vec<Value>) -> Value {
    parts.push(json!({ "header": { "type": -1, "done": true, "err": -1 } }));
    Value::Array(parts)
}

impl View for MultiOp {
    fn view(&self) -> Value {
        let (op_code, body) = match self {
            Self::Create(body) => (1, body.view()),
            Self::Create2(body) => (15, body.view()),
            Self::CreateContainer(body) => (19, body.view()),
            Self::CreateTtl(body) => (21, body.view()),
            Self::Delete(body) => (2, body.view()),
            Self::SetData(body) => (5, body.view()),
            Self::Check(body) => (13, body.view()),
            Self::GetData(body) => (4, body.view()),
            Self::GetChildren(body) => (8, body.view()),
        };
        part(op_code, -1, &body)
    }
}

impl View for MultiRequest {
    fn view(&self) -> Value {
        let Self { ops } = self;
        multi(ops.iter().map(View::view).collect())
    }
}

impl View for MultiResult {
    fn view(&self) -> Value {
        let nothing = || Value::Object(Map::new());
        match self {
            Self::Create(body) => part(1, 0, &body.view()),
            Self::Create2(body) => part(15, 0, &body.view()),
            Self::Delete => part(2, 0, &nothing()),
            Self::SetData(body) => part(5, 0, &body.view()),
            Self::Check => part(13, 0, &nothing()),
            Self::GetData(body) => part(4, 0, &body.view()),
            Self::GetChildren(body) => part(8, 0, &body.view()),
            Self::Error(body) => part(-1, body.err, &body.view()),
        }
    }
}

impl View for MultiResponse {
    fn view(&self) -> Value {
        let Self { results } = self;
        multi(results.iter().map(View::view).collect())
    }
}

/// The record's name in the protocol and its view; `None` if there is no body.
pub(crate) type NamedView = Option<(&'static str, Value)>;

/// The body of a request.
pub(crate) fn request(request: &Request) -> NamedView {
    let named: (_, &dyn View) = match request {
        Request::Create(body) | Request::Create2(body) | Request::CreateContainer(body) => {
            ("CreateRequest", body)
        }
        Request::CreateTtl(body) => ("CreateTTLRequest", body),
        Request::Delete(body) => ("DeleteRequest", body),
        Request::DeleteContainer(body) => ("DeleteContainerRequest", body),
        Request::Exists(body) => ("ExistsRequest", body),
        Request::GetData(body) => ("GetDataRequest", body),
        Request::SetData(body) => ("SetDataRequest", body),
        Request::GetAcl(body) => ("GetACLRequest", body),
        Request::SetAcl(body) => ("SetACLRequest", body),
        Request::GetChildren(body) => ("GetChildrenRequest", body),
        Request::GetChildren2(body) => ("GetChildren2Request", body),
        Request::Sync(body) => ("SyncRequest", body),
        Request::Check(body) => ("CheckVersionRequest", body),
        Request::Multi(body) | Request::MultiRead(body) => ("MultiRequest", body),
        Request::Reconfig(body) => ("ReconfigRequest", body),
        Request::CheckWatches(body) => ("CheckWatchesRequest", body),
        Request::RemoveWatches(body) => ("RemoveWatchesRequest", body),
        Request::Auth(body) => ("AuthPacket", body),
        Request::SetWatches(body) => ("SetWatches", body),
        Request::SetWatches2(body) => ("SetWatches2", body),
        Request::Sasl(body) => ("GetSASLRequest", body),
        Request::GetEphemerals(body) => ("GetEphemeralsRequest", body),
        Request::GetAllChildrenNumber(body) => ("GetAllChildrenNumberRequest", body),
        Request::AddWatch(body) => ("AddWatchRequest", body),
        Request::CreateSession(body) => ("CreateSessionTxn", body),
        Request::Ping | Request::WhoAmI | Request::CloseSession => return None,
        other => panic!("no view of {other:?}"),
    };
    Some((named.0, named.1.view()))
}

/// The body of a reply.
pub(crate) fn response(response: &Response) -> NamedView {
    let named: (_, &dyn View) = match response {
        Response::Create(body) => ("CreateResponse", body),
        Response::Create2(body) => ("Create2Response", body),
        Response::Exists(body) => ("ExistsResponse", body),
        Response::GetData(body) => ("GetDataResponse", body),
        Response::SetData(body) => ("SetDataResponse", body),
        Response::GetAcl(body) => ("GetACLResponse", body),
        Response::SetAcl(body) => ("SetACLResponse", body),
        Response::GetChildren(body) => ("GetChildrenResponse", body),
        Response::GetChildren2(body) => ("GetChildren2Response", body),
        Response::Sync(body) => ("SyncResponse", body),
        Response::Multi(body) => ("MultiResponse", body),
        Response::Sasl(body) => ("SetSASLResponse", body),
        Response::GetEphemerals(body) => ("GetEphemeralsResponse", body),
        Response::GetAllChildrenNumber(body) => ("GetAllChildrenNumberResponse", body),
        Response::AddWatch(body) => ("ErrorResponse", body),
        Response::WhoAmI(body) => ("WhoAmIResponse", body),
        Response::Empty => return None,
        other => panic!("no view of {other:?}"),
    };
    Some((named.0, named.1.view()))
}
