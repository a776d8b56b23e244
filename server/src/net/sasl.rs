//! SASL on client connections.

use std::collections::BTreeSet;

use zk_core::conn::auth::{Identity, SaslUsers};
use zk_core::conn::pipeline::{Answer, Then};
use zk_core::conn::request::sasl_answer;
use zk_proto::sasl::{Challenge, Service};
use zk_proto::{ErrorCode, Xid};

use crate::config::jaas::{self, JaasError};
use crate::config::{AuthProvider, Config};
use crate::entropy::random;

/// What clients can prove, and what becomes of those who do not.
#[derive(Debug)]
pub(crate) struct Sasl {
    users: SaslUsers,
    /// Whether nobody is served without.
    is_demanded: bool,
    /// Whether who fails goes on as nobody.
    keeps_failed: bool,
}

impl Sasl {
    /// As configured; `None` if SASL is not spoken.
    ///
    /// Nor is it where no file or no section names users, unless nobody could be served then.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ServerCnxnFactory#configureSaslLogin`.
    pub(crate) fn new(config: &Config, is_demanded: bool) -> Result<Option<Self>, JaasError> {
        if !config.auth_providers.contains(&AuthProvider::Sasl) {
            return Ok(None);
        }
        let auth = &config.auth;
        let mut passwords = match jaas::users(&auth.jaas_file, &auth.sasl_server_section) {
            Ok(passwords) => passwords,
            Err(err @ (JaasError::NotConfigured | JaasError::NoSection { .. })) if !is_demanded => {
                tracing::warn!(%err, "no client can log in by SASL");
                return Ok(None);
            }
            Err(err) => return Err(err),
        };
        if let Some(password) = &auth.sasl_super_password {
            passwords.insert("super".to_owned(), password.expose().to_owned());
        }
        let named = [auth.sasl_super_user.clone()];
        let named = named.into_iter().chain(config.sasl_super_users.clone());
        let super_users: BTreeSet<_> = named.filter(|user| !user.is_empty()).collect();
        Ok(Some(Self {
            users: SaslUsers {
                passwords,
                super_users,
            },
            is_demanded,
            keeps_failed: auth.allow_sasl_failed_clients && !is_demanded,
        }))
    }

    /// Answers a token of a client; `asked` is what that connection was asked last.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ZooKeeperServer#processSasl`.
    pub(crate) fn step(
        &self,
        xid: Xid,
        asked: &mut Option<Challenge>,
        token: &[u8],
    ) -> (Answer, Vec<Identity>) {
        let to_go_on = |bytes| Answer {
            bytes,
            then: Then::Continue,
        };
        let Some(challenge) = asked.take() else {
            if !token.is_empty() {
                return (self.refusal(xid), Vec::new());
            }
            let challenge = Challenge::new(
                Service::CLIENT,
                format!("{:016x}{:016x}", random(), random()),
            );
            let token = challenge.to_token();
            *asked = Some(challenge);
            return (to_go_on(sasl_answer(xid, None, Some(token))), Vec::new());
        };
        match self.users.prove(&challenge, token) {
            Ok((identities, token)) => (to_go_on(sasl_answer(xid, None, Some(token))), identities),
            Err(failure) => {
                tracing::warn!(err = %failure, "client failed to authenticate by SASL");
                (self.refusal(xid), Vec::new())
            }
        }
    }

    fn refusal(&self, xid: Xid) -> Answer {
        if self.keeps_failed {
            return Answer {
                bytes: sasl_answer(xid, None, None),
                then: Then::Continue,
            };
        }
        let code = if self.is_demanded {
            ErrorCode::SessionClosedRequireSaslAuth
        } else {
            ErrorCode::AuthFailed
        };
        Answer {
            bytes: sasl_answer(xid, Some(code), None),
            then: Then::Close,
        }
    }
}
