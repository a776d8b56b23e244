//! Every way to die in a life of a data directory: log, snapshots, purges, epochs and a truncation,
//! in the order in which the threads of a server call them, on a disk that fails at each of its
//! operations in turn, in each way, with each kind of loss.
//!
//! After each death: nothing acknowledged is lost, the state is one that the server was in, so that
//! nothing is half applied, no epoch goes back, and the server goes on from there.

#![cfg(feature = "sim")]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use bytes::BytesMut;
use zk_core::time::WallTime;
use zk_core::tree::{Capture, OwnerRules, Tree, TreeOptions};
use zk_core::wire::file_name::Compression;
use zk_core::wire::log_record::ENTRY_MAX;
use zk_core::wire::txn::{
    CreateSessionTxn, CreateTxn, DeleteTxn, Op, SetDataTxn, Txn, TxnDigest, TxnEntry, TxnHeader,
};
use zk_proto::jute::Encode as _;
use zk_proto::{Acl, Bytes, Epoch, Id, Perms, SessionId, Version, Xid, Zxid};
use zk_server::storage::{
    Epochs, Fault, FileLog, LogEntry, LogOptions, RecoverOptions, Recovered, SimDisk,
    SnapshotWriter, Standing, Survival, purge, recover, write_snapshot,
};

const SESSION: SessionId = SessionId::new(0x100_0000_0000_0001);
const FAULTS: [Fault; 3] = [Fault::PowerCut, Fault::Io, Fault::NoSpace];
const SURVIVALS: [Survival; 4] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Some,
    Survival::Torn,
];

type Contents = BTreeMap<String, String>;
type Died = Box<dyn Error>;

fn options() -> RecoverOptions {
    RecoverOptions {
        tree: TreeOptions {
            hash_seed: 42,
            owners: OwnerRules {
                extended_types: true,
                emulate_353_ttl: false,
            },
            digest: true,
        },
        trust_empty: false,
        entry_bytes_max: ENTRY_MAX,
        standing: Standing::Member,
        compression: Compression::None,
    }
}

fn contents(tree: &Tree) -> Contents {
    let mut contents = BTreeMap::new();
    tree.each_znode(|path, znode| {
        let (stat, data, acl) = (znode.stored_stat(), znode.data(), znode.acl());
        contents.insert(path.to_owned(), format!("{stat:?} {data:?} {acl:?}"));
    });
    for (session, timeout) in tree.sessions() {
        contents.insert(session.to_string(), format!("{timeout:?}"));
    }
    contents
}

/// What must hold after any death, kept by somebody who does not die.
struct Promises {
    /// The state after each transaction that may be found.
    states: BTreeMap<Zxid, Contents>,
    /// The last transaction that was acknowledged.
    acknowledged: Zxid,
    /// Epochs that others were told of.
    accepted: Epoch,
    current: Epoch,
}

impl Promises {
    fn new() -> Self {
        let empty = contents(&Tree::new(options().tree));
        Self {
            states: BTreeMap::from([(Zxid::ZERO, empty)]),
            acknowledged: Zxid::ZERO,
            accepted: Epoch::new(0),
            current: Epoch::new(0),
        }
    }

    /// What a recovery breaks of them, if anything.
    fn check(&self, recovered: &Recovered) -> Result<(), String> {
        let last = recovered.tree.applied();
        let acknowledged = self.acknowledged;
        if last < acknowledged {
            return Err(format!(
                "{acknowledged} was acknowledged, {last} is the last"
            ));
        }
        let Some(state) = self.states.get(&last) else {
            return Err(format!("{last} was taken back, and is there again"));
        };
        if contents(&recovered.tree) != *state {
            return Err(format!("the state at {last} is another than it was"));
        }
        if let Some(mismatch) = recovered.report.mismatch {
            return Err(format!("{mismatch:?}"));
        }
        let epochs = recovered.epochs.ok_or("no epochs")?;
        if epochs.accepted() < self.accepted || epochs.current() < self.current {
            return Err(format!(
                "{:?} was accepted, {:?} current: {epochs:?}",
                self.accepted, self.current
            ));
        }
        Ok(())
    }
}

/// A server, as far as its disk can tell.
struct Life<'a> {
    disk: SimDisk,
    log: FileLog<SimDisk>,
    epochs: Epochs,
    /// As far as it is applied.
    tree: Tree,
    /// As far as it is proposed.
    ahead: Tree,
    /// Logged and not applied yet: the apply thread is a batch behind.
    lag: VecDeque<Vec<TxnEntry>>,
    snapshot: Option<(Capture, SnapshotWriter<SimDisk>)>,
    promises: &'a mut Promises,
    compression: Compression,
}

