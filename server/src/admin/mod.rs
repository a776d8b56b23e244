//! The admin server: what operators ask over HTTP.
//!
//! ```text
//! /commands            the names of all commands
//! /commands/<name>     a command: JSON as the reference prints it
//! /livez, /readyz      for probes: 200 or 503, and why
//! /metrics             on the exporter's port: Prometheus
//! ```
//!
//! Where the reference answers 500 with a stack trace, this one says what is wrong: 405 for the wrong
//! method, 200 with `error` for a server that does not serve.

mod commands;
mod ensemble;
mod http;
mod json;
mod snapshot;

use std::sync::Arc;

use hyper::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use zk_core::conn::handshake::ServingMode;
use zk_core::peer::{PeerStatus, Role};

use self::commands::{COMMANDS, NOT_SERVING};
use self::http::{Answer, Asked};
use self::json::{Json, object};
use self::snapshot::Turnstile;
use crate::config::Setting;
use crate::four_letter::Mode;
use crate::metrics::{Exposition, Process, Series, prometheus};
use crate::net::gauges::gauges;
use crate::net::service::Service;

/// Time that a scraper may be silent.
const SCRAPER_IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// Where the configuration came from, to be shown to operators.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigOrigin {
    /// The file as it was written, secrets included.
    pub(crate) text: String,
    /// Every key in effect, secrets masked.
    pub(crate) effective: Vec<Setting>,
}

/// The admin server's own.
pub(crate) struct Admin {
    pub(crate) service: Arc<Service>,
    pub(crate) origin: ConfigOrigin,
    /// Where what goes on behind an answer runs.
    tasks: TaskTracker,
    snapshots: Turnstile,
}

impl Admin {
    pub(crate) fn new(service: Arc<Service>, origin: ConfigOrigin, tasks: TaskTracker) -> Self {
        Self {
            service,
            origin,
            tasks,
            snapshots: Turnstile::default(),
        }
    }

    /// Serves commands until the server stops.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let tasks = self.tasks.clone();
        let stopping = self.service.fail_stop.stopping().clone();
        let idle = self.service.config.admin.idle_timeout;
        let handle = move |asked| {
            let admin = Arc::clone(&self);
            async move { admin.answer(&asked).await }
        };
        http::serve(listener, idle, stopping, tasks, handle).await;
    }

    async fn answer(&self, asked: &Asked) -> Answer {
        match asked.path.as_str() {
            "/livez" => return self.probe(true),
            "/readyz" => {
                return self.probe(self.service.connections.mode() != ServingMode::NotServing);
            }
            _ => {}
        }
        if asked.method == Method::TRACE {
            return Answer::page(StatusCode::FORBIDDEN);
        }
        let url = self.service.config.admin.command_url.trim_end_matches('/');
        let Some(name) = asked.path.strip_prefix(url) else {
            return Answer::page(StatusCode::NOT_FOUND);
        };
        match name.trim_matches('/') {
            "" if asked.method == Method::GET || asked.method == Method::HEAD => Answer {
                content_type: None,
                ..Answer::new(StatusCode::OK, "", Self::index(url))
            },
            "" => Answer::not_allowed("GET, HEAD"),
            _ if !name.starts_with('/') => Answer::page(StatusCode::NOT_FOUND),
            name => self.command(name, asked).await,
        }
    }

    /// Links to all commands.
    fn index(url: &str) -> String {
        let link = |command: &commands::Command| {
            let name = command.name;
            format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n")
        };
        COMMANDS.iter().map(link).collect()
    }

    async fn command(&self, name: &str, asked: &Asked) -> Answer {
        let Some(command) = commands::find(name) else {
            return reply(name, Err(format!("Unknown command: {name}")));
        };
        let (is_right, allow) = if command.is_post {
            (asked.method == Method::POST, "POST")
        } else {
            let is_read = asked.method == Method::GET || asked.method == Method::HEAD;
            (is_read, "GET, HEAD")
        };
        if !is_right {
            return Answer::not_allowed(allow);
        }
        if command.needs_service && self.service.connections.mode() == ServingMode::NotServing {
            return reply(command.name, Err(NOT_SERVING.to_owned()));
        }
        if command.name == snapshot::NAME {
            return self.snapshot(asked).await;
        }
        let answer = reply(command.name, commands::run(self, command.name, asked).await);
        match command.name {
            "restore" => Answer {
                status: StatusCode::SERVICE_UNAVAILABLE,
                ..answer
            },
            _ => answer,
        }
    }

    /// Whether the process lives, or serves.
    fn probe(&self, is_good: bool) -> Answer {
        let is_good = is_good && !self.service.fail_stop.stopping().is_cancelled();
        let status = if is_good {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let error = if is_good {
            Json::Null
        } else {
            NOT_SERVING.into()
        };
        let body = object([("ok", is_good.into()), ("error", error)]);
        Answer::new(status, "application/json", body.pretty())
    }
}

