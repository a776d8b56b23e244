use std::ops::Deref;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use zk_client::{Client, CreateMode, Error, ErrorKind, Session, Version, WatchEnd};

use super::{BarrierError, by};
use crate::kernel::attempt::watch_own;
use crate::kernel::chance::unique;
use crate::kernel::claim::{Claim, Stake};
use crate::kernel::clock::now;
use crate::kernel::hold::{Hold, Won};
use crate::kernel::options::{Options, options};
use crate::kernel::parents::{join, name};
use crate::kernel::retry::{is_session_over, settled};
use crate::kernel::sequence::Sequence;
use crate::kernel::token::FencingToken;

/// The flag that says that enough members are there.
const READY: &str = "ready";

/// Lets members in when enough of them are there, and out when all have left.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let barrier = zk_recipes::DoubleBarrier::new(&zk, "/round", 3);
/// let entered = barrier.enter().await?; // with two others
/// entered.leave().await?; // when they leave too
/// # Ok(())
/// # }
/// ```
///
/// For repeated rounds, or members that restart, use a [`super::GenerationBarrier`].
///
/// # Guarantees
/// Nobody is let in before that many members were there at once. Whoever is late is let in although
/// others have left already: only the flag decides, members are not counted again. A member whose session
/// expires is no member any more.
///
/// # Layout
/// Below the path one ephemeral znode per member, `<uuid>` with dashes or without, and the flag `ready`.
/// Children with other names are foreign and do not count.
///
/// # Source
/// Apache Curator 5, `DistributedDoubleBarrier`; kazoo 2, `DoubleBarrier`. kazoo deletes the flag when the
/// first member leaves: next to it, a flag that came and went within a lost connection is not seen.
#[derive(Debug, Clone)]
pub struct DoubleBarrier {
    path: String,
    options: Options,
    count: usize,
    stale: StaleReady,
    linger: Duration,
    /// Members that are being deleted. Invariant: closed, so that it can be waited for.
    leaving: TaskTracker,
}

/// What to do with a flag that is there before any member, left by a round that was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StaleReady {
    /// It lets in, as with Curator and kazoo.
    #[default]
    Pass,
    /// It is deleted.
    Clear,
}

/// A member that was let in. Derefs to [`Hold`], which tells whether it still is a member. Dropped, it
/// leaves without waiting for the others.
#[derive(Debug)]
#[must_use = "a member leaves when it is dropped"]
pub struct Entered {
    held: Option<(Claim, Hold)>,
    barrier: DoubleBarrier,
}

