use std::borrow::Cow;

use zk_proto::{Acl as Ace, Id, Perms};

/// An access control list: who may do what with a znode.
///
/// ```
/// use zk_client::{Ace, Acl, Id, Perms};
///
/// let acl = Acl::of([
///     Ace::new(Perms::ALL, Id::AUTH),
///     Ace::new(Perms::READ, Id::ip("10.0.0.0/8")),
/// ]);
/// assert_eq!(acl.entries().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(Cow<'static, [Ace]>);

static OPEN: [Ace; 1] = [Ace::new(Perms::ALL, Id::ANYONE)];
static READ_ONLY: [Ace; 1] = [Ace::new(Perms::READ, Id::ANYONE)];
static CREATOR_ALL: [Ace; 1] = [Ace::new(Perms::ALL, Id::AUTH)];

impl Acl {
    /// Everybody may do everything.
    pub const fn open() -> Self {
        Self(Cow::Borrowed(&OPEN))
    }

    /// Everybody may read.
    pub const fn read_only() -> Self {
        Self(Cow::Borrowed(&READ_ONLY))
    }

    /// Whoever creates the znode may do everything, by every identity that the connection has added.
    /// A server refuses it with [`crate::ErrorKind::InvalidAcl`] if there is none.
    pub const fn creator_all() -> Self {
        Self(Cow::Borrowed(&CREATOR_ALL))
    }

    /// The entries given. A server refuses an empty list.
    pub fn of(entries: impl IntoIterator<Item = Ace>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// The entries.
    pub fn entries(&self) -> &[Ace] {
        &self.0
    }
}

/// Everybody may do everything, as with every client of old.
impl Default for Acl {
    fn default() -> Self {
        Self::open()
    }
}
