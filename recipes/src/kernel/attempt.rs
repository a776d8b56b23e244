//! Standing in line: one attempt, in one session, from the creation of the own znodes to being first.

use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use zk_client::{ConnEvents, Error, ErrorKind, Pending, Session, Stat, Watch, WatchEnd};

use super::claim::{Claim, Listing, Stake};
use super::hold::{Hold, Won, prove};
use super::line::{Place, place, sequence};
use super::options::Options;
use super::parents::join;
use super::retry::settled;
use super::sequence::Sequence;
use super::token::FencingToken;
use crate::error::AcquireError;

/// What a kind of contender goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Path of the recipe.
    pub(crate) path: &'a str,
    /// Directory of the contenders.
    pub(crate) directory: &'a str,
    /// Contenders to wait for.
    pub(crate) blockers: &'a [String],
    /// Contenders of recipes that would not wait for this one.
    pub(crate) strangers: &'a [&'static str],
}

/// A place in line.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) claim: Claim,
    sequence: Sequence,
    /// Who stands in line, if that has not been looked at yet.
    names: Option<Vec<String>>,
    events: ConnEvents,
    /// Of the own znodes, once there was something to wait for, as far as they can be watched.
    watches: Vec<Watch>,
}

/// What a look at the line found.
#[derive(Debug)]
pub(crate) enum Turn {
    First,
    /// Behind this one.
    Behind(String),
    /// The own znode is gone, though the session is not.
    Missing,
}

impl Attempt {
    /// Gets in line. The first of the names decides about the place.
    pub(crate) async fn begin(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
    ) -> Result<Self, Error> {
        Self::begin_tracked(session, options, stake, &TaskTracker::new()).await
    }

    /// As [`Attempt::begin`], and lets deletions in the background be waited for.
    pub(crate) async fn begin_tracked(
        session: &Session,
        options: &Options,
        stake: Stake<'_>,
        cleanings: &TaskTracker,
    ) -> Result<Self, Error> {
        let marks: Vec<String> = stake.names.clone();
        let mut claim = Claim::stake_in_line(session, options, stake, cleanings).await?;
        let (names, events) = match claim.take_listing() {
            Some(Listing { names, events }) => (Some(names), events),
            None => (None, session.events()),
        };
        let own = claim.own_names();
        let number = own
            .first()
            .zip(marks.first())
            .and_then(|(own, mark)| sequence(own, mark));
        Ok(Self {
            sequence: number.unwrap_or(Sequence::new(0)),
            claim,
            names,
            events,
            watches: Vec::new(),
        })
    }

    pub(crate) fn session(&self) -> &Session {
        self.claim.session()
    }

    pub(crate) fn token(&self) -> FencingToken {
        FencingToken::new(self.claim.stat().czxid, self.sequence)
    }

    /// Looks at the line.
    ///
    /// A list that is read after the own creation has every lower number, even of a server that is behind: it
    /// answers the creation once it has applied it.
    pub(crate) async fn look(&mut self, rules: &Rules<'_>) -> Result<Turn, AcquireError> {
        let client = |error| AcquireError::client(rules.path, error);
        let names = if let Some(names) = self.names.take() {
            names
        } else {
            let session = self.claim.session();
            // What happened to the connection before is of no interest to what is won by this look.
            self.events = session.events();
            let list = settled(|| session.children(rules.directory));
            // Asked for in the same turn.
            let (proven, names) = tokio::join!(prove(session, rules.directory), list);
            proven.map_err(client)?;
            names.map_err(client)?.unwrap_or_default()
        };
        if let Some(stranger) = (names.iter()).find(|name| {
            rules
                .strangers
                .iter()
                .any(|mark| sequence(name, mark).is_some())
        }) {
            return Err(AcquireError::PathInUse {
                path: rules.path.to_owned(),
                name: stranger.clone(),
            });
        }
        if self.sequence.is_high() {
            tracing::warn!(
                path = %rules.path,
                sequence = self.sequence.get(),
                "the counter of this directory nears its overflow: use another directory"
            );
        }
        let own = self.claim.own_names();
        Ok(match place(&names, &own, self.sequence, rules.blockers) {
            Place::Missing => Turn::Missing,
            Place::First => Turn::First,
            Place::Behind(name) => Turn::Behind(name),
        })
    }

