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
