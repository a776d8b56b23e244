//! Whole trees: listing and moving.

use std::collections::VecDeque;

use futures_util::future::join_all;

use zk_proto::Acl as Ace;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Outcome};

/// Znodes listed at once by [`ListTree::next`].
const LIST_BATCH: usize = 64;

impl Client {
    /// Lists a znode and everything below it, ancestors before their descendants, level by level. Not
    /// atomic: what others create or delete meanwhile may be told or not.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), zk_client::Error> {
    /// let mut paths = zk.list_tree("/app");
    /// while let Some(path) = paths.next().await {
    ///     println!("{}", path?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_tree(&self, path: &str) -> ListTree<'_> {
        let listing = VecDeque::from([path.to_owned()]);
        ListTree {
            client: self,
            listing,
            ready: VecDeque::new(),
        }
    }

    /// Moves a znode without children to another path: creates it there with its data and ACL and
    /// deletes it here, both or neither. Its stat begins anew, and it is persistent, whatever it was.
    ///
    /// # Errors
    /// [`ErrorKind::NoNode`]; [`ErrorKind::NodeExists`] at the other path; [`ErrorKind::NotEmpty`];
    /// [`ErrorKind::BadVersion`] if it was changed meanwhile; [`ErrorKind::NoAuth`], also where its ACL
    /// has digests and may only be read with them masked: nobody could use a copy of them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it at the one path or the other.
    pub async fn move_node(&self, from: &str, to: &str) -> Result<(), Error> {
        let missing = || {
            Error::new(ErrorKind::NoNode, Outcome::Rejected)
                .with_op(zk_proto::OpCode::GetData)
                .with_path(Some(from.into()))
        };
        let node = self.get(from).await?.ok_or_else(missing)?;
        let (acl, _) = self.get_acl(from).await?.ok_or_else(missing)?;
        if acl.entries().iter().any(is_masked) {
            let error = Error::new(ErrorKind::NoAuth, Outcome::Rejected)
                .with_op(zk_proto::OpCode::GetAcl)
                .with_path(Some(from.into()));
            return Err(error.with_detail("the server shows the digests of the ACL masked"));
        }
        self.transaction()
            .create_with(to, node.data, super::CreateMode::Persistent, Some(&acl))
            .delete(from, node.stat.version)
            .await
            .map(drop)
    }
}

/// Whether a server has left out the digest, as it does for those who may not administer the znode.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `FinalRequestProcessor#handleGetACLRequest`.
fn is_masked(ace: &Ace) -> bool {
    let (scheme, id) = (ace.id.scheme.as_deref(), ace.id.id.as_deref());
    scheme == Some("digest") && id.is_some_and(|id| id.ends_with(":x"))
}

/// See [`Client::list_tree`].
#[derive(Debug)]
pub struct ListTree<'a> {
    client: &'a Client,
    /// Found, and their children not listed yet.
    listing: VecDeque<String>,
    /// Listed, or not to be listed, and not told yet.
    ready: VecDeque<Result<String, Error>>,
}

impl ListTree<'_> {
    /// The next path; `None` after the last.
    ///
    /// # Errors
    /// [`ErrorKind::NoAuth`] without the permission to list something; each failure is told, and the
    /// listing goes on after it.
    ///
    /// # Cancel safety
    /// Dropping the future leaves out nothing: the next one lists the same again.
    pub async fn next(&mut self) -> Option<Result<String, Error>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.listing.is_empty() {
                return None;
            }
            // They stay until they are listed: the future may be dropped meanwhile.
            let batch: Vec<_> = self.listing.iter().take(LIST_BATCH).cloned().collect();
            let lists = join_all(
                batch
                    .iter()
                    .map(|path| async { self.client.children(path).await }),
            )
            .await;
            self.listing.drain(..batch.len());
            for (path, children) in batch.iter().zip(lists) {
                match children {
                    Ok(None) => {}
                    Ok(Some(children)) => {
                        let base = if path == "/" { "" } else { path.as_str() };
                        self.listing
                            .extend(children.iter().map(|name| format!("{base}/{name}")));
                        self.ready.push_back(Ok(path.clone()));
                    }
                    Err(err) => self.ready.push_back(Err(err)),
                }
            }
        }
    }
}
