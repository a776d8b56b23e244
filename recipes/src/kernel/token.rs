use std::fmt;

use zk_client::Zxid;

use super::sequence::Sequence;

/// Tells holders of one path apart, and later ones from earlier ones: to be handed to the resource that
/// a lock protects, which must refuse a token lower than the highest that it has seen.
///
/// Successive holders of one path have strictly increasing tokens: the token is the transaction that
/// created the holder's znode, and ownership passes in the order of creation. Tokens are not monotone
/// over a restoration of the ensemble from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken {
    czxid: Zxid,
    sequence: i64,
}

impl FencingToken {
    pub(crate) fn new(czxid: Zxid, sequence: Sequence) -> Self {
        Self {
            czxid,
            sequence: sequence.get(),
        }
    }

    /// The transaction that created the holder's znode: the number to fence with.
    pub fn czxid(self) -> i64 {
        self.czxid.get()
    }

    /// The number in the name of the holder's znode. For information: it begins anew when the
    /// directory was deleted.
    pub fn sequence(self) -> i64 {
        self.sequence
    }
}

/// The number to fence with, in decimal.
impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.czxid.get())
    }
}
