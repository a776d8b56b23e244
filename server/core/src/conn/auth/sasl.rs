//! Scheme `sasl`: users who prove by DIGEST-MD5 that they know a password.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use bytestring::ByteString;
use zk_proto::sasl::{Answer, Challenge, SaslError};

use super::{AuthRefused, AuthScheme, Identity};

/// Whose identity passes every list of this scheme.
const SUPER: &str = "super";

/// Users by name, as a connection proves to be one. An auth packet proves nothing.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `SASLAuthenticationProvider`.
#[derive(Debug, Clone, Default)]
pub struct SaslScheme {
    /// Whoever is known passes entries for this one: `zookeeper.letAnySaslUserDoX`.
    pub any_user_passes: Option<ByteString>,
}

impl AuthScheme for SaslScheme {
    fn name(&self) -> &'static str {
        "sasl"
    }

    fn authenticate(&self, _: Option<&[u8]>, _: IpAddr) -> Result<Vec<Identity>, AuthRefused> {
        Err(AuthRefused)
    }

    /// A name as Kerberos writes them: `service`, or `service[/host]@realm`.
    fn is_valid(&self, id: &str) -> bool {
        match id.split_once('@') {
            None => true,
            Some((who, realm)) => {
                let is_plain = |part: &str| !part.contains(['/', '@']);
                let (service, host) = who.split_once('/').unwrap_or((who, ""));
                is_plain(service) && is_plain(host) && is_plain(realm)
            }
        }
    }

    fn matches(&self, own: &str, listed: &str) -> bool {
        own == listed || own == SUPER || self.any_user_passes.as_deref() == Some(listed)
    }

    fn is_authenticated(&self) -> bool {
        true
    }
}

/// The users of a server.
#[derive(Default)]
pub struct SaslUsers {
    /// Passwords by name.
    pub passwords: BTreeMap<String, String>,
    /// Users who may do everything.
    pub super_users: BTreeSet<String>,
}

/// Without passwords.
impl fmt::Debug for SaslUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslUsers")
            .field("users", &self.passwords.len())
            .finish_non_exhaustive()
    }
}

/// Why a client did not prove to be anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslFailure {
    /// It sent something else than an answer.
    #[error(transparent)]
    Token(#[from] SaslError),
    /// There is no such user.
    #[error("there is no SASL user {user:?}")]
    NoUser {
        /// Who it said it is.
        user: String,
    },
    /// It does not know the password, or answers another challenge.
    #[error("the answer of SASL user {user:?} proves nothing")]
    NoProof {
        /// Who it said it is.
        user: String,
    },
}

impl SaslUsers {
    /// Who the answer to a challenge proves the client to be, and the token that proves the server to
    /// the client.
    ///
    /// # Errors
    /// [`SaslFailure`]: the client is refused.
    pub fn prove(
        &self,
        challenge: &Challenge,
        token: &[u8],
    ) -> Result<(Vec<Identity>, String), SaslFailure> {
        let answer = Answer::parse(token)?;
        let user = answer.user().to_owned();
        let Some(password) = self.passwords.get(&user) else {
            return Err(SaslFailure::NoUser { user });
        };
        if !answer.proves(challenge, password) {
            return Err(SaslFailure::NoProof { user });
        }
        let reply = answer.reply(password);
        let is_super = self.super_users.contains(&user);
        let mut identities = vec![Identity::new("sasl", user)];
        identities.extend(is_super.then_some(Identity::SUPER));
        Ok((identities, reply))
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::sasl::Service;

    use super::*;

    fn users() -> SaslUsers {
        let named = |(name, password): (&str, &str)| (name.to_owned(), password.to_owned());
        SaslUsers {
            passwords: [("bob", "secret"), ("root", "r")].map(named).into(),
            super_users: ["root".to_owned()].into(),
        }
    }

    #[test]
    fn only_who_knows_the_password_is_the_user() {
        let (users, challenge) = (users(), Challenge::new(Service::CLIENT, "n"));
        let answer = |user, password| challenge.answer(user, password, "c").to_token();
        let proved = users.prove(&challenge, answer("bob", "secret").as_bytes());
        let (identities, reply) = proved.unwrap();
        assert_eq!(identities, [Identity::new("sasl", "bob")]);
        let own = challenge.answer("bob", "secret", "c");
        assert!(own.is_confirmed(reply.as_bytes(), "secret"));
        let root = users.prove(&challenge, answer("root", "r").as_bytes());
        let root = root.unwrap().0;
        assert_eq!(root, [Identity::new("sasl", "root"), Identity::SUPER]);
        let refused = |user, password| {
            let token = answer(user, password);
            users.prove(&challenge, token.as_bytes()).unwrap_err()
        };
        let user = "bob".to_owned();
        assert_eq!(refused("bob", "r"), SaslFailure::NoProof { user });
        let user = "carol".to_owned();
        assert_eq!(refused("carol", "secret"), SaslFailure::NoUser { user });
        let late = Challenge::new(Service::CLIENT, "n2");
        let user = "bob".to_owned();
        let late = users.prove(&late, answer("bob", "secret").as_bytes());
        assert_eq!(late, Err(SaslFailure::NoProof { user }));
        assert!(matches!(
            users.prove(&challenge, b""),
            Err(SaslFailure::Token(_))
        ));
    }

    #[test]
    fn names_are_those_of_kerberos() {
        let scheme = SaslScheme::default();
        for valid in ["", "bob", "a/b", "a@R", "a/b@R", "/@"] {
            assert!(scheme.is_valid(valid), "{valid}");
        }
        for invalid in ["a@b@c", "a/b/c@R", "a@b/c"] {
            assert!(!scheme.is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn lists_are_passed_by_the_user_by_super_and_where_told_by_anyone() {
        let strict = SaslScheme::default();
        let lax = SaslScheme {
            any_user_passes: Some("shared".into()),
        };
        assert!(strict.matches("bob", "bob") && strict.matches("super", "bob"));
        assert!(!strict.matches("bob", "shared") && !strict.matches("bob", "super"));
        assert!(lax.matches("bob", "shared") && !lax.matches("bob", "carol"));
    }
}
