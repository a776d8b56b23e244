//! Reaching a server that has several addresses, some of which may be dead.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use tokio::time::timeout;

/// How long an attempt goes on alone: as long as a server that is there may take to answer, and so short
/// that dead addresses before it use up little of any limit. RFC 8305, "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);

/// Attempts in the order in which they are begun: the next one when one has failed, or none has come to
/// an end in [`HEAD_START`]. Dropped, those that go on are given up.
pub(super) struct Race<F> {
    waiting: vec::IntoIter<F>,
    running: Vec<Pin<Box<F>>>,
}

impl<F: Future> Race<F> {
    pub(super) fn new(attempts: impl IntoIterator<Item = F>) -> Self {
        let attempts: Vec<F> = attempts.into_iter().collect();
        Self {
            waiting: attempts.into_iter(),
            running: Vec::new(),
        }
    }

    /// What the next one to end comes to, which is asked for because those before were of no use;
    /// `None` when all have ended.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the rest of a head start.
    pub(super) async fn next(&mut self) -> Option<F::Output> {
        loop {
            let begun = self.waiting.next();
            let all_run = begun.is_none();
            self.running.extend(begun.map(Box::pin));
            if self.running.is_empty() {
                return None;
            }
            let ended = poll_fn(|context| poll(&mut self.running, context));
            if all_run {
                return Some(ended.await);
            }
            if let Ok(ended) = timeout(HEAD_START, ended).await {
                return Some(ended);
            }
        }
    }
}

/// What the first attempt to succeed comes to.
///
/// # Errors
///
/// All have failed: the last failure.
pub(super) async fn first<T, F>(attempts: impl IntoIterator<Item = F>) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut race = Race::new(attempts);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address is known");
    while let Some(ended) = race.next().await {
        match ended {
            Ok(success) => return Ok(success),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn poll<F: Future>(running: &mut Vec<Pin<Box<F>>>, context: &mut Context<'_>) -> Poll<F::Output> {
    for (at, attempt) in running.iter_mut().enumerate() {
        if let Poll::Ready(output) = attempt.as_mut().poll(context) {
            drop(running.remove(at));
            return Poll::Ready(output);
        }
    }
    Poll::Pending
}

#[cfg(test)]
pub(super) mod testing {
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;

    /// An address that answers nobody: as many wait to be accepted there as may.
    pub(in crate::net) struct Silent {
        pub(in crate::net) port: u16,
        _listener: TcpListener,
        _waiting: Vec<TcpStream>,
    }

    impl Silent {
        pub(in crate::net) async fn start() -> Self {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(([127, 0, 0, 1], 0).into()).expect("bound");
            let listener = socket.listen(1).expect("listens");
            let address = listener.local_addr().expect("an address");
            let mut waiting = Vec::new();
            while let Ok(connected) =
                timeout(Duration::from_secs(1), TcpStream::connect(address)).await
            {
                waiting.push(connected.expect("connected"));
                assert!(waiting.len() < 100, "its queue has no end");
            }
            Self {
                port: address.port(),
                _listener: listener,
                _waiting: waiting,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// An attempt that ends after so many ms, or never.
    async fn attempt(after_ms: Option<u64>, outcome: Result<u32, u32>) -> io::Result<u32> {
        match after_ms {
            Some(after) => sleep(Duration::from_millis(after)).await,
            None => pending().await,
        }
        outcome.map_err(|code| io::Error::other(code.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn dead_addresses_do_not_starve_the_ones_behind_them() {
        let begun = Instant::now();
        let dead = (0..4).map(|_| attempt(None, Ok(0)));
        let attempts = dead.chain([attempt(Some(10), Ok(1)), attempt(Some(1), Ok(2))]);
        assert_eq!(first(attempts).await.expect("reached"), 1);
        assert_eq!(begun.elapsed(), 4 * HEAD_START + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_at_once_costs_no_time() {
        let begun = Instant::now();
        let attempts = [
            attempt(Some(0), Err(1)),
            attempt(Some(0), Err(2)),
            attempt(Some(7), Ok(3)),
        ];
        assert_eq!(first(attempts).await.expect("reached"), 3);
        assert_eq!(begun.elapsed(), Duration::from_millis(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_may_still_win() {
        let attempts = [attempt(Some(300), Ok(1)), attempt(Some(300), Ok(2))];
        assert_eq!(first(attempts).await.expect("reached"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_last_failure_is_told() {
        let attempts = [attempt(Some(400), Err(1)), attempt(Some(1), Err(2))];
        let error = first(attempts).await.expect_err("none is left");
        assert_eq!(error.to_string(), "1");
        let nobody = first(std::iter::empty::<std::future::Ready<io::Result<()>>>()).await;
        assert_eq!(
            nobody.expect_err("nobody").to_string(),
            "no address is known"
        );
    }
}
