use proptest::prelude::*;
use zk_proto::{Acl, Id, Perms};

use super::*;

fn whole(trailer: &Trailer, data_len: usize) -> Bytes {
    stream(Form::File, trailer, data_len)
}

fn stream(form: Form, trailer: &Trailer, data_len: usize) -> Bytes {
    let mut out = BytesMut::new();
    let mut encoder = SnapshotEncoder::begin(form, 2, &mut out);
    encoder.session(SessionId::new(1), 1000, &mut out);
    encoder.session(SessionId::new(-2), 2000, &mut out);
    encoder.begin_acls(1, &mut out);
    encoder.acl(
        AclKey::new(1),
        &[Acl::new(Perms::READ, Id::ANYONE)],
        &mut out,
    );
    let stat = StoredStat {
        czxid: Zxid::new(5),
        owner: SessionId::new(7),
        ..StoredStat::default()
    };
    encoder.znode("", None, AclKey::BUILT_IN, &StoredStat::default(), &mut out);
    encoder.znode(
        "/a",
        Some(&vec![7; data_len]),
        AclKey::new(1),
        &stat,
        &mut out,
    );
    encoder.finish(trailer, &mut out);
    out.freeze()
}

fn trailers() -> [Trailer; 4] {
    let digest = Some(SnapshotDigest {
        zxid: Zxid::new(9),
        tree: Some(u64::MAX),
    });
    let last_zxid = Some(Zxid::new(9));
    [
        (None, None),
        (digest, None),
        (None, last_zxid),
        (digest, last_zxid),
    ]
    .map(|(digest, last_zxid)| Trailer { digest, last_zxid })
}

fn read(stream: &Bytes, piece: usize) -> Result<(Vec<Item>, Trailer), SnapshotError> {
    let mut decoder = SnapshotDecoder::default();
    let mut items = Vec::new();
    for piece in stream.chunks(piece.max(1)) {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(item) = decoder.next_item()? {
            items.push(item);
        }
    }
    Ok((items, decoder.finish()?))
}

#[test]
fn all_trailers_are_told_apart_by_their_length() {
    for trailer in trailers() {
        let stream = whole(&trailer, 3);
        let (items, read) = read(&stream, usize::MAX).unwrap();
        assert_eq!((items.len(), read), (5, trailer));
        assert!(looks_whole(
            stream.len() as u64,
            &stream[stream.len() - 5..]
        ));
    }
}

#[test]
fn pieces_of_any_size_give_the_same() {
    let stream = whole(&trailers()[3], 300);
    let expected = read(&stream, usize::MAX).unwrap();
    for piece in 1..70 {
        assert_eq!(read(&stream, piece).unwrap(), expected);
    }
}

#[test]
fn a_digest_written_as_text_is_passed_over() {
    let mut out = BytesMut::from(whole(&trailers()[0], 3).as_ref());
    out.put_i64(9);
    out.put_i32(1);
    "1371985504".encode(&mut out);
    let checksum = simd_adler32::adler32(&out.as_ref());
    out.put_i64(i64::from(checksum));
    END_PATH.encode(&mut out);
    let (_, trailer) = read(&out.freeze(), usize::MAX).unwrap();
    let digest = SnapshotDigest {
        zxid: Zxid::new(9),
        tree: None,
    };
    assert_eq!(trailer.digest, Some(digest));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let stream = whole(&trailers()[3], 20);
    // Version and dbid are covered by the first seal, as all the rest.
    for at in 0..stream.len() {
        let mut damaged = BytesMut::from(stream.as_ref());
        damaged[at] ^= 0x10;
        assert!(read(&damaged.freeze(), usize::MAX).is_err(), "{at}");
    }
}

#[test]
fn every_cut_is_noticed_except_between_sections() {
    let stream = whole(&trailers()[3], 20);
    let sections = [21, 54];
    for cut in 1..stream.len() {
        let cut_off = read(&stream.slice(..stream.len() - cut), usize::MAX);
        assert_eq!(cut_off.is_ok(), sections.contains(&cut), "{cut}");
    }
}

#[test]
fn long_entries_are_refused_however_they_come() {
    let stream = whole(&trailers()[3], 500);
    for piece in [1, 64, usize::MAX] {
        let mut decoder = SnapshotDecoder::new(400);
        let mut refused = false;
        for piece in stream.chunks(piece) {
            decoder.feed(Bytes::copy_from_slice(piece));
            loop {
                match decoder.next_item() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(err) => {
                        refused |= matches!(err.reason, SnapshotReason::TooLong { .. });
                        break;
                    }
                }
            }
        }
        assert!(refused);
    }
}

