//! What a cache knows, and what each answer or event changes of it: pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use zk_client::Stat;

use super::CacheEvent;

/// A znode as a cache knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedNode {
    /// Its path.
    pub path: String,
    /// Its data; empty if the cache keeps none.
    pub data: Bytes,
    /// What else is known of it.
    pub stat: Stat,
}

/// Znodes by path.
#[derive(Debug, Default)]
pub(crate) struct Model {
    nodes: BTreeMap<String, Arc<CachedNode>>,
}

impl Model {
    pub(crate) fn nodes(&self) -> &BTreeMap<String, Arc<CachedNode>> {
        &self.nodes
    }

    /// Takes in what a read found. An answer that is older than what is known changes nothing; another
    /// znode at the same path is the end of the one that was known, and of all below it.
    pub(crate) fn put(&mut self, node: CachedNode, out: &mut Vec<CacheEvent>) {
        let new = Arc::new(node);
        let Some(old) = self.nodes.get(&new.path).map(Arc::clone) else {
            self.nodes.insert(new.path.clone(), Arc::clone(&new));
            out.push(CacheEvent::Created(new));
            return;
        };
        if new.stat.czxid < old.stat.czxid {
            return;
        }
        if new.stat.czxid > old.stat.czxid {
            self.remove(&new.path, out);
            self.nodes.insert(new.path.clone(), Arc::clone(&new));
            out.push(CacheEvent::Created(new));
            return;
        }
        if new.stat.mzxid > old.stat.mzxid {
            self.nodes.insert(new.path.clone(), Arc::clone(&new));
            out.push(CacheEvent::Changed { old, new });
        } else if new.stat.mzxid == old.stat.mzxid && new.stat.pzxid > old.stat.pzxid {
            // Only its children have changed, which tell of themselves.
            self.nodes.insert(new.path.clone(), new);
        }
    }

    /// The znode is gone, and all below it: those deepest below first.
    pub(crate) fn remove(&mut self, path: &str, out: &mut Vec<CacheEvent>) {
        let mut gone: Vec<String> = self.below(path).map(|(path, _)| path.clone()).collect();
        gone.reverse();
        gone.push(path.to_owned());
        for path in gone {
            if let Some(node) = self.nodes.remove(&path) {
                out.push(CacheEvent::Deleted(node));
            }
        }
    }

    /// Takes in the names of all children: those that are not among them are gone.
    pub(crate) fn listed(&mut self, path: &str, names: &HashSet<&str>, out: &mut Vec<CacheEvent>) {
        let gone: Vec<String> = self
            .children(path)
            .filter(|(name, _)| !names.contains(name))
            .map(|(_, node)| node.path.clone())
            .collect();
        for path in gone {
            self.remove(&path, out);
        }
    }

    /// Everything below a path.
    fn below(&self, path: &str) -> impl Iterator<Item = (&String, &Arc<CachedNode>)> {
        let base = if path == "/" { "" } else { path };
        // `0` is what follows `/`.
        let (from, to) = (format!("{base}/"), format!("{base}0"));
        self.nodes
            .range(from..to)
            .filter(move |(below, _)| *below != path)
    }

