//! What stands around the bodies: frames, handshakes, headers, watch events, and paths.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use zk_proto::connect::{ConnectRequest, ConnectResponse};
use zk_proto::header::{MultiHeader, ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode, Encode, Reader};
use zk_proto::{WatcherEvent, ZPath, ZPathBuf, frame, join_chroot, sequence_number, strip_chroot};

/// Longest payload; shorter than inputs get, so that the limit is met.
const FRAME_MAX: usize = 1024;

fuzz_target!(|input: &[u8]| {
    // The first byte picks what the rest is taken for.
    let Some((pick, rest)) = input.split_first() else {
        return;
    };
    match pick % 8 {
        0 => frames(rest),
        1 => record::<ConnectRequest>(rest),
        2 => record::<ConnectResponse>(rest),
        3 => record::<WatcherEvent>(rest),
        4 => record::<RequestHeader>(rest),
        5 => record::<ReplyHeader>(rest),
        6 => record::<MultiHeader>(rest),
        _ => paths(rest),
    }
});

/// The first byte is where the stream is cut: whether it arrives at once or in two parts, the same
/// payloads come out of it, and writing them again gives the bytes that were taken.
fn frames(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else {
        return;
    };
    let mut whole = BytesMut::from(stream);
    let (payloads, end) = drain(&mut whole);

    let (head, tail) = stream.split_at(usize::from(*cut).min(stream.len()));
    let mut parts = BytesMut::from(head);
    let (mut by_parts, mut parts_end) = drain(&mut parts);
    parts.extend_from_slice(tail);
    if parts_end.is_ok() {
        let (more, end) = drain(&mut parts);
        by_parts.extend(more);
        parts_end = end;
    }
    assert_eq!((&payloads, end, &whole), (&by_parts, parts_end, &parts));

    let mut written = BytesMut::new();
    for payload in &payloads {
        frame::write(&mut written, &[&Raw(payload)]);
    }
    written.extend_from_slice(&whole);
    assert_eq!(written, stream);
}

/// Takes payloads until there is no further one.
fn drain(input: &mut BytesMut) -> (Vec<Bytes>, Result<(), frame::FrameError>) {
    let mut payloads = Vec::new();
    loop {
        match frame::take(input, FRAME_MAX) {
            Ok(Some(payload)) => payloads.push(payload),
            Ok(None) => return (payloads, Ok(())),
            Err(err) => return (payloads, Err(err)),
        }
    }
}

/// Bytes as they are.
struct Raw<'a>(&'a Bytes);

impl Encode for Raw<'_> {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.0);
    }
}

fn record<T: Encode + Decode + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let frame = Bytes::copy_from_slice(input);
    let shared = T::decode(&mut Reader::shared(&frame));
    assert_eq!(shared, T::decode(&mut Reader::new(input)));
    let Ok(record) = shared else { return };
    let wire = record.to_bytes();
    assert_eq!(wire.len(), record.encoded_len());
    assert!(wire.len() >= T::LEN_MIN);
    let mut reader = Reader::shared(&wire);
    assert_eq!(T::decode(&mut reader).as_ref(), Ok(&record));
    assert!(reader.is_empty());
}

/// Two texts, parted by the first byte 0xff, which no text has.
fn paths(input: &[u8]) {
    let mut texts = input.splitn(2, |byte| *byte == 0xff);
    let mut text = || std::str::from_utf8(texts.next().unwrap_or_default()).ok();
    let (Some(first), Some(second)) = (text(), text()) else {
        return;
    };
    let _ = (
        ZPath::check_sequential(first),
        sequence_number(first, second),
    );
    let Ok(chroot) = ZPath::new(first) else {
        return;
    };
    assert_eq!(
        chroot
            .components()
            .map(|name| 1 + name.len())
            .sum::<usize>()
            .max(1),
        first.len()
    );
    if let Some((parent, name)) = chroot.split() {
        assert_eq!(ZPath::new(parent.as_str()), Ok(parent));
        assert_eq!(
            parent.to_buf().child(name).as_ref().map(ZPathBuf::as_path),
            Ok(chroot)
        );
        assert!(chroot.is_within(parent) && !parent.is_within(chroot));
    }
    let Ok(path) = ZPath::new(second) else {
        return;
    };
    let joined = join_chroot(chroot, path.as_str());
    assert!(ZPath::new(&joined).is_ok(), "{joined:?}");
    assert_eq!(strip_chroot(chroot, &joined), Some(path.as_str()));
    if let Some(below) = strip_chroot(chroot, path.as_str()) {
        assert_eq!(join_chroot(chroot, below), path.as_str());
    }
}
