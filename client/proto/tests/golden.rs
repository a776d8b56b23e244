//! The codec against bytes that real clients and servers exchanged: see `vectors/README.md`.
#![expect(
    clippy::indexing_slicing,
    reason = "a key that is missing from a vector fails the test, as it should"
)]

#[path = "vectors/mod.rs"]
mod vectors;
#[path = "view/mod.rs"]
mod view;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde_json::json;
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode, DecodeError, Encode, Reader, Reason};
use zk_proto::request::Request;
use zk_proto::response::Response;
use zk_proto::{ErrorCode, Id, OpCode, WatcherEvent, Xid, frame};

use vectors::{Frame, frames};
use view::{NamedView, View};

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    ConnectRequest,
    ConnectResponse,
    RefusalByReply,
    Request,
    RequestOfUnknownOp,
    MalformedRequest,
    Reply,
    ErrorReply,
    ErrorReplyWithBody,
    Notification,
}

#[test]
fn every_frame_decodes_to_what_it_says_and_encodes_to_the_same_bytes() {
    let mut checked = BTreeMap::new();
    for frame in frames() {
        *checked.entry(check(&frame)).or_insert(0) += 1;
    }
    let expected = BTreeMap::from([
        (Kind::ConnectRequest, 40),
        (Kind::ConnectResponse, 37),
        (Kind::RefusalByReply, 1),
        (Kind::Request, 262),
        (Kind::RequestOfUnknownOp, 1),
        (Kind::MalformedRequest, 2),
        (Kind::Reply, 183),
        (Kind::ErrorReply, 79),
        (Kind::ErrorReplyWithBody, 2),
        (Kind::Notification, 34),
    ]);
    assert_eq!(checked, expected);
    assert_eq!(checked.values().sum::<usize>(), 641);
}

#[test]
fn every_opcode_is_among_the_requests() {
    let frames = frames();
    let seen = |op: &OpCode| frames.iter().any(|f| f.from_client && f.op == op.name());
    let missing: Vec<_> = OpCode::ALL.iter().filter(|op| !seen(op)).collect();
    assert_eq!(missing, Vec::<&OpCode>::new());
}

#[test]
fn frames_split_anywhere_are_taken_whole() {
    let mut cuts = 0;
    for golden in frames() {
        for cut in 0..golden.wire.len() {
            let (head, tail) = golden.wire.split_at(cut);
            let mut input = BytesMut::from(head);
            assert_eq!(take(&mut input), None, "{} cut at {cut}", golden.name);
            assert_eq!(input, head);
            input.extend_from_slice(tail);
            assert_eq!(take(&mut input), Some(golden.payload()), "{}", golden.name);
            assert!(input.is_empty());
            cuts += 1;
        }
    }
    assert_eq!(cuts, frames().iter().map(|f| f.wire.len()).sum::<usize>());
}

#[test]
fn concatenated_frames_come_out_one_by_one_however_they_arrive() {
    let frames = frames();
    let payloads: Vec<Bytes> = frames.iter().map(Frame::payload).collect();
    let stream: Vec<u8> = frames.iter().flat_map(|f| f.wire.iter().copied()).collect();
    for chunk_len in [1, 2, 3, 5, 7, 64, 1000, stream.len()] {
        let mut input = BytesMut::new();
        let mut taken = Vec::new();
        for chunk in stream.chunks(chunk_len) {
            input.extend_from_slice(chunk);
            taken.extend(std::iter::from_fn(|| take(&mut input)));
        }
        assert!(input.is_empty());
        assert!(taken == payloads, "in chunks of {chunk_len}");
    }
}

