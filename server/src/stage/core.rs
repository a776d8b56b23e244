//! The core: events in, actions out.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use zk_core::peer::{
    Actions, ControlAction, EpochKind, Event, LogAction, NetAction, Note, Peer, PeerStatus,
};

use super::apply::ApplyItem;
use super::clock::Clock;
use super::fail_stop::{StopCause, chain};
use super::heard::Heard;
use super::intake::Intake;
use super::log::{LogItem, LogTask};
use super::log_reader::Range;
use super::mailbox::Mailbox;
use super::owner::Stage;
use crate::audit::Audit;
use crate::net::connections::Connections;
use crate::net::packets::txn_bytes;
use crate::net::peers::Peers;
use crate::shared_tree::SharedTree;

/// Most that clients may ask of the core before it has looked. Beyond, the connection that asks is
/// closed; `globalOutstandingLimit` keeps it from coming to that unless handshakes flood.
pub(crate) const MAILBOX_MAX: usize = 16_384;
/// Events handled under one guard of the tree, so that the apply thread never waits long.
const BATCH_MAX: usize = 256;

/// Something asked of the core.
pub(crate) enum CoreItem {
    /// Something happened.
    Event(Event),
    /// Somebody wants to look.
    Inspect(Box<dyn FnOnce(&Peer) + Send>),
}

impl std::fmt::Debug for CoreItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Inspect(_) => f.write_str("Inspect"),
        }
    }
}

/// The core's own.
pub(crate) struct CoreStage {
    pub(crate) peer: Peer,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) log: Arc<Mailbox<LogItem>>,
    pub(crate) apply: Arc<Mailbox<ApplyItem>>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) status: Arc<Mutex<PeerStatus>>,
    /// What the leader sent, until it is durable.
    pub(crate) intake: Arc<Intake>,
    /// Bytes of it that the peer has taken and not given to the log, at most.
    pub(crate) kept: usize,
    pub(crate) clock: Clock,
    /// The other members, if there are any.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Who tells of changes, if that is wanted.
    pub(crate) audit: Option<Arc<Audit>>,
    /// Begins to read a part of the log.
    pub(crate) read_log: Box<dyn Fn(Range) + Send>,
    /// Cancelled when the core has come to rest, as it was told to.
    pub(crate) at_rest: CancellationToken,
    /// Reused between turns.
    pub(crate) appends: Vec<LogItem>,
    /// The same.
    pub(crate) out: Actions,
}

impl CoreStage {
    /// Begins to serve; to be called once, first.
    pub(crate) fn start(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        self.peer
            .start(self.clock.now(), &self.tree.read(), &mut out);
        self.dispatch(&mut out);
        self.out = out;
    }

    fn act(&mut self, items: &mut Vec<CoreItem>, out: &mut Actions) -> Result<(), StopCause> {
        let heard: Vec<Event> = self.heard.take().collect();
        let mut events = heard
            .into_iter()
            .map(CoreItem::Event)
            .chain(items.drain(..));
        loop {
            let now = self.clock.now();
            let tree = self.tree.read();
            let mut is_empty = true;
            for item in events.by_ref().take(BATCH_MAX) {
                is_empty = false;
                match item {
                    CoreItem::Event(event) => {
                        if let Event::LeaderPacket { packet, .. } = &event {
                            self.kept += txn_bytes(packet);
                        }
                        self.peer.handle(now, event, &tree, out)?;
                    }
                    CoreItem::Inspect(look) => look(&self.peer),
                }
            }
            if is_empty {
                self.peer.handle_deadlines(now, &tree, out)?;
            }
            drop(tree);
            self.dispatch(out);
            // What goes to the log was counted again.
            if !self.peer.keeps_packets() {
                self.intake.done(std::mem::take(&mut self.kept));
            }
            if is_empty {
                *self.status.lock() = self.peer.status();
                return Ok(());
            }
        }
    }

    fn dispatch(&mut self, out: &mut Actions) {
        if out.is_empty() {
            return;
        }
        // Before what comes behind it: a change is logged only when the file tells of the one before.
        for action in &out.net {
            if let NetAction::Configure(configs) = action {
                let task = LogTask::Configure(Box::new(configs.clone()));
                self.appends.push(LogItem::Alone(task));
            }
        }
        for action in out.log.drain(..) {
            match action {
                LogAction::Append { zxid, bytes } => {
                    self.intake.add(bytes.len());
                    self.appends.push(LogItem::Append { zxid, bytes });
                }
                LogAction::SaveAcceptedEpoch(epoch) => {
                    let kind = EpochKind::Accepted;
                    self.appends
                        .push(LogItem::Alone(LogTask::SaveEpoch(kind, epoch)));
                }
                LogAction::SaveCurrentEpoch(epoch) => {
                    let kind = EpochKind::Current;
                    self.appends
                        .push(LogItem::Alone(LogTask::SaveEpoch(kind, epoch)));
                }
                // By way of the apply thread, which knows who still looks at the tree.
                LogAction::Truncate(to) => self.apply.leave([ApplyItem::Truncate(to)]),
            }
        }
        self.log.send(self.appends.drain(..));
        if let Some(peers) = &self.peers {
            for action in out.net.drain(..) {
                if let NetAction::Configure(configs) = &action {
                    let current = Arc::clone(configs.current());
                    self.apply.leave([ApplyItem::Configure(current)]);
                }
                peers.perform(action);
            }
        }
        // Whoever runs the core goes on to help there.
        self.apply.leave(out.apply.drain(..).map(ApplyItem::Action));
        for action in out.control.drain(..) {
            match action {
                ControlAction::Serve(mode) => {
                    if let Some(audit) = &self.audit {
                        // Behind what was given to the tree until now.
                        let over = audit.end_period();
                        self.apply.leave([ApplyItem::PeriodOver(over)]);
                    }
                    self.connections.serve(mode);
                }
                ControlAction::SessionAnswered { conn, is_alive, .. } => {
                    self.connections.session_answered(conn, is_alive);
                }
                ControlAction::SessionOpened { conn, session } => {
                    self.connections.session_opened(conn, session);
                }
                ControlAction::SessionEnded { session } => self.connections.close_session(session),
                ControlAction::ReadLog {
                    token,
                    after,
                    upto,
                    bytes_max,
                } => (self.read_log)(Range {
                    token,
                    after,
                    upto,
                    bytes_max,
                }),
                ControlAction::Stopped => self.at_rest.cancel(),
            }
        }
        for note in out.notes.drain(..) {
            match note {
                Note::SessionExpired(session) => tracing::info!(%session, "session expired"),
                Note::Quota(warning) => tracing::warn!(?warning, "soft quota exceeded"),
                Note::ReconfigRefused(refusal) => {
                    tracing::warn!(err = %chain(&*refusal), "change of members refused");
                }
                Note::Election(note) => tracing::warn!(?note, "odd vote"),
                Note::Transition(transition) => tracing::info!(?transition, "transition"),
            }
        }
    }
}

impl Stage for CoreStage {
    type Item = CoreItem;
    const NAME: &'static str = "core";

    fn turn(&mut self, items: &mut Vec<CoreItem>) -> Result<(), StopCause> {
        let mut out = std::mem::take(&mut self.out);
        let acted = self.act(items, &mut out);
        self.out = out;
        acted
    }

    fn deadline(&self) -> Option<Instant> {
        let (deadline, _) = self.peer.next_deadline()?;
        Some(self.clock.instant(deadline))
    }
}
