//! The pipeline between a connection task and an apply thread that take turns at random, against
//! what a server would say that does one thing after the other.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// What a client asks for, in order of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Read,
    Write,
    /// Answered by the apply thread, without a transaction.
    Sync,
    /// Submitted, and then refused without a transaction.
    Doomed,
}

/// What a client hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The n-th event of a transaction.
    Event { zxid: i64, n: u8 },
    /// The answer to a request: the state that it shows, and how many transactions of the session
    /// are in that state.
    Answer {
        request: usize,
        zxid: i64,
        own: usize,
    },
}

impl Heard {
    fn to_bytes(self) -> Bytes {
        let (tag, a, zxid, own) = match self {
            Self::Event { zxid, n } => (0u8, usize::from(n), zxid, 0),
            Self::Answer { request, zxid, own } => (1, request, zxid, own),
        };
        let text = format!("{tag} {a} {zxid} {own};");
        Bytes::from(text)
    }

    fn from_bytes(stream: &[Bytes]) -> Vec<Self> {
        let text: String = stream
            .iter()
            .map(|piece| str::from_utf8(piece).unwrap())
            .collect();
        let parse = |piece: &str| {
            let fields: Vec<i64> = piece
                .split(' ')
                .map(|field| field.parse().unwrap())
                .collect();
            let [tag, a, zxid, own] = fields[..] else {
                panic!("{piece}")
            };
            if tag == 0 {
                Self::Event {
                    zxid,
                    n: u8::try_from(a).unwrap(),
                }
            } else {
                let [request, own] = [a, own].map(|n| usize::try_from(n).unwrap());
                Self::Answer { request, zxid, own }
            }
        };
        text.split_terminator(';').map(parse).collect()
    }
}

const LIMITS: PipelineLimits = PipelineLimits {
    waiting_max: 6,
    waiting_bytes_max: 1000,
    outgoing_max: 1_000_000,
    outgoing_bytes_max: 1 << 30,
};

/// A server around one pipeline: tree, log, apply thread, connection task, socket.
struct World {
    pipeline: Pipeline<usize>,
    script: Vec<Ask>,
    /// Requests taken in so far.
    asked: usize,
    /// Writes submitted and not yet committed or refused.
    in_flight: VecDeque<(Ticket, usize)>,
    /// The tree: last transaction, and how many are of this session.
    zxid: i64,
    own: usize,
    /// Events per transaction.
    events: BTreeMap<i64, u8>,
    /// Transaction of each write.
    committed: BTreeMap<usize, i64>,
    /// A group that was taken out, and its answers once it has met the tree.
    running: Option<Vec<usize>>,
    met: Option<(i64, Vec<Bytes>)>,
    socket: Vec<Bytes>,
}

impl World {
    fn new(script: Vec<Ask>) -> Self {
        Self {
            pipeline: Pipeline::new(&LIMITS),
            script,
            asked: 0,
            in_flight: VecDeque::new(),
            zxid: 10,
            own: 0,
            events: BTreeMap::new(),
            committed: BTreeMap::new(),
            running: None,
            met: None,
            socket: Vec::new(),
        }
    }

    fn answer(&self, request: usize) -> Answer {
        let heard = Heard::Answer {
            request,
            zxid: self.zxid,
            own: self.own,
        };
        Answer {
            bytes: heard.to_bytes(),
            then: Then::Continue,
        }
    }

    // The connection task.

    fn ask(&mut self) {
        // It is busy with a group until that is finished.
        if self.running.is_some() {
            return;
        }
        let Some(&ask) = self.script.get(self.asked) else {
            return;
        };
        let taken = match ask {
            Ask::Read => self.pipeline.admit_read(self.asked, 10).is_ok(),
            Ask::Write | Ask::Sync | Ask::Doomed => match self.pipeline.admit_write(10) {
                Ok(ticket) => {
                    self.in_flight.push_back((ticket, self.asked));
                    true
                }
                Err(Refused::GroupFirst | Refused::Full) => false,
                Err(Refused::Closed) => panic!("closed"),
            },
        };
        self.asked += usize::from(taken);
    }

    fn start(&mut self) {
        if self.running.is_none() {
            self.running = self.pipeline.start_group();
        }
    }

    /// Under the shared guard.
    fn meet(&mut self) {
        if let (Some(group), None) = (&self.running, &self.met) {
            let answers = group.iter().map(|&request| self.answer(request).bytes);
            self.met = Some((self.zxid, answers.collect()));
        }
    }

