//! Plays a script on both servers, step by step.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;
use zk_proto::request::{
    AuthPacket, DeleteRequest, GetAclRequest, GetChildren2Request, GetDataRequest, Request,
    SetAclRequest,
};
use zk_proto::{Acl, Id, Perms, Version, Zxid};

use super::ask::Ask;
use super::quirk::Quirk;
use super::script::{Act, Script, Step};
use super::seen::{Seen, Terms};
use super::side::Side;

/// Znodes that are always there.
const BUILT_IN: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// Two servers that shall answer alike: the reference and ours.
#[derive(Debug)]
pub struct Pair {
    sides: [Side; 2],
    janitors: [Side; 2],
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests of scripts.
    pub requests: u64,
    /// Scripts.
    pub scripts: u64,
    /// Events.
    pub events: u64,
    /// Requests that succeeded.
    pub succeeded: u64,
    /// Znodes compared at the end of scripts.
    pub znodes: u64,
    /// How often each quirk explained a difference.
    pub quirks: BTreeMap<Quirk, u64>,
}

/// An answer that nobody explains.
#[derive(Debug)]
pub struct Difference {
    /// Number of the step; `None` at the end of the script.
    pub step: Option<usize>,
    /// What was being done.
    pub doing: String,
    /// What the reference sent.
    pub theirs: String,
    /// What ours sent.
    pub ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            doing,
            theirs,
            ours,
        } = self;
        match step {
            Some(step) => writeln!(f, "step {step}: {doing}")?,
            None => writeln!(f, "at the end: {doing}")?,
        }
        write!(f, "  theirs: {theirs}\n  ours:   {ours}")
    }
}

/// Why a script did not end well.
#[derive(Debug)]
enum Trouble {
    Difference(Box<Difference>),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(err: io::Error) -> Self {
        Self::Io(err)
    }
}

/// What a step is about.
struct Scene<'a> {
    step: Option<usize>,
    seat: usize,
    asks: &'a [(Option<i32>, Ask)],
    doing: &'a str,
}

