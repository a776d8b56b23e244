//! What clients may rely on, with pipelines, watches and transactions of several connections taking
//! turns at random: a watch fires once, at the first change after the state that it was set in, and
//! is told before anything that shows the change.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use zk_proto::frame;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::{Bytes, EventType, WatcherEvent, Xid, Zxid};

use super::ConnId;
use super::pipeline::{Answer, Pipeline, PipelineLimits, Then, Ticket};
use super::request::reply_frame;
use crate::tree::EffectKind;
use crate::watch::{Change, Readers, WatchKind, WatchTable, trigger};

const PATHS: [&str; 3] = ["/a", "/b", "/a/c"];
const CONNECTIONS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Ask {
    Get { path: usize, watch: bool },
    Set { path: usize },
}

/// One connection, with the client at its end.
struct Link {
    id: ConnId,
    pipeline: Pipeline<usize>,
    script: Vec<Ask>,
    asked: usize,
    in_flight: VecDeque<(Ticket, usize)>,
    running: Option<Vec<usize>>,
    met: Option<(i64, Vec<Bytes>)>,
    socket: Vec<Bytes>,
}

/// The tree is a number, the last transaction; what matters of its history is who changed when.
struct Server {
    table: WatchTable,
    zxid: i64,
    history: Vec<(i64, usize)>,
    links: Vec<Link>,
}

fn xid(request: usize) -> Xid {
    Xid::new(i32::try_from(request).unwrap())
}

/// Executes a read in a state, as both the connection task and the apply thread do.
fn execute(table: &mut WatchTable, id: ConnId, script: &[Ask], request: usize, zxid: i64) -> Bytes {
    if let Ask::Get { path, watch: true } = script[request] {
        table.register(id, PATHS[path], WatchKind::Data);
    }
    reply_frame(xid(request), Zxid::new(zxid), None)
}

impl Server {
    fn new(scripts: Vec<Vec<Ask>>) -> Self {
        let limits = &PipelineLimits {
            waiting_max: 5,
            waiting_bytes_max: 1 << 20,
            outgoing_max: 1 << 20,
            outgoing_bytes_max: 1 << 20,
        };
        let link = |(at, script)| Link {
            id: ConnId::new(u32::try_from(at).unwrap()),
            pipeline: Pipeline::new(limits),
            script,
            asked: 0,
            in_flight: VecDeque::new(),
            running: None,
            met: None,
            socket: Vec::new(),
        };
        Self {
            table: WatchTable::new(5),
            zxid: 1,
            history: Vec::new(),
            links: scripts.into_iter().enumerate().map(link).collect(),
        }
    }

    fn ask(&mut self, at: usize) {
        let link = &mut self.links[at];
        if let (None, Some(ask)) = (&link.running, link.script.get(link.asked)) {
            let is_taken = match ask {
                Ask::Get { .. } => link.pipeline.admit_read(link.asked, 1).is_ok(),
                Ask::Set { .. } => link.pipeline.admit_write(1).is_ok_and(|ticket| {
                    link.in_flight.push_back((ticket, link.asked));
                    true
                }),
            };
            link.asked += usize::from(is_taken);
        }
    }

    fn start(&mut self, at: usize) {
        let link = &mut self.links[at];
        if link.running.is_none() {
            link.running = link.pipeline.start_group();
        }
    }

    fn meet(&mut self, at: usize) {
        let link = &mut self.links[at];
        if let (Some(group), None) = (&link.running, &link.met) {
            let mut answers = Vec::new();
            for &request in group {
                let script = &link.script;
                answers.push(execute(
                    &mut self.table,
                    link.id,
                    script,
                    request,
                    self.zxid,
                ));
            }
            link.met = Some((self.zxid, answers));
        }
    }

    fn finish(&mut self, at: usize) {
        let link = &mut self.links[at];
        if let Some((zxid, answers)) = link.met.take() {
            link.running = None;
            let finished = link
                .pipeline
                .finish_group(Zxid::new(zxid), answers, Then::Continue);
            finished.unwrap();
        }
    }

    fn drain(&mut self, at: usize, bytes_max: usize) {
        let link = &mut self.links[at];
        link.pipeline.drain(bytes_max, &mut link.socket);
    }

    fn change(&mut self, path: usize) {
        self.zxid += 1;
        self.history.push((self.zxid, path));
        let change = Change {
            effect: EffectKind::DataSet,
            path: PATHS[path],
            znode_readers: Readers::Everyone,
            parent_readers: Readers::Everyone,
        };
        let mut told = Vec::new();
        trigger(&mut self.table, &change, &mut told);
        for notification in told {
            let frame = notification.frame(Zxid::new(self.zxid));
            for conn in notification.receivers {
                let link = &mut self.links[conn.get() as usize];
                let pushed = link
                    .pipeline
                    .push_event(Zxid::new(self.zxid), frame.clone());
                pushed.unwrap();
            }
        }
    }

