//! Znodes of an attempt: created so that none is ever left behind.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use zk_client::{
    ConnEvents, CreateMode, Created, Error, ErrorKind, Outcome, Session, Stat, TransactionResult,
    Version, host,
};

use super::marks::Marks;
use super::options::Options;
use super::parents::{Parents, join, make_parents, name};
use super::retry::{Backoff, settled};

/// How long is tried to delete a znode while no server can be reached. Far beyond any session timeout:
/// after it the znode is gone with its session anyway.
const CLEAN_MAX: Duration = Duration::from_mins(10);

/// The start of a name that nobody else has: `_c_<uuid>-`.
///
/// # Source
/// Apache Curator 5, `ProtectedUtils`.
pub(crate) fn protected(guid: Uuid, base: &str) -> String {
    format!("_c_{}-{base}", guid.as_hyphenated())
}

/// What is to be created.
#[derive(Debug, Clone)]
pub(crate) struct Stake<'a> {
    pub(crate) parent: &'a str,
    /// Names, each with a part that nobody else has but by [`Claim::stake_named`], and without the number
    /// that the server puts behind it. Several are created together or not at all.
    pub(crate) names: Vec<String>,
    pub(crate) mode: CreateMode,
    pub(crate) data: Bytes,
}

/// Ephemeral znodes that one attempt created or may have created. They are deleted when it is dropped,
/// whatever it was doing; that goes on in the background until they are gone or the session is over.
#[derive(Debug)]
pub(crate) struct Claim {
    session: Session,
    /// Where to clean up: a claim may be dropped outside of a runtime.
    runtime: Handle,
    marks: Marks,
    /// Paths of the znodes, once known.
    paths: Vec<String>,
    /// Stat of the first.
    stat: Stat,
    listing: Option<Listing>,
    is_armed: bool,
    /// What is being deleted, for who wants to wait for that.
    cleanings: TaskTracker,
}

/// What is looked at together with a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Nowhere,
    /// At the directory, behind it.
    Behind,
    /// At who has the names, before it.
    Before,
}

/// The directory of a claim as it was right behind the creation of the znodes.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) names: Vec<String>,
    /// What became of the connection since before it was asked for.
    pub(crate) events: ConnEvents,
}

