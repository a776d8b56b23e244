//! Connections of real clients to the simulated ensemble.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Buf as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use zk_client::{ConnectError, ConnectErrorKind, Connector, Io, Server};

use super::engine::{End, Shared, micros};
use super::process::Proc;
use crate::sim::outside::Heading;

/// Makes connections of one process.
#[derive(Debug)]
pub(super) struct Wire {
    shared: Arc<Shared>,
    process: Arc<Proc>,
}

impl Wire {
    pub(super) fn new(shared: Arc<Shared>, process: Arc<Proc>) -> Self {
        Self { shared, process }
    }
}

#[async_trait]
impl Connector for Wire {
    async fn connect(
        &self,
        server: &Server,
        within: Duration,
    ) -> Result<Box<dyn Io>, ConnectError> {
        let error = |kind, what: &str| ConnectError::new(kind, format!("{server} {what}"));
        let number = server
            .host()
            .strip_prefix('s')
            .and_then(|number| number.parse().ok());
        let member = number
            .and_then(|number: u8| number.checked_sub(1))
            .filter(|member| *member < self.shared.servers)
            .ok_or_else(|| error(ConnectErrorKind::Dns, "is no server of the simulation"))?;
        let process = self.process.number;
        let (way, wait) = {
            let mut inner = self.shared.enter();
            let cut = [Heading::In, Heading::Out]
                .map(|heading| inner.sim.is_cut_outside(process, member, heading));
            let cut = cut.into_iter().max().unwrap_or(0);
            let way = inner.sim.latency() + inner.sim.latency();
            (way, cut.saturating_sub(self.shared.now()))
        };
        if wait + way > micros(within) {
            sleep(within).await;
            return Err(error(ConnectErrorKind::Timeout, "did not accept in time"));
        }
        sleep(Duration::from_micros(wait + way)).await;
        let mut inner = self.shared.enter();
        let place = inner
            .sim
            .connect_outside(process, member)
            .ok_or_else(|| error(ConnectErrorKind::Io, "refused the connection"))?;
        inner.ends.insert(place, End::default());
        drop(inner);
        Ok(Box::new(Line {
            shared: Arc::clone(&self.shared),
            place,
        }))
    }
}

/// A connection.
#[derive(Debug)]
struct Line {
    shared: Arc<Shared>,
    place: usize,
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.shared.enter();
        let Some(end) = inner.ends.get_mut(&self.place) else {
            return Poll::Ready(Ok(()));
        };
        if let Some(bytes) = end.arrived.front_mut() {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(bytes.get(..count).unwrap_or_default());
            bytes.advance(count);
            if bytes.is_empty() {
                end.arrived.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
        if end.is_over {
            return Poll::Ready(Ok(()));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.shared.enter();
        if inner.ends.get(&self.place).is_none_or(|end| end.is_over) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        inner.sim.put_outside(self.place, bytes);
        drop(inner);
        self.shared.nudge();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut inner = self.shared.enter();
        inner.ends.remove(&self.place);
        inner.sim.leave(self.place);
        drop(inner);
        self.shared.nudge();
    }
}
