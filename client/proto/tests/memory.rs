//! What decoding may allocate: a multiple of the bytes at hand, whatever they claim.
//!
//! A binary of its own, because it counts what its allocator hands out. The factors are those of the
//! table in the documentation of `zk_proto::jute`.

#[path = "strategies/mod.rs"]
mod strategies;

use allocation_counter::{AllocationInfo, measure};
use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use zk_proto::acl::{Acl, ClientInfo};
use zk_proto::jute::{Encode as _, Reader};
use zk_proto::request::{MultiOp, Request};
use zk_proto::response::{MultiResult, Response};
use zk_proto::{ByteString, OpCode};

use strategies::{bytes_like, request, response};

/// Bytes that a decoded value holds per byte of its frame, times two: results of a multi.
const HELD_TWICE: u64 = 25;

/// Bytes that an error takes, whatever it is about.
const ERROR: u64 = 512;

/// Elements in the frames that are made to swell.
const COUNT: usize = 10_000;

#[test]
fn any_bytes_allocate_a_multiple_of_their_length() {
    for &op in OpCode::ALL {
        let wire = request(op).prop_map(|request| request.to_bytes()).boxed();
        run(&bytes_like(wire), |bytes| {
            is_bounded(op, &bytes, decode_request)
        });
        let wire = response(op)
            .prop_map(|response| response.to_bytes())
            .boxed();
        run(&bytes_like(wire), |bytes| {
            is_bounded(op, &bytes, decode_response)
        });
    }
}

#[test]
fn elements_are_as_large_as_documented() {
    assert_eq!(size_of::<ByteString>(), 32);
    assert_eq!(size_of::<ClientInfo>(), 64);
    assert_eq!(size_of::<Acl>(), 72);
    assert_eq!(size_of::<MultiOp>(), 104);
    assert_eq!(size_of::<MultiResult>(), 112);
}

#[test]
fn vectors_of_the_smallest_elements_swell_by_their_factor() {
    let strings = vector(COUNT, &[0; 4]);
    swells(OpCode::GetChildren, &strings, decode_response, 8.0);
    swells(OpCode::GetEphemerals, &strings, decode_response, 8.0);
    // A broken byte becomes three.
    let broken = vector(COUNT, &[0, 0, 0, 1, 0xff]);
    swells(OpCode::GetChildren, &broken, decode_response, 7.0);
    let watches = [
        &[0; 8][..],
        &strings,
        &strings,
        &strings,
        &strings,
        &strings,
    ]
    .concat();
    swells(OpCode::SetWatches2, &watches, decode_request, 8.0);
    let identities = vector(COUNT, &[0xff; 8]);
    swells(OpCode::WhoAmI, &identities, decode_response, 8.0);
    let acl = [&[0xff; 4][..], &vector(COUNT, &[0xff; 12]), &[0; 4]].concat();
    swells(OpCode::SetAcl, &acl, decode_request, 6.0);
}

#[test]
fn multis_of_the_smallest_parts_swell_by_their_factor() {
    let header = |op: OpCode, err: i32| {
        let mut header = op.code().to_be_bytes().to_vec();
        header.push(0);
        header.extend_from_slice(&err.to_be_bytes());
        header
    };
    let end = [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff];
    let op = [header(OpCode::GetData, -1), vec![0xff, 0xff, 0xff, 0xff, 0]].concat();
    let ops = [op.repeat(COUNT), end.to_vec()].concat();
    swells(OpCode::MultiRead, &ops, decode_request, 7.5);
    let results = [header(OpCode::Delete, 0).repeat(COUNT), end.to_vec()].concat();
    swells(OpCode::Multi, &results, decode_response, 12.5);
    // Room made for more of them is not kept when something else takes their place.
    let strings = vector(COUNT * 9 / 4, &[0; 4]);
    let children = [header(OpCode::GetChildren, 0), strings].concat();
    let mixed = [
        header(OpCode::Delete, 0).repeat(COUNT),
        children,
        end.to_vec(),
    ]
    .concat();
    swells(OpCode::Multi, &mixed, decode_response, 10.3);
    // Without the end it fails, and has taken no more until then.
    let cut = &results[..results.len() - 1];
    assert!(decode_response(OpCode::Multi, &mut Reader::new(cut)).is_none());
    is_bounded(OpCode::Multi, cut, decode_response).unwrap();
}