/// The answer to a command.
fn reply(name: &str, outcome: commands::Outcome) -> Answer {
    let (mut members, error) = match outcome {
        Ok(members) => (members, Json::Null),
        Err(error) => (Vec::new(), error.into()),
    };
    members.push(("command".to_owned(), name.into()));
    members.push(("error".to_owned(), error));
    let body = Json::Object(members).pretty();
    Answer::new(StatusCode::OK, "application/json", body)
}

/// Serves scrapes until the server stops.
pub(crate) async fn export(service: Arc<Service>, listener: TcpListener, tasks: TaskTracker) {
    let stopping = service.fail_stop.stopping().clone();
    let handle = move |asked: Asked| {
        let service = Arc::clone(&service);
        async move { scrape(&service, &asked) }
    };
    http::serve(listener, SCRAPER_IDLE, stopping, tasks, handle).await;
}

fn scrape(service: &Service, asked: &Asked) -> Answer {
    if asked.method == Method::TRACE {
        return Answer::page(StatusCode::FORBIDDEN);
    }
    if asked.path.trim_end_matches('/') != "/metrics" {
        return Answer::page(StatusCode::NOT_FOUND);
    }
    if asked.method != Method::GET && asked.method != Method::HEAD {
        return Answer::not_allowed("GET, HEAD");
    }
    let settings = &service.config.metrics;
    let exposition = Exposition {
        gauges: gauges(service),
        process: settings.export_process_info.then(Process::read),
        has_jvm_names: settings.jvm_compat,
        has_totals: settings.open_metrics,
        own: own_series(service),
    };
    let text = prometheus(&service.metrics, &exposition);
    Answer::new(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    )
}

/// What a server is, whether it serves or not.
fn state(core: &PeerStatus) -> String {
    match (core.role, core.mode) {
        (Role::Looking, ServingMode::NotServing | ServingMode::Full) => "looking".to_owned(),
        _ => Mode::of(core).to_string(),
    }
}

/// What the reference does not tell.
fn own_series(service: &Service) -> Vec<Series> {
    let mode = service.connections.mode();
    let is_serving = mode != ServingMode::NotServing;
    let state = state(&service.status.lock());
    let last = service.metrics.last_snapshot();
    #[expect(
        clippy::cast_precision_loss,
        reason = "the format has floating values only"
    )]
    let float = |value: i64| value as f64;
    vec![
        ("zks_server_state", vec![("state", state)], 1.0),
        (
            "zks_info",
            vec![("version", crate::VERSION.to_owned())],
            1.0,
        ),
        ("zks_ready", Vec::new(), f64::from(u8::from(is_serving))),
        (
            "zks_last_zxid",
            Vec::new(),
            float(service.tree.applied().get()),
        ),
        (
            "zks_last_snapshot_timestamp_seconds",
            Vec::new(),
            float(last.unix_ms / 1000),
        ),
    ]
}
