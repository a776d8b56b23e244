use proptest::prelude::*;
use zk_proto::{Acl, Id, Perms, Version};

use super::*;

fn header() -> TxnHeader {
    TxnHeader {
        session: SessionId::new(0x0100_0000_0000_0001),
        cxid: Xid::new(7),
        zxid: Zxid::new(0x1_0000_0002),
        time: WallTime::from_millis(1_795_222_265_520),
    }
}

fn entry(txn: impl Into<Txn>) -> TxnEntry {
    TxnEntry {
        header: header(),
        txn: txn.into(),
        digest: Some(TxnDigest::new(0xffff_ffff_0000_0001)),
    }
}

fn create(path: &str) -> CreateTxn {
    CreateTxn {
        path: path.into(),
        data: Some(Bytes::from_static(b"data")),
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        ephemeral: false,
        parent_cversion: Version::new(3),
    }
}

/// The entry with some bytes cut off its end or appended.
fn decode_cut(entry: &TxnEntry, cut: usize) -> Result<TxnEntry, DecodeError> {
    let wire = entry.to_bytes();
    TxnEntry::decode(&wire.slice(..wire.len() - cut))
}

#[test]
fn create_before_3_4_ends_before_the_parents_cversion() {
    let mut old = entry(Op::Create(create("/a")));
    old.digest = None;
    let read = decode_cut(&old, 4).unwrap();
    let Txn::Single(Op::Create(record)) = read.txn else {
        panic!("not a create");
    };
    assert_eq!(record.parent_cversion, CreateTxn::NEXT_CVERSION);
}

#[test]
fn close_session_without_body_is_told_by_what_is_left() {
    let none = CloseSessionTxn { paths: None };
    let mut bare = entry(Txn::CloseSession(none));
    assert_eq!(decode_cut(&bare, 0).unwrap(), bare);
    bare.digest = None;
    assert_eq!(decode_cut(&bare, 0).unwrap(), bare);
}

#[test]
fn close_session_with_one_path_of_four_bytes_is_not_taken_for_a_digest() {
    let one = CloseSessionTxn {
        paths: Some(vec!["/abc".into()]),
    };
    let mut closed = entry(Txn::CloseSession(one));
    closed.digest = None;
    assert_eq!(decode_cut(&closed, 0).unwrap(), closed);
}

#[test]
fn unknown_types_are_refused_by_number() {
    let mut wire = BytesMut::new();
    header().encode(99, &mut wire);
    let err = TxnEntry::decode(&wire.freeze()).unwrap_err();
    assert_eq!(err.to_string(), "TxnHeader.type has the undefined value 99");
}

#[test]
fn multi_inside_multi_is_refused() {
    let mut wire = BytesMut::new();
    header().encode(OpCode::Multi.code(), &mut wire);
    for number in [1, OpCode::Multi.code(), 4, 0] {
        wire.put_i32(number);
    }
    let err = TxnEntry::decode(&wire.freeze()).unwrap_err();
    assert_eq!(
        err.to_string(),
        "MultiTxn.txns[0].type has the undefined value 14"
    );
}

#[test]
fn errors_name_the_record_and_field() {
    let err = decode_cut(&entry(Op::Create(create("/a"))), 20).unwrap_err();
    assert_eq!(err.record(), "CreateTxn");
    assert_eq!(err.field(), "acl[0].id.id");
}

fn any_op() -> impl Strategy<Value = Op> {
    let path = "/[a-z]{0,6}".prop_map(ByteString::from);
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))
        .prop_map(|data| data.map(Bytes::from));
    let acl = proptest::option::of(proptest::collection::vec(
        ("[a-z]{0,5}", "[a-z:]{0,9}", 0..32)
            .prop_map(|(scheme, id, perms)| Acl::new(Perms::from_bits(perms), Id::new(scheme, id))),
        0..3,
    ));
    let version = any::<i32>().prop_map(Version::new);
    (0..11, path, data, acl, version, any::<bool>(), any::<i64>()).prop_map(
        |(kind, path, data, acl, version, ephemeral, ttl)| {
            let create = CreateTxn {
                path: path.clone(),
                data: data.clone(),
                acl: acl.clone(),
                ephemeral,
                parent_cversion: version,
            };
            let set = SetDataTxn {
                path: path.clone(),
                data: data.clone(),
                version,
            };
            match kind {
                0 => Op::Create(create),
                1 => Op::Create2(create),
                2 => Op::CreateContainer(CreateContainerTxn {
                    path,
                    data,
                    acl,
                    parent_cversion: version,
                }),
                3 => Op::CreateTtl(CreateTtlTxn {
                    path,
                    data,
                    acl,
                    parent_cversion: version,
                    ttl,
                }),
                4 => Op::Delete(DeleteTxn { path }),
                5 => Op::DeleteContainer(DeleteTxn { path }),
                6 => Op::SetData(set),
                7 => Op::SetAcl(SetAclTxn { path, acl, version }),
                8 => Op::Check(CheckVersionTxn { path, version }),
                9 => Op::Reconfig(set),
                _ => Op::Error(ErrorTxn { err: version.get() }),
            }
        },
    )
}

fn any_txn() -> impl Strategy<Value = Txn> {
    prop_oneof![
        4 => any_op().prop_map(Txn::Single),
        2 => proptest::collection::vec(any_op(), 0..4).prop_map(Txn::Multi),
        1 => any::<i32>().prop_map(|timeout_ms| Txn::CreateSession(CreateSessionTxn { timeout_ms })),
        1 => proptest::collection::vec("/[a-z]{1,4}".prop_map(ByteString::from), 0..4)
            .prop_map(|paths| Txn::CloseSession(CloseSessionTxn { paths: Some(paths) })),
    ]
}

/// In a multi, create2 is written as create.
fn as_written(mut entry: TxnEntry) -> TxnEntry {
    if let Txn::Multi(ops) = &mut entry.txn {
        for op in ops {
            if let Op::Create2(record) = op {
                *op = Op::Create(record.clone());
            }
        }
    }
    entry
}

#[test]
fn create2_in_a_multi_is_written_as_create_and_read_as_either() {
    let written = |op| entry(Txn::Multi(vec![op])).to_bytes();
    let wire = written(Op::Create2(create("/a")));
    assert_eq!(wire, written(Op::Create(create("/a"))));
    // Apache's 3.9 writes its own type.
    let mut other = wire.to_vec();
    let place = TxnHeader::LEN + 4..TxnHeader::LEN + 8;
    other[place].copy_from_slice(&OpCode::Create2.code().to_be_bytes());
    let read = TxnEntry::decode(&Bytes::from(other)).unwrap();
    assert_eq!(read.txn, Txn::Multi(vec![Op::Create2(create("/a"))]));
}

proptest! {
    #[test]
    fn entries_read_back_as_written(txn in any_txn(), digest in any::<u64>()) {
        let mut entry = entry(txn);
        entry.digest = Some(TxnDigest::new(digest));
        let wire = entry.to_bytes();
        prop_assert_eq!(wire.len(), entry.encoded_len());
        prop_assert_eq!(TxnEntry::decode(&wire).unwrap(), as_written(entry));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(txn_type in -12..23, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut wire = BytesMut::new();
        header().encode(txn_type, &mut wire);
        wire.put_slice(&bytes);
        drop(TxnEntry::decode(&wire.freeze()));
        drop(TxnEntry::decode(&Bytes::from(bytes)));
    }
}