    fn apply(&mut self, at: usize) {
        let Some((ticket, request)) = self.links[at].in_flight.pop_front() else {
            return;
        };
        let Ask::Set { path } = self.links[at].script[request] else {
            panic!("a read in flight");
        };
        self.change(path);
        let (table, zxid, link) = (&mut self.table, self.zxid, &mut self.links[at]);
        let (id, script) = (link.id, &link.script);
        let answer = |bytes| Answer {
            bytes,
            then: Then::Continue,
        };
        let own = answer(reply_frame(xid(request), Zxid::new(zxid), None));
        let mut run = |read| answer(execute(table, id, script, read, zxid));
        link.pipeline
            .commit(ticket, Zxid::new(zxid), own, &mut run)
            .unwrap();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(at) => self.ask(at),
            Step::Start(at) => self.start(at),
            Step::Meet(at) => self.meet(at),
            Step::Finish(at) => self.finish(at),
            Step::Drain(at, bytes_max) => self.drain(at, bytes_max),
            Step::Apply(at) => self.apply(at),
            Step::Foreign(path) => self.change(path),
        }
    }

    fn settle(&mut self) {
        for at in 0..CONNECTIONS {
            while self.links[at].asked < self.links[at].script.len()
                || self.links[at].pipeline.waiting() > 0
                || self.links[at].running.is_some()
            {
                self.ask(at);
                self.start(at);
                self.meet(at);
                self.finish(at);
                self.drain(at, 100);
                self.apply(at);
            }
        }
        for at in 0..CONNECTIONS {
            self.drain(at, usize::MAX);
        }
    }

    /// The first change of a path after a state.
    fn next_change(&self, path: usize, after: i64) -> Option<i64> {
        let mut changes = self
            .history
            .iter()
            .filter(|(zxid, of)| *of == path && *zxid > after);
        changes.next().map(|(zxid, _)| *zxid)
    }

    /// Follows what a client hears, and complains as it would.
    fn listen(&self, link: &Link) -> Result<(), String> {
        let mut wire = bytes::BytesMut::new();
        link.socket
            .iter()
            .for_each(|piece| wire.extend_from_slice(piece));
        // Path to the state in which the watch was set.
        let mut watching = BTreeMap::new();
        let (mut answered, mut seen) = (0, 0);
        while let Some(payload) = frame::take(&mut wire, 1 << 20).unwrap() {
            let mut reader = Reader::shared(&payload);
            let header = ReplyHeader::decode(&mut reader).unwrap();
            let zxid = header.zxid.get();
            if zxid < seen {
                return Err(format!("L4: {zxid} after {seen}"));
            }
            seen = zxid;
            if header.xid == Xid::NOTIFICATION {
                let event = WatcherEvent::decode(&mut reader).unwrap();
                assert_eq!(event.event_type(), Some(EventType::NodeDataChanged));
                let path = event.path.unwrap();
                let path = PATHS.iter().position(|known| **known == *path).unwrap();
                let since = watching
                    .remove(&path)
                    .ok_or_else(|| format!("event without a watch: {path}"))?;
                if self.next_change(path, since) != Some(zxid) {
                    return Err(format!("watch of {since} on {path} fired by {zxid}"));
                }
                continue;
            }
            if header.xid != xid(answered) {
                return Err(format!("L5: {:?} in the place of {answered}", header.xid));
            }
            for (&path, &since) in &watching {
                if let Some(change) = self.next_change(path, since).filter(|at| *at <= zxid) {
                    return Err(format!(
                        "L4: saw {zxid} before the event of {change} on {path}"
                    ));
                }
            }
            match link.script[answered] {
                // A second watch on a path is the same watch: it stays as old as it is.
                Ask::Get { path, watch: true } => {
                    watching.entry(path).or_insert(zxid);
                }
                Ask::Get { watch: false, .. } => {}
                Ask::Set { path } => {
                    if !self.history.contains(&(zxid, path)) {
                        return Err(format!("write told {zxid}"));
                    }
                }
            }
            answered += 1;
        }
        if answered < link.script.len() {
            return Err(format!("{answered} answers"));
        }
        match watching
            .iter()
            .find(|(path, since)| self.next_change(**path, **since).is_some())
        {
            Some(lost) => Err(format!("event lost: {lost:?}")),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(usize),
    Start(usize),
    Meet(usize),
    Finish(usize),
    Drain(usize, usize),
    Apply(usize),
    Foreign(usize),
}

fn ask() -> impl Strategy<Value = Ask> {
    let path = || 0..PATHS.len();
    prop_oneof![
        3 => (path(), any::<bool>()).prop_map(|(path, watch)| Ask::Get { path, watch }),
        2 => path().prop_map(|path| Ask::Set { path }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..CONNECTIONS;
    prop_oneof![
        6 => at().prop_map(Step::Ask),
        2 => at().prop_map(Step::Start),
        2 => at().prop_map(Step::Meet),
        2 => at().prop_map(Step::Finish),
        2 => (at(), 1usize..100).prop_map(|(at, bytes)| Step::Drain(at, bytes)),
        3 => at().prop_map(Step::Apply),
        2 => (0..PATHS.len()).prop_map(Step::Foreign),
    ]
}

proptest! {
    #[test]
    fn l4_l5_watches_fire_once_and_before_what_shows_the_change(
        scripts in proptest::collection::vec(
            proptest::collection::vec(ask(), 0..15),
            CONNECTIONS..=CONNECTIONS,
        ),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut server = Server::new(scripts);
        for step in steps {
            server.step(step);
        }
        server.settle();
        for link in &server.links {
            prop_assert_eq!(server.listen(link), Ok(()));
        }
    }
}
