//! Reads: errors in their order, and the watches that they leave.

use zk_proto::acl::{Acl, Id, Perms};
use zk_proto::request::{
    CheckWatchesRequest, CreateRequest, ExistsRequest, GetAclRequest, GetAllChildrenNumberRequest,
    GetChildren2Request, GetChildrenRequest, GetDataRequest, GetEphemeralsRequest, MultiOp,
    MultiRequest, SetDataRequest, SetWatches,
};
use zk_proto::response::GetChildrenResponse;
use zk_proto::response::{GetAclResponse, GetEphemeralsResponse, MultiResponse, MultiResult};
use zk_proto::{ByteString, ErrorCode, Version};

use super::*;

const NO_NODE: i32 = ErrorCode::NoNode.code();
const NO_AUTH: i32 = ErrorCode::NoAuth.code();

/// Has `/open`, and `/closed`, which nobody may read, and `/owned` of session 1.
fn server() -> Server {
    let mut server = Server::new(1, false);
    let nobody = Acl::new(Perms::ALL, Id::new("digest", "al:hash"));
    let listed = Acl::new(Perms::WRITE, Id::ANYONE);
    for (path, acl, flags) in [
        ("/open", vec![Acl::new(Perms::ALL, Id::ANYONE)], 0),
        ("/closed", vec![nobody.clone(), listed], 0),
        (
            "/readable",
            vec![nobody, Acl::new(Perms::READ, Id::ANYONE)],
            0,
        ),
        ("/owned", vec![Acl::new(Perms::ALL, Id::ANYONE)], 1),
    ] {
        server.ok(&Request::Create(CreateRequest {
            path: Some(path.into()),
            data: None,
            acl: Some(acl),
            flags,
        }));
    }
    server
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "requests have paths that may be null"
)]
fn text(path: &str) -> Option<ByteString> {
    Some(path.into())
}

fn reads(path: &str) -> Vec<(Request, WatcherType)> {
    let (path, watch) = (text(path), true);
    vec![
        (
            Request::GetData(GetDataRequest {
                path: path.clone(),
                watch,
            }),
            WatcherType::Data,
        ),
        (
            Request::Exists(ExistsRequest {
                path: path.clone(),
                watch,
            }),
            WatcherType::Data,
        ),
        (
            Request::GetChildren(GetChildrenRequest {
                path: path.clone(),
                watch,
            }),
            WatcherType::Children,
        ),
        (
            Request::GetChildren2(GetChildren2Request { path, watch }),
            WatcherType::Children,
        ),
    ]
}

fn has_watch(server: &Server, path: &str, watcher_type: WatcherType) -> bool {
    server.watches.has(path, watcher_type)
}

#[test]
fn successful_read_leaves_its_watch() {
    for (request, watcher_type) in reads("/open") {
        let mut server = server();
        server.ok(&request);
        assert!(has_watch(&server, "/open", watcher_type));
    }
}

#[test]
fn refused_read_leaves_none() {
    for (request, _) in reads("/closed") {
        let mut server = server();
        assert_eq!(server.err(&request), NO_AUTH);
        assert!(!has_watch(&server, "/closed", WatcherType::Any));
    }
}

#[test]
fn read_of_nothing_leaves_a_watch_only_if_it_asks_for_existence() {
    for path in ["/none", "/open/", "open", "//"] {
        for (request, _) in reads(path) {
            let mut server = server();
            assert_eq!(server.err(&request), NO_NODE);
            let is_exists = request.op() == OpCode::Exists;
            assert_eq!(has_watch(&server, path, WatcherType::Any), is_exists);
        }
    }
}

#[test]
fn root_has_two_names() {
    let mut server = server();
    for ((root, _), (empty, _)) in reads("/").into_iter().zip(reads("")) {
        assert_eq!(server.ok(&root), server.ok(&empty));
    }
}

#[test]
fn get_acl_needs_read_or_admin_and_hides_hashes() {
    let mut server = server();
    let ask = |path| Request::GetAcl(GetAclRequest { path: text(path) });
    assert_eq!(server.err(&ask("/none")), NO_NODE);
    assert_eq!(server.err(&ask("/closed")), NO_AUTH);
    let body = server.ok(&ask("/readable"));
    let acl = GetAclResponse::decode(&mut Reader::shared(&body))
        .unwrap()
        .acl;
    assert_eq!(acl.unwrap()[0].id, Id::new("digest", "al:x"));
}

#[test]
fn descendants_are_counted() {
    let mut server = server();
    let ask =
        |path| Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path: text(path) });
    assert_eq!(server.ok(&ask("/")).as_ref(), 7i32.to_be_bytes());
    assert_eq!(server.err(&ask("/none")), NO_NODE);
    assert_eq!(server.err(&ask("/closed")), NO_AUTH);
}