impl DoubleBarrier {
    /// A barrier at this path for that many members. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>, count: usize) -> Self {
        let leaving = TaskTracker::new();
        leaving.close();
        Self {
            path: path.into(),
            options: Options::new(client),
            count,
            stale: StaleReady::default(),
            linger: Duration::ZERO,
            leaving,
        }
    }

    options!(options);

    /// What to do with a flag that is there before any member.
    #[must_use]
    pub fn stale_ready(mut self, stale: StaleReady) -> Self {
        self.stale = stale;
        self
    }

    /// How long a member stays after it has begun to leave: members of Curator that are slow count
    /// members again after they were woken, and would wait for ever.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Waits until enough members are there.
    ///
    /// # Errors
    /// [`BarrierError::Client`]. A session that expires is no error: the member enters anew.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no member behind.
    pub async fn enter(&self) -> Result<Entered, BarrierError> {
        self.enter_noting(&mut false).await
    }

    /// Notes when others may count this member.
    async fn enter_noting(&self, counts: &mut bool) -> Result<Entered, BarrierError> {
        loop {
            let entered = self.attempt(counts).await;
            match entered {
                Ok(Some(entered)) => return Ok(entered),
                Ok(None) => {}
                Err(error) if is_session_over(&error) && !self.options.client.is_closed() => {}
                Err(error) => return Err(BarrierError::client(&self.path, error)),
            }
        }
    }

    /// As [`DoubleBarrier::enter`], for so long.
    ///
    /// # Errors
    /// [`BarrierError::Timeout`]; [`BarrierError::TimedOutAfterTrip`] if the others had counted this member
    /// and went on; [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves no member behind.
    pub async fn enter_within(&self, within: Duration) -> Result<Entered, BarrierError> {
        let mut counts = false;
        let error = match by(&self.path, within, self.enter_noting(&mut counts)).await {
            Err(error @ BarrierError::Timeout { .. }) if counts => error,
            result => return result,
        };
        // Whoever counts this member does it before it is gone. Without a connection there is no telling.
        let _is_gone = timeout(LOOK_MAX, self.leaving.wait()).await;
        let client = &self.options.client;
        let flag = join(&self.path, READY);
        let is_up = client.exists(&flag).timeout(LOOK_MAX).await;
        if is_up.is_ok_and(|stat| stat.is_some()) {
            let path = self.path.clone();
            return Err(BarrierError::TimedOutAfterTrip { path, within });
        }
        Err(error)
    }

    /// `None` if the own znode was deleted by somebody.
    async fn attempt(&self, counts: &mut bool) -> Result<Option<Entered>, Error> {
        // One that is still there from an attempt before would be counted beside the next.
        self.leaving.wait().await;
        let session = self.options.client.session().await?;
        let flag = join(&self.path, READY);
        if self.stale == StaleReady::Clear {
            self.clear(&session, &flag).await?;
        }
        let stake = Stake {
            parent: &self.path,
            names: vec![unique().as_hyphenated().to_string()],
            mode: CreateMode::Ephemeral,
            data: self.options.identity.clone(),
        };
        *counts = true;
        let claim = Claim::stake_tracked(&session, &self.options, stake, &self.leaving).await?;
        let Some(mut watches) = watch_own(&claim).await? else {
            return Ok(None);
        };
        let (stat, raised) = settled(|| session.exists(&flag).watch()).await?;
        if stat.is_none() {
            let members = members(&session, &self.path).await?;
            if members.len() < self.count {
                let end = tokio::select! {
                    biased;
                    end = raised => end,
                    // Whoever deleted the own znode has made others wait for one more: enter anew.
                    _end = select_all(&mut watches), if !watches.is_empty() => {
                        settled(|| session.exists(&flag)).await?;
                        return Ok(None);
                    }
                };
                // Whatever it tells of, the flag was there: it may be gone again.
                if !matches!(end, WatchEnd::Event(_)) {
                    // The session says in which way it is over.
                    settled(|| session.exists(&flag)).await?;
                    return Ok(None);
                }
            } else {
                // The own member makes it enough: say so.
                let acl = self
                    .options
                    .acl
                    .clone()
                    .or_else(|| self.options.parent_acl.clone());
                settled(|| async {
                    let create = session.create(&flag, "");
                    match &acl {
                        Some(acl) => create.acl(acl.clone()).if_absent().await,
                        None => create.if_absent().await,
                    }
                })
                .await?;
            }
        }
        // What happened to the connection before is of no interest to what is won. That it is there, and the
        // session lives, shows now; whether the own znode is there, its watch tells.
        let events = session.events();
        settled(|| session.sync(&flag)).await?;
        let hold = Hold::new(Won {
            session,
            paths: claim.paths().to_vec(),
            token: FencingToken::new(claim.stat().czxid, Sequence::new(0)),
            policy: self.options.policy,
            deletes: true,
            events,
            asked: Vec::new(),
            watches,
        });
        Ok(Some(Entered {
            held: Some((claim, hold)),
            barrier: self.clone(),
        }))
    }

    /// Deletes a flag that nobody is there for.
    async fn clear(&self, session: &Session, flag: &str) -> Result<(), Error> {
        let Some(stat) = settled(|| session.exists(flag)).await? else {
            return Ok(());
        };
        if !members(session, &self.path).await?.is_empty() {
            return Ok(());
        }
        let deleted = settled(|| session.delete(flag).version(stat.version).if_exists()).await;
        match deleted {
            Err(error) if error.kind() == ErrorKind::BadVersion => Ok(()),
            deleted => deleted.map(drop),
        }
    }
}

/// How long leaving may take once time is over, and the look behind it.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Names of the members, in order.
async fn members(session: &Session, path: &str) -> Result<Vec<String>, Error> {
    let names = settled(|| session.children(path))
        .await?
        .unwrap_or_default();
    let mut names: Vec<_> = names.into_iter().filter(|name| is_member(name)).collect();
    names.sort();
    Ok(names)
}

/// Whether it is a UUID, with dashes as Curator writes it or without as kazoo does. What else is there
/// must not make members more than they are, and will never leave.
fn is_member(name: &str) -> bool {
    matches!(name.len(), 32 | 36) && Uuid::try_parse(name).is_ok()
}

/// What a member that leaves has to do, by the members that are there.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// All have left: the flag goes.
    Finish,
    /// Only this member is left.
    GoLast,
    /// Wait for this one, and stay.
    WaitFor(String),
    /// Go, and wait for this one.
    GoAndWaitFor(String),
}

/// The lowest stays until the others have gone, so that each waits for one other only.
fn step(members: &[String], own: &str) -> Step {
    match members {
        [] => Step::Finish,
        [only] if only == own => Step::GoLast,
        [lowest, .., highest] if lowest == own => Step::WaitFor(highest.clone()),
        [lowest, ..] => Step::GoAndWaitFor(lowest.clone()),
    }
}