    /// Children of a path, with their names.
    pub(crate) fn children(&self, path: &str) -> impl Iterator<Item = (&str, &Arc<CachedNode>)> {
        let base = if path == "/" { 1 } else { path.len() + 1 };
        self.below(path).filter_map(move |(path, node)| {
            let name = path.get(base..)?;
            (!name.contains('/')).then_some((name, node))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zk_client::Zxid;

    use super::*;

    fn node(path: &str, czxid: i64, mzxid: i64) -> CachedNode {
        CachedNode {
            path: path.to_owned(),
            data: Bytes::new(),
            stat: Stat {
                czxid: Zxid::new(czxid),
                mzxid: Zxid::new(mzxid),
                pzxid: Zxid::new(czxid),
                ..Stat::default()
            },
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the model tells of nothing else"
    )]
    fn told(events: &[CacheEvent]) -> Vec<String> {
        let text = |event: &CacheEvent| match event {
            CacheEvent::Created(node) => format!("+{}", node.path),
            CacheEvent::Changed { new, .. } => format!("~{}", new.path),
            CacheEvent::Deleted(node) => format!("-{}", node.path),
            other => format!("{other:?}"),
        };
        events.iter().map(text).collect()
    }

    #[test]
    fn older_answers_change_nothing() {
        let (mut model, mut out) = (Model::default(), Vec::new());
        model.put(node("/a", 5, 8), &mut out);
        model.put(node("/a", 5, 7), &mut out);
        model.put(node("/a", 4, 9), &mut out);
        model.put(node("/a", 5, 8), &mut out);
        assert_eq!(told(&out), ["+/a"]);
    }

    #[test]
    fn another_znode_at_the_same_path_is_told_though_its_version_is_the_same() {
        let (mut model, mut out) = (Model::default(), Vec::new());
        model.put(node("/a", 5, 5), &mut out);
        model.put(node("/a/b", 6, 6), &mut out);
        model.put(node("/a", 9, 9), &mut out);
        assert_eq!(told(&out), ["+/a", "+/a/b", "-/a/b", "-/a", "+/a"]);
    }

    #[test]
    fn deletion_takes_what_is_below_and_nothing_beside() {
        let (mut model, mut out) = (Model::default(), Vec::new());
        for path in ["/a", "/a-b", "/a/b", "/a/b/c", "/a0", "/ab"] {
            model.put(node(path, 1, 1), &mut out);
        }
        out.clear();
        model.remove("/a", &mut out);
        assert_eq!(told(&out), ["-/a/b/c", "-/a/b", "-/a"]);
        assert_eq!(model.nodes().len(), 3);
    }

    #[test]
    fn list_removes_those_that_are_not_in_it() {
        let (mut model, mut out) = (Model::default(), Vec::new());
        for path in ["/", "/a", "/a/x", "/b", "/c"] {
            model.put(node(path, 1, 1), &mut out);
        }
        out.clear();
        model.listed("/", &["b", "d"].into(), &mut out);
        assert_eq!(told(&out), ["-/a/x", "-/a", "-/c"]);
        let names: Vec<_> = model.children("/").map(|(name, _)| name).collect();
        assert_eq!(names, ["b"]);
    }

    /// Each known child is looked up: looking through the names for each would take hours.
    #[test]
    fn list_of_hundreds_of_thousands_is_taken_in_at_once() {
        let (mut model, mut out) = (Model::default(), Vec::new());
        let names: Vec<_> = (0..300_000).map(|n| format!("{n:06}")).collect();
        for name in &names {
            model.put(node(&format!("/{name}"), 1, 1), &mut out);
        }
        out.clear();
        let (first, rest) = names.split_first().unwrap();
        let listed = rest.iter().map(String::as_str).collect();
        model.listed("/", &listed, &mut out);
        assert_eq!(told(&out), [format!("-/{first}")]);
    }

    proptest! {
        /// Whoever applies the events to an empty map has what the model has.
        #[test]
        fn events_rebuild_the_model(
            steps in proptest::collection::vec((0..4_u8, "(/[ab]){1,3}", 1..9_i64, 0..5_i64), 0..60),
        ) {
            let (mut model, mut out) = (Model::default(), Vec::new());
            for (kind, path, czxid, more) in steps {
                match kind {
                    0 => model.remove(&path, &mut out),
                    1 => model.listed(&path, &["a"].into(), &mut out),
                    _ => model.put(node(&path, czxid, czxid + more), &mut out),
                }
            }
            let mut rebuilt = BTreeMap::new();
            for event in out {
                #[expect(clippy::wildcard_enum_match_arm, reason = "the model tells of nothing else")]
                match event {
                    CacheEvent::Created(node) => {
                        prop_assert!(rebuilt.insert(node.path.clone(), node).is_none());
                    }
                    CacheEvent::Changed { old, new } => {
                        prop_assert!(new.stat.mzxid > old.stat.mzxid);
                        prop_assert_eq!(rebuilt.insert(new.path.clone(), new), Some(old));
                    }
                    CacheEvent::Deleted(node) => {
                        prop_assert_eq!(rebuilt.remove(&node.path), Some(node));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(&rebuilt, model.nodes());
        }
    }
}