#[test]
fn ephemerals_are_those_of_the_session() {
    let mut server = server();
    for (prefix, expected) in [
        (None, 1),
        (text("/"), 1),
        (text("/ow"), 1),
        (text("/owned/x"), 0),
    ] {
        let request = Request::GetEphemerals(GetEphemeralsRequest {
            prefix_path: prefix,
        });
        let body = server.ok(&request);
        let response = GetEphemeralsResponse::decode(&mut Reader::shared(&body)).unwrap();
        assert_eq!(response.ephemerals.len(), expected);
    }
}

#[test]
fn each_part_of_a_multi_read_has_its_own_error() {
    let mut server = server();
    let data = |path| {
        MultiOp::GetData(GetDataRequest {
            path: text(path),
            watch: true,
        })
    };
    let children = MultiOp::GetChildren(GetChildrenRequest {
        path: text("/zookeeper"),
        watch: true,
    });
    let ops = vec![data("/none"), data("/closed"), data("/open"), children];
    let body = server.ok(&Request::MultiRead(MultiRequest { ops }));
    let results = MultiResponse::decode(&mut Reader::shared(&body))
        .unwrap()
        .results;
    let [none, closed, open, children] = &results[..] else {
        panic!("{results:?}");
    };
    let err = |result: &MultiResult| {
        let MultiResult::Error(error) = result else {
            panic!("{result:?}");
        };
        error.err
    };
    assert_eq!((err(none), err(closed)), (NO_NODE, NO_AUTH));
    assert!(matches!(open, MultiResult::GetData(r) if r.data.is_none()));
    assert!(matches!(children, MultiResult::GetChildren(r) if r.children.len() == 2));
    for path in ["/none", "/open", "/zookeeper"] {
        assert!(!has_watch(&server, path, WatcherType::Any));
    }
}

#[test]
fn a_multi_read_that_asks_for_too_much_is_refused_as_a_whole() {
    let mut server = server();
    server.ok(&Request::SetData(SetDataRequest {
        path: text("/open"),
        data: Some(vec![7; 1 << 20].into()),
        version: Version::ANY,
    }));
    let mut ask = |count| {
        let part = MultiOp::GetData(GetDataRequest {
            path: text("/open"),
            watch: false,
        });
        let ops = vec![part; count];
        let mut payload = BytesMut::new();
        let request = Request::MultiRead(MultiRequest { ops });
        RequestHeader::new(Xid::new(1), request.op()).encode(&mut payload);
        request.encode(&mut payload);
        let (frames, then) = server.answer(&payload.freeze());
        assert_eq!(then, Then::Continue);
        (last_frame(&frames).0.err, frames.len())
    };
    let (err, len) = ask(16);
    assert!(err == 0 && len > 16 << 20);
    // The body of an error is its header alone.
    let refused = ErrorCode::MarshallingError.code();
    assert_eq!(ask(17), (refused, 20));
    assert_eq!(ask(3_000), (refused, 20));
}

#[test]
fn missed_events_come_before_the_reply() {
    let mut server = server();
    let request = Request::SetWatches(SetWatches {
        relative_zxid: Zxid::new(1),
        data_watches: Some(vec!["/none".into()]),
        exist_watches: Some(vec!["/none".into()]),
        child_watches: None,
    });
    let mut payload = BytesMut::new();
    RequestHeader::new(Xid::SET_WATCHES, request.op()).encode(&mut payload);
    request.encode(&mut payload);
    let (frames, _) = server.answer(&payload.freeze());
    let (reply, _) = last_frame(&frames);
    // What stands before a null list counts.
    assert_eq!(reply.err, ErrorCode::MarshallingError.code());
    assert!(has_watch(&server, "/none", WatcherType::Data));
    let first = ReplyHeader::decode(&mut Reader::new(&frames[4..])).unwrap();
    assert_eq!((first.xid, first.zxid), (Xid::NOTIFICATION, Zxid::new(-1)));
}

#[test]
fn watches_are_told_or_not() {
    let mut server = server();
    let ask = Request::CheckWatches(CheckWatchesRequest {
        path: text("/open"),
        watcher_type: WatcherType::Any.code(),
    });
    assert_eq!(server.err(&ask), ErrorCode::NoWatcher.code());
    server.watches.register("/open", WatchKind::Data);
    server.ok(&ask);
}

#[test]
fn children_are_those_that_are_there() {
    let mut server = server();
    let body = server.ok(&reads("/")[2].0);
    let mut children = GetChildrenResponse::decode(&mut Reader::shared(&body))
        .unwrap()
        .children;
    children.sort();
    assert_eq!(
        children,
        ["closed", "open", "owned", "readable", "zookeeper"]
    );
}