impl Claim {
    /// Creates znodes, and the directory if it is missing.
    ///
    /// A creation whose answer was lost is looked for behind a sync: the server that the client then
    /// talks to may be behind the one that has done it. What was still on its way cannot be done any
    /// more, because the session has moved.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn stake(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
    ) -> Result<Self, Error> {
        Self::stake_with(session, options, stake, Looks::Nowhere, &TaskTracker::new()).await
    }

    /// As [`Claim::stake`], and lets deletions in the background be waited for.
    pub(crate) async fn stake_tracked(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
        cleanings: &TaskTracker,
    ) -> Result<Self, Error> {
        Self::stake_with(session, options, stake, Looks::Nowhere, cleanings).await
    }

    /// As [`Claim::stake_tracked`], and asks for the [`Listing`] in the same turn.
    pub(crate) async fn stake_in_line(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
        cleanings: &TaskTracker,
    ) -> Result<Self, Error> {
        Self::stake_with(session, options, stake, Looks::Behind, cleanings).await
    }

    /// As [`Claim::stake_tracked`], for names that others of the session may have had before.
    pub(crate) async fn stake_named(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
        cleanings: &TaskTracker,
    ) -> Result<Self, Error> {
        Self::stake_with(session, options, stake, Looks::Before, cleanings).await
    }

    async fn stake_with(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
        looks: Looks,
        cleanings: &TaskTracker,
    ) -> Result<Self, Error> {
        let mut claim = Self {
            session: session.clone(),
            runtime: Handle::current(),
            marks: Marks {
                parent: stake.parent.to_owned(),
                names: stake.names,
                is_sequential: stake.mode.is_sequential(),
                others: Vec::new(),
            },
            paths: Vec::new(),
            stat: Stat::default(),
            listing: None,
            is_armed: false,
            cleanings: cleanings.clone(),
        };
        let mut backoff = Backoff::new();
        loop {
            if looks == Looks::Before {
                // There is nothing to clean up yet, or any more.
                claim.is_armed = false;
                claim.marks.note_others(session).await?;
            }
            claim.is_armed = true;
            let created = if looks == Looks::Behind {
                claim
                    .create_and_list(options, stake.mode, &stake.data)
                    .await
            } else {
                claim.create(options, stake.mode, &stake.data).await
            };
            let error = match created {
                Ok(()) => return Ok(claim),
                Err(error) => error,
            };
            match error.outcome() {
                Outcome::Rejected if error.kind() == ErrorKind::NoNode => {
                    if options.parents == Parents::MustExist {
                        claim.is_armed = false;
                        return Err(error);
                    }
                    let acl = options.parent_acl.as_ref();
                    if let Err(error) =
                        make_parents(session, stake.parent, options.parents, acl).await
                    {
                        claim.is_armed = false;
                        return Err(error);
                    }
                }
                Outcome::Rejected | Outcome::NotSent if error.is_retryable() => {
                    backoff.pause().await;
                }
                Outcome::Rejected | Outcome::NotSent => {
                    claim.is_armed = !claim.paths.is_empty();
                    return Err(error);
                }
                Outcome::Unknown if error.is_session_fatal() => return Err(error),
                Outcome::Unknown => {
                    if claim.recover().await? {
                        return Ok(claim);
                    }
                    // To look has waited for a connection that was lost; a server that answers so did not.
                    if !error.is_retryable() {
                        backoff.pause().await;
                    }
                }
            }
        }
    }

    /// As [`Claim::create`]. What is asked for together is done in that order; a list that was not, or has
    /// been asked for again, may lack the own names, and is of no use then.
    async fn create_and_list(
        &mut self,
        options: &Options,
        mode: CreateMode,
        data: &Bytes,
    ) -> Result<(), Error> {
        let (session, parent) = (self.session.clone(), self.marks.parent.clone());
        let events = session.events();
        let list = session.children(&parent).into_future();
        let (created, names) = tokio::join!(self.create(options, mode, data), list);
        created?;
        let own = self.own_names();
        let names = names.ok().flatten();
        self.listing = names
            .filter(|names| own.iter().all(|own| names.contains(own)))
            .map(|names| Listing { names, events });
        Ok(())
    }

    async fn create(
        &mut self,
        options: &Options,
        mode: CreateMode,
        data: &Bytes,
    ) -> Result<(), Error> {
        let acl = options.acl.as_ref();
        if let [name] = self.marks.names.as_slice() {
            let path = join(&self.marks.parent, name);
            let create = self.session.create(&path, data.clone()).mode(mode);
            let create = match acl {
                Some(acl) => create.acl(acl.clone()),
                None => create,
            };
            let created = create.await?;
            self.stat = created.stat.unwrap_or_default();
            self.paths = vec![created.path];
        } else {
            let mut transaction = self.session.transaction();
            for name in &self.marks.names {
                let path = join(&self.marks.parent, name);
                transaction = transaction.create_with(&path, data.clone(), mode, acl);
            }
            let results = transaction.await?;
            let created: Vec<_> = results.into_iter().filter_map(created).collect();
            // What a transaction answers as the stat may be void on older servers (ZOOKEEPER-4026).
            let owner = self.session.id();
            let stat = created.first().and_then(|first| first.stat);
            let stat = stat.filter(|stat| stat.ephemeral_owner == owner);
            self.paths = created.into_iter().map(|created| created.path).collect();
            self.stat = match (stat, self.paths.first()) {
                (Some(stat), _) => stat,
                (None, Some(first)) => settled(|| self.session.exists(first))
                    .await?
                    .unwrap_or_default(),
                (None, None) => Stat::default(),
            };
        }
        Ok(())
    }

    /// Looks for what a creation with a lost answer has left. Tells whether all of it is there.
    async fn recover(&mut self) -> Result<bool, Error> {
        let found = self.marks.lookup(&self.session).await?;
        let (own, surplus) = self.marks.matched(found);
        for path in surplus {
            settled(|| delete(&self.session, &path)).await?;
        }
        if own.len() < self.marks.names.len() {
            return Ok(false);
        }
        if let Some((_, stat)) = own.first() {
            self.stat = *stat;
        }
        self.paths = own.into_iter().map(|(path, _)| path).collect();
        Ok(true)
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// What [`Claim::stake_in_line`] found, once.
    pub(crate) fn take_listing(&mut self) -> Option<Listing> {
        self.listing.take()
    }

    /// Paths of the znodes, in the order of their names.
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The first of the paths.
    pub(crate) fn path(&self) -> &str {
        self.paths.first().map_or("", String::as_str)
    }

    /// Names of the znodes, with their numbers.
    pub(crate) fn own_names(&self) -> Vec<String> {
        self.paths
            .iter()
            .map(|path| name(path).to_owned())
            .collect()
    }

    /// Stat of the first as it was created.
    pub(crate) fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Takes a znode in, which may or may not be there.
    pub(crate) fn also(&mut self, path: &str) {
        if !self.paths.iter().any(|known| known == path) {
            self.paths.push(path.to_owned());
        }
    }

    /// Exchanges the znodes for others, which took their place: nothing is deleted.
    pub(crate) fn replace(&mut self, paths: Vec<String>, stat: Stat) {
        self.marks.names = paths.iter().map(|path| name(path).to_owned()).collect();
        self.paths = paths;
        self.stat = stat;
    }

    /// Lets go of the znodes without deleting them: somebody else looks after them. Their first path.
    pub(crate) fn into_path(mut self) -> String {
        self.is_armed = false;
        self.path().to_owned()
    }

    /// Deletes the znodes and waits until they are gone.
    ///
    /// # Cancel safety
    /// The deletion goes on.
    pub(crate) async fn release(mut self) -> Result<(), Error> {
        match self.clean() {
            Some(task) => match task.await {
                Ok(result) => result,
                // The runtime is going down, and the session with it.
                Err(_) => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Begins to delete the znodes in the background. `with` lives until that is done.
    pub(crate) fn clean_with(mut self, with: impl Send + 'static) {
        if let Some(task) = self.clean() {
            host::spawn_on(&self.runtime, async move {
                // What went wrong was told where it did.
                let _told = task.await;
                drop(with);
            });
        }
    }

    fn clean(&mut self) -> Option<tokio::task::JoinHandle<Result<(), Error>>> {
        if !std::mem::replace(&mut self.is_armed, false) || self.session.is_over() {
            return None;
        }
        let session = self.session.clone();
        let (marks, paths) = (
            std::mem::take(&mut self.marks),
            std::mem::take(&mut self.paths),
        );
        let cleaning = self.cleanings.token();
        Some(host::spawn_on(&self.runtime, async move {
            let _cleaning = cleaning;
            let cleaning = clean(&session, &marks, paths);
            let Ok(result) = timeout(CLEAN_MAX, cleaning).await else {
                tracing::warn!(path = %marks.parent, "own znodes were not deleted: no server answers");
                return Ok(());
            };
            match result {
                // Gone with the session.
                Err(error) if error.is_session_fatal() => Ok(()),
                Err(error) => {
                    tracing::error!(path = %marks.parent, err = %error, "own znodes cannot be deleted");
                    Err(error)
                }
                Ok(()) => Ok(()),
            }
        }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It goes on by itself.
        let _task = self.clean();
    }
}

/// The znode that an operation of a transaction created.
pub(crate) fn created(result: TransactionResult) -> Option<Created> {
    if let TransactionResult::Created(created) = result {
        Some(created)
    } else {
        None
    }
}

async fn clean(session: &Session, marks: &Marks, paths: Vec<String>) -> Result<(), Error> {
    let paths = if paths.is_empty() {
        let found = marks.lookup(session).await?;
        found.into_iter().map(|(path, _)| path).collect()
    } else {
        paths
    };
    delete_all(session, &paths).await
}

/// Deletes own znodes, together if possible: those who watch see all of them go at once.
pub(crate) async fn delete_all(session: &Session, paths: &[String]) -> Result<(), Error> {
    if paths.len() > 1 {
        let mut transaction = session.transaction();
        for path in paths {
            transaction = transaction.delete(path, Version::ANY);
        }
        match transaction.await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_session_fatal() => return Err(error),
            // One of them is gone, or the answer was lost: one by one then.
            Err(_) => {}
        }
    }
    for path in paths {
        settled(|| delete(session, path)).await?;
    }
    Ok(())
}

async fn delete(session: &Session, path: &str) -> Result<bool, Error> {
    session.delete(path).idempotent().if_exists().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_names_are_those_of_curator() {
        let guid = Uuid::from_u128(0x5f2c_9a00_0000_4000_8000_0000_0000_0001);
        let name = protected(guid, "lock-");
        assert_eq!(name, "_c_5f2c9a00-0000-4000-8000-000000000001-lock-");
        assert_eq!(name.len(), 40 + "lock-".len());
    }
}
