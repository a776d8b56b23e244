//! A process that uses the ensemble: tasks that stand still together.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use zk_client::host::{Host, Hosted};
use zk_client::{Builder, Client};

use super::engine::{Shared, micros, panicked};
use super::faults::Mishap;
use super::report::lock;
use super::turns::Turns;
use super::wire::Wire;
use crate::sim::rng::Rng;

/// A process in a simulated run: what it does is done by [`Process::spawn`] and by the recipes on its
/// clients. All of that stands still when the process does.
///
/// Handles are cheap; each is the same process.
#[derive(Debug, Clone)]
pub struct Process {
    shared: Arc<Shared>,
    own: Arc<Proc>,
}

/// A process, as the runtime sees it.
#[derive(Debug)]
pub(super) struct Proc {
    pub(super) number: u32,
    pub(super) name: String,
    state: Mutex<State>,
    turns: Arc<Turns>,
}

#[derive(Debug)]
struct State {
    is_paused: bool,
    is_dead: bool,
    /// Tasks that wanted to run meanwhile.
    waiting: Vec<Waker>,
    rng: Rng,
}

impl Proc {
    pub(super) fn new(number: u32, name: String, rng: Rng, turns: Arc<Turns>) -> Self {
        let state = State {
            is_paused: false,
            is_dead: false,
            waiting: Vec::new(),
            rng,
        };
        Self {
            number,
            name,
            state: Mutex::new(state),
            turns,
        }
    }

    pub(super) fn pause(&self) {
        lock(&self.state).is_paused = true;
    }

    /// Nothing of it ever runs again.
    pub(super) fn kill(&self) {
        lock(&self.state).is_dead = true;
    }

    pub(super) fn is_dead(&self) -> bool {
        lock(&self.state).is_dead
    }

    /// Who is to be woken, if it stood still.
    pub(super) fn resume(&self) -> Option<Vec<Waker>> {
        let mut state = lock(&self.state);
        let waiting = std::mem::take(&mut state.waiting);
        let was_paused = std::mem::replace(&mut state.is_paused, false);
        (was_paused && !state.is_dead).then_some(waiting)
    }
}

impl Host for Proc {
    fn runs(&self, cx: &mut Context<'_>) -> bool {
        if !self.turns.is_mine(cx) {
            return false;
        }
        let mut state = lock(&self.state);
        if state.is_paused && !state.waiting.iter().any(|task| task.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        !state.is_paused && !state.is_dead
    }

    fn draw(&self) -> u64 {
        lock(&self.state).rng.next_u64()
    }
}

impl Process {
    pub(super) fn new(shared: Arc<Shared>, own: Arc<Proc>) -> Self {
        Self { shared, own }
    }

    /// Starts what a process does.
    pub(super) fn start<F>(self, body: impl FnOnce(Self) -> F) -> Running<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let body = body(self.clone());
        let task = self.spawn(body);
        Running {
            task,
            process: self,
        }
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.own.name
    }

    /// A client of all servers, once it has a session. It waits as long as it takes.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up.
    pub async fn client(&self) -> Result<Client, zk_client::Error> {
        self.builder("").connect().await
    }

    /// Sets a client up, with a path below which it lives, or an empty one.
    pub fn builder(&self, chroot: &str) -> Builder {
        let servers = (1..=self.shared.servers).map(|server| format!("s{server}:2181"));
        let connect = servers.collect::<Vec<_>>().join(",") + chroot;
        let wire = Wire::new(Arc::clone(&self.shared), Arc::clone(&self.own));
        Client::builder(&connect)
            .session_timeout(self.shared.timeout)
            .connect_timeout(Duration::from_mins(10))
            .seed(self.own.draw())
            .connector(wire)
    }

    /// Spawns a task of this process.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let future = std::panic::AssertUnwindSafe(future).catch_unwind();
        let host: Arc<dyn Host> = Arc::clone(&self.own) as _;
        tokio::spawn(Hosted::new(host, async move {
            match future.await {
                Ok(output) => output,
                Err(panic) => {
                    let violation = panicked(panic.as_ref());
                    shared.object(violation.law, violation.what);
                    // The run ends with that.
                    std::future::pending().await
                }
            }
        }))
    }

    /// A number of the seed.
    pub fn random(&self) -> u64 {
        self.own.draw()
    }

    /// A number of the seed, below `end`; 0 if that is 0.
    pub fn below(&self, end: u64) -> u64 {
        lock(&self.own.state).rng.below(end)
    }

    /// Works for a while that the seed says, no longer than `most`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the work.
    pub async fn work(&self, most: Duration) {
        let span = self.below(micros(most).saturating_add(1));
        tokio::time::sleep(Duration::from_micros(span)).await;
    }

    /// Lets the process stand still, at the next point at which its tasks wait.
    pub fn pause(&self, span: Duration) {
        let span = micros(span);
        self.shared.hit(self.own.number, Mishap::Pause { span });
    }

    /// Cuts the process off from all servers for a while.
    pub fn isolate(&self, span: Duration) {
        let cut = Mishap::Cut {
            member: None,
            heading: None,
            span: micros(span),
        };
        self.shared.hit(self.own.number, cut);
    }

    /// Breaks the connections of the process.
    pub fn reset(&self) {
        let reset = Mishap::Reset { tells_server: true };
        self.shared.hit(self.own.number, reset);
    }

    /// Has the sessions of the process that are connected ended by a server.
    pub fn expire(&self) {
        self.shared.hit(self.own.number, Mishap::Expire);
    }
}

/// A process that was started: a future of what it comes to.
#[derive(Debug)]
pub struct Running<T> {
    task: JoinHandle<T>,
    process: Process,
}

impl<T> Running<T> {
    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it at once, as a power cut does: its connections break, its sessions run out, and nothing
    /// comes of it any more.
    pub fn kill(&self) {
        let own = &self.process.own;
        self.process.shared.hit(own.number, Mishap::Death);
    }
}

impl<T> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.task.poll_unpin(cx) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            // The run is over: nothing comes of it any more.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