impl Pair {
    /// Two servers, the reference first, and who may do everything on both.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(theirs: SocketAddr, ours: SocketAddr, super_auth: &str) -> io::Result<Self> {
        let mut pair = Self {
            sides: [Side::new(theirs, true), Side::new(ours, false)],
            janitors: [Side::new(theirs, true), Side::new(ours, false)],
        };
        let auth = Ask::Request(Request::Auth(AuthPacket {
            auth_type: 0,
            scheme: Some("digest".into()),
            auth: Some(Bytes::copy_from_slice(super_auth.as_bytes())),
        }));
        for janitor in &mut pair.janitors {
            janitor.open(None)?;
            janitor.send(0, &[(Some(-4), auth.clone())])?;
            janitor.answers(0)?;
        }
        Ok(pair)
    }

    /// Plays a script, compares the trees and tidies up. `Ok(Some(_))` tells of a difference; the
    /// servers are of no use after it.
    ///
    /// # Errors
    /// What the system says.
    pub fn play(&mut self, script: &Script, tally: &mut Tally) -> io::Result<Option<Difference>> {
        match self.try_play(script, tally) {
            Ok(()) => Ok(None),
            Err(Trouble::Difference(difference)) => Ok(Some(*difference)),
            Err(Trouble::Io(err)) => Err(err),
        }
    }

    fn try_play(&mut self, script: &Script, tally: &mut Tally) -> Result<(), Trouble> {
        for (side, janitor) in self.sides.iter_mut().zip(&mut self.janitors) {
            side.clear(last_zxid(janitor)?);
        }
        for _ in 0..Script::SEATS {
            self.open(None, None)?;
        }
        for (number, step) in script.steps.iter().enumerate() {
            self.step(number, step, tally)?;
        }
        for seat in 0..Script::SEATS {
            self.close(None, seat, tally)?;
        }
        tally.requests += u64::try_from(script.len()).unwrap_or_default();
        tally.scripts += 1;
        self.compare_trees(tally)?;
        self.tidy_up()?;
        Ok(())
    }

    fn open(&mut self, step: Option<usize>, place: Option<usize>) -> Result<(), Trouble> {
        let [theirs, ours] = &mut self.sides;
        same(
            step,
            "open a session",
            &theirs.open(place)?,
            &ours.open(place)?,
        )
    }

    fn step(&mut self, number: usize, step: &Step, tally: &mut Tally) -> Result<(), Trouble> {
        let seat = step.seat;
        let number = Some(number);
        if !matches!(step.act, Act::Send(_) | Act::Close) {
            // Events on their way are lost with a connection, or are not.
            self.barrier(number, seat, false, tally)?;
        }
        match &step.act {
            Act::Send(asks) => {
                self.sides
                    .iter_mut()
                    .try_for_each(|side| side.send(seat, asks))?;
                self.compare_answers(number, seat, asks, tally)
            }
            Act::Last(ask) => {
                let asks = [(None, ask.clone())];
                self.sides
                    .iter_mut()
                    .try_for_each(|side| side.send(seat, &asks))?;
                self.compare_end(number, seat, &asks, "the end of the connection", tally)?;
                self.resume(number, seat, false, false, tally)
            }
            Act::Bytes(bytes) => {
                let send = |side: &mut Side| side.send_bytes(seat, bytes);
                self.sides.iter_mut().try_for_each(send)?;
                let doing = format!("bytes {bytes:x?}");
                self.compare_end(number, seat, &[], &doing, tally)?;
                self.resume(number, seat, false, false, tally)
            }
            Act::Resume {
                keeps_old,
                is_wrong_first,
            } => {
                if *is_wrong_first {
                    self.resume(number, seat, true, true, tally)?;
                }
                self.resume(number, seat, *keeps_old && !is_wrong_first, false, tally)
            }
            Act::Close => {
                self.close(number, seat, tally)?;
                self.open(number, Some(seat))
            }
        }
    }

    fn compare_answers(
        &mut self,
        step: Option<usize>,
        seat: usize,
        asks: &[(Option<i32>, Ask)],
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let [theirs, ours] = &mut self.sides;
        let (theirs, ours) = (theirs.answers(seat)?, ours.answers(seat)?);
        let doing = "requests";
        let scene = Scene {
            step,
            seat,
            asks,
            doing,
        };
        compare(&scene, &theirs, &ours, tally)
    }

    fn compare_end(
        &mut self,
        step: Option<usize>,
        seat: usize,
        asks: &[(Option<i32>, Ask)],
        doing: &str,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let [theirs, ours] = &mut self.sides;
        let (theirs, ours) = (theirs.until_closed(seat)?, ours.until_closed(seat)?);
        let scene = Scene {
            step,
            seat,
            asks,
            doing,
        };
        compare(&scene, &theirs, &ours, tally)
    }

    fn resume(
        &mut self,
        step: Option<usize>,
        seat: usize,
        keeps_old: bool,
        is_wrong: bool,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let [theirs, ours] = &mut self.sides;
        let (theirs, ours) = (
            theirs.resume(seat, keeps_old, is_wrong)?,
            ours.resume(seat, keeps_old, is_wrong)?,
        );
        same(step, "whether the session goes on", &theirs.0, &ours.0)?;
        let scene = Scene {
            step,
            seat,
            asks: &[],
            doing: "the old connection",
        };
        compare(&scene, &theirs.1, &ours.1, tally)
    }

    /// Closes a session. Its ephemeral znodes go in no particular order, so that events of others are
    /// sorted.
    fn close(
        &mut self,
        step: Option<usize>,
        seat: usize,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let others = || (0..Script::SEATS).filter(move |&other| other != seat);
        for other in others() {
            self.barrier(step, other, false, tally)?;
        }
        let asks = [(None, Ask::Request(Request::CloseSession))];
        self.sides
            .iter_mut()
            .try_for_each(|side| side.send(seat, &asks))?;
        let [theirs, ours] = &mut self.sides;
        let (mut theirs, mut ours) = (theirs.until_closed(seat)?, ours.until_closed(seat)?);
        theirs.sort_by_key(sort_key);
        ours.sort_by_key(sort_key);
        let scene = Scene {
            step,
            seat,
            asks: &asks,
            doing: "the end of a session",
        };
        compare(&scene, &theirs, &ours, tally)?;
        for other in others() {
            self.barrier(step, other, true, tally)?;
        }
        Ok(())
    }

    fn barrier(
        &mut self,
        step: Option<usize>,
        seat: usize,
        is_sorted: bool,
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let [theirs, ours] = &mut self.sides;
        let (mut theirs, mut ours) = (theirs.barrier(seat)?, ours.barrier(seat)?);
        if is_sorted {
            theirs.sort_by_key(sort_key);
            ours.sort_by_key(sort_key);
        }
        let asks = [(Some(-2), Ask::Request(Request::Ping))];
        let scene = Scene {
            step,
            seat,
            asks: &asks,
            doing: "events so far",
        };
        compare(&scene, &theirs, &ours, tally)
    }

    // --- the janitor ----------------------------------------------------------------------------

    fn compare_trees(&mut self, tally: &mut Tally) -> Result<(), Trouble> {
        for (side, janitor) in self.sides.iter_mut().zip(&mut self.janitors) {
            janitor.terms = mem::take(&mut side.terms);
            let extra = u64::try_from(janitor.terms.extra.len()).unwrap_or_default();
            if extra > 0 {
                *tally.quirks.entry(Quirk::UnreadableWrite).or_default() += extra;
            }
        }
        let [theirs, ours] = &mut self.janitors;
        let mut todo = vec![ByteString::from_static("/")];
        while let Some(path) = todo.pop() {
            let (seen, our_seen) = (look(theirs, &path)?, look(ours, &path)?);
            for (theirs, ours) in seen.iter().zip(&our_seen) {
                same(None, &format!("what {path} is"), theirs, ours)?;
            }
            tally.znodes += 1;
            todo.extend(below(theirs, &path)?);
        }
        Ok(())
    }

    fn tidy_up(&mut self) -> Result<(), Trouble> {
        for janitor in &mut self.janitors {
            tidy_up(janitor)?;
        }
        Ok(())
    }
}

