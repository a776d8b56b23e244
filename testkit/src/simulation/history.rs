//! What the body of a run tells of itself, and the laws that object.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::engine::Shared;
use super::process::Proc;
use super::report::lock;
use crate::sim::disk::mark;
use crate::sim::schedule::Micros;

/// Takes what happens, and objects at once if it must not. Handles are cheap.
#[derive(Debug, Clone)]
pub struct History {
    shared: Arc<Shared>,
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Record {
    lines: Vec<String>,
    trace: u64,
    resources: BTreeMap<String, Resource>,
    counts: BTreeMap<String, Count>,
    next: u64,
}

/// What is known of a resource.
#[derive(Debug, Default)]
struct Resource {
    inside: BTreeMap<u64, Inside>,
    /// The highest token that entered, and with whom.
    token: Option<(i64, String)>,
}

/// Somebody in a section.
struct Inside {
    who: String,
    /// In which it entered, if it is not the body itself.
    process: Option<Arc<Proc>>,
    room: Room,
    holds: Option<Box<dyn Fn() -> bool + Send>>,
}

/// Whom a section lets others be inside with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Nobody.
    Alone,
    /// Others of its kind.
    Shared,
    /// So many at most, itself included.
    Among(usize),
}

/// Additions to a number.
#[derive(Debug, Default)]
struct Count {
    done: u64,
    /// Neither done nor undone, for all that is known.
    unknown: u64,
}

