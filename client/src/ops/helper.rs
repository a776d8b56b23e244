//! What takes several requests: compare-and-set, whole paths, whole trees.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::data::Node;
use crate::acl::Acl;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Outcome};

/// Children deleted at once by [`Client::delete_tree`].
const DELETE_BATCH: usize = 128;

/// What [`Client::update`] is to do with what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Set the data; create the znode if there is none.
    Set(Bytes),
    /// Delete the znode; nothing to do if there is none.
    Delete,
    /// Leave it as it is.
    Keep,
}

/// What came of [`Client::update`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// The change was made to the very state that the closure saw.
    Done,
    /// The closure wanted no change.
    Kept,
    /// The answer to the change was lost, and what is there afterwards is what it would have made:
    /// nearly certainly it was made, unless somebody else made the same at the same time.
    Probable,
}

impl Client {
    /// Changes a znode depending on what it is: reads it, asks the closure what to do, and does it
    /// only if the znode is still what the closure saw; else begins anew. A znode that does not exist
    /// is `None`, and created, persistent, with the client's default ACL.
    ///
    /// ```no_run
    /// # use zk_client::{Change, Client, Error};
    /// # async fn example(zk: Client) -> Result<(), Error> {
    /// zk.update("/counter", |node| {
    ///     let count = node.and_then(|node| std::str::from_utf8(&node.data).ok()?.parse().ok());
    ///     Change::Set((count.unwrap_or(0u64) + 1).to_string().into())
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::get`], [`Client::set`], [`Client::create`] and [`Client::delete`] other
    /// than what says that the znode has changed. When the answer to a change was lost and what is
    /// there afterwards is neither what was there before nor what the change makes, the error of the
    /// change, whose outcome is unknown.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the znode as it was or as the closure wanted it.
    pub async fn update(
        &self,
        path: &str,
        mut change: impl FnMut(Option<&Node>) -> Change,
    ) -> Result<Update, Error> {
        let mut seen = self.get(path).await?;
        loop {
            let wanted = change(seen.as_ref());
            let result = match (&wanted, &seen) {
                (Change::Keep, _) | (Change::Delete, None) => return Ok(Update::Kept),
                (Change::Set(data), None) => self.create(path, data.clone()).await.map(|_| ()),
                (Change::Set(data), Some(node)) => self
                    .set(path, data.clone())
                    .version(node.stat.version)
                    .await
                    .map(|_| ()),
                (Change::Delete, Some(node)) => self.delete(path).version(node.stat.version).await,
            };
            let error = match result {
                Ok(()) => return Ok(Update::Done),
                Err(error) => error,
            };
            let has_changed = matches!(
                error.kind(),
                ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode
            );
            let is_lost = error.outcome() == Outcome::Unknown && error.is_retryable();
            // A missing parent is no change of the znode.
            let is_orphan = error.kind() == ErrorKind::NoNode && seen.is_none();
            if is_orphan || !(has_changed || is_lost) {
                return Err(error);
            }
            if !is_lost {
                seen = self.get(path).await?;
                continue;
            }
            // The change may have been made, or be made yet: whatever a server has of it is settled
            // by a sync.
            let settled = match self.sync(path).await {
                Ok(()) => self.get(path).await,
                Err(error) => Err(error),
            };
            // What the look found wrong says nothing of the change, whose outcome stays unknown.
            let Ok(found) = settled else {
                return Err(error);
            };
            match (&wanted, &seen, &found) {
                (Change::Set(data), Some(old), Some(new))
                    if new.stat.version.get() == old.stat.version.get().wrapping_add(1)
                        && new.stat.czxid == old.stat.czxid
                        && new.data == *data =>
                {
                    return Ok(Update::Probable);
                }
                (Change::Set(data), None, Some(new))
                    if new.stat.version.get() == 0 && new.data == *data =>
                {
                    return Ok(Update::Probable);
                }
                (Change::Delete, Some(_), None) => return Ok(Update::Probable),
                (_, None, None) => seen = found,
                (_, Some(old), Some(new))
                    if old.stat.mzxid == new.stat.mzxid && old.stat.czxid == new.stat.czxid =>
                {
                    seen = found;
                }
                _ => return Err(error),
            }
        }
    }

    /// Creates a znode and its missing ancestors, persistent and empty; those that exist stay as they
    /// are.
    ///
    /// # Errors
    /// Those of [`Client::create`] other than [`ErrorKind::NodeExists`] and [`ErrorKind::NoNode`]:
    /// what somebody deletes meanwhile is created again. [`ErrorKind::Timeout`] if that goes on for as
    /// long as an operation may take.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of them.
    pub async fn ensure_path(&self, path: &str) -> Result<(), Error> {
        self.ensure_path_with(path, None).await
    }

    pub(crate) async fn ensure_path_with(&self, path: &str, acl: Option<Acl>) -> Result<(), Error> {
        // Under a chroot the chroot itself may be missing: then the whole path is made from the root.
        let full = super::call::full_path(self, zk_proto::OpCode::Create, path)?;
        let begun = Instant::now();
        loop {
            match self.try_path(&full, acl.as_ref()).await {
                // Somebody deleted an ancestor between.
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    if begun.elapsed() >= self.config().timeout {
                        let error = Error::new(ErrorKind::Timeout, Outcome::Rejected)
                            .with_op(zk_proto::OpCode::Create)
                            .with_path(Some(path.into()));
                        return Err(error.with_detail("it is deleted as often as it is created"));
                    }
                }
                result => return result,
            }
        }
    }

    /// One attempt to create what is missing of a path.
    async fn try_path(&self, full: &str, acl: Option<&Acl>) -> Result<(), Error> {
        let root = self.root();
        // The common case first: all of it is there.
        if root.exists(full).await.is_ok_and(|stat| stat.is_some()) {
            return Ok(());
        }
        let ends = full
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .chain([full.len()]);
        let ends: Vec<_> = ends.filter(|end| *end > 1).collect();
        // One behind the other, without waiting: each finds what the one before has made.
        let attempts = ends
            .iter()
            .filter_map(|end| full.get(..*end))
            .map(|ancestor| {
                let create = root.create(ancestor, Bytes::new());
                let create = match acl {
                    Some(acl) => create.acl(acl.clone()),
                    None => create.acl(self.config().default_acl.clone()),
                };
                async move { create.if_absent().await }
            });
        let mut results = join_all(attempts).await;
        // An ancestor that exists but may not be written below says so itself; only the last counts.
        match results.pop() {
            Some(Err(last)) => Err(results.into_iter().find_map(Result::err).unwrap_or(last)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Deletes a znode and everything below it, children first. Tells how many znodes were deleted.
    /// Not atomic: others may see it half done, and what they create meanwhile is deleted too.
    ///
    /// # Errors
    /// [`ErrorKind::NoAuth`] without the permission to list or delete something; what was deleted
    /// before stays deleted.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it half done.
    pub async fn delete_tree(&self, path: &str) -> Result<usize, Error> {
        let mut deleted = 0;
        // Each with whether its children were dealt with already.
        let mut open = vec![(path.to_owned(), false)];
        while let Some((path, is_listed)) = open.pop() {
            if is_listed {
                match self.delete(&path).if_exists().await {
                    Ok(found) => deleted += usize::from(found),
                    // Somebody created a child meanwhile.
                    Err(err) if err.kind() == ErrorKind::NotEmpty => open.push((path, false)),
                    Err(err) => return Err(err),
                }
                continue;
            }
            let Some(children) = self.children(&path).await? else {
                continue;
            };
            open.push((path.clone(), true));
            let base = if path == "/" { "" } else { path.as_str() };
            let paths: Vec<_> = children
                .iter()
                .map(|name| format!("{base}/{name}"))
                .collect();
            // Most children are leaves: those go at once, without being listed first.
            for batch in paths.chunks(DELETE_BATCH) {
                let attempts = batch
                    .iter()
                    .map(|path| async move { (path, self.delete(path).if_exists().await) });
                for (path, result) in join_all(attempts).await {
                    match result {
                        Ok(found) => deleted += usize::from(found),
                        Err(err) if err.kind() == ErrorKind::NotEmpty => {
                            open.push((path.clone(), false));
                        }
                        Err(err) => return Err(err),
                    }
                }
            }
        }
        Ok(deleted)
    }

    /// Waits until a znode exists and reads it.
    ///
    /// # Errors
    /// Those of [`Client::get`]; [`ErrorKind::Timeout`] if it does not appear in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_for(&self, path: &str, within: Duration) -> Result<Node, Error> {
        let mut states = self.observe(path);
        let appears = async {
            loop {
                match states.next().await {
                    Some(Ok(Some(node))) => return Ok(node),
                    Some(Ok(None)) => {}
                    Some(Err(err)) => return Err(err),
                    None => return Err(Error::new(ErrorKind::Closed, Outcome::NotSent)),
                }
            }
        };
        match tokio::time::timeout(within, appears).await {
            Ok(result) => result,
            Err(_) => Err(self.explain(
                Error::new(ErrorKind::Timeout, Outcome::NotSent)
                    .with_op(zk_proto::OpCode::Exists)
                    .with_path(Some(path.into())),
            )),
        }
    }
}
