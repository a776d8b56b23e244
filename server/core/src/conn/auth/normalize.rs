//! Lists of create and setACL, made into what is stored.

use std::collections::BTreeSet;

use zk_proto::acl::Acl;
use zk_proto::jute::Encode as _;
use zk_proto::{ErrorCode, Id};

use super::{Identities, Schemes};

/// Checks a list and puts the identities of the connection in the place of `auth`.
///
/// A list may say `auth` many times, and so become far longer than the request that it came in: at
/// `bytes_max` no more is put into it.
///
/// Exact duplicates are dropped first, so that the result may still have some where `auth` stands for
/// an identity that is also listed: as in the reference.
///
/// # Errors
/// Of the first entry that is not right:
/// - [`ErrorCode::InvalidAcl`]: no entry at all, no scheme, a scheme that the server does not have,
///   an id that is not valid in it, or `auth` and nobody is authenticated.
/// - [`ErrorCode::MarshallingError`]: a null id, or too many identities.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#fixupACL`.
pub fn normalize_acl(
    schemes: &Schemes,
    own: &Identities,
    acl: Option<&[Acl]>,
    bytes_max: usize,
) -> Result<Vec<Acl>, ErrorCode> {
    let acl = acl.unwrap_or_default();
    if acl.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    // A list may be as long as a frame: no search through it for each of its entries. Most have one.
    let mut seen = BTreeSet::new();
    let mut normal = Vec::with_capacity(acl.len());
    let mut room = bytes_max;
    for entry in acl {
        let Id { scheme, id } = &entry.id;
        if acl.len() > 1 && !seen.insert((entry.perms.bits(), scheme.as_deref(), id.as_deref())) {
            continue;
        }
        let scheme = scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
        if scheme == "auth" {
            let before = normal.len();
            for id in authenticated(schemes, own) {
                let granted = Acl::new(entry.perms, id);
                let left = room.checked_sub(granted.encoded_len());
                room = left.ok_or(ErrorCode::MarshallingError)?;
                normal.push(granted);
            }
            if normal.len() == before {
                return Err(ErrorCode::InvalidAcl);
            }
            continue;
        }
        let rules = schemes.find(scheme);
        if scheme != "world" && rules.is_none() {
            return Err(ErrorCode::InvalidAcl);
        }
        let id = id.as_deref().ok_or(ErrorCode::MarshallingError)?;
        let is_valid = match scheme {
            "world" => id == "anyone",
            _ => rules.is_some_and(|rules| rules.is_valid(id)),
        };
        if !is_valid {
            return Err(ErrorCode::InvalidAcl);
        }
        normal.push(if scheme == "world" {
            // Of its own text, which nobody counts the holders of.
            Acl::new(entry.perms, Id::ANYONE)
        } else {
            entry.clone()
        });
    }
    Ok(normal)
}

/// The identities that `auth` stands for: not addresses, and not the super user as such.
fn authenticated<'a>(schemes: &'a Schemes, own: &'a Identities) -> impl Iterator<Item = Id> + 'a {
    let is_authenticated = |scheme: &str| {
        let rules = schemes.find(scheme);
        rules.is_some_and(super::AuthScheme::is_authenticated)
    };
    own.iter()
        .filter(move |identity| is_authenticated(&identity.scheme))
        .map(super::Identity::to_id)
}

#[cfg(test)]
mod tests {
    use zk_proto::acl::Perms;

    use super::*;
    use crate::conn::auth::Identity;
    use crate::conn::auth::tests::PEER;

    fn normalize(own: &Identities, acl: &[Acl]) -> Result<Vec<Acl>, ErrorCode> {
        normalize_acl(&Schemes::standard(), own, Some(acl), usize::MAX)
    }

    fn nobody() -> Identities {
        Identities::of_peer(PEER)
    }

    fn entry(scheme: &'static str, id: &'static str) -> Acl {
        Acl::new(Perms::ALL, Id::new(scheme, id))
    }

    #[test]
    fn duplicates_are_dropped_and_order_kept() {
        let (world, ip) = (entry("world", "anyone"), entry("ip", "10.0.0.1"));
        let reader = Acl::new(Perms::READ, world.id.clone());
        let acl = [
            ip.clone(),
            world.clone(),
            ip.clone(),
            reader.clone(),
            world.clone(),
        ];
        assert_eq!(normalize(&nobody(), &acl), Ok(vec![ip, world, reader]));
    }

    #[test]
    fn empty_and_null_lists_are_invalid() {
        assert_eq!(normalize(&nobody(), &[]), Err(ErrorCode::InvalidAcl));
        let null = normalize_acl(&Schemes::standard(), &nobody(), None, usize::MAX);
        assert_eq!(null, Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn auth_stands_for_authenticated_identities_whatever_its_id() {
        let own = nobody().with([
            Identity::SUPER,
            Identity::new("digest", "bob:hash"),
            Identity::new("digest", "al:hash"),
        ]);
        for id in [Some(""), Some("nonsense"), None] {
            let auth = Acl::new(
                Perms::READ,
                Id {
                    scheme: Some("auth".into()),
                    id: id.map(Into::into),
                },
            );
            let expected =
                ["bob:hash", "al:hash"].map(|id| Acl::new(Perms::READ, Id::new("digest", id)));
            assert_eq!(
                normalize(&own, std::slice::from_ref(&auth)),
                Ok(expected.to_vec())
            );
            assert_eq!(normalize(&nobody(), &[auth]), Err(ErrorCode::InvalidAcl));
        }
    }

    #[test]
    fn identities_without_end_are_refused() {
        let own = nobody().with((0..10).map(|n| Identity::new("digest", format!("user{n}:hash"))));
        // Each of them is another entry.
        let acl: Vec<_> = (0..10)
            .map(|n| Acl::new(Perms::ALL, Id::new("auth", format!("{n}"))))
            .collect();
        let len = 10 * 10 * (4 + 10 + 14);
        let with = |max| normalize_acl(&Schemes::standard(), &own, Some(&acl), max);
        assert_eq!(with(len).map(|list| list.len()), Ok(100));
        assert_eq!(with(len - 1), Err(ErrorCode::MarshallingError));
    }

    #[test]
    fn invalid_entries_are_refused() {
        for (scheme, id) in [
            ("world", "someone"),
            ("super", ""),
            ("x509", "CN=a"),
            ("digest", "user:"),
            ("ip", "10.0.0.1/33"),
            ("", ""),
        ] {
            let refused = normalize(&nobody(), &[entry("world", "anyone"), entry(scheme, id)]);
            assert_eq!(refused, Err(ErrorCode::InvalidAcl), "{scheme}:{id}");
        }
    }

    #[test]
    fn null_scheme_is_invalid_and_null_id_does_not_decode() {
        let null = |scheme: Option<&'static str>| {
            let scheme = scheme.map(Into::into);
            normalize(&nobody(), &[Acl::new(Perms::ALL, Id { scheme, id: None })])
        };
        assert_eq!(null(None), Err(ErrorCode::InvalidAcl));
        assert_eq!(null(Some("nonsense")), Err(ErrorCode::InvalidAcl));
        for scheme in ["world", "digest", "ip"] {
            assert_eq!(null(Some(scheme)), Err(ErrorCode::MarshallingError));
        }
    }

    /// CH 117603: an entry for everyone was dropped from lists that had others too.
    #[test]
    fn world_stays_in_mixed_lists() {
        let acl = [
            entry("digest", "bob:hash"),
            entry("world", "anyone"),
            entry("ip", "::1"),
        ];
        assert_eq!(normalize(&nobody(), &acl), Ok(acl.to_vec()));
    }
}
