use std::time::Duration;

use serde::{Deserialize, Serialize};
use zk_client::{Client, CreateMode, Error, ErrorKind, Outcome, Session, Version, host};

use super::{BarrierError, by};
use crate::kernel::options::{Options, options};
use crate::kernel::parents::{join, make_parents};
use crate::kernel::retry::{Backoff, is_session_over, settled};

/// A barrier for rounds without end, whose members may crash and restart: a member that comes back with
/// its own id is counted once, and who is late for one round is not let into the next by its flag.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let barrier = zk_recipes::GenerationBarrier::new(&zk, "/rounds", 3);
/// loop {
///     let tripped = barrier.wait("worker-1").await?;
///     println!("round {} begins", tripped.generation());
/// #   break;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Layout
/// `<path>/state`, persistent, JSON `{"gen":1,"n":3,"counted":["a","b","c"]}`, the ids that the generation
/// before has begun with; `<path>/gen-<gen>/m-<id>`, ephemeral, one per member of a generation;
/// `<path>/gen-<gen>/ready`, persistent, once it has tripped, the ids counted as data. Only this crate knows it.
#[derive(Debug, Clone)]
pub struct GenerationBarrier {
    path: String,
    options: Options,
    count: usize,
}

/// What the znode `state` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The generation that members gather for.
    r#gen: u64,
    /// How many it takes.
    n: usize,
    /// Ids that were counted for the generation before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counted: Vec<String>,
}

/// A round that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tripped {
    generation: u64,
}