impl<'a> Life<'a> {
    fn begin(disk: &SimDisk, sync: bool, promises: &'a mut Promises) -> Result<Self, Died> {
        let Recovered { tree, epochs, .. } = recover(disk, &options())?;
        let ahead = recover(disk, &options())?.tree;
        let log_options = LogOptions {
            preallocate_bytes: 4096,
            file_bytes_max: Some(6000),
            sync,
            ..LogOptions::default()
        };
        Ok(Self {
            log: FileLog::open(disk.clone(), log_options, tree.applied())?,
            disk: disk.clone(),
            epochs: epochs.ok_or("a member has epochs")?,
            tree,
            ahead,
            lag: VecDeque::new(),
            snapshot: None,
            promises,
            compression: Compression::None,
        })
    }

    /// As a member that follows a new leader.
    fn lead_in(&mut self, epoch: i32) -> Result<(), Died> {
        let epoch = Epoch::new(epoch);
        self.epochs.accept(&self.disk, epoch)?;
        self.promises.accepted = epoch;
        self.epochs.establish(&self.disk, epoch)?;
        self.promises.current = epoch;
        Ok(())
    }

    /// A transaction, made as the leader makes it: with the digest of the state it leads to.
    fn propose(&mut self) -> TxnEntry {
        let (last, epoch) = (self.ahead.applied(), self.epochs.current());
        let counter = if last.epoch() == epoch {
            last.counter() + 1
        } else {
            1
        };
        let zxid = Zxid::from_parts(epoch, counter);
        let number = i64::from(counter);
        let header = TxnHeader {
            session: SESSION,
            cxid: Xid::new(0),
            zxid,
            time: WallTime::from_millis(1_700_000_000_000 + number),
        };
        let create = |name: String, ephemeral| {
            let len = usize::try_from(number * 37 % 900).expect("small");
            Op::Create(CreateTxn {
                path: name.into(),
                data: Some(Bytes::from(vec![b'x'; len])),
                acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
                ephemeral,
                parent_cversion: CreateTxn::NEXT_CVERSION,
            })
        };
        let name = |number: i64| format!("/e{}-{number}", epoch.get());
        let txn = match number {
            1 => Txn::CreateSession(CreateSessionTxn { timeout_ms: 9000 }),
            n if n % 5 == 0 => Txn::Multi(vec![
                create(name(n), false),
                create(format!("{}/a", name(n)), false),
                create(format!("{}/b", name(n)), true),
            ]),
            n if n % 4 == 0 => Txn::Single(Op::SetData(SetDataTxn {
                path: name(n - 1).into(),
                data: Some(Bytes::from(vec![b'y'; 300])),
                version: Version::new(1),
            })),
            n if n % 7 == 0 => Txn::Single(Op::Delete(DeleteTxn {
                path: name(n - 1).into(),
            })),
            n => Txn::Single(create(name(n), n % 3 == 0)),
        };
        let mut entry = TxnEntry {
            header,
            txn,
            digest: None,
        };
        self.ahead.apply(&entry.header, &entry.txn);
        entry.digest = self.ahead.digest().map(TxnDigest::new);
        let state = contents(&self.ahead);
        self.promises.states.insert(zxid, state);
        entry
    }

    /// The log thread's batch; acknowledged when it is durable.
    fn log(&mut self, count: usize) -> Result<(), Died> {
        let entries: Vec<TxnEntry> = (0..count).map(|_| self.propose()).collect();
        let batch: Vec<LogEntry> = entries
            .iter()
            .map(|entry| LogEntry {
                zxid: entry.header.zxid,
                bytes: entry.to_bytes(),
            })
            .collect();
        self.promises.acknowledged = self.log.append(&batch)?;
        self.lag.push_back(entries);
        Ok(())
    }

    /// The apply thread's batch.
    fn apply(&mut self) {
        for entry in self.lag.pop_front().unwrap_or_default() {
            self.tree.apply(&entry.header, &entry.txn);
        }
    }

    /// The apply thread's decision for a snapshot.
    fn begin_snapshot(&mut self) -> Result<(), Died> {
        self.log.roll();
        if self.snapshot.is_none() {
            let capture = self.tree.capture();
            let writer =
                SnapshotWriter::create(self.disk.clone(), capture.zxid(), self.compression);
            self.snapshot = Some((capture, writer?));
        }
        Ok(())
    }

    /// The snapshot thread's next piece, and what it does after the last one.
    fn write_snapshot(&mut self) -> Result<(), Died> {
        let Some((mut capture, mut writer)) = self.snapshot.take() else {
            return Ok(());
        };
        let mut chunk = BytesMut::new();
        let is_more = capture.next_chunk(&self.tree, 700, &mut chunk);
        writer.write(&chunk)?;
        if is_more {
            self.snapshot = Some((capture, writer));
            return Ok(());
        }
        writer.finish()?;
        self.tree.end_capture(capture);
        // What cannot be removed stays for the next time: that is no reason to stop.
        purge(&self.disk, 2).ok();
        Ok(())
    }

