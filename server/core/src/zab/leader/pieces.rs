//! Memory for transactions as they stand in logs and packets.

use bytes::BytesMut;
use zk_proto::Bytes;
use zk_proto::jute::Encode as _;

use crate::wire::txn::TxnEntry;

/// Bytes of a piece.
const PIECE: usize = 16 << 10;
/// Longest transaction that goes into a piece; also what a piece may leave unused at its end.
const SHARING_MAX: usize = PIECE / 8;

/// Transactions that follow on each other share a piece of memory, which goes when the last of them is
/// forgotten: two allocations less for each. They are forgotten in order, so that no more than a piece
/// is kept for the sake of one; long ones have memory of their own, lest a short one keep it.
#[derive(Debug)]
pub(super) struct Pieces {
    /// What is left of the last piece.
    rest: BytesMut,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            rest: BytesMut::with_capacity(PIECE),
        }
    }
}

impl Pieces {
    pub(super) fn encode(&mut self, entry: &TxnEntry) -> Bytes {
        let len = entry.encoded_len();
        if len > SHARING_MAX {
            return entry.to_bytes();
        }
        // One that is to begin has the length of the first.
        self.rest.reserve(len);
        entry.encode(&mut self.rest);
        self.rest.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::{SessionId, Version, Xid, Zxid};

    use crate::time::WallTime;
    use crate::wire::txn::{Op, SetDataTxn, Txn, TxnHeader};

    use super::*;

    /// Sets as many bytes.
    fn entry(len: usize) -> TxnEntry {
        TxnEntry {
            header: TxnHeader {
                session: SessionId::new(1),
                cxid: Xid::new(1),
                zxid: Zxid::new(1),
                time: WallTime::from_millis(1),
            },
            txn: Txn::from(Op::SetData(SetDataTxn {
                path: "/a".into(),
                data: Some(vec![7; len].into()),
                version: Version::new(len.try_into().expect("a short one")),
            })),
            digest: None,
        }
    }

    /// Whether the second stands right behind the first.
    fn is_behind(first: &Bytes, second: &Bytes) -> bool {
        first.as_ptr_range().end == second.as_ptr_range().start
    }

    #[test]
    fn short_ones_stand_one_behind_the_other() {
        let mut pieces = Pieces::default();
        let [first, second] = [100, 0].map(|len| pieces.encode(&entry(len)));
        assert!(is_behind(&first, &second));
        let long = pieces.encode(&entry(SHARING_MAX));
        let third = pieces.encode(&entry(1));
        assert!(!is_behind(&second, &long) && is_behind(&second, &third));
    }

    /// Whatever their lengths, and whether the earlier ones are forgotten or not.
    #[test]
    fn pieces_are_full_and_hold_what_was_written() {
        for kept in [1, 3, usize::MAX] {
            let mut pieces = Pieces::default();
            let mut held: Vec<Bytes> = Vec::new();
            let (mut bytes, mut begun) = (0, 0);
            for at in 0..5000_usize {
                let entry = entry(at * 7919 % (SHARING_MAX + 500));
                let encoded = pieces.encode(&entry);
                assert_eq!(encoded, entry.to_bytes());
                if encoded.len() <= SHARING_MAX {
                    bytes += encoded.len();
                    begun += usize::from(held.last().is_none_or(|last| !is_behind(last, &encoded)));
                    held.push(encoded);
                }
                if held.len() > kept {
                    held.remove(0);
                }
            }
            let least = bytes / PIECE;
            assert!(begun <= least + least / 7 + 1, "{begun} pieces for {bytes}");
        }
    }
}