#[test]
fn digest_ids_are_the_reference_s() {
    let derived = vectors::derived();
    let entries = derived["digestIds"].as_array().unwrap();
    assert_eq!(entries.len(), 5);
    let mut without_password = Vec::new();
    for entry in entries {
        let (auth, id) = (
            entry["auth"].as_str().unwrap(),
            entry["id"].as_str().unwrap(),
        );
        match auth.split_once(':') {
            Some((user, password)) => {
                assert_eq!(Id::digest(user, password), Id::new("digest", id));
            }
            None => without_password.push(auth),
        }
    }
    // Credentials without a colon have no password to speak of; they are for servers to make sense of.
    assert_eq!(without_password, ["nocolon"]);
}

/// Checks one frame in every respect and tells what it was.
fn check(golden: &Frame) -> Kind {
    let payload = take(&mut BytesMut::from(golden.wire.as_ref())).expect("a whole frame");
    assert_eq!(payload, golden.payload(), "{}", golden.name);
    assert_eq!(
        golden.is_canonical,
        golden.decoded.get("malformedBody").is_none()
    );
    match (golden.from_client, golden.op.as_str()) {
        (true, "connect") => {
            check_bare::<ConnectRequest>(golden, "connectRequest");
            Kind::ConnectRequest
        }
        (false, "connect") => {
            check_bare::<ConnectResponse>(golden, "connectResponse");
            assert!(payload.len() >= ConnectResponse::LEN, "{}", golden.name);
            Kind::ConnectResponse
        }
        (false, "error-reply-instead-of-connect") => check_refusal(golden),
        (false, "notification") => check_notification(golden),
        (true, _) => check_request(golden),
        (false, _) => check_reply(golden),
    }
}

/// Checks a handshake record, which is the whole payload and all that `decoded` has.
fn check_bare<T: Codec>(golden: &Frame, key: &str) {
    let record: T = decode(golden, T::decode);
    assert_eq!(
        golden.decoded,
        json!({ key: record.view() }),
        "{}",
        golden.name
    );
    check_bytes(golden, &[&record]);
}

/// A server refuses a handshake with the header of a reply: too short for an answer to one.
fn check_refusal(golden: &Frame) -> Kind {
    let payload = golden.payload();
    assert!(payload.len() < ConnectResponse::LEN);
    let err = ConnectResponse::decode(&mut Reader::shared(&payload)).expect_err("no handshake");
    let truncated = Reason::Truncated { needed: 4, left: 0 };
    assert_eq!(parts(&err), ("ConnectResponse", "password", &truncated));

    let header: ReplyHeader = decode(golden, ReplyHeader::decode);
    assert_eq!(golden.decoded, json!({ "header": header.view() }));
    assert_eq!(header.error(), Some(ErrorCode::NotReadOnly));
    check_bytes(golden, &[&header]);
    Kind::RefusalByReply
}

fn check_notification(golden: &Frame) -> Kind {
    let (header, event) = decode(golden, |reader| {
        Ok((ReplyHeader::decode(reader)?, WatcherEvent::decode(reader)?))
    });
    assert_eq!(header.xid, Xid::NOTIFICATION);
    let event_type = event.event_type().expect("a type that servers send");
    assert_eq!(event_type.code(), event.event_type);
    check_view(golden, &header, Some(("WatcherEvent", event.view())));
    check_bytes(golden, &[&header, &event]);
    Kind::Notification
}

fn check_request(golden: &Frame) -> Kind {
    let payload = golden.payload();
    let mut reader = Reader::shared(&payload);
    let header = RequestHeader::decode(&mut reader).expect("a header");
    let Some(op) = header.op() else {
        assert_eq!(golden.op, "unknown");
        check_view(golden, &header, None);
        check_bytes(golden, &[&header]);
        return Kind::RequestOfUnknownOp;
    };
    assert_eq!(op.name(), golden.op, "{}", golden.name);
    if let Some(body) = golden.decoded.get("malformedBody") {
        assert_eq!(json!(vectors::hex(reader.rest())), *body);
        assert_eq!(golden.decoded["header"], header.view());
        let record = match golden.op.as_str() {
            "create" => "CreateRequest",
            "getData" => "GetDataRequest",
            other => panic!("a malformed {other} is news"),
        };
        let err = Request::decode(op, &mut reader).expect_err("malformed");
        let truncated = Reason::Truncated { needed: 5, left: 2 };
        assert_eq!(parts(&err), (record, "path", &truncated), "{}", golden.name);
        return Kind::MalformedRequest;
    }
    let request = decode(golden, |reader| {
        RequestHeader::decode(reader)?;
        Request::decode(op, reader)
    });
    assert_eq!(request.op(), op);
    check_view(golden, &header, view::request(&request));
    check_bytes(golden, &[&header, &request]);
    let mut written = BytesMut::new();
    frame::write_request(&mut written, header.xid, &request);
    assert_eq!(written, golden.wire, "{}", golden.name);
    Kind::Request
}