impl Entered {
    /// Waits until all members have left.
    ///
    /// # Errors
    /// [`BarrierError::Client`] as far as others are concerned. A member whose session has expired has
    /// left, and is not waiting for others any more.
    ///
    /// # Cancel safety
    /// Dropping the future leaves without waiting.
    pub async fn leave(mut self) -> Result<(), BarrierError> {
        let Some((claim, hold)) = self.held.take() else {
            return Ok(());
        };
        hold.end();
        match self.barrier.leave(claim).await {
            Err(error) if is_session_over(&error) => Ok(()),
            result => result.map_err(|error| BarrierError::client(&self.barrier.path, error)),
        }
    }

    /// As [`Entered::leave`], for so long. It has left in any case.
    ///
    /// # Errors
    /// [`BarrierError::Timeout`] if others have not left by then; [`BarrierError::Client`].
    ///
    /// # Cancel safety
    /// As [`Entered::leave`].
    pub async fn leave_within(self, within: Duration) -> Result<(), BarrierError> {
        let path = self.barrier.path.clone();
        by(&path, within, self.leave()).await
    }
}

impl DoubleBarrier {
    async fn leave(&self, claim: Claim) -> Result<(), Error> {
        let session = claim.session().clone();
        let own = name(claim.path()).to_owned();
        let mut claim = Some(claim);
        let stays_until = now() + self.linger;
        loop {
            let members = members(&session, &self.path).await?;
            let step = step(&members, &own);
            let goes = !matches!(step, Step::WaitFor(_));
            if goes && let Some(claim) = claim.take() {
                tokio::time::sleep_until(stays_until.into()).await;
                claim.release().await?;
            }
            match step {
                Step::Finish => {
                    let flag = join(&self.path, READY);
                    settled(|| session.delete(&flag).version(Version::ANY).if_exists()).await?;
                    return Ok(());
                }
                Step::GoLast => {}
                Step::WaitFor(other) | Step::GoAndWaitFor(other) => {
                    let other = join(&self.path, &other);
                    match settled(|| session.get(&other).watch()).await {
                        Ok((_, watch)) => {
                            watch.await;
                        }
                        Err(error) if error.kind() == ErrorKind::NoNode => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

impl Deref for Entered {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        let (_, hold) = self
            .held
            .as_ref()
            .expect("only leaving takes it, and the member with it");
        hold
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some((claim, hold)) = self.held.take() {
            hold.end();
            claim.clean_with(hold);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn members_of_all_programs_are_known_and_what_is_foreign_is_not() {
        assert!(is_member("5f2c9a00-0000-4000-8000-000000000001"));
        assert!(is_member("5f2c9a00000040008000000000000001"));
        for name in [
            "ready",
            "readme",
            "ключ",
            "5f2c9a00",
            "{5f2c9a00-0000-4000-8000-000000000001}",
            "5f2c9a0000004000800000000000000x",
            "ключключключклюк",
        ] {
            assert!(!is_member(name), "{name}");
        }
    }

    /// Every order in which up to four members can take their steps: each gets out in the end, and none
    /// before all have.
    #[test]
    fn all_get_out_in_any_order() {
        type Seen = BTreeSet<(Vec<String>, Vec<Option<String>>, Vec<bool>)>;
        fn explore(
            present: &BTreeSet<String>,
            waits: &[Option<String>],
            finished: &[bool],
            states: &mut Seen,
        ) {
            let key = (
                present.iter().cloned().collect(),
                waits.to_vec(),
                finished.to_vec(),
            );
            if !states.insert(key) {
                return;
            }
            let mut could_move = false;
            for index in 0..waits.len() {
                let is_waiting = waits[index]
                    .as_ref()
                    .is_some_and(|other| present.contains(other));
                if finished[index] || is_waiting {
                    continue;
                }
                could_move = true;
                let own = index.to_string();
                let members: Vec<_> = present.iter().cloned().collect();
                let (mut present, mut waits, mut finished) =
                    (present.clone(), waits.to_vec(), finished.to_vec());
                match step(&members, &own) {
                    Step::Finish => {
                        assert!(present.is_empty());
                        finished[index] = true;
                    }
                    Step::GoLast => {
                        present.remove(&own);
                    }
                    Step::WaitFor(other) => waits[index] = Some(other),
                    Step::GoAndWaitFor(other) => {
                        present.remove(&own);
                        waits[index] = Some(other);
                    }
                }
                explore(&present, &waits, &finished, states);
            }
            assert!(
                could_move || finished.iter().all(|done| *done),
                "stuck: {present:?} {waits:?}"
            );
        }
        for count in 1..=4 {
            let present = (0..count).map(|index| index.to_string()).collect();
            explore(
                &present,
                &vec![None; count],
                &vec![false; count],
                &mut BTreeSet::new(),
            );
        }
    }
}
