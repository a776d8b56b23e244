//! The tree against a naive model, and its snapshots against itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use common::{decode, options};
use model::history::{Step, lead, scribble, steps};
use model::{Model, ModelZnode, contents, effects};
use proptest::prelude::*;
use zk_core::time::WallTime;
use zk_core::tree::{Capture, Lifetime, Tree, TreeLoader};
use zk_core::wire::snapshot::{AclKey, Item, StoredZnode, Trailer};
use zk_core::wire::txn::{CloseSessionTxn, CreateTxn, Op, Txn, TxnHeader};
use zk_proto::{Acl, SessionId, Zxid};

fn new_model() -> Model {
    Model::new(options(true).owners)
}

fn new_tree() -> Tree {
    Tree::new(options(true))
}

fn apply_all(tree: &mut Tree, history: &[(TxnHeader, Txn)]) {
    for (header, txn) in history {
        tree.apply(header, txn);
    }
}

/// Compares everything that a tree can be asked with the model.
fn check(tree: &Tree, model: &Model) {
    assert_eq!(contents(tree), model.znodes);
    assert_eq!(tree.len(), model.znodes.len());
    assert_eq!(tree.digest(), Some(model.digest()));
    assert_eq!(tree.recompute_digest(), model.digest());
    assert!(
        tree.sessions()
            .eq(model.sessions.iter().map(|(&id, &timeout)| (id, timeout)))
    );
    for (path, expected) in &model.znodes {
        let znode = tree.get(path).unwrap();
        let children = znode.children().map(|child| child.name().to_owned());
        assert_eq!(children.collect::<BTreeSet<_>>(), model.children(path));
        let below = model
            .znodes
            .keys()
            .filter(|below| below.starts_with(&format!("{path}/")));
        assert_eq!(znode.descendant_count(), below.count());
        let (stat, stored) = (znode.stat(), &expected.stat);
        let children = i32::try_from(znode.child_count()).unwrap();
        assert_eq!(stat.num_children, children);
        assert_eq!(stat.cversion.get(), 2 * stored.cversion.get() - children);
        let is_session = (1..4).contains(&stored.owner.get());
        let owner = if is_session {
            stored.owner
        } else {
            SessionId::NONE
        };
        assert_eq!(stat.ephemeral_owner, owner);
        let len = expected.data.as_ref().map_or(0, Vec::len);
        assert_eq!(usize::try_from(stat.data_length).unwrap(), len);
    }
    for session in (1..4).map(SessionId::new) {
        let owned: BTreeSet<_> = tree.ephemerals(session).collect();
        assert_eq!(owned, model.owned(session));
    }
    check_timed(tree, model);
}

fn check_timed(tree: &Tree, model: &Model) {
    let now = WallTime::from_millis(1400);
    let over = model.znodes.iter().filter(|(path, znode)| {
        let age = now.millis_since(znode.stat.mtime);
        model.children(path).is_empty()
            && match model.rules.lifetime(znode.stat.owner) {
                Lifetime::Container => znode.stat.cversion.get() > 0 || age > 200,
                Lifetime::Ttl { millis } => age > i64::try_from(millis).unwrap(),
                Lifetime::Persistent | Lifetime::Ephemeral(_) | Lifetime::Unknown => false,
            }
    });
    let over: BTreeSet<_> = over.map(|(path, _)| path.clone()).collect();
    let timed_out = tree.timed_out(now, 200, usize::MAX).into_iter();
    assert_eq!(timed_out.map(String::from).collect::<BTreeSet<_>>(), over);
    assert_eq!(tree.timed_out(now, 200, 1).len(), over.len().min(1));
}

fn read_all(tree: &Tree, capture: &mut Capture) -> Bytes {
    let mut out = BytesMut::new();
    while capture.next_chunk(tree, 1 << 20, &mut out) {}
    out.freeze()
}

fn load(stream: &Bytes, zxid: Zxid) -> Tree {
    let mut loader = TreeLoader::new(options(true));
    let trailer = decode(stream, |item| loader.add(&item)).unwrap();
    loader.finish(zxid, &trailer).unwrap().0
}