    fn finish(&mut self) {
        if let Some((zxid, answers)) = self.met.take() {
            self.running = None;
            let done = self
                .pipeline
                .finish_group(Zxid::new(zxid), answers, Then::Continue);
            done.unwrap();
        }
    }

    fn drain(&mut self, bytes_max: usize) {
        self.pipeline.drain(bytes_max, &mut self.socket);
    }

    // The apply thread, under the exclusive guard.

    fn apply(&mut self, events: u8) {
        self.zxid += 1;
        self.events.insert(self.zxid, events);
        for n in 0..events {
            let event = Heard::Event { zxid: self.zxid, n };
            let pushed = self
                .pipeline
                .push_event(Zxid::new(self.zxid), event.to_bytes());
            pushed.unwrap();
        }
    }

    fn apply_own(&mut self, events: u8) {
        let Some(&(ticket, request)) = self.in_flight.front() else {
            return;
        };
        let before = Zxid::new(self.zxid);
        let state = (self.zxid, self.own);
        let answer_in = |(zxid, own), request| Answer {
            bytes: Heard::Answer { request, zxid, own }.to_bytes(),
            then: Then::Continue,
        };
        match self.script[request] {
            Ask::Write => {
                let mut run = |read| answer_in(state, read);
                self.pipeline.run_before_write(before, &mut run).unwrap();
                self.own += 1;
                self.apply(events);
                self.committed.insert(request, self.zxid);
            }
            Ask::Sync => {
                let mut run = |read| answer_in(state, read);
                self.pipeline.run_before_write(before, &mut run).unwrap();
            }
            // The core refuses a write before it turns to the next one.
            Ask::Doomed => return self.refuse(),
            Ask::Read => panic!("a read in flight"),
        }
        self.in_flight.pop_front();
        let (zxid, state) = (Zxid::new(self.zxid), (self.zxid, self.own));
        let mut run = |read| answer_in(state, read);
        self.pipeline
            .commit(ticket, zxid, answer_in(state, request), &mut run)
            .unwrap();
    }

    /// The core refuses the oldest doomed write.
    fn refuse(&mut self) {
        let is_doomed = |(_, request): &(Ticket, usize)| self.script[*request] == Ask::Doomed;
        if let Some(at) = self.in_flight.iter().position(is_doomed) {
            let (ticket, request) = self.in_flight.remove(at).unwrap();
            self.pipeline.reject(ticket, request).unwrap();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask => self.ask(),
            Step::Start => self.start(),
            Step::Meet => self.meet(),
            Step::Finish => self.finish(),
            Step::Drain(bytes) => self.drain(bytes),
            Step::ApplyForeign(events) => self.apply(events),
            Step::ApplyOwn(events) => self.apply_own(events),
            Step::Refuse => self.refuse(),
        }
        self.check_invariants();
    }

    fn check_invariants(&self) {
        let p = &self.pipeline;
        let has_group = p.is_running || !p.group.is_empty();
        assert!(!has_group || p.queue.is_empty(), "I1");
        assert!(
            p.queue.is_empty() || !p.queue.iter().all(Slot::is_read),
            "I2"
        );
        let tickets = p.queue.iter().filter_map(|slot| match slot.work {
            Work::Write(ticket) => Some(ticket),
            Work::Read(_) => None,
        });
        assert!(tickets.is_sorted_by(|a, b| a < b), "I3");
        assert_eq!(p.waiting_bytes, 10 * p.waiting());
        assert_eq!(p.outgoing_bytes() == 0, p.outgoing.is_empty());
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        for _ in 0..10 * self.script.len() + 10 {
            if self.asked == self.script.len() && !self.pipeline.has_work() && self.is_idle() {
                break;
            }
            self.ask();
            self.apply_own(1);
            self.start();
            self.meet();
            self.finish();
        }
        self.drain(usize::MAX);
        assert_eq!(self.asked, self.script.len(), "all is read");
        assert_eq!(self.pipeline.waiting(), 0, "all is answered");
        assert!(!self.pipeline.has_work());
    }

    fn is_idle(&self) -> bool {
        self.running.is_none() && self.pipeline.waiting() == 0
    }

    fn verdict(&self) -> Result<(), String> {
        let heard = Heard::from_bytes(&self.socket);
        judge(&heard, &self.script, &self.events, &self.committed)
    }
}