/// Events first, in the order of what they tell; the rest stays as it is behind them.
fn sort_key(seen: &Seen) -> (bool, String) {
    let is_event = matches!(seen, Seen::Event { .. });
    // Zxids are not compared with the reference's, which sends none.
    let what = if let Seen::Event { what, .. } = seen {
        what.clone()
    } else {
        String::new()
    };
    (!is_event, what)
}

fn same<T: fmt::Debug + PartialEq>(
    step: Option<usize>,
    doing: &str,
    theirs: &T,
    ours: &T,
) -> Result<(), Trouble> {
    if theirs == ours {
        return Ok(());
    }
    Err(Trouble::Difference(Box::new(Difference {
        step,
        doing: doing.to_owned(),
        theirs: format!("{theirs:?}"),
        ours: format!("{ours:?}"),
    })))
}

/// Compares what came, frame by frame; replies answer `asks` in order.
fn compare(
    scene: &Scene<'_>,
    theirs: &[Seen],
    ours: &[Seen],
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let mut asks = scene.asks.iter().map(|(_, ask)| ask);
    for at in 0..theirs.len().max(ours.len()) {
        let (their, our) = (theirs.get(at), ours.get(at));
        let ask = match their {
            Some(Seen::Reply { err, .. }) => {
                tally.succeeded += u64::from(*err == 0);
                asks.next()
            }
            Some(Seen::Event { .. }) => {
                tally.events += 1;
                None
            }
            _ => None,
        };
        if their == our {
            continue;
        }
        if let (Some(their), Some(our)) = (their, our)
            && let Some(quirk) = Quirk::explains(ask, their, our)
        {
            *tally.quirks.entry(quirk).or_default() += 1;
            continue;
        }
        let show = |seen: Option<&Seen>, all: &[Seen]| match seen {
            Some(seen) => format!("{seen:?}"),
            None => format!("nothing more, behind {:?}", all.last()),
        };
        return Err(Trouble::Difference(Box::new(Difference {
            step: scene.step,
            doing: format!(
                "connection {}, {}, frame {at} of {} and {}: {ask:?}",
                scene.seat,
                scene.doing,
                theirs.len(),
                ours.len()
            ),
            theirs: show(their, theirs),
            ours: show(our, ours),
        })));
    }
    Ok(())
}

fn last_zxid(janitor: &mut Side) -> io::Result<Zxid> {
    janitor.terms = Terms::default();
    let seen = janitor.barrier(0)?;
    match seen.as_slice() {
        [Seen::Reply { zxid, .. }] => Ok(Zxid::new(*zxid)),
        other => Err(io::Error::other(format!(
            "no answer to the janitor: {other:?}"
        ))),
    }
}

/// Everything about a znode.
fn look(janitor: &mut Side, path: &ByteString) -> io::Result<Vec<Seen>> {
    let (watch, some) = (false, || Some(path.clone()));
    let asks = [
        Request::GetChildren2(GetChildren2Request {
            path: some(),
            watch,
        }),
        Request::GetData(GetDataRequest {
            path: some(),
            watch,
        }),
        Request::GetAcl(GetAclRequest { path: some() }),
    ]
    .map(|request| (Some(1), Ask::Request(request)));
    janitor.send(0, &asks)?;
    janitor.answers(0)
}

/// Paths of the children of a znode.
fn below(janitor: &mut Side, path: &ByteString) -> io::Result<Vec<ByteString>> {
    let above = if &path[..] == "/" { "" } else { &path[..] };
    let names = janitor.children(0, path)?.into_iter();
    Ok(names.map(|name| format!("{above}/{name}").into()).collect())
}

/// Deletes what a script left, and lets everybody do everything again.
fn tidy_up(janitor: &mut Side) -> io::Result<()> {
    let mut all = Vec::new();
    let mut todo = vec![ByteString::from_static("/")];
    while let Some(path) = todo.pop() {
        todo.extend(below(janitor, &path)?);
        all.push(path);
    }
    for path in all.into_iter().rev() {
        let request = if BUILT_IN.contains(&&path[..]) {
            let perms = if &path[..] == "/zookeeper/config" {
                Perms::READ
            } else {
                Perms::ALL
            };
            Request::SetAcl(SetAclRequest {
                path: Some(path),
                acl: Some(vec![Acl::new(perms, Id::ANYONE)]),
                version: Version::ANY,
            })
        } else {
            Request::Delete(DeleteRequest {
                path: Some(path),
                version: Version::ANY,
            })
        };
        janitor.send(0, &[(None, Ask::Request(request))])?;
        let seen = janitor.answers(0)?;
        if !matches!(seen.as_slice(), [Seen::Reply { err: 0, .. }]) {
            return Err(io::Error::other(format!("the janitor fails: {seen:?}")));
        }
    }
    Ok(())
}