fn check_reply(golden: &Frame) -> Kind {
    let payload = golden.payload();
    let mut reader = Reader::shared(&payload);
    let header = ReplyHeader::decode(&mut reader).expect("a header");
    let op = OpCode::ALL
        .iter()
        .copied()
        .find(|op| op.name() == golden.op);
    if header.error().is_none() {
        let op = op.expect("only errors answer an unknown opcode");
        let body = check_reply_body(golden, &header, op);
        let mut written = BytesMut::new();
        frame::write_reply(&mut written, &header, Some(&body));
        assert_eq!(written, golden.wire, "{}", golden.name);
        return Kind::Reply;
    }
    if reader.is_empty() {
        check_view(golden, &header, None);
        check_bytes(golden, &[&header]);
        let mut written = BytesMut::new();
        frame::write_reply(&mut written, &header, None);
        assert_eq!(written, golden.wire, "{}", golden.name);
        return Kind::ErrorReply;
    }
    // A client stops at the error. What is left over is still what the vectors say.
    check_reply_body(golden, &header, op.expect("a known opcode"));
    Kind::ErrorReplyWithBody
}

fn check_reply_body(golden: &Frame, header: &ReplyHeader, op: OpCode) -> Response {
    let body = decode(golden, |reader| {
        ReplyHeader::decode(reader)?;
        Response::decode(op, reader)
    });
    check_view(golden, header, view::response(&body));
    check_bytes(golden, &[header, &body]);
    body
}

/// Decodes a payload, as slices of the frame and as copies: both must consume all of it and agree.
fn decode<T, F>(golden: &Frame, decode: F) -> T
where
    T: PartialEq + std::fmt::Debug,
    F: Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
{
    let payload = golden.payload();
    let [shared, copied] = [Reader::shared(&payload), Reader::new(&payload)].map(|mut reader| {
        let value = decode(&mut reader).unwrap_or_else(|err| panic!("{}: {err}", golden.name));
        assert!(reader.is_empty(), "{}: trailing bytes", golden.name);
        value
    });
    assert_eq!(shared, copied, "{}", golden.name);
    shared
}

/// Compares everything that `decoded` says with what was decoded.
fn check_view(golden: &Frame, header: &impl View, body: NamedView) {
    let mut decoded = json!({ "header": header.view() });
    if let Some((record, body)) = body {
        decoded["record"] = json!(record);
        decoded["body"] = body;
    }
    assert_eq!(golden.decoded, decoded, "{}", golden.name);
}

/// Encodes the records as one frame and compares the bytes.
fn check_bytes(golden: &Frame, records: &[&dyn Encode]) {
    let mut written = BytesMut::new();
    frame::write(&mut written, records);
    assert_eq!(written, golden.wire, "{}", golden.name);
}

fn take(input: &mut BytesMut) -> Option<Bytes> {
    frame::take(input, frame::DEFAULT_FRAME_MAX).expect("a legal length")
}

fn parts(err: &DecodeError) -> (&'static str, &str, &Reason) {
    (err.record(), err.field(), err.reason())
}

/// What the checks need of a record.
trait Codec: Encode + Decode + View + PartialEq + std::fmt::Debug {}

impl<T: Encode + Decode + View + PartialEq + std::fmt::Debug> Codec for T {}
