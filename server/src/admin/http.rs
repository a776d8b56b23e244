//! HTTP for operators: few clients, small answers, nothing of it on the way of requests.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::descriptors;
use crate::storage::DiskFile;

/// Connections at a time; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a file read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Pieces of a file that are read ahead of the connection.
const CHUNKS_MAX: usize = 2;
/// Pause after accepting failed, as it does when file descriptors run out.
const RETRY: Duration = Duration::from_millis(100);

/// What is asked. Not to be printed: it has passwords.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Who asks, in its own words.
    pub(crate) authorization: Option<String>,
    /// From where.
    pub(crate) remote: IpAddr,
}

impl Asked {
    /// A value of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<&'static str>,
    /// Headers beside it.
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Body,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type: Some(content_type),
            headers: Vec::new(),
            body: Body::Text(body.into()),
        }
    }

    /// A file.
    pub(crate) fn file(body: FileBody) -> Self {
        Self {
            body: Body::File(body),
            ..Self::new(StatusCode::OK, "application/octet-stream", String::new())
        }
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A page that says what the status is.
    pub(crate) fn page(status: StatusCode) -> Self {
        let body = format!("<html><body><h2>HTTP ERROR {status}</h2></body></html>\n");
        Self::new(status, "text/html;charset=utf-8", body)
    }

    /// Another method would do.
    pub(crate) fn not_allowed(allow: &'static str) -> Self {
        Self::page(StatusCode::METHOD_NOT_ALLOWED).with_header(ALLOW, allow.to_owned())
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            // What the server makes of its own state is legal.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// What follows the headers.
#[derive(Debug)]
pub(super) enum Body {
    Text(Bytes),
    File(FileBody),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Text(text) if text.is_empty() => Poll::Ready(None),
            Self::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Self::File(file) => file.poll_chunk(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.len() as u64,
            Self::File(file) => file.left,
        })
    }
}

/// A file on its way to an operator.
#[derive(Debug)]
pub(crate) struct FileBody {
    /// Bytes still to be sent.
    left: u64,
    chunks: mpsc::Receiver<io::Result<Bytes>>,
}

impl FileBody {
    /// Begins to read a file of this length. Given up when nobody takes anything for `patience`.
    pub(crate) fn start(
        mut file: Box<dyn DiskFile>,
        len: u64,
        patience: Duration,
        tasks: &TaskTracker,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        tasks.spawn(async move {
            let mut offset = 0;
            while offset < len {
                let reading = tokio::task::spawn_blocking(move || {
                    let chunk = read_chunk(&*file, offset, len);
                    (file, chunk)
                });
                let Ok((back, chunk)) = reading.await else {
                    return;
                };
                file = back;
                offset += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                let is_last = chunk.is_err();
                let sent = tokio::time::timeout(patience, sender.send(chunk)).await;
                if is_last || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Self { left: len, chunks }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.chunks.poll_recv(context).map(|chunk| {
            // Less than was promised: the connection has to break.
            let chunk = chunk.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
            Some(chunk.map(|chunk| {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Frame::data(chunk)
            }))
        })
    }
}

/// Some bytes of a file of this length, which has them.
fn read_chunk(file: &dyn DiskFile, offset: u64, len: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(len - offset).unwrap_or(usize::MAX);
    let mut chunk = vec![0; wanted.min(CHUNK_BYTES)];
    let count = file.read_at(offset, &mut chunk)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    chunk.truncate(count);
    Ok(chunk.into())
}

/// Serves until it is told to stop. Who says or takes nothing for as long as `idle` is hung up on.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    idle: Duration,
    stopping: CancellationToken,
    tasks: TaskTracker,
    handle: impl Fn(Asked) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    let handle = Arc::new(handle);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((socket, remote, place)) = accepted else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let (handle, stopping) = (Arc::clone(&handle), stopping.clone());
        tasks.spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let asked = asked(&request, remote);
                let answer = handle(asked);
                async move { Ok::<_, Infallible>(answer.await.into_response()) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                .serve_connection(TokioIo::new(Patient::new(socket, idle)), answer);
            tokio::select! {
                () = stopping.cancelled() => {}
                served = serving => {
                    if let Err(error) = served {
                        tracing::debug!(err = %error, "operator's connection lost");
                    }
                }
            }
            drop(place);
        });
    }
}

/// A socket that is given up when the other side takes nothing for a while. What it says is hyper's to
/// wait for.
struct Patient {
    socket: TcpStream,
    patience: Duration,
    /// Runs while there is something that the other side does not take.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(socket: TcpStream, patience: Duration) -> Self {
        Self {
            socket,
            patience,
            stalled: None,
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.socket), context);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let sleep = || Box::pin(tokio::time::sleep(self.patience));
        let stalled = self.stalled.get_or_insert_with(sleep);
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = |socket: Pin<&mut TcpStream>, context: &mut Context<'_>| {
            socket.poll_write(context, bytes)
        };
        self.get_mut().poll(context, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = |socket: Pin<&mut TcpStream>, context: &mut Context<'_>| {
            socket.poll_write_vectored(context, slices)
        };
        self.get_mut().poll(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) if descriptors::is_kept_for_files(&socket) => {
            tracing::warn!("an operator's connection is refused, few file descriptors are left");
            None
        }
        Ok((socket, remote)) => Some((socket, remote.ip().to_canonical(), place)),
        Err(error) => {
            tracing::warn!(err = %error, "cannot accept an operator's connection");
            None
        }
    }
}

fn asked(request: &Request<Incoming>, remote: IpAddr) -> Asked {
    let authorization = request.headers().get(AUTHORIZATION);
    Asked {
        // One that is no text says nothing that is true.
        authorization: authorization
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        remote,
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Longer than anything takes.
    const SOON: Duration = Duration::from_mins(1);
    /// More than both sockets of a connection hold.
    const LONG: usize = 32 << 20;

    #[tokio::test]
    async fn readers_who_do_not_read_make_room_for_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let long = Bytes::from(vec![b'x'; LONG]);
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let serving = serve(
            listener,
            Duration::from_millis(200),
            stopping.clone(),
            tasks,
            move |asked| {
                let long = long.clone();
                let mut answer = Answer::new(StatusCode::OK, "text/plain", "alive".to_owned());
                if asked.path == "/long" {
                    answer.body = Body::Text(long);
                }
                async { answer }
            },
        );
        let asking = async {
            let mut stalled = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                let mut socket = TcpStream::connect(address).await.expect("connected");
                let wish = b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n";
                socket.write_all(wish).await.expect("sent");
                let mut first = [0; 15];
                socket.read_exact(&mut first).await.expect("read");
                assert_eq!(&first, b"HTTP/1.1 200 OK");
                stalled.push(socket);
            }
            let mut socket = TcpStream::connect(address).await.expect("connected");
            let wish = b"GET /livez HTTP/1.0\r\n\r\n";
            socket.write_all(wish).await.expect("sent");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.expect("read");
            stopping.cancel();
            answer
        };
        let both = async { tokio::join!(serving, asking).1 };
        let answer = tokio::time::timeout(SOON, both).await.expect("in time");
        assert!(answer.ends_with("alive"), "{answer}");
    }
}
