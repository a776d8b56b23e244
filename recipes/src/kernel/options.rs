use std::time::Duration;

use bytes::Bytes;
use zk_client::{Acl, Client};

use super::hold::LossPolicy;
use super::parents::{Parents, default_identity};

/// What every recipe that owns znodes can be told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Without a deadline of its own: what is asked for through it ends with the session.
    pub(crate) client: Client,
    /// Data of the own znodes.
    pub(crate) identity: Bytes,
    pub(crate) acl: Option<Acl>,
    pub(crate) parent_acl: Option<Acl>,
    pub(crate) parents: Parents,
    pub(crate) policy: LossPolicy,
}

impl Options {
    pub(crate) fn new(client: &Client) -> Self {
        Self {
            client: client.with_timeout(Duration::MAX),
            identity: default_identity().into(),
            acl: None,
            parent_acl: None,
            parents: Parents::default(),
            policy: LossPolicy::default(),
        }
    }
}

/// Gives a recipe with a field `options` the builder methods for it.
macro_rules! options {
    ($($path:ident).+) => {
        /// Data of the znodes that stand in line, for people and other programs to see who that is;
        /// `host:pid` by default.
        #[must_use]
        pub fn identity(mut self, identity: impl Into<bytes::Bytes>) -> Self {
            self.$($path).+.identity = identity.into();
            self
        }

        /// When what was won counts as lost; see [`crate::LossPolicy`].
        #[must_use]
        pub fn loss_policy(mut self, policy: crate::LossPolicy) -> Self {
            self.$($path).+.policy = policy;
            self
        }

        /// Who may do what with the znodes that stand in line, instead of the client's default. Others
        /// in line need to read them.
        #[must_use]
        pub fn acl(mut self, acl: zk_client::Acl) -> Self {
            self.$($path).+.acl = Some(acl);
            self
        }

        /// Who may do what with directories that the recipe creates, instead of the client's default.
        #[must_use]
        pub fn parent_acl(mut self, acl: zk_client::Acl) -> Self {
            self.$($path).+.parent_acl = Some(acl);
            self
        }

        /// What becomes of the recipe's directory when it is missing.
        #[must_use]
        pub fn parents(mut self, parents: crate::Parents) -> Self {
            self.$($path).+.parents = parents;
            self
        }
    };
}

pub(crate) use options;