impl Record {
    pub(super) fn say(&mut self, at: Micros, line: &str) {
        self.trace = (self.trace.rotate_left(5) ^ mark(line.as_bytes()) ^ at)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.lines
            .push(format!("{:>7}.{:03} ms  {line}", at / 1000, at % 1000));
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    pub(super) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside")
            .field("who", &self.who)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

impl Inside {
    /// Whether it takes itself to be inside. The dead do nothing there.
    fn is_in(&self) -> bool {
        let is_dead = self
            .process
            .as_ref()
            .is_some_and(|process| process.is_dead());
        !is_dead && self.holds.as_ref().is_none_or(|holds| holds())
    }
}

impl History {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Tells something that no law is about: it stands in what a failure tells.
    pub fn note(&self, line: impl fmt::Display) {
        self.shared.say(&line.to_string());
    }

    /// Somebody is about to enter the section that protects a resource: alone, unless it is said
    /// otherwise.
    pub fn section(&self, resource: impl Into<String>, who: impl Into<String>) -> SectionBuilder {
        SectionBuilder {
            shared: Arc::clone(&self.shared),
            law: "mutual exclusion",
            resource: resource.into(),
            who: who.into(),
            room: Room::Alone,
            token: None,
            holds: None,
        }
    }

    /// Somebody begins to lead.
    pub fn leading(&self, group: impl Into<String>, who: impl Into<String>) -> SectionBuilder {
        SectionBuilder {
            law: "one leader",
            ..self.section(group, who)
        }
    }

    /// Somebody is about to add one to a number that is kept somewhere.
    pub fn updating(&self, number: impl Into<String>) -> Update {
        let number = number.into();
        let mut record = lock(&self.shared.record);
        record.counts.entry(number.clone()).or_default().unknown += 1;
        drop(record);
        Update {
            shared: Arc::clone(&self.shared),
            number,
        }
    }

    /// The number was read when nobody was adding to it. Breaks the law *no lost update* unless it is
    /// at least what was added for certain, and at most that and what may have been added.
    pub fn total(&self, number: impl Into<String>, found: u64) {
        let number = number.into();
        let mut record = lock(&self.shared.record);
        let count = record.counts.entry(number.clone()).or_default();
        let (least, most) = (count.done, count.done + count.unknown);
        drop(record);
        self.note(format_args!("{number} is {found}, of {least} to {most}"));
        if !(least..=most).contains(&found) {
            let what = format!("{number} is {found}, but {least} to {most} were added");
            self.shared.object("no lost update", what);
        }
    }
}

/// How a section is entered. Made by [`History::section`] and [`History::leading`].
#[must_use = "nothing is entered until `enter`"]
pub struct SectionBuilder {
    shared: Arc<Shared>,
    law: &'static str,
    resource: String,
    who: String,
    room: Room,
    token: Option<i64>,
    holds: Option<Box<dyn Fn() -> bool + Send>>,
}

impl fmt::Debug for SectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SectionBuilder")
            .field("law", &self.law)
            .field("resource", &self.resource)
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

impl SectionBuilder {
    /// Others that share may be inside too: readers.
    pub fn shared(mut self) -> Self {
        self.room = Room::Shared;
        self
    }

    /// So many may be inside, this one included.
    pub fn among(mut self, most: usize) -> Self {
        self.room = Room::Among(most);
        self
    }

    /// The fencing token. Whoever enters with one that is not higher than all before breaks the law
    /// *fencing tokens are monotone*, unless it is its own once more.
    pub fn token(mut self, token: i64) -> Self {
        self.token = Some(token);
        self
    }

    /// Inside only as long as this says so, at whatever moment it is asked: for those who may stand
    /// still, and cannot leave in time. Who is not inside any more when entering is not inside at all.
    pub fn while_held(mut self, holds: impl Fn() -> bool + Send + 'static) -> Self {
        self.holds = Some(Box::new(holds));
        self
    }

    /// Enters, until what is returned is dropped, or the process that this is called in dies. Breaks its
    /// law if somebody is inside who must not be.
    pub fn enter(self) -> Section {
        let Self {
            shared,
            law,
            resource,
            who,
            room,
            token,
            holds,
        } = self;
        let inside = Inside {
            who,
            process: shared.here(),
            room,
            holds,
        };
        let at = shared.now();
        let mut broken = None;
        let mut record = lock(&shared.record);
        let number = record.next;
        record.next += 1;
        let known = record.resources.entry(resource.clone()).or_default();
        if !inside.is_in() {
            let line = format!("{} is too late for {resource}", inside.who);
            record.say(at, &line);
            drop(record);
            return Section {
                shared,
                resource,
                number: None,
            };
        }
        let others: Vec<_> = known
            .inside
            .values()
            .filter(|other| other.is_in())
            .collect();
        let is_fit = match room {
            Room::Alone => others.is_empty(),
            Room::Shared => others.iter().all(|other| other.room == Room::Shared),
            Room::Among(most) => others.len() < most,
        };
        if !is_fit {
            let others: Vec<_> = others.iter().map(|other| other.who.as_str()).collect();
            let what = format!(
                "{} enters {resource}, where {} is",
                inside.who,
                others.join(", ")
            );
            broken = Some((law, what));
        }
        if let Some(token) = token {
            let is_wrong = |(before, who): &&(i64, String)| {
                token < *before || token == *before && *who != inside.who
            };
            if let Some((before, _)) = known.token.as_ref().filter(is_wrong) {
                let what = format!(
                    "{} enters {resource} with token {token}, after {before}",
                    inside.who
                );
                broken.get_or_insert(("fencing tokens are monotone", what));
            }
            if known
                .token
                .as_ref()
                .is_none_or(|(before, _)| *before < token)
            {
                known.token = Some((token, inside.who.clone()));
            }
        }
        let line = match token {
            Some(token) => format!("{} enters {resource} with token {token}", inside.who),
            None => format!("{} enters {resource}", inside.who),
        };
        known.inside.insert(number, inside);
        record.say(at, &line);
        drop(record);
        if let Some((law, what)) = broken {
            shared.object(law, what);
        }
        Section {
            shared,
            resource,
            number: Some(number),
        }
    }
}

/// A stay in a section, which ends when this is dropped.
#[must_use = "dropped at once, it has been left"]
#[derive(Debug)]
pub struct Section {
    shared: Arc<Shared>,
    resource: String,
    /// None if it was too late.
    number: Option<u64>,
}

impl Section {
    /// Whether it was entered at all; see [`SectionBuilder::while_held`].
    pub fn is_entered(&self) -> bool {
        self.number.is_some()
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let at = self.shared.now();
        let mut record = lock(&self.shared.record);
        let known = record.resources.get_mut(&self.resource);
        if let Some(left) = known.and_then(|known| known.inside.remove(&number)) {
            let line = format!("{} leaves {}", left.who, self.resource);
            record.say(at, &line);
            drop(record);
            // Outside of the lock: what it holds may be the last of something.
            drop(left);
        }
    }
}

/// An addition to a number: it may or may not be done, until it is told.
#[derive(Debug)]
#[must_use = "tell what came of it; dropped, it may or may not be done"]
pub struct Update {
    shared: Arc<Shared>,
    number: String,
}

impl Update {
    /// It is done.
    pub fn done(self) {
        self.told(true);
    }

    /// It is certainly not done, and never will be.
    pub fn undone(self) {
        self.told(false);
    }

    fn told(self, is_done: bool) {
        let mut record = lock(&self.shared.record);
        let count = record.counts.entry(self.number.clone()).or_default();
        count.unknown = count.unknown.saturating_sub(1);
        count.done += u64::from(is_done);
    }
}