/// A snapshot as the reference makes it: transactions go on being applied while it walks the tree.
struct FuzzyWalk<'a> {
    model: Model,
    history: &'a [(TxnHeader, Txn)],
    /// How many transactions are applied after each znode.
    pauses: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    /// Lists as they were at the start; those of later znodes are missing.
    keys: Vec<Vec<Acl>>,
    listed: usize,
    items: Vec<Item>,
}

impl FuzzyWalk<'_> {
    fn key(&mut self, acl: &[Acl]) -> AclKey {
        let at = self
            .keys
            .iter()
            .position(|known| known == acl)
            .unwrap_or_else(|| {
                self.keys.push(acl.to_vec());
                self.keys.len() - 1
            });
        AclKey::new(i64::try_from(at).unwrap() + 1)
    }

    fn visit(&mut self, path: &str) {
        // Deleted since its parent was visited.
        let Some(znode) = self.model.znodes.get(path).cloned() else {
            return;
        };
        let children = self.model.children(path);
        let ModelZnode { data, acl, stat } = znode;
        let acl = self.key(&acl);
        let data = data.map(Bytes::from);
        let stored = StoredZnode { data, acl, stat };
        self.items.push(Item::Znode(path.into(), stored));
        let (now, later) = self
            .history
            .split_at(*self.pauses.next().unwrap().min(&self.history.len()));
        self.history = later;
        for (header, txn) in now {
            self.model.apply(header, txn);
        }
        for child in children {
            self.visit(&format!("{path}/{child}"));
        }
    }
}

fn fuzzy_snapshot(model: &Model, later: &[(TxnHeader, Txn)], pauses: &[usize]) -> Vec<Item> {
    let mut walk = FuzzyWalk {
        model: model.clone(),
        history: later,
        pauses: pauses.iter().cycle(),
        keys: Vec::new(),
        listed: 0,
        items: Vec::new(),
    };
    for znode in model.znodes.values() {
        walk.key(&znode.acl);
    }
    walk.listed = walk.keys.len();
    walk.visit("");
    let sessions = model
        .sessions
        .iter()
        .map(|(&id, &timeout)| Item::Session(id, timeout));
    let acls = walk.keys[..walk.listed].iter().zip(1..);
    let acls = acls.map(|(acl, key)| Item::Acl(AclKey::new(key), acl.clone()));
    sessions.chain(acls).chain(walk.items).collect()
}

/// A closeSession without paths cannot tell, when it is replayed, what the session owned at the time:
/// this is why it has paths since 3.6.
fn with_listed_paths(mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        if let Step::CloseSession(_, is_listed) = step {
            *is_listed = true;
        }
    }
    steps
}

