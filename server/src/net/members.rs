//! Who the members are, for whoever dials and accepts: it changes while the server runs.

use std::sync::Arc;

use parking_lot::RwLock;
use zk_core::ensemble::{Configs, EnsembleConfig, Member};
use zk_proto::ServerId;

/// Who the members are, and who they are about to be. Copies are one.
#[derive(Clone, Debug)]
pub(crate) struct Members(Arc<RwLock<Configs>>);

impl Members {
    /// Has all copies know others from now on.
    pub(crate) fn set(&self, configs: Configs) {
        *self.0.write() = configs;
    }

    /// Both configurations as they are now.
    pub(crate) fn configs(&self) -> Configs {
        self.0.read().clone()
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Arc<EnsembleConfig> {
        Arc::clone(self.0.read().current())
    }

    /// A member, or one that is about to be.
    pub(crate) fn member(&self, id: ServerId) -> Option<Member> {
        self.0.read().member(id).cloned()
    }

    /// Whether this is one.
    pub(crate) fn contains(&self, id: ServerId) -> bool {
        self.0.read().member(id).is_some()
    }
}

impl From<Arc<EnsembleConfig>> for Members {
    fn from(config: Arc<EnsembleConfig>) -> Self {
        Self(Arc::new(RwLock::new(Configs::new(config))))
    }
}

/// The line of a server if a change made it listen elsewhere: it does so when it starts again, because
/// what it has bound stays bound. `bound` is the line that it started with.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `QuorumPeer#processReconfig`, binds the new ports while it runs.
pub(crate) fn moved<'a>(
    bound: &Member,
    before: &EnsembleConfig,
    now: &'a EnsembleConfig,
) -> Option<&'a Member> {
    let line = now.member(bound.id)?;
    // Where a line names no client port, `zoo.cfg` does.
    let has_other_client = bound.client.is_some() && line.client != bound.client
        || bound.secure_client.is_some() && line.secure_client != bound.secure_client;
    let is_elsewhere = line.addresses != bound.addresses || has_other_client;
    (is_elsewhere && before.member(bound.id) != Some(line)).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> EnsembleConfig {
        let text = format!("server.1={line}\nserver.2=h2:1:2:participant\nversion=7");
        EnsembleConfig::parse(&text).expect("legal")
    }

    #[test]
    fn who_is_to_listen_elsewhere_is_told_of_it_once() {
        let first = config("h:1:2:participant;3");
        let bound = first.member(ServerId::new(1)).expect("there");
        for (line, is_moved) in [
            ("h:1:2:participant;3", false),
            ("h:1:2:observer;3", false),
            ("h:4:2:participant;3", true),
            ("h:1:4:participant;3", true),
            ("other:1:2:participant;3", true),
            ("h:1:2:participant;4", true),
        ] {
            let now = config(line);
            assert_eq!(moved(bound, &first, &now).is_some(), is_moved, "{line}");
            assert_eq!(moved(bound, &now, &now), None, "{line}");
        }
        let back = config("h:4:2:participant;3");
        assert_eq!(moved(bound, &back, &first), None, "where it listens");
        let without = EnsembleConfig::parse("server.2=h2:1:2:participant\nversion=8");
        assert_eq!(moved(bound, &first, &without.expect("legal")), None);
        let silent = config("h:1:2:participant");
        let bound = silent.member(ServerId::new(1)).expect("there");
        assert_eq!(
            moved(bound, &silent, &first),
            None,
            "as in zoo.cfg, perhaps"
        );
    }
}
