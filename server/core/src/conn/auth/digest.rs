//! Scheme `digest`: a user and a password, of which lists hold a hash.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use sha1::{Digest as _, Sha1};

use super::{AuthRefused, AuthScheme, Identity};

/// `user:base64(SHA-1(user:password))`.
///
/// The hash is unsalted and the password crosses the wire in clear: as good as the transport.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `DigestAuthenticationProvider`.
#[derive(Clone)]
pub struct DigestScheme {
    /// The identity of the super user, if there is one: `super:` and a hash.
    super_digest: Option<ByteString>,
}

impl DigestScheme {
    /// The scheme; whoever proves to be `super_digest` may do everything.
    pub fn new(super_digest: Option<ByteString>) -> Self {
        Self { super_digest }
    }

    /// The identity of a user: what stands before the first `:`, or all if there is none, and the
    /// hash of the whole.
    pub fn identity(credentials: &str) -> String {
        let user = credentials
            .split_once(':')
            .map_or(credentials, |(user, _)| user);
        let hash = STANDARD.encode(Sha1::digest(credentials));
        format!("{user}:{hash}")
    }
}

/// Without the hash of the super user.
impl fmt::Debug for DigestScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_super = self.super_digest.is_some();
        f.debug_struct("DigestScheme")
            .field("has_super", &has_super)
            .finish()
    }
}

impl AuthScheme for DigestScheme {
    fn name(&self) -> &'static str {
        "digest"
    }

    fn authenticate(
        &self,
        auth: Option<&[u8]>,
        _peer: IpAddr,
    ) -> Result<Vec<Identity>, AuthRefused> {
        let credentials = String::from_utf8_lossy(auth.ok_or(AuthRefused)?);
        let id = Self::identity(&credentials);
        let is_super = self.super_digest.as_deref() == Some(&id);
        let of_super = is_super.then_some(Identity::SUPER);
        Ok(of_super
            .into_iter()
            .chain([Identity::new(self.name(), id)])
            .collect())
    }

    /// Exactly two parts around a `:`, empty ones at the end not counted.
    fn is_valid(&self, id: &str) -> bool {
        let parts = id.trim_end_matches(':');
        // `a:b:` has two parts; `a:` has one, and so has `:`.
        !parts.is_empty() && parts.matches(':').count() == 1
    }

    fn matches(&self, own: &str, listed: &str) -> bool {
        own == listed
    }

    fn is_authenticated(&self) -> bool {
        true
    }

    fn user_name<'a>(&self, id: &'a str) -> &'a str {
        id.split_once(':').map_or(id, |(user, _)| user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::auth::tests::PEER;

    #[test]
    fn identities_are_the_reference_ones() {
        for (credentials, id) in [
            ("bob:pw", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="),
            ("al:x", "al:2tyCbtmDhasc0Ee3xp1WY4zfRnA="),
            ("super:secret", "super:lK75jTNcA+U9vtVEw5vB51mj/w4="),
            ("nocolon", "nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g="),
            ("u:p", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
        ] {
            assert_eq!(DigestScheme::identity(credentials), id);
        }
    }

    #[test]
    fn ids_of_two_parts_are_valid() {
        let scheme = DigestScheme::new(None);
        for (id, is_valid) in [
            ("a:b", true),
            (":x", true),
            ("a:b:", true),
            ("a:b::", true),
            ("user:", false),
            ("a:b:c", false),
            ("a", false),
            ("", false),
            (":", false),
            ("a::b", false),
        ] {
            assert_eq!(scheme.is_valid(id), is_valid, "{id}");
        }
    }

    #[test]
    fn super_user_is_told_by_the_hash() {
        let digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";
        let scheme = DigestScheme::new(Some(digest.into()));
        let proved = scheme.authenticate(Some(b"super:secret"), PEER).unwrap();
        assert_eq!(proved, [Identity::SUPER, Identity::new("digest", digest)]);
        let proved = scheme.authenticate(Some(b"super:guess"), PEER).unwrap();
        assert!(!proved.contains(&Identity::SUPER));
        assert!(!format!("{scheme:?}").contains("lK75"));
    }

    #[test]
    fn null_credentials_are_refused() {
        assert_eq!(
            DigestScheme::new(None).authenticate(None, PEER),
            Err(AuthRefused)
        );
    }
}