/// Whether a client of a server that does one thing after the other could hear this.
fn judge(
    heard: &[Heard],
    script: &[Ask],
    events: &BTreeMap<i64, u8>,
    committed: &BTreeMap<usize, i64>,
) -> Result<(), String> {
    let mut events = events
        .iter()
        .flat_map(|(&zxid, &count)| (0..count).map(move |n| Heard::Event { zxid, n }))
        .peekable();
    let mut expected = Vec::new();
    let mut own_before = 0;
    let answers = heard.iter().filter_map(|heard| match *heard {
        Heard::Answer { request, zxid, own } => Some((request, zxid, own)),
        Heard::Event { .. } => None,
    });
    for (at, (request, zxid, own)) in answers.enumerate() {
        if request != at {
            return Err(format!("L5: answer to {request} in the place of {at}"));
        }
        own_before += usize::from(script[at] == Ask::Write);
        if own != own_before {
            return Err(format!(
                "L5: request {at} saw {own} own writes instead of {own_before}"
            ));
        }
        if script[at] == Ask::Write && committed.get(&at) != Some(&zxid) {
            return Err(format!("write {at} was told the transaction {zxid}"));
        }
        // The sequential server tells all events up to a state before it shows the state.
        while let Some(event) = events.next_if(|event| match event {
            Heard::Event { zxid: of, .. } => *of <= zxid,
            Heard::Answer { .. } => false,
        }) {
            expected.push(event);
        }
        expected.push(Heard::Answer { request, zxid, own });
    }
    expected.extend(events);
    if heard == expected {
        Ok(())
    } else {
        Err(format!("L4: heard {heard:?}\ninstead of {expected:?}"))
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Start,
    Meet,
    Finish,
    Drain(usize),
    ApplyForeign(u8),
    ApplyOwn(u8),
    Refuse,
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        6 => Just(Ask::Read),
        4 => Just(Ask::Write),
        1 => Just(Ask::Sync),
        2 => Just(Ask::Doomed),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Ask),
        2 => Just(Step::Start),
        2 => Just(Step::Meet),
        2 => Just(Step::Finish),
        2 => (1usize..60).prop_map(Step::Drain),
        2 => (0u8..3).prop_map(Step::ApplyForeign),
        3 => (0u8..3).prop_map(Step::ApplyOwn),
        1 => Just(Step::Refuse),
    ]
}

proptest! {
    #[test]
    fn l4_l5_client_hears_what_a_sequential_server_would_say(
        script in proptest::collection::vec(ask(), 0..25),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(script);
        for step in steps {
            world.step(step);
        }
        world.settle();
        prop_assert_eq!(world.verdict(), Ok(()));
    }
}

/// All schedules of a short script, rather than some of long ones.
#[test]
fn l4_l5_hold_in_every_schedule_of_short_scripts() {
    use Ask::{Doomed, Read, Sync, Write};
    use Step::{ApplyForeign, ApplyOwn, Finish, Meet, Refuse, Start};
    const STEPS: [Step; 8] = [
        Step::Ask,
        Start,
        Meet,
        Finish,
        Step::Drain(1),
        ApplyForeign(1),
        ApplyOwn(1),
        Refuse,
    ];
    for script in [
        [Read, Write, Read],
        [Write, Read, Sync],
        [Doomed, Read, Write],
    ] {
        for schedule in 0..8u32.pow(5) {
            let mut world = World::new(script.to_vec());
            world.step(Step::Ask);
            for at in 0..5 {
                world.step(STEPS[(schedule >> (3 * at) & 7) as usize]);
            }
            world.settle();
            assert_eq!(world.verdict(), Ok(()), "{script:?} {schedule:o}");
        }
    }
}