#[test]
fn huge_claims_are_refused_before_bytes_are_collected_for_them() {
    let mut out = BytesMut::new();
    let mut encoder = SnapshotEncoder::begin(Form::File, 0, &mut out);
    encoder.begin_acls(0, &mut out);
    out.put_i32(i32::MAX);
    let err = read(&out.freeze(), usize::MAX).unwrap_err();
    assert!(
        matches!(err.reason, SnapshotReason::TooLong { .. }),
        "{err}"
    );
    assert_eq!(err.offset, 24);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        keep in 0usize..300,
        piece in 1usize..50,
    ) {
        let stream = whole(&trailers()[3], 20);
        let mut mixed = stream.slice(..keep.min(stream.len())).to_vec();
        mixed.extend(&bytes);
        drop(read(&Bytes::from(mixed), piece));
        drop(read(&Bytes::from(bytes), piece));
    }
}

/// Feeds a stream on the wire in pieces; its entries, and what followed it.
fn read_wire(stream: &[u8], piece: usize) -> Result<(Vec<Item>, Bytes), SnapshotError> {
    let mut decoder = SnapshotDecoder::of_wire(1 << 20);
    let (mut items, mut rest) = (Vec::new(), BytesMut::new());
    let mut is_over = false;
    for piece in stream.chunks(piece) {
        if is_over {
            rest.extend_from_slice(piece);
            continue;
        }
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(item) = decoder.next_item()? {
            items.push(item);
        }
        if let Some(behind) = decoder.take_rest() {
            is_over = true;
            rest.extend_from_slice(&behind);
        }
    }
    assert!(is_over, "the stream has an end");
    Ok((items, rest.freeze()))
}

#[test]
fn a_stream_on_the_wire_ends_where_the_next_packet_begins() {
    let file = whole(&Trailer::default(), 300);
    let (expected, _) = read(&file, usize::MAX).unwrap();
    let mut wire = BytesMut::from(&stream(Form::Wire, &Trailer::default(), 300)[..]);
    assert_eq!(wire.len(), file.len() - 16 - SEAL_LEN);
    wire.extend_from_slice(b"next");
    for piece in 1..=wire.len() {
        let (items, rest) = read_wire(&wire, piece).unwrap();
        assert_eq!(items, expected);
        assert_eq!(rest, b"next"[..]);
    }
}

/// Captured from an Apache leader, with the string that it closes the stream with.
const CAPTURED: &str = "\
    0000000103000030c255000000002710000000020000000000000001000000010000000100000005776f726c64\
    00000006616e796f6e650000000000000002000000010000001f00000005776f726c6400000006616e796f6e65\
    0000000000000000ffffffffffffffff0000000000000000000000000000000000000000000000000000000000\
    00000000000000000000060000000000000000000000000000000100000007000000032f6e3000000002763000\
    0000000000000200000001000000020000000100000002000001a1fb9972be000001a1fb9972be000000000000\
    00000000000000000000000000000000000100000002000000032f6e3100000002763100000000000000020000\
    0001000000030000000100000003000001a1fb9972c7000001a1fb9972c7000000000000000000000000000000\
    000000000000000001000000030000000a2f7a6f6f6b656570657200000000ffffffffffffffff000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000112f7a6f6f6b65657065722f636f6e6669670000008a7365727665722e313d3132\
    372e302e302e313a32323130313a32323131313a7061727469636970616e740a7365727665722e323d3132372e\
    302e302e313a32323130323a32323131323a7061727469636970616e740a7365727665722e333d3132372e302e\
    302e313a32323130333a32323131333a7061727469636970616e740a76657273696f6e3d300000000000000001\
    000000000000000000000000000000000000000000000000000001a1fb996dd2ffffffff00000000ffffffff00\
    000000000000000000000000000000000000102f7a6f6f6b65657065722f71756f746100000000ffffffffffff\
    ffff00000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000000000000000000000000000032f6e32000000027632000000000000000200000001000000\
    040000000100000004000001a1fb9972c9000001a1fb9972c90000000000000000000000000000000000000000\
    0000000100000004000000032f6e33000000027633000000000000000200000001000000050000000100000005\
    000001a1fb997438000001a1fb9974380000000000000000000000000000000000000000000000010000000500\
    0000032f6e34000000027634000000000000000200000001000000060000000100000006000001a1fb99743b00\
    0001a1fb99743b00000000000000000000000000000000000000000000000100000006000000032f6e35000000\
    027635000000000000000200000001000000070000000100000007000001a1fb99743e000001a1fb99743e0000\
    0000000000000000000000000000000000000000000100000007000000012f0000000a42656e57617348657265\
";

#[test]
fn the_stream_of_the_reference_is_read_to_its_signature() {
    let hex: Vec<char> = CAPTURED.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    let bytes: Vec<u8> = hex.chunks(2).map(byte).collect();
    let (items, rest) = read_wire(&bytes, 7).unwrap();
    let has_config = items.iter().any(|item| match item {
        Item::Znode(path, _) => path == "/zookeeper/config",
        Item::Session(..) | Item::Acl(..) => false,
    });
    assert!(has_config);
    assert_eq!(rest, b"\0\0\0\x0aBenWasHere"[..]);
}