#[test]
fn a_claim_that_the_frame_cannot_hold_allocates_nothing() {
    for claimed in [2_i32, 1000, i32::MAX] {
        let wire = claimed.to_be_bytes();
        for op in [OpCode::GetChildren, OpCode::Sasl] {
            let (held, peak) = memory(op, &wire, decode_response);
            assert_eq!(held, 0, "{op} claims {claimed}");
            assert!(peak <= ERROR, "{op} claims {claimed}: {peak}");
        }
    }
}

/// The frame decodes, holds no more than `factor` times its length, and nearly that: the table in the
/// documentation is no looser than it has to be.
#[expect(clippy::cast_precision_loss, reason = "lengths are small")]
fn swells(op: OpCode, wire: &[u8], decode: Decoder, factor: f64) {
    let (held, _) = memory(op, wire, decode);
    let actual = held as f64 / wire.len() as f64;
    assert!(actual <= factor, "{op}: {actual} per byte");
    assert!(actual > factor * 0.98, "{op}: only {actual} per byte");
    is_bounded(op, wire, decode).expect("nor does it take more until then");
}

fn is_bounded(op: OpCode, bytes: &[u8], decode: Decoder) -> Result<(), TestCaseError> {
    let (held, peak) = memory(op, bytes, decode);
    let len = bytes.len() as u64;
    prop_assert!(
        held * 2 <= HELD_TWICE * len,
        "{}: {} held of {} bytes",
        op,
        held,
        len
    );
    // A list that grows exists twice for a moment.
    prop_assert!(
        peak <= HELD_TWICE * len + ERROR,
        "{}: {} of {} bytes",
        op,
        peak,
        len
    );
    Ok(())
}

/// What a decoded value holds, and the most that was allocated at any time until it was there.
fn memory(op: OpCode, wire: &[u8], decode: Decoder) -> (u64, u64) {
    let frame = Bytes::from(wire.to_vec());
    let mut worst = (0, 0);
    for mut reader in [Reader::shared(&frame), Reader::new(&frame)] {
        let mut value = None;
        let AllocationInfo {
            bytes_current,
            bytes_max,
            ..
        } = measure(|| value = decode(op, &mut reader));
        let held = u64::try_from(bytes_current).expect("decoding frees nothing of others");
        worst = (worst.0.max(held), worst.1.max(bytes_max));
    }
    worst
}

type Decoder = fn(OpCode, &mut Reader<'_>) -> Option<Decoded>;

/// Either direction, kept only for the memory that it holds.
enum Decoded {
    Request(#[expect(dead_code, reason = "held")] Request),
    Response(#[expect(dead_code, reason = "held")] Response),
}

fn decode_request(op: OpCode, reader: &mut Reader<'_>) -> Option<Decoded> {
    Request::decode(op, reader).ok().map(Decoded::Request)
}

fn decode_response(op: OpCode, reader: &mut Reader<'_>) -> Option<Decoded> {
    Response::decode(op, reader).ok().map(Decoded::Response)
}

/// A vector of the same element over and over.
fn vector(count: usize, element: &[u8]) -> Vec<u8> {
    let mut wire = BytesMut::new();
    wire.put_i32(i32::try_from(count).expect("few elements"));
    wire.put_slice(&element.repeat(count));
    wire.to_vec()
}

fn run<T: std::fmt::Debug>(
    strategy: &BoxedStrategy<T>,
    property: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(err) = TestRunner::new(config).run(strategy, property) {
        panic!("{err}");
    }
}
