//! Finding the znodes of a creation whose answer was lost.

use zk_client::{Error, ErrorKind, Session, Stat};

use super::parents::{join, name, parent};
use super::retry::settled;
use super::sequence::Sequence;

/// By what the znodes of a creation are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    pub(crate) parent: String,
    /// Names without the numbers that the server puts behind them.
    pub(crate) names: Vec<String>,
    pub(crate) is_sequential: bool,
    /// Paths with such names that were there before, and are somebody else's.
    pub(crate) others: Vec<String>,
}

impl Marks {
    /// Whether a path is such a name, with its number if it is to have one: a name that only begins so is
    /// somebody else's.
    fn is_of(&self, path: &str, mark: &str) -> bool {
        let Some(rest) = name(path).strip_prefix(mark) else {
            return false;
        };
        let fits = if self.is_sequential {
            // As a server writes it: behind `k` and before a number, a dash is of the name `k-`, a digit of `k1`.
            Sequence::parse(rest).is_some_and(|number| number.to_string() == rest)
        } else {
            rest.is_empty()
        };
        fits && parent(path) == self.parent
    }

    fn is_any(&self, path: &String) -> bool {
        let is_of = |mark: &String| self.is_of(path, mark);
        self.names.iter().any(is_of) && !self.others.contains(path)
    }

    /// Takes what has such a name already for somebody else's. What this session asked for before is done
    /// by then.
    pub(crate) async fn note_others(&mut self, session: &Session) -> Result<(), Error> {
        self.others.clear();
        self.others = self.listed(session).await?;
        Ok(())
    }

    /// The znodes of this session with such names, with their stats, behind a sync.
    pub(crate) async fn lookup(&self, session: &Session) -> Result<Vec<(String, Stat)>, Error> {
        settled(|| session.sync(&self.parent)).await?;
        let mut found: Vec<(String, Stat)> = Vec::new();
        for path in self.listed(session).await? {
            let stat = settled(|| session.exists(&path)).await?;
            // One that the server still has of a session that is being closed is not ours.
            if let Some(stat) = stat.filter(|stat| stat.ephemeral_owner == session.id()) {
                found.push((path, stat));
            }
        }
        Ok(found)
    }

    /// Paths with such names, which are this session's if the server can tell.
    async fn listed(&self, session: &Session) -> Result<Vec<String>, Error> {
        let mut listed: Vec<String> = Vec::new();
        for prefix in self.names.iter().map(|name| join(&self.parent, name)) {
            let paths = match settled(|| session.ephemerals(&prefix)).await {
                // Before 3.6 servers cannot list what a session owns.
                Err(error) if error.kind() == ErrorKind::Unimplemented => {
                    let children = settled(|| session.children(&self.parent)).await?;
                    let children = children.unwrap_or_default();
                    let paths = children.iter().map(|child| join(&self.parent, child));
                    return Ok(paths.filter(|path| self.is_any(path)).collect());
                }
                paths => paths?,
            };
            for path in paths.into_iter().filter(|path| self.is_any(path)) {
                if !listed.contains(&path) {
                    listed.push(path);
                }
            }
        }
        Ok(listed)
    }

    /// Assigns what was found to the names asked for, eldest first. The rest is surplus: all of it, if a
    /// name is left without a znode.
    pub(crate) fn matched(
        &self,
        mut found: Vec<(String, Stat)>,
    ) -> (Vec<(String, Stat)>, Vec<String>) {
        found.sort_by_key(|(path, stat)| (stat.czxid, path.clone()));
        let mut own = Vec::new();
        for mark in &self.names {
            let at = found.iter().position(|(path, _)| self.is_of(path, mark));
            if let Some(at) = at {
                own.push(found.remove(at));
            }
        }
        if own.len() < self.names.len() {
            found.append(&mut own);
        }
        (own, found.into_iter().map(|(path, _)| path).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(names: &[&str]) -> Marks {
        Marks {
            parent: "/l".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            is_sequential: true,
            others: Vec::new(),
        }
    }

    fn found(paths: &[(&str, i64)]) -> Vec<(String, Stat)> {
        let stat = |czxid| Stat {
            czxid: zk_client::Zxid::new(czxid),
            ..Stat::default()
        };
        paths
            .iter()
            .map(|(path, czxid)| ((*path).to_owned(), stat(*czxid)))
            .collect()
    }

    fn paths(found: Vec<(String, Stat)>) -> Vec<String> {
        found.into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_name_that_only_begins_so_is_somebody_elses() {
        let of = |marks: &Marks, path: &str| marks.is_any(&path.to_owned());
        let mut marks = marks(&["1"]);
        assert!(of(&marks, "/l/10000000007") && of(&marks, "/l/1-000000007"));
        for path in [
            "/l/1",
            "/l/10",
            "/l/1-0000000007",
            "/l/100000000007",
            "/l/1x/0000000007",
            "/l/x",
        ] {
            assert!(!of(&marks, path), "{path}");
        }
        marks.others.push("/l/10000000007".to_owned());
        assert!(!of(&marks, "/l/10000000007"));
        marks.is_sequential = false;
        assert!(of(&marks, "/l/1") && !of(&marks, "/l/10000000008"));
    }

    #[test]
    fn eldest_of_several_is_kept() {
        let all = found(&[
            ("/l/_c_1-lock-0000000007", 9),
            ("/l/_c_1-lock-0000000006", 8),
        ]);
        let (own, surplus) = marks(&["_c_1-lock-"]).matched(all);
        assert_eq!(paths(own), ["/l/_c_1-lock-0000000006"]);
        assert_eq!(surplus, ["/l/_c_1-lock-0000000007"]);
    }

    #[test]
    fn half_of_a_pair_is_surplus() {
        let pair = marks(&["_c_1-lock-", "f1__lock__"]);
        let (own, surplus) = pair.matched(found(&[("/l/f1__lock__0000000007", 9)]));
        assert!(own.is_empty());
        assert_eq!(surplus, ["/l/f1__lock__0000000007"]);
    }

    #[test]
    fn same_name_asked_for_twice_takes_two() {
        let all = found(&[
            ("/l/_c_1-lease-0000000007", 9),
            ("/l/_c_1-lease-0000000008", 9),
        ]);
        let (own, surplus) = marks(&["_c_1-lease-", "_c_1-lease-"]).matched(all);
        assert_eq!((own.len(), surplus.len()), (2, 0));
    }
}
