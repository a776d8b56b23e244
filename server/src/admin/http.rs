//! HTTP for operators: few clients, small answers, nothing of it on the way of requests.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; one more waits to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Pause after accepting failed, as it does when file descriptors run out.
const RETRY: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
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
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<&'static str>,
    /// Methods that would do.
    pub(crate) allow: Option<&'static str>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type: Some(content_type),
            allow: None,
            body,
        }
    }

    /// A page that says what the status is.
    pub(crate) fn page(status: StatusCode) -> Self {
        let body = format!("<html><body><h2>HTTP ERROR {status}</h2></body></html>\n");
        Self::new(status, "text/html;charset=utf-8", body)
    }

    /// Another method would do.
    pub(crate) fn not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::page(StatusCode::METHOD_NOT_ALLOWED)
        }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// Serves until it is told to stop.
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
        let Some((socket, place)) = accepted else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let (handle, stopping) = (Arc::clone(&handle), stopping.clone());
        tasks.spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let asked = asked(&request);
                let answer = handle(asked);
                async move { Ok::<_, Infallible>(answer.await.into_response()) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                .serve_connection(TokioIo::new(socket), answer);
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

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) => Some((socket, place)),
        Err(error) => {
            tracing::warn!(err = %error, "cannot accept an operator's connection");
            None
        }
    }
}

fn asked(request: &Request<Incoming>) -> Asked {
    Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    }
}
