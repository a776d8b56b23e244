//! A connection to a peer: frames in, frames out.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zk_core::wire::election::{FRAME_MAX, Notification};
use zk_proto::ServerId;

use super::super::peer_socket::{PeerSocket, Sink, Source};
use super::{MeshEvent, Shared};

/// Frames taken without a pause. A peer has a few to send in an election, and then none.
pub(super) const BURST: u32 = 64;
/// The pause.
const PAUSE: Duration = Duration::from_millis(10);

/// Carries frames until either side closes.
pub(super) async fn run(
    shared: Arc<Shared>,
    peer: ServerId,
    socket: PeerSocket,
    number: u64,
    ready: Arc<Notify>,
    closing: CancellationToken,
) {
    let PeerSocket { source, sink } = socket;
    let end = tokio::select! {
        () = closing.cancelled() => Ok(()),
        end = read(&shared, peer, source) => end,
        end = write(&shared, peer, number, sink, &ready) => end,
    };
    if let Err(error) = end {
        tracing::debug!(sid = %peer, err = %error, "election connection lost");
    }
    shared.lose(peer, number);
}

async fn read(shared: &Shared, peer: ServerId, source: Source) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1024, source);
    let mut frames = 0;
    loop {
        let claimed = reader.read_i32().await?;
        let len = usize::try_from(claimed).ok();
        let Some(len) = len.filter(|len| (1..=FRAME_MAX).contains(len)) else {
            if shared.reports.is_new(&format!("frame {peer}")) {
                tracing::warn!(
                    sid = %peer, bytes = claimed,
                    "election connection closed: a frame of this length is none"
                );
            }
            return Ok(());
        };
        // Grows with what comes, not with what is claimed.
        let mut frame = Vec::new();
        let mut body = (&mut reader).take(len as u64);
        body.read_to_end(&mut frame).await?;
        if frame.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(mut notification) = Notification::decode(&frame) {
            if !shared.is_member(peer) {
                // Nobody looks at it, and it may be long.
                notification.config = None;
            }
            shared.tell(MeshEvent::Received(peer, notification));
        } else {
            tracing::debug!(sid = %peer, bytes = len, "notification ignored");
        }
        frames += 1;
        if frames % BURST == 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn write(
    shared: &Shared,
    peer: ServerId,
    number: u64,
    mut sink: Sink,
    ready: &Notify,
) -> io::Result<()> {
    loop {
        ready.notified().await;
        let frame = {
            let mut slots = shared.slots.lock();
            let slot = slots.get_mut(&peer);
            let slot = slot.filter(|slot| {
                let link = slot.link.as_ref();
                link.is_some_and(|link| link.number == number)
            });
            let Some(slot) = slot else {
                return Ok(());
            };
            let frame = slot.queue.take();
            if let Some(frame) = &frame {
                slot.written = Some((frame.clone(), Instant::now()));
            }
            frame
        };
        if let Some(frame) = frame {
            sink.write_all(&frame).await?;
            sink.flush().await?;
        }
    }
}
