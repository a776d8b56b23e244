//! Histories of transactions, so that laws can compare them at once.
//!
//! All histories of a run form a tree: two members share a branch as far as they agree. A history is
//! then a number, the one of its last transaction, and "this is a prefix of that" is a short walk.

use zk_proto::Zxid;

/// Everything that was done, in order, from the first transaction to a last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Past(u32);

impl Past {
    /// Before every transaction.
    pub const EMPTY: Self = Self(0);
}

/// All histories of a run.
#[derive(Debug)]
pub struct Pasts {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: u32,
    /// Transactions in this history.
    len: u32,
    /// The first history that goes on from here, and the next that goes on from the parent; 0 is
    /// none.
    child: u32,
    sibling: u32,
    zxid: Zxid,
    /// Hash of the bytes.
    mark: u64,
    /// Digest of the tree that this history makes, once somebody had it.
    digest: Option<u64>,
}

impl Default for Pasts {
    fn default() -> Self {
        Self {
            nodes: vec![Node {
                parent: 0,
                len: 0,
                child: 0,
                sibling: 0,
                zxid: Zxid::ZERO,
                mark: 0,
                digest: None,
            }],
        }
    }
}

impl Pasts {
    /// The history that goes on with a transaction; `mark` stands for its bytes.
    ///
    /// # Panics
    /// If a run has more than four thousand million transactions.
    pub fn then(&mut self, past: Past, zxid: Zxid, mark: u64) -> Past {
        let mut child = self.node(past).child;
        while child != 0 {
            let node = self.node(Past(child));
            if node.zxid == zxid && node.mark == mark {
                return Past(child);
            }
            child = node.sibling;
        }
        let new = u32::try_from(self.nodes.len()).expect("a run has fewer transactions");
        let parent = self.node(past);
        self.nodes.push(Node {
            parent: past.0,
            len: parent.len + 1,
            child: 0,
            sibling: parent.child,
            zxid,
            mark,
            digest: None,
        });
        self.node_mut(past).child = new;
        Past(new)
    }

    /// Number of transactions.
    pub fn len(&self, past: Past) -> u32 {
        self.node(past).len
    }

    /// The last transaction; zero if there is none.
    pub fn last(&self, past: Past) -> Zxid {
        self.node(past).zxid
    }

    /// Hash of the bytes of the last transaction.
    pub fn mark(&self, past: Past) -> u64 {
        self.node(past).mark
    }

    /// The history without its last transaction.
    pub fn before(&self, past: Past) -> Past {
        Past(self.node(past).parent)
    }

    /// Whether `long` begins with `short`, or is it.
    pub fn has(&self, long: Past, short: Past) -> bool {
        self.cut(long, self.len(short)) == short
    }

    /// The first so many transactions of a history, or all if it has no more.
    pub fn cut(&self, past: Past, len: u32) -> Past {
        let mut past = past;
        while self.len(past) > len {
            past = self.before(past);
        }
        past
    }

    /// The part of a history up to a transaction, with it if the history has it.
    pub fn up_to(&self, past: Past, zxid: Zxid) -> Past {
        let mut past = past;
        while past != Past::EMPTY && self.last(past) > zxid {
            past = self.before(past);
        }
        past
    }

    /// What two histories have in common.
    pub fn common(&self, a: Past, b: Past) -> Past {
        let len = self.len(a).min(self.len(b));
        let (mut a, mut b) = (self.cut(a, len), self.cut(b, len));
        while a != b {
            (a, b) = (self.before(a), self.before(b));
        }
        a
    }

    /// Notes the digest that a tree with this history has; the one noted before, if that differs.
    pub fn check_digest(&mut self, past: Past, digest: u64) -> Result<(), u64> {
        let known = *self.node_mut(past).digest.get_or_insert(digest);
        if known == digest { Ok(()) } else { Err(known) }
    }

    /// The last transactions of a history, oldest first, for people.
    pub fn show(&self, past: Past, count: usize) -> String {
        let mut at = past;
        let mut zxids = Vec::new();
        while at != Past::EMPTY && zxids.len() < count {
            zxids.push(format!("{}#{:04x}", self.last(at), self.mark(at) & 0xffff));
            at = self.before(at);
        }
        let start = if at == Past::EMPTY { "" } else { "… " };
        zxids.reverse();
        format!("[{start}{}] ({})", zxids.join(" "), self.len(past))
    }

    fn node(&self, past: Past) -> Node {
        *self.nodes.get(past.0 as usize).expect("made by `then`")
    }

    fn node_mut(&mut self, past: Past) -> &mut Node {
        self.nodes.get_mut(past.0 as usize).expect("made by `then`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zxid(value: i64) -> Zxid {
        Zxid::new(value)
    }

    #[test]
    fn equal_histories_are_the_same_number() {
        let mut pasts = Pasts::default();
        let a = pasts.then(Past::EMPTY, zxid(1), 7);
        let ab = pasts.then(a, zxid(2), 8);
        let ac = pasts.then(a, zxid(2), 9);
        assert_eq!(pasts.then(a, zxid(2), 8), ab);
        assert_ne!(ab, ac);
        assert!(pasts.has(ab, a) && pasts.has(ab, ab) && pasts.has(a, Past::EMPTY));
        assert!(!pasts.has(a, ab) && !pasts.has(ac, ab));
        let abd = pasts.then(ab, zxid(3), 1);
        assert_eq!(pasts.common(abd, ac), a);
        assert_eq!(pasts.up_to(abd, zxid(2)), ab);
        assert_eq!(pasts.cut(abd, 1), a);
    }

    #[test]
    fn one_history_has_one_digest() {
        let mut pasts = Pasts::default();
        let a = pasts.then(Past::EMPTY, zxid(1), 7);
        assert_eq!(pasts.check_digest(a, 5), Ok(()));
        assert_eq!(pasts.check_digest(a, 5), Ok(()));
        assert_eq!(pasts.check_digest(a, 6), Err(5));
    }
}
