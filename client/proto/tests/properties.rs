//! What holds for every value of every record, and for bytes that are none.

#[path = "strategies/mod.rs"]
mod strategies;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::header::{MultiHeader, ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode, DecodeError, Encode, Reader, Reason};
use zk_proto::request::{MultiRequest, Request};
use zk_proto::response::{ErrorResponse, MultiResponse, Response};
use zk_proto::{
    Acl, ByteString, Id, OpCode, PathReason, Perms, SessionId, Stat, Version, WatcherEvent, Xid,
    ZPath, ZPathBuf, Zxid, frame, join_chroot, strip_chroot,
};

use strategies::{Any, bytes_like, request, response};

/// Behind a record, where a decoder must stop.
const TRAILING: &[u8] = &[1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

#[test]
fn every_request_comes_back_and_no_part_of_it_passes_for_the_whole() {
    for &op in OpCode::ALL {
        run(48, &request(op), |request| {
            prop_assert_eq!(request.op(), op);
            comes_back(&request, |reader| Request::decode(op, reader))?;
            prefixes_fail(&request, |reader| Request::decode(op, reader))
        });
    }
}

#[test]
fn every_response_comes_back_and_no_part_of_it_passes_for_the_whole() {
    for &op in OpCode::ALL {
        run(48, &response(op), |response| {
            comes_back(&response, |reader| Response::decode(op, reader))?;
            prefixes_fail(&response, |reader| Response::decode(op, reader))
        });
    }
}

/// The records that no opcode leads to, and the types that records are made of.
#[test]
fn every_other_record_comes_back_and_no_part_of_it_passes_for_the_whole() {
    record_holds::<RequestHeader>();
    record_holds::<ReplyHeader>();
    record_holds::<MultiHeader>();
    record_holds::<WatcherEvent>();
    record_holds::<Id>();
    record_holds::<Acl>();
    record_holds::<Stat>();
    record_holds::<ErrorResponse>();
    record_holds::<MultiRequest>();
    record_holds::<MultiResponse>();
    record_holds::<bool>();
    record_holds::<i32>();
    record_holds::<i64>();
    record_holds::<Zxid>();
    record_holds::<SessionId>();
    record_holds::<Xid>();
    record_holds::<Version>();
    record_holds::<Perms>();
    record_holds::<ByteString>();
    record_holds::<Option<ByteString>>();
    record_holds::<Option<Bytes>>();
    record_holds::<Vec<Acl>>();
    record_holds::<Option<Vec<ByteString>>>();
}

/// Without its last byte a handshake is that of a client of 3.3, or of a server to one.
#[test]
fn handshakes_come_back_with_and_without_the_read_only_byte() {
    fn holds<T>(read_only: fn(&T) -> Option<bool>)
    where
        T: Any + Encode + Decode + PartialEq,
    {
        run(256, &T::any(), |record| {
            let wire = record.to_bytes();
            prop_assert_eq!(wire.len(), record.encoded_len());
            prop_assert!(wire.len() >= T::LEN_MIN);
            let decoded = T::decode(&mut Reader::shared(&wire)).map_err(fail)?;
            prop_assert_eq!(&decoded, &record);
            if read_only(&record).is_some() {
                comes_back(&record, T::decode)?;
            }
            for cut in 0..wire.len() {
                let prefix = wire.slice(..cut);
                match T::decode(&mut Reader::shared(&prefix)) {
                    Ok(shorter) => {
                        prop_assert_eq!(read_only(&shorter), None);
                        prop_assert_eq!(shorter.to_bytes(), prefix);
                        prop_assert_eq!(cut, wire.len() - 1);
                        prop_assert!(read_only(&record).is_some());
                    }
                    Err(err) => is_cut_short(&err)?,
                }
            }
            Ok(())
        });
    }
    holds::<ConnectRequest>(|record| record.read_only);
    holds::<ConnectResponse>(|record| record.read_only);
}

#[test]
fn any_bytes_decode_or_fail_and_what_decodes_comes_back() {
    for &op in OpCode::ALL {
        let wire = request(op).prop_map(|request| request.to_bytes()).boxed();
        run(64, &bytes_like(wire), |bytes| {
            is_total(&bytes, |reader| Request::decode(op, reader))
        });
        let wire = response(op)
            .prop_map(|response| response.to_bytes())
            .boxed();
        run(64, &bytes_like(wire), |bytes| {
            is_total(&bytes, |reader| Response::decode(op, reader))
        });
    }
    record_is_total::<ConnectRequest>();
    record_is_total::<ConnectResponse>();
    record_is_total::<RequestHeader>();
    record_is_total::<ReplyHeader>();
    record_is_total::<MultiHeader>();
    record_is_total::<WatcherEvent>();
}

#[test]
fn frames_come_out_as_they_went_in() {
    let payloads = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6);
    let chunk_len = 1..50usize;
    run(
        256,
        &(payloads, chunk_len).boxed(),
        |(payloads, chunk_len)| {
            let mut stream = BytesMut::new();
            for payload in &payloads {
                frame::write(&mut stream, &[&Raw(payload)]);
            }
            let (mut input, mut taken) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(chunk_len) {
                input.extend_from_slice(chunk);
                while let Some(payload) = frame::take(&mut input, 40).map_err(fail)? {
                    taken.push(payload.to_vec());
                }
            }
            prop_assert_eq!(taken, payloads);
            prop_assert!(input.is_empty());
            Ok(())
        },
    );
}