#[test]
fn judge_knows_each_way_to_break_a_law() {
    let script = [Ask::Write, Ask::Read];
    let events = BTreeMap::from([(11, 1), (12, 1)]);
    let committed = BTreeMap::from([(0, 11)]);
    let judge = |heard: &[Heard]| judge(heard, &script, &events, &committed);
    let event = |zxid| Heard::Event { zxid, n: 0 };
    let answer = |request, zxid, own| Heard::Answer { request, zxid, own };
    assert_eq!(
        judge(&[event(11), answer(0, 11, 1), answer(1, 11, 1), event(12)]),
        Ok(())
    );
    assert_eq!(
        judge(&[event(11), answer(0, 11, 1), event(12), answer(1, 12, 1)]),
        Ok(())
    );
    for bad in [
        // An answer before the event that it shows; an event before an answer that does not.
        vec![answer(0, 11, 1), event(11), answer(1, 11, 1), event(12)],
        vec![event(11), answer(0, 11, 1), event(12), answer(1, 11, 1)],
        // An event lost, doubled, out of order.
        vec![event(11), answer(0, 11, 1), answer(1, 11, 1)],
        vec![
            event(11),
            event(11),
            answer(0, 11, 1),
            answer(1, 11, 1),
            event(12),
        ],
        vec![event(12), event(11), answer(0, 11, 1), answer(1, 11, 1)],
        // Answers out of order; a read that misses the write before it.
        vec![answer(1, 10, 0), event(11), answer(0, 11, 1), event(12)],
        vec![event(11), answer(0, 11, 1), answer(1, 11, 0), event(12)],
        // A write told another's transaction.
        vec![event(11), event(12), answer(0, 12, 1), answer(1, 12, 1)],
    ] {
        assert!(judge(&bad).is_err(), "{bad:?}");
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn say(text: &'static str) -> Answer {
    Answer {
        bytes: bytes(text),
        then: Then::Continue,
    }
}

fn pipeline() -> Pipeline<&'static str> {
    Pipeline::new(&LIMITS)
}

fn z(zxid: i64) -> Zxid {
    Zxid::new(zxid)
}

fn drain<R>(pipeline: &mut Pipeline<R>) -> (String, Drained) {
    let mut out = Vec::new();
    let drained = pipeline.drain(usize::MAX, &mut out);
    let text = out
        .iter()
        .map(|piece| str::from_utf8(piece).unwrap())
        .collect::<Vec<_>>();
    (text.join(" "), drained)
}

#[test]
fn l4_event_after_the_state_of_a_group_follows_its_answers() {
    let mut p = pipeline();
    p.admit_read("r", 1).unwrap();
    assert_eq!(p.start_group(), Some(vec!["r"]));
    p.push_event(z(4), bytes("e4")).unwrap();
    p.push_event(z(5), bytes("e5")).unwrap();
    p.push_event(z(6), bytes("e6")).unwrap();
    assert_eq!(drain(&mut p), (String::new(), Drained::GroupRunning));
    p.finish_group(z(5), [bytes("r1"), bytes("r2")], Then::Continue)
        .unwrap();
    assert_eq!(drain(&mut p), ("e4 e5 r1 r2 e6".into(), Drained::Empty));
}

#[test]
fn l4_event_precedes_the_answer_at_the_same_zxid() {
    let mut p = pipeline();
    let ticket = p.admit_write(1).unwrap();
    p.push_event(z(5), bytes("e5")).unwrap();
    p.commit(ticket, z(5), say("w5"), &mut say).unwrap();
    assert_eq!(drain(&mut p), ("e5 w5".into(), Drained::Empty));
    let late = p.push_event(z(5), bytes("late"));
    assert_eq!(
        late,
        Err(Broken::EventTooLate {
            zxid: z(5),
            last: z(5)
        })
    );
}

#[test]
fn l4_stale_group_is_noticed() {
    let mut p = pipeline();
    p.push_event(z(5), bytes("e5")).unwrap();
    drain(&mut p);
    p.admit_read("r", 1).unwrap();
    p.start_group().unwrap();
    let stale = p.finish_group(z(4), [bytes("r")], Then::Continue);
    assert_eq!(
        stale,
        Err(Broken::AnswerTooLate {
            zxid: z(4),
            last: z(5)
        })
    );
}

#[test]
fn l5_write_waits_for_the_group_before_it() {
    let mut p = pipeline();
    p.admit_read("r", 1).unwrap();
    assert_eq!(p.admit_write(1), Err(Refused::GroupFirst));
    p.start_group().unwrap();
    assert_eq!(p.admit_write(1), Err(Refused::GroupFirst));
    p.finish_group(z(1), [bytes("r")], Then::Continue).unwrap();
    assert!(p.admit_write(1).is_ok());
}

#[test]
fn l5_reads_behind_a_write_run_right_after_it_up_to_the_next() {
    let mut p = pipeline();
    let first = p.admit_write(1).unwrap();
    assert_eq!(p.admit_read("a", 1), Ok(Placed::Held));
    assert_eq!(p.admit_read("b", 1), Ok(Placed::Held));
    let second = p.admit_write(1).unwrap();
    assert_eq!(p.admit_read("c", 1), Ok(Placed::Held));
    assert_eq!(p.start_group(), None);
    assert_eq!(
        p.commit(second, z(7), say("?"), &mut say),
        Err(Broken::NotNext)
    );
    p.commit(first, z(7), say("w7"), &mut say).unwrap();
    // Answers of the apply thread leave as one piece.
    assert_eq!(drain(&mut p).0, "w7ab");
    p.commit(second, z(9), say("w9"), &mut say).unwrap();
    assert_eq!(drain(&mut p).0, "w9c");
}

#[test]
fn l5_reads_behind_a_rejected_write_run_before_the_next_write() {
    let mut p = pipeline();
    let first = p.admit_write(1).unwrap();
    p.admit_read("a", 1).unwrap();
    let second = p.admit_write(1).unwrap();
    p.reject(first, "no").unwrap();
    assert_eq!(
        p.start_group(),
        None,
        "the connection task could not tell the state"
    );
    assert_eq!(
        p.commit(second, z(7), say("?"), &mut say),
        Err(Broken::NotNext)
    );
    p.run_before_write(z(6), &mut say).unwrap();
    p.commit(second, z(7), say("w7"), &mut say).unwrap();
    assert_eq!(drain(&mut p).0, "noaw7");
}

#[test]
fn rejected_last_write_leaves_a_group_to_the_connection_task() {
    let mut p = pipeline();
    let write = p.admit_write(1).unwrap();
    p.admit_read("a", 1).unwrap();
    assert!(!p.has_work());
    p.reject(write, "no").unwrap();
    assert!(p.has_work());
    assert_eq!(p.start_group(), Some(vec!["no", "a"]));
    assert_eq!(p.reject(write, "no"), Err(Broken::NotInFlight));
}

#[test]
fn answer_to_auth_overtakes() {
    let mut p = pipeline();
    let write = p.admit_write(1).unwrap();
    p.answer_now(say("auth"));
    p.commit(write, z(3), say("w3"), &mut say).unwrap();
    assert_eq!(drain(&mut p), ("auth w3".into(), Drained::Empty));
}

#[test]
fn closing_answer_is_the_last_and_drops_what_is_behind() {
    let mut p = pipeline();
    let close = p.admit_write(1).unwrap();
    p.admit_read("behind", 1).unwrap();
    let goodbye = Answer {
        bytes: bytes("closed"),
        then: Then::Close,
    };
    p.commit(close, z(3), goodbye, &mut |_| panic!("dropped"))
        .unwrap();
    p.push_event(z(4), bytes("e4")).unwrap();
    assert_eq!(p.admit_read("more", 1), Err((Refused::Closed, "more")));
    assert_eq!(drain(&mut p), ("closed".into(), Drained::Close));
    assert_eq!(p.closed(), Some(CloseCause::Answered));
}

#[test]
fn closing_answer_in_a_group_drops_later_events() {
    let mut p = pipeline();
    p.admit_read("unknown opcode", 1).unwrap();
    p.start_group().unwrap();
    p.push_event(z(3), bytes("e3")).unwrap();
    p.push_event(z(4), bytes("e4")).unwrap();
    p.finish_group(z(3), [bytes("unimplemented")], Then::Close)
        .unwrap();
    assert_eq!(drain(&mut p), ("e3 unimplemented".into(), Drained::Close));
    assert_eq!(p.outgoing_bytes(), 0);
}

#[test]
fn l6_slow_client_is_closed_by_events_it_does_not_take() {
    let mut p = Pipeline::<&str>::new(&PipelineLimits {
        outgoing_max: 3,
        ..LIMITS
    });
    let write = p.admit_write(1).unwrap();
    for zxid in 1..=3 {
        p.push_event(z(zxid), bytes("e")).unwrap();
        assert_eq!(p.closed(), None);
    }
    p.push_event(z(4), bytes("e")).unwrap();
    assert_eq!(p.closed(), Some(CloseCause::Overflow));
    assert_eq!(p.outgoing_bytes(), 0);
    // Whatever the apply thread still has to say is dropped, without a word.
    p.push_event(z(5), bytes("e")).unwrap();
    p.commit(write, z(5), say("w"), &mut say).unwrap();
    p.reject(write, "no").unwrap();
    assert_eq!(drain(&mut p), (String::new(), Drained::Close));
}

#[test]
fn l6_client_that_asks_too_much_is_not_read_and_not_closed() {
    let mut p = pipeline();
    let write = p.admit_write(1).unwrap();
    for _ in 0..5 {
        p.admit_read("r", 1).unwrap();
    }
    assert_eq!(p.admit_read("r", 1), Err((Refused::Full, "r")));
    assert_eq!(p.admit_write(1), Err(Refused::Full));
    p.commit(write, z(1), say("w"), &mut say).unwrap();
    assert!(p.admit_read("r", 1).is_ok());
}

#[test]
fn single_request_above_the_byte_bound_is_taken_in() {
    let mut p = pipeline();
    assert!(p.admit_read("r", 5000).is_ok());
    assert_eq!(p.admit_read("r", 1), Err((Refused::Full, "r")));
    p.start_group().unwrap();
    assert!(p.admit_read("r", 1).is_ok());
}

#[test]
fn undrained_answers_of_the_connection_task_stop_reading_but_do_not_close() {
    let mut p = Pipeline::new(&PipelineLimits {
        outgoing_bytes_max: 10,
        ..LIMITS
    });
    p.admit_read("r", 1).unwrap();
    p.start_group().unwrap();
    p.finish_group(z(1), [bytes("a large value")], Then::Continue)
        .unwrap();
    p.push_event(z(2), bytes("e")).unwrap();
    assert_eq!(p.closed(), None);
    assert_eq!(p.admit_read("r", 1), Err((Refused::Full, "r")));
    drain(&mut p);
    assert!(p.admit_read("r", 1).is_ok());
}

#[test]
fn one_answer_behind_a_write_may_be_longer_than_all_that_may_wait() {
    let mut p = Pipeline::new(&PipelineLimits {
        outgoing_bytes_max: 10,
        ..LIMITS
    });
    let write = p.admit_write(1).unwrap();
    p.admit_read("a long answer", 1).unwrap();
    p.admit_read("another", 1).unwrap();
    p.commit(write, z(1), say("w"), &mut say).unwrap();
    assert_eq!(p.closed(), Some(CloseCause::Overflow), "two of them");

    let mut p = Pipeline::new(&PipelineLimits {
        outgoing_bytes_max: 10,
        ..LIMITS
    });
    let write = p.admit_write(1).unwrap();
    p.admit_read("a long answer", 1).unwrap();
    p.commit(write, z(1), say("w"), &mut say).unwrap();
    assert_eq!(p.closed(), None);
    assert_eq!(drain(&mut p), ("wa long answer".into(), Drained::Empty));
}

#[test]
fn aborted_pipeline_says_nothing_more() {
    let mut p = pipeline();
    p.push_event(z(1), bytes("e")).unwrap();
    p.admit_read("r", 1).unwrap();
    p.start_group().unwrap();
    p.abort();
    p.finish_group(z(1), [bytes("r")], Then::Continue).unwrap();
    assert_eq!(drain(&mut p), (String::new(), Drained::Close));
    assert_eq!(p.closed(), Some(CloseCause::Aborted));
}

#[test]
fn group_that_was_not_started_cannot_be_finished() {
    let mut p = pipeline();
    assert_eq!(
        p.finish_group(z(1), [], Then::Continue),
        Err(Broken::NoGroup)
    );
}

#[test]
fn drain_takes_whole_pieces_up_to_its_budget() {
    let mut p = pipeline();
    for zxid in 1..=3 {
        p.push_event(z(zxid), bytes("event")).unwrap();
    }
    let mut out = Vec::new();
    assert_eq!(p.drain(6, &mut out), Drained::More);
    assert_eq!(out.len(), 2);
    assert_eq!(p.drain(6, &mut out), Drained::Empty);
}

#[test]
fn idle_pipeline_is_small_and_holds_no_buffer() {
    assert!(
        size_of::<Pipeline<Box<u8>>>() <= 256,
        "{}",
        size_of::<Pipeline<Box<u8>>>()
    );
    let mut p = pipeline();
    for zxid in 1..100 {
        p.admit_read("r", 1).unwrap();
        p.start_group().unwrap();
        p.finish_group(z(zxid), [bytes("r")], Then::Continue)
            .unwrap();
        let write = p.admit_write(1).unwrap();
        p.push_event(z(zxid + 1), bytes("e")).unwrap();
        p.commit(write, z(zxid + 1), say("w"), &mut say).unwrap();
        drain(&mut p);
    }
    assert_eq!((p.queue.capacity(), p.group.capacity()), (0, 0));
}
