//! One child process, owned by one thread from birth to burial.
//!
//! The thread creates the child and waits for its end. Two things follow. The child can ask the
//! kernel to be killed when its parent *thread* dies (which is what `PR_SET_PDEATHSIG` means on
//! Linux) without dying early when the test thread that started it is done. And nobody needs a
//! runtime to end a child, so a drop during a panic works like any other.

use std::io;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::sync::{oneshot, watch};

/// A running child process; killed and reaped on drop.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    life: Arc<Mutex<Life>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    owner: Option<JoinHandle<()>>,
}

/// Whether the pid still means our child.
///
/// Guards every signal: after the child is reaped its pid may belong to a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Unreaped,
    Reaped,
}

impl Process {
    /// Creates the child. `name` names its owner thread.
    ///
    /// # Errors
    /// What the system says when it cannot create a thread or the process.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child as soon as it is created.
    pub(super) async fn spawn(name: String, mut command: Command) -> io::Result<Self> {
        let (born_tx, born) = oneshot::channel();
        let owner = thread::Builder::new().name(name).spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(err) => return drop(born_tx.send(Err(err))),
            };
            let pid = child.id();
            let life = Arc::new(Mutex::new(Life::Unreaped));
            let (exit_tx, exit) = watch::channel(None);
            let process = Self {
                pid,
                life: Arc::clone(&life),
                exit,
                owner: None,
            };
            // If nobody takes it, its drop kills the child.
            drop(born_tx.send(Ok(process)));
            wait_for_end(pid);
            // The child is dead and stays a zombie until here, so the wait returns at once.
            let mut life = lock(&life);
            let status = child.wait();
            *life = Life::Reaped;
            drop(life);
            exit_tx.send_replace(status.ok());
        })?;
        let mut process = born
            .await
            .map_err(|_| io::Error::other("the owner thread died"))??;
        process.owner = Some(owner);
        Ok(process)
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` when the child has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let life = lock(&self.life);
        if *life == Life::Reaped {
            return Err(Errno::ESRCH.into());
        }
        Ok(kill(pid_of(self.pid), signal)?)
    }

    /// Lets no file of the child grow beyond so many bytes.
    ///
    /// # Errors
    /// `ESRCH` when the child has ended.
    pub(super) fn limit_files(&self, bytes: u64) -> io::Result<()> {
        let life = lock(&self.life);
        let pid = rustix::process::Pid::from_raw(self.pid.cast_signed());
        let Some(pid) = pid.filter(|_| *life == Life::Unreaped) else {
            return Err(Errno::ESRCH.into());
        };
        let limit = Rlimit {
            current: Some(bytes),
            maximum: None,
        };
        prlimit(Some(pid), Resource::Fsize, limit)?;
        Ok(())
    }

    /// How the child ended, if it did.
    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Whether all threads of the child are stopped by SIGSTOP.
    pub(super) fn is_stopped(&self) -> bool {
        let life = lock(&self.life);
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        *life == Life::Unreaped
            && matches!(
                waitid(Id::Pid(pid_of(self.pid)), flags),
                Ok(WaitStatus::Stopped(..))
            )
    }

    /// Waits until the child has ended and is reaped.
    ///
    /// # Cancel safety
    /// Safe: it only waits.
    pub(super) async fn ended(&self) {
        let mut exit = self.exit.clone();
        // An error means that the owner thread is gone, which it is only after the child.
        drop(exit.wait_for(Option::is_some).await);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too, before it could do anything more. An error means that
        // it has ended already.
        drop(self.signal(Signal::SIGKILL));
        if let Some(owner) = self.owner.take() {
            drop(owner.join());
        }
    }
}

/// Blocks until the child has ended, without reaping it.
fn wait_for_end(pid: u32) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(pid_of(pid)), flags) == Err(Errno::EINTR) {}
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed())
}

fn lock(life: &Mutex<Life>) -> MutexGuard<'_, Life> {
    life.lock().unwrap_or_else(PoisonError::into_inner)
}
