use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::call::{Call, CallFuture};
use crate::error::Error;

/// A read behind a sync, both sent at once: it sees everything that was committed before.
///
/// Nearly everything: a server that is cut off from a new leader and does not know it may still
/// answer the sync.
///
/// # Errors
/// Those of [`crate::Client::sync`] and of the read.
///
/// # Cancel safety
/// As the read.
#[must_use = "nothing is sent before it is awaited"]
pub struct Synced<T> {
    sync: Call<()>,
    read: Call<T>,
}

impl<T> Synced<T> {
    pub(super) fn new(sync: Call<()>, read: Call<T>) -> Self {
        Self { sync, read }
    }
}

impl<T> IntoFuture for Synced<T> {
    type Output = Result<T, Error>;
    type IntoFuture = SyncedFuture<T>;

    fn into_future(self) -> SyncedFuture<T> {
        let (sync, read) = (CallFuture::new(self.sync), CallFuture::new(self.read));
        SyncedFuture {
            sync: Some(sync),
            read,
        }
    }
}

impl<T> fmt::Debug for Synced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Synced").finish_non_exhaustive()
    }
}

/// The future of a [`Synced`].
pub struct SyncedFuture<T> {
    /// Until it is answered.
    sync: Option<CallFuture<()>>,
    read: CallFuture<T>,
}

impl<T> Future for SyncedFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(sync) = &mut this.sync {
            // The first poll submits the sync, and the read right behind it.
            match Pin::new(sync).poll(cx) {
                Poll::Ready(Ok(())) => this.sync = None,
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                Poll::Pending => {
                    this.read.submit();
                    return Poll::Pending;
                }
            }
        }
        Pin::new(&mut this.read).poll(cx)
    }
}

impl<T> fmt::Debug for SyncedFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncedFuture").finish_non_exhaustive()
    }
}