#[test]
fn paths_are_judged_as_the_reference_judges_them() {
    run(8_000, &text_like_a_path(), |text| {
        judged_alike(&text)?;
        let sequential = format!("{text}0000000007");
        prop_assert_eq!(
            ZPath::check_sequential(&text).is_ok(),
            is_legal(&sequential),
            "{:?}",
            text
        );
        Ok(())
    });
}

#[test]
fn every_character_is_judged_as_the_reference_judges_it() {
    let basic = (0..=0xffff).filter_map(char::from_u32);
    let beyond = (0x1_0000..=0x10_ffff)
        .step_by(1021)
        .filter_map(char::from_u32);
    for character in basic.chain(beyond).chain(['\u{10ffff}']) {
        judged_alike(&format!("/a{character}b/c")).unwrap();
    }
}

#[test]
fn chroot_is_taken_off_as_it_was_put_on() {
    run(
        4096,
        &(legal_path(), legal_path()).boxed(),
        |(chroot, path)| {
            let chroot = chroot.as_path();
            let joined = join_chroot(chroot, &path);
            prop_assert!(ZPath::new(&joined).is_ok(), "{:?}", joined);
            prop_assert_eq!(strip_chroot(chroot, &joined), Some(path.as_str()));
            if let Some(below) = strip_chroot(chroot, &path) {
                prop_assert_eq!(join_chroot(chroot, below), path.as_str());
            }
            // What stands outside is never taken for something inside.
            let inside = chroot.is_root()
                || path.as_str() == chroot.as_str()
                || path.starts_with(&format!("{chroot}/"));
            prop_assert_eq!(strip_chroot(chroot, &path).is_some(), inside);
            Ok(())
        },
    );
}

#[test]
fn paths_are_made_of_their_components() {
    run(4096, &legal_path(), |path| {
        let rebuilt = path
            .as_path()
            .components()
            .try_fold(ZPathBuf::root(), |parent, name| parent.child(name));
        prop_assert_eq!(rebuilt.map_err(fail)?, path.clone());
        match path.as_path().split() {
            Some((parent, name)) => {
                prop_assert_eq!(parent.to_buf().child(name).map_err(fail)?, path);
            }
            None => prop_assert!(path.as_path().is_root()),
        }
        Ok(())
    });
}

/// Runs a property over a strategy; regressions are kept beside this file.
fn run<T: Debug>(
    cases: u32,
    strategy: &BoxedStrategy<T>,
    property: impl Fn(T) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    };
    if let Err(err) = TestRunner::new(config).run(strategy, property) {
        panic!("{err}");
    }
}

fn fail(err: impl std::error::Error) -> TestCaseError {
    TestCaseError::fail(err.to_string())
}

fn record_holds<T: Any + Encode + Decode + PartialEq>() {
    run(128, &T::any(), |record| {
        prop_assert!(record.encoded_len() >= T::LEN_MIN);
        comes_back(&record, T::decode)?;
        prefixes_fail(&record, T::decode)
    });
}

fn record_is_total<T: Any + Encode + Decode + PartialEq>() {
    let wire = T::any().prop_map(|record| record.to_bytes()).boxed();
    run(256, &bytes_like(wire), |bytes| is_total(&bytes, T::decode));
}

/// The encoding is as long as it says, decodes to the value, and what stands behind it is left.
fn comes_back<T, F>(value: &T, decode: F) -> Result<(), TestCaseError>
where
    T: Encode + PartialEq + Debug,
    F: Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
{
    let wire = value.to_bytes();
    prop_assert_eq!(wire.len(), value.encoded_len());
    let mut appended = BytesMut::from(TRAILING);
    value.encode(&mut appended);
    prop_assert_eq!(appended.split_off(TRAILING.len()), &wire);

    let followed = Bytes::from([&wire, TRAILING].concat());
    for (frame, behind) in [(&wire, &[][..]), (&followed, TRAILING)] {
        for mut reader in [Reader::shared(frame), Reader::new(frame)] {
            prop_assert_eq!(&decode(&mut reader).map_err(fail)?, value);
            prop_assert_eq!(reader.rest(), behind);
        }
    }
    Ok(())
}

/// No field of the value is optional at its end: cut short anywhere, it is an error that says so.
fn prefixes_fail<T, F>(value: &T, decode: F) -> Result<(), TestCaseError>
where
    T: Encode + PartialEq + Debug,
    F: Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
{
    let wire = value.to_bytes();
    for cut in 0..wire.len() {
        match decode(&mut Reader::shared(&wire.slice(..cut))) {
            Ok(other) => prop_assert!(false, "{} bytes decode to {:?}", cut, other),
            Err(err) => is_cut_short(&err)?,
        }
    }
    Ok(())
}