impl Tripped {
    /// The round's number: it grows by one with each.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl GenerationBarrier {
    /// A barrier at this path. `count` is how many members it takes if nobody has set it up yet; after
    /// that the znode says it, see [`GenerationBarrier::set_count`].
    pub fn new(client: &Client, path: impl Into<String>, count: usize) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
            count,
        }
    }

    options!(options);

    /// Joins the generation that gathers and waits until it is complete.
    ///
    /// The id must be the member's own: two that use it at a time count as one.
    ///
    /// # Errors
    /// [`BarrierError::Mismatch`] if the state is not readable, or the id not a legal name;
    /// [`BarrierError::Client`]. A session that expires is no error: the member joins anew.
    ///
    /// # Cancel safety
    /// Dropping the future takes the member out, in the background, if the round has not begun.
    pub async fn wait(&self, id: &str) -> Result<Tripped, BarrierError> {
        if id.is_empty() || id.contains('/') {
            return Err(BarrierError::Mismatch {
                path: self.path.clone(),
                what: format!("{id:?} cannot be the id of a member"),
            });
        }
        // The generation joined, once one is: if it trips while the session ends, this member may be in it.
        let mut joined = None;
        loop {
            match self.attempt(id, &mut joined).await {
                Ok(Some(tripped)) => return Ok(tripped),
                Ok(None) => {}
                Err(BarrierError::Client { ref source, .. })
                    if is_session_over(source) && !self.options.client.is_closed() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`GenerationBarrier::wait`], for so long.
    ///
    /// # Errors
    /// [`BarrierError::Timeout`]; those of [`GenerationBarrier::wait`].
    ///
    /// # Cancel safety
    /// As [`GenerationBarrier::wait`].
    pub async fn wait_within(&self, id: &str, within: Duration) -> Result<Tripped, BarrierError> {
        by(&self.path, within, self.wait(id)).await
    }

    /// Changes how many members it takes. A generation that gathers goes on with the new number.
    ///
    /// # Errors
    /// [`BarrierError::Mismatch`] if the state is not readable; [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// It may be changed or not.
    pub async fn set_count(&self, count: usize) -> Result<(), BarrierError> {
        let client = |error| BarrierError::client(&self.path, error);
        let mut backoff = Backoff::new();
        loop {
            let session = self.options.client.session().await.map_err(client)?;
            let (state, version) = self.state(&session).await?;
            let wanted = State { n: count, ..state };
            let set = session
                .set(&self.state_path(), encode(&wanted))
                .version(version)
                .await;
            match set {
                Ok(_) => return Ok(()),
                // Setting the same again does no harm.
                Err(error) if error.kind() == ErrorKind::BadVersion || error.is_retryable() => {
                    backoff.pause().await;
                }
                Err(error) => return Err(client(error)),
            }
        }
    }

    fn state_path(&self) -> String {
        join(&self.path, "state")
    }

    fn generation_path(&self, generation: u64) -> String {
        join(&self.path, &format!("gen-{generation}"))
    }

    /// Reads the state, and makes it if there is none.
    async fn state(&self, session: &Session) -> Result<(State, Version), BarrierError> {
        let client = |error| BarrierError::client(&self.path, error);
        let path = self.state_path();
        loop {
            if let Some(node) = settled(|| session.get(&path)).await.map_err(client)? {
                let state =
                    serde_json::from_slice(&node.data).map_err(|error| BarrierError::Mismatch {
                        path: path.clone(),
                        what: format!("is no state of a barrier: {error}"),
                    })?;
                return Ok((state, node.stat.version));
            }
            let acl = self.options.parent_acl.as_ref();
            // The state must outlive its members.
            let parents = match self.options.parents {
                crate::Parents::Container | crate::Parents::Persistent => {
                    crate::Parents::Persistent
                }
                crate::Parents::MustExist => crate::Parents::MustExist,
            };
            let made = make_parents(session, &self.path, parents, acl).await;
            made.map_err(client)?;
            let state = State {
                r#gen: 0,
                n: self.count,
                counted: Vec::new(),
            };
            let create = settled(|| session.create(&path, encode(&state)).if_absent()).await;
            create.map_err(client)?;
        }
    }

    /// One attempt, in one session; `None` to begin anew.
    async fn attempt(
        &self,
        id: &str,
        joined: &mut Option<u64>,
    ) -> Result<Option<Tripped>, BarrierError> {
        let client = |error| BarrierError::client(&self.path, error);
        let session = self.options.client.session().await.map_err(client)?;
        settled(|| session.sync(&self.path)).await.map_err(client)?;
        let (state, version) = self.state(&session).await?;
        if let Some(generation) = *joined
            && generation < state.r#gen
        {
            let is_in = self.has_counted(&session, id, generation, &state).await;
            let is_in = is_in.map_err(client)?;
            // The own znode went with its session, perhaps as the last one.
            let barrier = self.clone();
            host::spawn(async move { barrier.tidy(generation).await });
            if is_in {
                return Ok(Some(Tripped { generation }));
            }
            *joined = None;
        }
        let generation = state.r#gen;
        let directory = self.generation_path(generation);
        let own = join(&directory, &format!("m-{id}"));
        let acl = self.options.parent_acl.as_ref();
        let parents = self.options.parents;
        make_parents(&session, &directory, parents, acl)
            .await
            .map_err(client)?;
        let mut may_be_there = false;
        let member = Member::join(self, &session, &own, version, &mut may_be_there).await;
        if may_be_there {
            // If this session ends now, the others may have counted it all the same.
            *joined = Some(generation);
        }
        let Some(member) = member.map_err(client)? else {
            return Ok(None);
        };
        *joined = Some(generation);
        let ready = join(&directory, "ready");
        loop {
            let (own_stat, changed) = settled(|| session.exists(&own).watch())
                .await
                .map_err(client)?;
            match own_stat {
                None => return Ok(None),
                Some(stat) if stat.ephemeral_owner != session.id() => {
                    return Err(BarrierError::Mismatch {
                        path: own,
                        what: "another member has taken the id over".to_owned(),
                    });
                }
                Some(_) => {}
            }
            let (stat, raised) = settled(|| session.exists(&ready).watch())
                .await
                .map_err(client)?;
            if stat.is_some() {
                break;
            }
            let (state, version) = self.state(&session).await?;
            if state.r#gen > generation {
                break;
            }
            if state.r#gen < generation {
                // Somebody deleted the state, and rounds are counted anew: nobody else comes here.
                *joined = None;
                return Ok(None);
            }
            let names = settled(|| session.children(&directory))
                .await
                .map_err(client)?;
            let names = names.unwrap_or_default();
            let members = names.iter().filter_map(|name| name.strip_prefix("m-"));
            let mut members: Vec<_> = members.map(str::to_owned).collect();
            members.sort();
            if members.len() >= state.n {
                let next = State {
                    r#gen: generation + 1,
                    counted: members,
                    ..state
                };
                match self.trip(&session, &next, version, &ready).await {
                    Ok(()) => break,
                    // Somebody else did, or changed the number, or deleted something: look again.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode
                        ) || error.is_retryable() =>
                    {
                        continue;
                    }
                    Err(error) => return Err(client(error)),
                }
            }
            let state = self.state_path();
            let (stat, restated) = settled(|| session.exists(&state).watch())
                .await
                .map_err(client)?;
            if stat.is_none_or(|stat| stat.version != version) {
                continue;
            }
            // A member that comes counts itself, one that goes makes it fewer: only the flag matters, the
            // own znode, and how many it takes. All watches end with the session too.
            futures_util::future::select_all([raised, changed, restated]).await;
        }
        member.leave(self, generation);
        Ok(Some(Tripped { generation }))
    }

    async fn tidy(&self, over: u64) {
        if let Err(error) = self.clean_up(over).await
            && !error.is_session_fatal()
        {
            tracing::warn!(over, err = %error, "rounds that are over were not cleaned up");
        }
    }

    /// Deletes what is left of rounds that are over and have no members any more.
    async fn clean_up(&self, over: u64) -> Result<(), Error> {
        let client = &self.options.client;
        let names = settled(|| client.children(&self.path))
            .await?
            .unwrap_or_default();
        let numbers = names
            .iter()
            .filter_map(|name| name.strip_prefix("gen-")?.parse().ok());
        for generation in numbers.filter(|number| *number <= over) {
            let directory = self.generation_path(generation);
            let names = settled(|| client.children(&directory))
                .await?
                .unwrap_or_default();
            if names.iter().any(|name| name.starts_with("m-")) {
                continue;
            }
            let ready = join(&directory, "ready");
            settled(|| client.delete(&ready).idempotent().if_exists()).await?;
            match settled(|| client.delete(&directory).idempotent().if_exists()).await {
                Err(error) if error.kind() == ErrorKind::NotEmpty => {}
                deleted => drop(deleted?),
            }
        }
        Ok(())
    }

    async fn trip(
        &self,
        session: &Session,
        next: &State,
        version: Version,
        ready: &str,
    ) -> Result<(), Error> {
        let acl = self.options.acl.as_ref();
        let transaction = session
            .transaction()
            .set(&self.state_path(), encode(next), version)
            .create_with(ready, encode(&next.counted), CreateMode::Persistent, acl);
        transaction.await.map(drop)
    }

    /// Whether a generation that is over has begun with this member. One that is not known any more has
    /// not: those who were counted may be as many as it takes.
    async fn has_counted(
        &self,
        session: &Session,
        id: &str,
        generation: u64,
        state: &State,
    ) -> Result<bool, Error> {
        let counted = if state.r#gen == generation + 1 {
            state.counted.clone()
        } else {
            let ready = join(&self.generation_path(generation), "ready");
            let node = settled(|| session.get(&ready)).await?;
            let listed = node.and_then(|node| serde_json::from_slice(&node.data).ok());
            listed.unwrap_or_default()
        };
        Ok(counted.iter().any(|counted| counted == id))
    }
}

