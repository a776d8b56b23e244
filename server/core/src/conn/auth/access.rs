//! Whether the identities of a connection are granted what it asks for.

use zk_proto::acl::{Acl, Perms};
use zk_proto::{ErrorCode, Id};

use super::{Identities, Schemes};

/// The rules by which a server compares lists with identities.
#[derive(Debug, Clone)]
pub struct Access {
    /// The schemes that can tell whether an identity is meant.
    pub schemes: Schemes,
    /// Whether lists are not looked at at all: `zookeeper.skipACL=yes`.
    pub is_skipped: bool,
}

impl Access {
    /// With these schemes, and lists that count.
    pub fn new(schemes: Schemes) -> Self {
        Self {
            schemes,
            is_skipped: false,
        }
    }

    /// Whether a list grants any of the permissions `wanted`. Its entries are alternatives: nothing
    /// can deny. An empty list grants everything.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ZooKeeperServer#checkACL`.
    pub fn is_granted(&self, own: &Identities, acl: &[Acl], wanted: Perms) -> bool {
        self.is_skipped
            || acl.is_empty()
            || own.is_super()
            || acl.iter().any(|entry| self.grants(own, entry, wanted))
    }

    /// The same, as an answer.
    ///
    /// # Errors
    /// [`ErrorCode::NoAuth`].
    pub fn check(&self, own: &Identities, acl: &[Acl], wanted: Perms) -> Result<(), ErrorCode> {
        if self.is_granted(own, acl, wanted) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    /// Whether a list grants the permissions to everyone, so that nobody needs to be asked.
    pub fn is_granted_to_world(&self, acl: &[Acl], wanted: Perms) -> bool {
        let to_world = |entry: &Acl| entry.perms.intersects(wanted) && entry.id == Id::ANYONE;
        self.is_skipped || acl.is_empty() || acl.iter().any(to_world)
    }

    /// What getACL shows of a list: all of it to those who may administer the znode, without hashes
    /// to those who may only read it.
    ///
    /// # Errors
    /// [`ErrorCode::NoAuth`] to all others.
    pub fn visible_acl(&self, own: &Identities, acl: &[Acl]) -> Result<Vec<Acl>, ErrorCode> {
        self.check(own, acl, Perms::READ | Perms::ADMIN)?;
        let is_admin = self.is_granted(own, acl, Perms::ADMIN);
        let visible = |entry: &Acl| {
            if is_admin {
                entry.clone()
            } else {
                masked(entry)
            }
        };
        Ok(acl.iter().map(visible).collect())
    }

    fn grants(&self, own: &Identities, entry: &Acl, wanted: Perms) -> bool {
        if !entry.perms.intersects(wanted) {
            return false;
        }
        if entry.id == Id::ANYONE {
            return true;
        }
        let (Some(scheme), Some(listed)) = (&entry.id.scheme, &entry.id.id) else {
            return false;
        };
        let Some(rules) = self.schemes.find(scheme) else {
            return false;
        };
        let mut own = own.iter().filter(|identity| identity.scheme == *scheme);
        own.any(|identity| rules.matches(&identity.id, listed))
    }
}

/// An entry with `x` in the place of a hash.
fn masked(entry: &Acl) -> Acl {
    let mut entry = entry.clone();
    if entry.id.scheme.as_deref() == Some("digest")
        && let Some(id) = &mut entry.id.id
        && let Some((user, _)) = id.split_once(':')
    {
        *id = format!("{user}:x").into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::auth::Identity;
    use crate::conn::auth::tests::PEER;

    fn access() -> Access {
        Access::new(Schemes::standard())
    }

    fn bob() -> Identities {
        Identities::of_peer(PEER).with([Identity::new("digest", "bob:hash")])
    }

    fn entry(perms: Perms, scheme: &'static str, id: &'static str) -> Acl {
        Acl::new(perms, Id::new(scheme, id))
    }

    #[test]
    fn entries_are_alternatives() {
        let acl = [
            entry(Perms::READ, "world", "anyone"),
            entry(Perms::WRITE, "digest", "bob:hash"),
            entry(Perms::ADMIN, "digest", "al:hash"),
            entry(Perms::CREATE, "ip", "10.0.0.0/8"),
            entry(Perms::DELETE, "nonsense", "bob:hash"),
        ];
        let granted = |perms| access().is_granted(&bob(), &acl, perms);
        assert!(granted(Perms::READ) && granted(Perms::WRITE) && granted(Perms::CREATE));
        assert!(!granted(Perms::ADMIN) && !granted(Perms::DELETE));
        assert!(granted(Perms::READ | Perms::ADMIN), "any of them");
        assert_eq!(
            access().check(&bob(), &acl, Perms::ADMIN),
            Err(ErrorCode::NoAuth)
        );
    }

    #[test]
    fn identity_of_another_scheme_does_not_match() {
        let acl = [entry(Perms::ALL, "digest", "10.0.0.7")];
        assert!(!access().is_granted(&bob(), &acl, Perms::READ));
        let acl = [entry(Perms::ALL, "world", "bob:hash")];
        assert!(!access().is_granted(&bob(), &acl, Perms::READ));
    }

    /// CH 117603: an empty list locked its znode out of reach after an upgrade.
    #[test]
    fn empty_list_grants_everything() {
        assert!(access().is_granted(&Identities::none(), &[], Perms::ALL));
    }

    #[test]
    fn super_and_skipped_lists_grant_everything() {
        let acl = [entry(Perms::NONE, "digest", "al:hash")];
        let own = Identities::of_peer(PEER).with([Identity::SUPER]);
        assert!(access().is_granted(&own, &acl, Perms::ADMIN));
        assert!(!access().is_granted(&bob(), &acl, Perms::READ));
        let skipped = Access {
            is_skipped: true,
            ..access()
        };
        assert!(skipped.is_granted(&bob(), &acl, Perms::READ));
    }

    #[test]
    fn world_is_told_without_asking_anybody() {
        let acl = [
            entry(Perms::ALL, "digest", "al:hash"),
            entry(Perms::READ, "world", "anyone"),
        ];
        assert!(access().is_granted_to_world(&acl, Perms::READ));
        assert!(!access().is_granted_to_world(&acl, Perms::WRITE));
        assert!(access().is_granted_to_world(&[], Perms::WRITE));
    }

    /// CVE-2019-0201: hashes were shown to everybody.
    #[test]
    fn hashes_are_shown_to_those_who_administer_only() {
        let acl = |perms| {
            [
                entry(perms, "world", "anyone"),
                entry(Perms::ALL, "digest", "al:hash:more"),
                entry(Perms::ALL, "ip", "::1"),
            ]
        };
        let shown = |perms| {
            let visible = access().visible_acl(&bob(), &acl(perms));
            visible.map(|acl| {
                acl.iter()
                    .map(|entry| entry.id.to_string())
                    .collect::<Vec<_>>()
            })
        };
        let masked = ["world:anyone", "digest:al:x", "ip:::1"].map(String::from);
        assert_eq!(shown(Perms::READ).unwrap(), masked);
        let whole = ["world:anyone", "digest:al:hash:more", "ip:::1"].map(String::from);
        assert_eq!(shown(Perms::ADMIN).unwrap(), whole);
        assert_eq!(shown(Perms::WRITE), Err(ErrorCode::NoAuth));
    }
}