    /// As a member whose leader does not know the end of its history.
    fn truncate(&mut self, count: u32) -> Result<(), Died> {
        while !self.lag.is_empty() {
            self.apply();
        }
        self.snapshot = None;
        let last = self.tree.applied();
        let to = Zxid::from_parts(last.epoch(), last.counter() - count);
        self.promises.acknowledged = to;
        if !self.log.truncate(to)? {
            return Err("not truncated".into());
        }
        self.promises.states.retain(|zxid, _| *zxid <= to);
        self.tree = recover(&self.disk, &options())?.tree;
        self.ahead = recover(&self.disk, &options())?.tree;
        if self.tree.applied() != to {
            return Err("truncated to somewhere else".into());
        }
        Ok(())
    }

    /// As a member that is given the tree of a leader, who is ahead.
    fn take_tree(&mut self) -> Result<(), Died> {
        while !self.lag.is_empty() {
            self.apply();
        }
        self.snapshot = None;
        for _ in 0..10 {
            self.propose();
        }
        let (name, _) = write_snapshot(&self.disk, &mut self.ahead, self.compression)?;
        self.log.restart(name)?;
        self.promises.acknowledged = self.ahead.applied();
        self.tree = recover(&self.disk, &options())?.tree;
        Ok(())
    }
}

/// The life of a data directory, up to the first failure.
fn live(disk: &SimDisk, sync: bool, promises: &mut Promises) -> Result<(), Died> {
    let mut life = Life::begin(disk, sync, promises)?;
    for epoch in 1..=3 {
        life.lead_in(epoch)?;
        for batch in 1..=9 {
            life.log(1 + batch % 3)?;
            if life.lag.len() > 1 {
                life.apply();
            }
            if batch % 4 == 0 {
                life.begin_snapshot()?;
            }
            life.write_snapshot()?;
        }
        life.compression = Compression::Gzip;
        if epoch == 2 {
            life.truncate(3)?;
        }
        while life.snapshot.is_some() {
            life.write_snapshot()?;
        }
        if epoch == 2 {
            life.take_tree()?;
        }
    }
    Ok(())
}

/// One death and what comes after it; how many operations there were.
fn die(step: u64, fault: Fault, survival: Survival, sync: bool) -> Result<u64, String> {
    let disk = SimDisk::new(step.wrapping_mul(31) + survival as u64);
    disk.fail_at(step, fault);
    let mut promises = Promises::new();
    // Whoever dies has said so to himself; what counts is what is found afterwards.
    live(&disk, sync, &mut promises).ok();
    let operations = disk.operations();
    // Some die a second time, while they recover.
    let mut disk = disk.restart_with(survival);
    if step.is_multiple_of(3) {
        disk.fail_at(disk.operations() + 1 + step % 4, Fault::PowerCut);
        if let Ok(recovered) = recover(&disk, &options()) {
            promises.check(&recovered)?;
        }
        disk = disk.restart_with(survival);
    }
    let recovered = recover(&disk, &options()).map_err(|error| format!("{error:?}"))?;
    promises.check(&recovered)?;
    // It goes on from there.
    promises
        .states
        .retain(|zxid, _| *zxid <= recovered.tree.applied());
    let mut life = Life::begin(&disk, sync, &mut promises).map_err(|error| error.to_string())?;
    life.lead_in(9).map_err(|error| error.to_string())?;
    for _ in 0..2 {
        life.log(2).map_err(|error| error.to_string())?;
    }
    let recovered = recover(&disk.restart_with(Survival::Nothing), &options());
    promises.check(&recovered.map_err(|error| format!("again: {error:?}"))?)?;
    Ok(operations)
}

fn matrix(sync: bool) -> (u64, Vec<String>) {
    let mut deaths = 0;
    let mut broken = Vec::new();
    for fault in FAULTS {
        for survival in SURVIVALS {
            for step in 1.. {
                deaths += 1;
                match die(step, fault, survival, sync) {
                    Ok(operations) if operations < step => break,
                    Ok(_) => {}
                    Err(error) => {
                        broken.push(format!("{fault:?} at {step}, {survival:?}: {error}"));
                        if broken.len() > 20 {
                            return (deaths, broken);
                        }
                    }
                }
            }
        }
    }
    (deaths, broken)
}

#[test]
fn every_death_keeps_every_promise() {
    let (deaths, broken) = matrix(true);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(deaths > 1500, "only {deaths} deaths");
}

/// The checks can fail: a server that acknowledges what it did not sync is caught.
#[test]
fn a_log_without_syncs_is_caught() {
    let (_, broken) = matrix(false);
    assert!(!broken.is_empty());
}
