//! A snapshot of any bytes, in any pieces: decoding never panics and does not depend on the
//! pieces; what decodes is written as it was read, and a tree that loads survives a round trip.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use zk_core::tree::{Tree, TreeLoader, TreeOptions};
use zk_core::wire::snapshot::{Form, Item, SnapshotDecoder, SnapshotEncoder, Trailer};
use zk_proto::Zxid;

/// Longest entry; small, so that the limit is met.
const ITEM_MAX: usize = 2048;
/// Longest entry that was read and written: bytes that are no text become a character of three.
const WRITTEN_MAX: usize = 3 * ITEM_MAX;

fuzz_target!(|input: &[u8]| {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let (items, whole) = decode(stream, usize::from(*piece).max(1), ITEM_MAX);
    let (items_at_once, whole_at_once) = decode(stream, stream.len().max(1), ITEM_MAX);
    assert_eq!(whole.is_some(), whole_at_once.is_some());
    if whole.is_some() {
        assert_eq!(items, items_at_once, "pieces do not matter");
    }
    let Some(tree) = load(&items) else { return };
    // The seals are seldom right; ours are.
    let again = encode(&items);
    let (items_again, trailer) = decode(&again, usize::from(*piece).max(1), WRITTEN_MAX);
    assert!(trailer.is_some(), "what is encoded decodes");
    assert_eq!(items_again, items);
    assert_eq!(tree.digest(), Some(tree.recompute_digest()));
    let again = load(&items_again).expect("as before");
    assert_eq!(again.digest(), tree.digest());

    // And a capture of the tree is a snapshot of it.
    let mut tree = tree;
    let mut capture = tree.capture();
    let mut out = BytesMut::new();
    while capture.next_chunk(&tree, 300, &mut out) {}
    tree.end_capture(capture);
    let (items, trailer) = decode(&out, 1 << 20, WRITTEN_MAX);
    assert!(trailer.is_some(), "a capture is whole");
    let again = load(&items).expect("a tree");
    assert_eq!(again.digest(), tree.digest());
    assert_eq!(again.len(), tree.len());
});

fn decode(stream: &[u8], piece: usize, item_max: usize) -> (Vec<Item>, Option<Trailer>) {
    let mut decoder = SnapshotDecoder::new(item_max);
    let mut items = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_item() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) => return (items, None),
            }
        }
    }
    (items, decoder.finish().ok())
}

fn load(items: &[Item]) -> Option<Tree> {
    let mut loader = TreeLoader::new(TreeOptions::default());
    for item in items {
        loader.add(item).ok()?;
    }
    let (tree, _) = loader.finish(Zxid::new(9), &Trailer::default()).ok()?;
    (tree.unresolved_acls() == 0).then_some(tree)
}

fn encode(items: &[Item]) -> BytesMut {
    let mut out = BytesMut::new();
    let sessions = items
        .iter()
        .filter(|item| matches!(item, Item::Session(..)));
    let acls = items.iter().filter(|item| matches!(item, Item::Acl(..)));
    let mut encoder = SnapshotEncoder::begin(Form::File, sessions.count(), &mut out);
    let acls = acls.count();
    let mut began = false;
    for item in items {
        if !began && !matches!(item, Item::Session(..)) {
            encoder.begin_acls(acls, &mut out);
            began = true;
        }
        match item {
            Item::Session(session, timeout) => encoder.session(*session, *timeout, &mut out),
            Item::Acl(key, acl) => encoder.acl(*key, acl, &mut out),
            Item::Znode(path, znode) => {
                encoder.znode(
                    path,
                    znode.data.as_deref(),
                    znode.acl,
                    &znode.stat,
                    &mut out,
                );
            }
        }
    }
    if !began {
        encoder.begin_acls(acls, &mut out);
    }
    encoder.finish(&Trailer::default(), &mut out);
    out
}