/// Without quotas: after a restart they count what is there, not what happened.
fn without_quotas(mut znodes: BTreeMap<String, ModelZnode>) -> BTreeMap<String, ModelZnode> {
    znodes.retain(|path, _| !path.starts_with("/zookeeper/quota/"));
    znodes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_tree_does_what_the_model_does(steps in steps(60)) {
        let (mut leader, mut model, mut tree) = (new_model(), new_model(), new_tree());
        for (header, txn) in lead(&mut leader, &steps) {
            let applied = tree.apply(&header, &txn);
            let (mut ours, mut theirs) = (effects(&applied.effects), model.apply(&header, &txn));
            if let Txn::CloseSession(CloseSessionTxn { paths: None }) = txn {
                // What is not listed goes in no particular order.
                ours.sort_by(|a, b| a.1.cmp(&b.1));
                theirs.sort_by(|a, b| a.1.cmp(&b.1));
            }
            prop_assert_eq!(ours, theirs);
            check(&tree, &model);
        }
        prop_assert_eq!(leader, model);
    }

    #[test]
    fn the_tree_does_what_the_model_does_with_impossible_transactions(steps in steps(60)) {
        let (mut model, mut tree) = (new_model(), new_tree());
        for (header, txn) in scribble(&new_model(), &steps) {
            let applied = tree.apply(&header, &txn);
            let (mut ours, mut theirs) = (effects(&applied.effects), model.apply(&header, &txn));
            // What goes with a parent that had children goes in no particular order.
            ours.sort_by(|a, b| a.1.cmp(&b.1));
            theirs.sort_by(|a, b| a.1.cmp(&b.1));
            prop_assert_eq!(ours, theirs);
            check(&tree, &model);
        }
    }

    #[test]
    fn replaying_a_log_twice_changes_nothing(steps in steps(60).prop_map(with_listed_paths), from in any::<prop::sample::Index>()) {
        let (mut model, mut tree) = (new_model(), new_tree());
        let history = lead(&mut model, &steps);
        apply_all(&mut tree, &history);
        apply_all(&mut tree, &history[from.index(history.len())..]);
        prop_assert_eq!(without_quotas(contents(&tree)), without_quotas(model.znodes.clone()));
        prop_assert_eq!(tree.digest(), Some(model.digest()));
    }

    #[test]
    fn a_fuzzy_snapshot_and_the_log_give_the_continuous_state(
        steps in steps(80).prop_map(with_listed_paths),
        at in any::<prop::sample::Index>(),
        pauses in proptest::collection::vec(0usize..6, 1..6),
    ) {
        let mut model = new_model();
        let history = lead(&mut model, &steps);
        let (before, later) = history.split_at(at.index(history.len()));
        let mut start = new_model();
        for (header, txn) in before {
            start.apply(header, txn);
        }
        let mut loader = TreeLoader::new(options(true));
        for item in fuzzy_snapshot(&start, later, &pauses) {
            loader.add(&item).unwrap();
        }
        let base = before.last().map_or(Zxid::ZERO, |(header, _)| header.zxid);
        let (mut tree, _) = loader.finish(base, &Trailer::default()).unwrap();
        apply_all(&mut tree, later);
        prop_assert_eq!(tree.unresolved_acls(), 0);
        prop_assert_eq!(without_quotas(contents(&tree)), without_quotas(model.znodes.clone()));
        prop_assert_eq!(tree.digest(), Some(model.digest()));
        prop_assert_eq!(tree.recompute_digest(), model.digest());
        let sessions: BTreeMap<_, _> = tree.sessions().collect();
        prop_assert_eq!(sessions, model.sessions);
    }

    #[test]
    fn a_snapshot_and_the_rest_of_the_log_give_the_same_as_the_log(
        steps in steps(60),
        at in any::<prop::sample::Index>(),
    ) {
        let history = lead(&mut new_model(), &steps);
        let (before, later) = history.split_at(at.index(history.len()));
        let mut tree = new_tree();
        apply_all(&mut tree, before);
        let mut capture = tree.capture();
        let stream = read_all(&tree, &mut capture);
        let mut loaded = load(&stream, capture.zxid());
        tree.end_capture(capture);
        apply_all(&mut tree, later);
        apply_all(&mut loaded, later);
        prop_assert_eq!(without_quotas(contents(&loaded)), without_quotas(contents(&tree)));
        prop_assert_eq!(loaded.digest(), tree.digest());
        prop_assert!(loaded.sessions().eq(tree.sessions()));
    }

    /// Two captures begin at the same moment. One is read at once; the other, and a third that begins
    /// later, in pieces while transactions go on.
    #[test]
    fn a_capture_is_the_state_at_its_zxid_whatever_happens_meanwhile(
        steps in steps(90),
        at in any::<prop::sample::Index>(),
        chunk in 1usize..200,
        releases in any::<bool>(),
        impossible in any::<bool>(),
    ) {
        let history = if impossible {
            scribble(&new_model(), &steps)
        } else {
            lead(&mut new_model(), &steps)
        };
        let (before, later) = history.split_at(at.index(history.len()));
        let (mut tree, mut out) = (new_tree(), BytesMut::new());
        apply_all(&mut tree, before);
        let expected = contents(&tree);
        let (mut at_once, mut slow) = (tree.capture(), tree.capture());
        let stream = read_all(&tree, &mut at_once);
        tree.end_capture(at_once);
        prop_assert_eq!(without_quotas(contents(&load(&stream, slow.zxid()))), without_quotas(expected));
        let mut third: Option<(Capture, BTreeMap<String, ModelZnode>)> = None;
        for (index, (header, txn)) in later.iter().enumerate() {
            slow.next_chunk(&tree, chunk, &mut out);
            if releases {
                tree.release_emitted(&slow);
            }
            if index == 3 {
                let expected = contents(&tree);
                third = Some((tree.capture(), expected));
            }
            tree.apply(header, txn);
            prop_assert_eq!(tree.recompute_digest(), tree.digest().unwrap());
        }
        while slow.next_chunk(&tree, chunk, &mut out) {}
        tree.end_capture(slow);
        prop_assert_eq!(out.freeze(), stream);
        if let Some((mut capture, expected)) = third {
            let stream = read_all(&tree, &mut capture);
            let loaded = load(&stream, capture.zxid());
            prop_assert_eq!(without_quotas(contents(&loaded)), without_quotas(expected));
            tree.end_capture(capture);
        }
        prop_assert_eq!(tree.retained_records(), 0);
        let mut plain = new_tree();
        apply_all(&mut plain, &history);
        prop_assert_eq!(contents(&tree), contents(&plain));
    }
}