    /// Waits until the one in front, or an own znode, is changed or gone; whatever woke it, the line is
    /// to be looked at again.
    pub(crate) async fn wait(&mut self, rules: &Rules<'_>, name: &str) -> Result<(), AcquireError> {
        let client = |error| AcquireError::client(rules.path, error);
        let path = join(rules.directory, name);
        let session = self.claim.session().clone();
        // A data watch, because one of existence would stay on a znode that is gone already.
        let ahead = settled(|| session.get(&path).watch());
        let ahead = if self.watches.is_empty() {
            let (ahead, own) = tokio::join!(ahead, watch_own(&self.claim));
            match own.map_err(client)? {
                Some(own) => self.watches = own,
                None => return Ok(()),
            }
            ahead
        } else {
            ahead.await
        };
        let watch = match ahead {
            Ok((_, watch)) => watch,
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
            // One that is not for us to read can still be waited for, by its absence in the list.
            Err(error) if error.kind() == ErrorKind::NoAuth => {
                let listed = settled(|| session.children(rules.directory).watch()).await;
                let (names, watch) = listed.map_err(client)?;
                if !names.iter().any(|listed| listed == name) {
                    return Ok(());
                }
                watch
            }
            Err(error) => return Err(client(error)),
        };
        let end = if self.watches.is_empty() {
            watch.await
        } else {
            let own = futures_util::future::select_all(&mut self.watches);
            tokio::select! {
                biased;
                end = watch => end,
                (end, _, _) = own => {
                    self.watches.clear();
                    end
                }
            }
        };
        match end {
            WatchEnd::Event(_) => Ok(()),
            // Asked anything, the session says in which way it is over.
            WatchEnd::SessionEnded(_) | WatchEnd::Closed(_) | _ => {
                settled(|| session.exists(&path))
                    .await
                    .map(drop)
                    .map_err(client)
            }
        }
    }

    /// Looks and waits until it is first.
    ///
    /// # Errors
    /// [`AcquireError`]; `Ok(None)` if the own znode is gone.
    pub(crate) async fn first(mut self, rules: &Rules<'_>) -> Result<Option<Self>, AcquireError> {
        loop {
            match self.look(rules).await? {
                Turn::First => return Ok(Some(self)),
                Turn::Missing => return Ok(None),
                Turn::Behind(name) => self.wait(rules, &name).await?,
            }
        }
    }

    /// Asks for watches of the own znodes, if there are none yet. Nobody who is first waits for them.
    fn ask_own(&self) -> Vec<Pending<(Option<Stat>, Watch)>> {
        if !self.watches.is_empty() {
            return Vec::new();
        }
        let session = self.claim.session();
        let ask = |path: &String| session.exists(path).watch().send();
        self.claim.paths().iter().map(ask).collect()
    }

    /// What was won by being first.
    pub(crate) fn hold(self, options: &Options, deletes: bool) -> (Claim, Hold) {
        let hold = Hold::new(Won {
            session: self.session().clone(),
            paths: self.claim.paths().to_vec(),
            token: self.token(),
            policy: options.policy,
            deletes,
            asked: self.ask_own(),
            events: self.events,
            watches: self.watches,
        });
        (self.claim, hold)
    }
}

impl Attempt {
    /// As [`Attempt::hold`], for who keeps the place in line whatever becomes of it.
    pub(crate) fn lead(&mut self, options: &Options) -> Hold {
        let events = self.session().events();
        Hold::new(Won {
            session: self.session().clone(),
            paths: self.claim.paths().to_vec(),
            token: self.token(),
            policy: options.policy,
            deletes: false,
            asked: self.ask_own(),
            events: std::mem::replace(&mut self.events, events),
            watches: std::mem::take(&mut self.watches),
        })
    }
}

/// Watches own znodes; `None` if one is gone. One that may not be read is not watched.
pub(crate) async fn watch_own(claim: &Claim) -> Result<Option<Vec<Watch>>, Error> {
    let session = claim.session();
    let mut watches = Vec::new();
    for path in claim.paths() {
        match settled(|| session.exists(path).watch()).await {
            Ok((Some(_), watch)) => watches.push(watch),
            Ok((None, _)) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NoAuth => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(watches))
}

/// Ends an attempt at its deadline.
pub(crate) async fn by<T>(
    path: &str,
    within: std::time::Duration,
    attempt: impl Future<Output = Result<T, AcquireError>>,
) -> Result<T, AcquireError> {
    let far = std::time::Duration::from_hours(24 * 365);
    let deadline = Instant::now() + within.min(far);
    match tokio::time::timeout_at(deadline, attempt).await {
        Ok(result) => result,
        Err(_) => Err(AcquireError::Timeout {
            path: path.to_owned(),
            within,
        }),
    }
}