fn is_cut_short(err: &DecodeError) -> Result<(), TestCaseError> {
    let (needed, left) = if let Reason::Truncated { needed, left } = *err.reason() {
        (needed, left)
    } else if let Reason::Count { count, left } = *err.reason() {
        // No element takes more than an ACL entry: 12 bytes at least.
        (count.saturating_mul(Acl::LEN_MIN), left)
    } else {
        return Err(TestCaseError::fail(format!("cut short, but {err}")));
    };
    prop_assert!(needed > left, "{}", err);
    Ok(())
}

/// Decoding neither panics nor depends on who owns the bytes, and what decodes comes back.
fn is_total<T, F>(bytes: &[u8], decode: F) -> Result<(), TestCaseError>
where
    T: Encode + PartialEq + Debug,
    F: Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
{
    let frame = Bytes::copy_from_slice(bytes);
    let shared = decode(&mut Reader::shared(&frame));
    prop_assert_eq!(&shared, &decode(&mut Reader::new(bytes)));
    match shared {
        Ok(value) => {
            let wire = value.to_bytes();
            let again = decode(&mut Reader::shared(&wire)).map_err(fail)?;
            prop_assert_eq!(again, value);
        }
        Err(err) => prop_assert!(!err.record().is_empty() && !err.field().is_empty()),
    }
    Ok(())
}

/// Bytes as they are.
struct Raw<'a>(&'a [u8]);

impl Encode for Raw<'_> {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.0);
    }
}

/// The rules of paths as they are written down for the reference: on UTF-16 code units.
fn is_legal(path: &str) -> bool {
    let is_rejected = |unit: u16| {
        matches!(
            unit,
            0x0000 | 0x0001..=0x001f | 0x007f..=0x009f | 0xd800..=0xf8ff | 0xfff0..=0xffff
        )
    };
    if path == "/" {
        return true;
    }
    path.starts_with('/')
        && !path.ends_with('/')
        && !path.contains("//")
        && !path.split('/').any(|name| name == "." || name == "..")
        && !path.encode_utf16().any(is_rejected)
}

fn judged_alike(text: &str) -> Result<(), TestCaseError> {
    let judged = ZPath::new(text);
    prop_assert_eq!(judged.is_ok(), is_legal(text), "{:?}", text);
    prop_assert_eq!(ZPathBuf::new(text).is_ok(), judged.is_ok());
    match judged.map_err(|err| err.reason) {
        Ok(path) => prop_assert_eq!(path.as_str(), text),
        // The place that is named has what is wrong with it.
        Err(PathReason::Character { character, at }) => {
            prop_assert!(
                text.get(at..)
                    .is_some_and(|rest| rest.starts_with(character))
            );
        }
        Err(PathReason::EmptyComponent(at)) => {
            prop_assert!(
                text.get(at - 1..)
                    .is_some_and(|rest| rest.starts_with("//"))
            );
        }
        Err(PathReason::RelativeComponent(at)) => {
            prop_assert!(
                text.get(at - 1..)
                    .is_some_and(|rest| rest.starts_with("/."))
            );
        }
        Err(PathReason::TrailingSlash) => prop_assert!(text.ends_with('/')),
        Err(PathReason::NotAbsolute) => prop_assert!(!text.starts_with('/')),
        Err(reason) => prop_assert_eq!((reason, text), (PathReason::Empty, "")),
    }
    Ok(())
}

/// Text of components that are likely to be illegal, mostly absolute.
fn text_like_a_path() -> BoxedStrategy<String> {
    const ODD: &[&str] = &[
        "",
        ".",
        "..",
        "...",
        ".a",
        "a",
        "b",
        "\0",
        "\u{1f}",
        " ",
        "\u{7e}",
        "\u{7f}",
        "\u{9f}",
        "\u{a0}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{f8ff}",
        "\u{f900}",
        "\u{ffef}",
        "\u{fff0}",
        "\u{ffff}",
        "\u{10000}",
    ];
    let component = prop_oneof![
        4 => "[a-z.]{1,3}",
        2 => prop::sample::select(ODD).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let components = prop::collection::vec(component, 0..5);
    (prop::bool::weighted(0.9), components)
        .prop_map(|(is_absolute, components)| {
            let slash = if is_absolute { "/" } else { "" };
            format!("{slash}{}", components.join("/"))
        })
        .boxed()
}

/// Legal paths, close enough to each other that one is often within the other.
fn legal_path() -> BoxedStrategy<ZPathBuf> {
    let component = prop_oneof![4 => "[ab]{1,2}", 1 => "\\.{3}", 1 => "\u{e9}"];
    prop::collection::vec(component, 0..4)
        .prop_map(|names| ZPathBuf::new(format!("/{}", names.join("/"))).expect("a legal path"))
        .boxed()
}
