use bytes::Bytes;
use tokio::sync::watch;
use zk_client::{Acl, Client, Error, SessionId, Zxid};

use super::node::{Conflict, KeepNode, Kept};
use crate::cache::{CacheState, CachedNode, Children, Derived};
use crate::kernel::chance::unique;
use crate::kernel::parents::join;

/// A group of processes that know each other.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let group = zk_recipes::Group::new(&zk, "/workers");
/// let me = group.join("worker-1", "10.0.0.1:7000");
/// let mut members = group.members();
/// members.ready().await?;
/// for member in members.now() {
///     println!("{} at {:?}", member.id, member.payload);
/// }
/// me.close().await;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// Members are those that the server has, oneself included only if it is there. A member heals itself: see
/// [`KeepNode`].
///
/// # Layout
/// See [`GroupFormat`].
///
/// # Source
/// Apache Curator 5, `GroupMember`; kazoo 2, `Party`, `ShallowParty`.
#[derive(Debug, Clone)]
pub struct Group {
    client: Client,
    path: String,
    format: GroupFormat,
    acl: Option<Acl>,
    conflict: Conflict,
}

/// In what names members are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum GroupFormat {
    /// `<path>/<id>`, the payload as data: Curator's `GroupMember`.
    #[default]
    Curator,
    /// `<path>/<uuid>__party__`, the id as data, no payload: kazoo's `Party`.
    Party,
    /// `<path>/<uuid>-<id>`, no payload: kazoo's `ShallowParty`.
    ShallowParty,
}

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub id: String,
    /// What it has to say; empty by kazoo's formats.
    pub payload: Bytes,
    /// Its session.
    pub session: SessionId,
    /// The transaction with which it joined.
    pub joined: Zxid,
}

/// Who is in a group, followed: see [`Group::members`].
#[derive(Debug)]
pub struct Membership {
    derived: Derived<Vec<Member>>,
    members: watch::Receiver<Vec<Member>>,
}

impl Group {
    /// A group at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            format: GroupFormat::default(),
            acl: None,
            conflict: Conflict::default(),
        }
    }

    /// In what names members are kept, [`GroupFormat::Curator`] by default.
    #[must_use]
    pub fn format(mut self, format: GroupFormat) -> Self {
        self.format = format;
        self
    }

    /// Who may do what with members' znodes, instead of the client's default.
    #[must_use]
    pub fn acl(mut self, acl: Acl) -> Self {
        self.acl = Some(acl);
        self
    }

    /// What to do when somebody else has the id already.
    #[must_use]
    pub fn conflict(mut self, conflict: Conflict) -> Self {
        self.conflict = conflict;
        self
    }

    /// Joins, in the background. With kazoo's formats, which have none, the payload is left out.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join(&self, id: &str, payload: impl Into<Bytes>) -> Kept {
        let guid = unique().as_simple().to_string();
        let (name, data) = match self.format {
            GroupFormat::Curator => (id.to_owned(), payload.into()),
            GroupFormat::Party => (format!("{guid}__party__"), Bytes::from(id.to_owned())),
            GroupFormat::ShallowParty => (format!("{guid}-{id}"), Bytes::from(id.to_owned())),
        };
        let keep = KeepNode::new(&self.client, join(&self.path, &name), data);
        let keep = match &self.acl {
            Some(acl) => keep.acl(acl.clone()),
            None => keep,
        };
        keep.conflict(self.conflict).start()
    }

    /// Follows who is there, without joining.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn members(&self) -> Membership {
        let format = self.format;
        let derived = Derived::start(&self.client, &self.path, move |children| {
            listed(children, format)
        });
        let members = derived.watch();
        Membership { derived, members }
    }
}

impl Membership {
    /// Waits until all members that were there are known.
    ///
    /// # Errors
    /// As [`Cache::ready`](crate::Cache::ready).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&mut self) -> Result<(), Error> {
        self.derived.ready().await
    }

    /// Who is there, by id: the latest value, and a way to wait for the next.
    pub fn watch(&self) -> watch::Receiver<Vec<Member>> {
        self.members.clone()
    }

    /// Who is there now, by id.
    pub fn now(&self) -> Vec<Member> {
        self.members.borrow().clone()
    }

    /// Waits until somebody comes, goes, or says something else: for ever once the client is closed, which
    /// [`Membership::state`] tells.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Vec<Member> {
        // The sender lives as long as this.
        self.members.changed().await.ok();
        self.now()
    }

    /// How far it is to be relied on.
    pub fn state(&self) -> watch::Receiver<CacheState> {
        self.derived.state()
    }
}

fn listed(children: &Children, format: GroupFormat) -> Vec<Member> {
    let mut members: Vec<_> = children
        .iter()
        .filter_map(|(name, node)| member(name, node, format))
        .collect();
    members.sort_by(|a, b| (&a.id, a.joined).cmp(&(&b.id, b.joined)));
    members
}

/// The member that a znode stands for; `None` for anything else.
fn member(name: &str, node: &CachedNode, format: GroupFormat) -> Option<Member> {
    let (id, payload) = match format {
        GroupFormat::Curator => (name.to_owned(), node.data.clone()),
        GroupFormat::Party => {
            if !name.contains("__party__") {
                return None;
            }
            (
                String::from_utf8_lossy(&node.data).into_owned(),
                Bytes::new(),
            )
        }
        GroupFormat::ShallowParty => {
            let (_, id) = name.split_once('-')?;
            (id.to_owned(), Bytes::new())
        }
    };
    Some(Member {
        id,
        payload,
        session: node.stat.ephemeral_owner,
        joined: node.stat.czxid,
    })
}
