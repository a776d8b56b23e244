use proptest::prelude::*;
use zk_proto::{Acl, Id, Perms};

use super::*;

fn whole(trailer: &Trailer, data_len: usize) -> Bytes {
    let mut out = BytesMut::new();
    let mut encoder = SnapshotEncoder::begin(2, &mut out);
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
    let mut encoder = SnapshotEncoder::begin(0, &mut out);
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