/// Closing the session deletes `/a/x`, counted by the quota of its own that has no usage yet, and then
/// that quota: in the other order `/a` would count one znode less.
#[test]
fn unlisted_ephemerals_go_in_the_order_of_their_paths() {
    let (mut model, mut tree) = (new_model(), new_tree());
    let create = |path: &str, ephemeral| {
        Txn::from(Op::Create(CreateTxn {
            path: path.into(),
            data: None,
            acl: None,
            ephemeral,
            parent_cversion: CreateTxn::NEXT_CVERSION,
        }))
    };
    let history = [
        create("/zookeeper/quota/a", false),
        create("/zookeeper/quota/a/x", true),
        create("/zookeeper/quota/a/zookeeper_limits", false),
        create("/a", false),
        create("/a/x", true),
        create("/zookeeper/quota/a/zookeeper_stats", false),
        create("/zookeeper/quota/a/x/zookeeper_limits", false),
        Txn::CloseSession(CloseSessionTxn { paths: None }),
    ];
    for (txn, zxid) in history.iter().zip(1..) {
        let header = model::header(1, zxid);
        tree.apply(&header, txn);
        model.apply(&header, txn);
        check(&tree, &model);
    }
    let usage = tree.get("/zookeeper/quota/a/zookeeper_stats").unwrap();
    assert_eq!(usage.data(), Some(&b"count=2,bytes=0"[..]));
}

#[test]
fn orphans_are_deleted_and_others_stay() {
    let (mut model, mut tree) = (new_model(), new_tree());
    let create = |path: &str, ephemeral| {
        Txn::from(Op::Create(CreateTxn {
            path: path.into(),
            data: None,
            acl: None,
            ephemeral,
            parent_cversion: CreateTxn::NEXT_CVERSION,
        }))
    };
    let session = zk_core::wire::txn::CreateSessionTxn { timeout_ms: 9 };
    let history = [
        (model::header(1, 1), Txn::CreateSession(session)),
        (model::header(1, 2), create("/kept", true)),
        (model::header(2, 3), create("/orphan", true)),
        (model::header(2, 4), create("/persistent", false)),
    ];
    for (header, txn) in &history {
        model.apply(header, txn);
        tree.apply(header, txn);
    }
    assert_eq!(tree.ephemeral_count(), 2);
    assert_eq!(tree.delete_orphans(), 1);
    assert!(tree.get("/orphan").is_none());
    assert!(tree.get("/kept").is_some() && tree.get("/persistent").is_some());
    assert_eq!(tree.recompute_digest(), tree.digest().unwrap());
}