fn encode(what: &impl Serialize) -> Vec<u8> {
    // Numbers and texts always encode.
    serde_json::to_vec(what).unwrap_or_default()
}

/// The own znode in a generation, deleted when this is dropped.
struct Member {
    session: Session,
    path: String,
    runtime: tokio::runtime::Handle,
    is_armed: bool,
}

impl Member {
    /// Joins, if the state still has this version; `None` if not.
    async fn join(
        barrier: &GenerationBarrier,
        session: &Session,
        path: &str,
        version: Version,
        may_be_there: &mut bool,
    ) -> Result<Option<Self>, Error> {
        let member = Self {
            session: session.clone(),
            path: path.to_owned(),
            runtime: tokio::runtime::Handle::current(),
            is_armed: true,
        };
        let state = barrier.state_path();
        let options = &barrier.options;
        let mut left_over = None;
        loop {
            let mut transaction = session.transaction().check(&state, version);
            if let Some(version) = left_over.take() {
                transaction = transaction.delete(path, version);
            }
            let transaction = transaction.create_with(
                path,
                options.identity.clone(),
                CreateMode::Ephemeral,
                options.acl.as_ref(),
            );
            let Err(error) = transaction.await else {
                return Ok(Some(member));
            };
            *may_be_there |= error.outcome() == Outcome::Unknown;
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "the rest goes by its outcome"
            )]
            match error.kind() {
                ErrorKind::NodeExists => {
                    let Some(stat) = settled(|| session.exists(path)).await? else {
                        continue;
                    };
                    if stat.ephemeral_owner == session.id() {
                        return Ok(Some(member));
                    }
                    // Left by the session before a restart: it is taken over without a gap.
                    left_over = Some(stat.version);
                }
                // The round began, its directory went, or the old znode did.
                ErrorKind::BadVersion | ErrorKind::NoNode => {
                    // With an attempt before, whose answer was lost, it may have begun with us.
                    let mine = if *may_be_there {
                        settled(|| session.exists(path)).await?
                    } else {
                        None
                    };
                    let is_in = mine.is_some_and(|stat| stat.ephemeral_owner == session.id());
                    return Ok(is_in.then_some(member));
                }
                _ if error.outcome() == Outcome::Unknown && !error.is_session_fatal() => {
                    settled(|| session.sync(path)).await?;
                }
                _ if error.is_retryable() => Backoff::new().pause().await,
                _ => return Err(error),
            }
        }
    }

    /// Leaves a round that has begun; the last one takes its znodes away, and those of rounds before
    /// that were left by members that died.
    fn leave(mut self, barrier: &GenerationBarrier, generation: u64) {
        self.is_armed = false;
        let (session, path, barrier) = (self.session.clone(), self.path.clone(), barrier.clone());
        host::spawn_on(&self.runtime, async move {
            // With its session it is gone too.
            settled(|| session.delete(&path).idempotent().if_exists())
                .await
                .ok();
            barrier.tidy(generation).await;
        });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.is_armed, false) || self.session.is_over() {
            return;
        }
        let (session, path) = (self.session.clone(), self.path.clone());
        host::spawn_on(&self.runtime, async move {
            // Behind whatever was on its way: the session keeps the order.
            let synced = settled(|| session.sync(&path)).await;
            let mine = match synced {
                Ok(()) => settled(|| session.exists(&path)).await,
                Err(error) => Err(error),
            };
            if let Ok(Some(stat)) = mine
                && stat.ephemeral_owner == session.id()
            {
                settled(|| session.delete(&path).idempotent().if_exists())
                    .await
                    .ok();
            }
        });
    }
}
