//! The identities of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytestring::ByteString;
use zk_proto::Id;
use zk_proto::acl::ClientInfo;
use zk_proto::jute::Encode as _;

use super::Schemes;

/// Somebody, as a scheme knows them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Name of the scheme.
    pub scheme: ByteString,
    /// Who it is, in the scheme's way of writing.
    pub id: ByteString,
}

impl Identity {
    /// An identity of a scheme.
    pub fn new(scheme: impl Into<ByteString>, id: impl Into<ByteString>) -> Self {
        Self {
            scheme: scheme.into(),
            id: id.into(),
        }
    }

    /// Whoever may do everything.
    pub const SUPER: Self = Self {
        scheme: ByteString::from_static("super"),
        id: ByteString::from_static(""),
    };

    /// As it stands in a list.
    pub(super) fn to_id(&self) -> Id {
        Id {
            scheme: Some(self.scheme.clone()),
            id: Some(self.id.clone()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.id)
    }
}

/// All that a connection is known as, each once, in the order of becoming known.
///
/// A value: requests keep the set that they came with. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identities(Arc<[Identity]>);

impl Identities {
    /// Nobody: of requests that servers make themselves.
    pub fn none() -> Self {
        Self(Arc::new([]))
    }

    /// What a connection is known as before it says anything: its address.
    pub fn of_peer(peer: IpAddr) -> Self {
        Self(Arc::new([Identity::new("ip", address(peer))]))
    }

    /// These, as another server collected them.
    pub fn collected(identities: impl IntoIterator<Item = Identity>) -> Self {
        Self::none().with(identities)
    }

    /// These and more.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = Identity>) -> Self {
        let mut all = self.0.to_vec();
        for identity in more {
            if !all.contains(&identity) {
                all.push(identity);
            }
        }
        Self(all.into())
    }

    /// Bytes that they take on the way to a leader.
    pub(super) fn wire_bytes(&self) -> usize {
        let bytes = |one: &Identity| one.scheme.encoded_len() + one.id.encoded_len();
        self.iter().map(bytes).sum()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.0.iter()
    }

    /// Whether one is of a scheme: what enforced authentication asks for.
    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.iter().any(|identity| &*identity.scheme == scheme)
    }

    /// Whether they may do everything.
    pub fn is_super(&self) -> bool {
        self.has_scheme("super")
    }

    /// What whoAmI answers.
    pub fn client_info(&self, schemes: &Schemes) -> Vec<ClientInfo> {
        let info = |identity: &Identity| {
            let user = match schemes.find(&identity.scheme) {
                Some(scheme) => scheme.user_name(&identity.id).into(),
                None => identity.id.clone(),
            };
            ClientInfo {
                auth_scheme: Some(identity.scheme.clone()),
                user: Some(user),
            }
        };
        self.iter().map(info).collect()
    }
}

/// An address as the reference writes it: of IPv6, all eight groups, without leading zeros.
pub fn address(peer: IpAddr) -> String {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => groups(v6),
    }
}

fn groups(v6: Ipv6Addr) -> String {
    let groups = v6.segments().map(|segment| format!("{segment:x}"));
    groups.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::auth::DigestScheme;

    #[test]
    fn addresses_are_written_as_the_reference_does() {
        let shown = |peer: &str| address(peer.parse().unwrap());
        assert_eq!(shown("127.0.0.1"), "127.0.0.1");
        assert_eq!(shown("::1"), "0:0:0:0:0:0:0:1");
        assert_eq!(shown("2001:db8::ff00:42"), "2001:db8:0:0:0:0:ff00:42");
        assert_eq!(shown("::ffff:10.0.0.7"), "10.0.0.7");
    }

    #[test]
    fn who_am_i_hides_what_follows_the_user() {
        let own = Identities::of_peer("10.0.0.7".parse().unwrap())
            .with([Identity::SUPER, Identity::new("digest", "bob:hash")]);
        let schemes = Schemes::new(vec![Box::new(DigestScheme::new(None))]);
        let shown: Vec<_> = own
            .client_info(&schemes)
            .into_iter()
            .map(|info| {
                (
                    info.auth_scheme.unwrap().to_string(),
                    info.user.unwrap().to_string(),
                )
            })
            .collect();
        let expected = [("ip", "10.0.0.7"), ("super", ""), ("digest", "bob")];
        assert_eq!(shown, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
