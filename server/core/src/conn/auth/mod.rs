//! Who a connection is, and what that lets it do.
//!
//! A connection collects [`Identities`]: its address from the start, one for each auth packet that a
//! scheme accepts. Lists of grants on znodes name identities; [`Access`] compares the two.
//!
//! Three schemes are no schemes of this kind: `world` (everyone, in lists only), `auth` (in lists of
//! requests only, replaced by the identities of whoever asks) and `super` (of connections only, lets
//! them do everything).

mod access;
mod digest;
mod identity;
mod ip;
mod normalize;
mod sasl;

pub use access::Access;
pub use digest::DigestScheme;
pub use identity::{Identities, Identity, address};
pub use ip::IpScheme;
pub use normalize::normalize_acl;
pub use sasl::{SaslFailure, SaslScheme, SaslUsers};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use zk_proto::request::AuthPacket;

/// Most bytes of all identities of a connection, as a forwarded request carries them: some thousand
/// users with passwords.
const IDENTITIES_BYTES_MAX: usize = 64 << 10;

/// A way to tell who a connection is.
pub trait AuthScheme: fmt::Debug + Send + Sync {
    /// Its name, as auth packets and lists write it.
    fn name(&self) -> &str;

    /// The identities that the credentials of an auth packet prove, possibly none.
    ///
    /// # Errors
    /// [`AuthRefused`] if they prove nothing; the connection is then closed.
    fn authenticate(&self, auth: Option<&[u8]>, peer: IpAddr)
    -> Result<Vec<Identity>, AuthRefused>;

    /// Whether `id` may stand in a list.
    fn is_valid(&self, id: &str) -> bool;

    /// Whether a connection with the identity `own` is meant by `listed`; both are of this scheme.
    fn matches(&self, own: &str, listed: &str) -> bool;

    /// Whether its identities are of persons, so that `auth` in a list stands for them.
    fn is_authenticated(&self) -> bool;

    /// An identity as whoAmI shows it.
    fn user_name<'a>(&self, id: &'a str) -> &'a str {
        id
    }
}

/// The credentials are refused: `AUTHFAILED`, then the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("credentials are refused")]
pub struct AuthRefused;

/// The schemes of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schemes(Arc<[Box<dyn AuthScheme>]>);

impl Schemes {
    /// The schemes given; of several with one name the first counts.
    pub fn new(schemes: Vec<Box<dyn AuthScheme>>) -> Self {
        Self(schemes.into())
    }

    /// What a server has unless it is told otherwise: `ip`, and `digest` without a super user.
    pub fn standard() -> Self {
        Self::new(vec![Box::new(IpScheme), Box::new(DigestScheme::new(None))])
    }

    /// The scheme with a name.
    pub fn find(&self, name: &str) -> Option<&dyn AuthScheme> {
        let scheme = self.0.iter().find(|scheme| scheme.name() == name);
        scheme.map(AsRef::as_ref)
    }

    /// The identities that an auth packet adds to a connection's own.
    ///
    /// They hold for the requests behind it; those in front keep the set that they came with.
    ///
    /// # Errors
    /// [`AuthRefused`] also for a scheme that the server does not have, or that is null, and when the
    /// connection has as many identities as it may have: each of its requests has all of them with it
    /// on the way to the leader, and `auth` in a list stands for all of them.
    pub fn authenticate(
        &self,
        packet: &AuthPacket,
        peer: IpAddr,
        own: &Identities,
    ) -> Result<Identities, AuthRefused> {
        let name = packet.scheme.as_deref().ok_or(AuthRefused)?;
        let scheme = self.find(name).ok_or(AuthRefused)?;
        let proved = scheme.authenticate(packet.auth.as_deref(), peer)?;
        let all = own.with(proved);
        if all.wire_bytes() > IDENTITIES_BYTES_MAX {
            return Err(AuthRefused);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn packet(scheme: Option<&str>, auth: Option<&'static str>) -> AuthPacket {
        AuthPacket {
            auth_type: 0,
            scheme: scheme.map(Into::into),
            auth: auth.map(|auth| zk_proto::Bytes::from_static(auth.as_bytes())),
        }
    }

    #[test]
    fn accepted_packets_add_up() {
        let schemes = Schemes::standard();
        let mut own = Identities::of_peer(PEER);
        for auth in ["bob:pw", "al:x", "bob:pw"] {
            let packet = packet(Some("digest"), Some(auth));
            own = schemes.authenticate(&packet, PEER, &own).unwrap();
        }
        let shown: Vec<_> = own.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "ip:10.0.0.7",
                "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=",
                "digest:al:2tyCbtmDhasc0Ee3xp1WY4zfRnA=",
            ]
        );
    }

    #[test]
    fn identities_beyond_measure_are_refused() {
        let schemes = Schemes::standard();
        let add = |own: &Identities, auth: String| {
            let packet = AuthPacket {
                auth_type: 0,
                scheme: Some("digest".into()),
                auth: Some(auth.into()),
            };
            schemes.authenticate(&packet, PEER, own)
        };
        let mut own = Identities::of_peer(PEER);
        let mut users = 0;
        while let Ok(more) = add(&own, format!("user{users}:pw")) {
            own = more;
            users += 1;
            assert!(users < 10_000, "there is no end");
        }
        assert!(users > 1000, "{users}");
        // One that it has already takes no room.
        assert_eq!(add(&own, "user7:pw".into()), Ok(own.clone()));
        let long = "x".repeat(64 << 10);
        let refused = add(&Identities::of_peer(PEER), long);
        assert_eq!(refused, Err(AuthRefused));
    }

    #[test]
    fn unknown_schemes_are_refused() {
        let schemes = Schemes::standard();
        let own = Identities::of_peer(PEER);
        for scheme in [
            None,
            Some("world"),
            Some("super"),
            Some("sasl"),
            Some("x509"),
            Some(""),
            Some("Digest"),
        ] {
            let packet = packet(scheme, Some("a:b"));
            let refused = schemes.authenticate(&packet, PEER, &own);
            assert_eq!(refused, Err(AuthRefused), "{scheme:?}");
        }
    }

    #[test]
    fn ip_packet_is_accepted_whatever_it_says() {
        let own = Identities::of_peer(PEER);
        for auth in [None, Some("1.2.3.4")] {
            let packet = packet(Some("ip"), auth);
            let after = Schemes::standard().authenticate(&packet, PEER, &own);
            assert_eq!(after.unwrap(), own);
        }
    }
}
