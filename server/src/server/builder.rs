//! Setting up a server in this process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zk_proto::ServerId;

use super::error::StartError;
use super::{MemberSockets, Server, listeners};
use crate::admin::{Admin, ConfigOrigin, export};
use crate::audit::Audit;
use crate::config::{Config, Properties, Resolved, Setting, Sources, Strictness, newer_members};
use crate::faults::Faults;
use crate::net::client_listener::{self, Speaks};
use crate::net::overdue::close_overdue;

/// Sets up a server in this process.
#[derive(Debug, Default)]
pub struct Builder {
    config: Option<Config>,
    data_dir: Option<PathBuf>,
    settings: Vec<(String, String)>,
    faults: Faults,
    member: Option<(ServerId, MemberSockets)>,
    origin: ConfigOrigin,
}

impl Builder {
    /// Keeps the data here instead of in a directory that goes with the server.
    #[must_use]
    pub fn data_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.data_dir = Some(path.as_ref().to_owned());
        self
    }

    /// Sets a key of `zoo.cfg`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Takes a whole configuration, in place of all that is set otherwise.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Makes it a member of an ensemble, whose members are set as `server.N`, itself included. It
    /// listens on these sockets, whatever the ports there are.
    #[must_use]
    pub fn member(mut self, id: ServerId, sockets: MemberSockets) -> Self {
        self.member = Some((id, sockets));
        self
    }

    /// What the admin server shows of the configuration: the file as it was written, and every key
    /// in effect.
    #[must_use]
    pub fn shown(mut self, text: &str, effective: Vec<Setting>) -> Self {
        text.clone_into(&mut self.origin.text);
        self.origin.effective = effective;
        self
    }

    /// Lets a test hurt the server through a handle.
    #[must_use]
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.faults = faults.clone();
        self
    }

    /// Starts the server: it serves when this returns.
    ///
    /// Unless told otherwise it listens on a free port of the loopback address, and keeps its data in
    /// a temporary directory.
    ///
    /// It leaves the limit of file descriptors as it is, and refuses clients when the process comes
    /// near it.
    ///
    /// # Errors
    ///
    /// [`StartError`], in the order of its variants.
    ///
    /// # Cancel safety
    ///
    /// A server whose start is cancelled is stopped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(self) -> Result<Server, StartError> {
        // Configurations are large, and whoever waits should not have to carry them.
        Box::pin(self.launch()).await
    }

    async fn launch(self) -> Result<Server, StartError> {
        let (my_id, sockets) = self.member.unzip();
        let mut temporary = None;
        let mut origin = self.origin;
        let config = if let Some(config) = self.config {
            config
        } else {
            let data_dir = if let Some(path) = self.data_dir {
                path
            } else {
                let made = tempfile::tempdir().map_err(StartError::Temporary)?;
                temporary.insert(made).path().to_owned()
            };
            let (text, resolved) = embedded_config(&data_dir, &self.settings, my_id)?;
            origin = ConfigOrigin {
                text,
                effective: resolved.effective,
            };
            resolved.config
        };
        let wants_audit = config.service.audit_enabled;
        let prepared = Server::prepare(config, self.faults, sockets, temporary).await;
        let (mut server, listeners, service) = prepared.inspect_err(|_| {
            if wants_audit {
                Audit::not_started();
            }
        })?;
        // The core serves before it looks at what it is asked. One that is gone already has stopped
        // the server, which says so by itself.
        let _is_serving = service.inspect(|_| ()).await;
        let tasks = &server.tasks;
        let plain = if service.tls.is_some() && service.config.tls.client_port_unification {
            Speaks::Either
        } else {
            Speaks::Plain
        };
        for (listener, speaks) in [(listeners.plain, plain), (listeners.secure, Speaks::Tls)] {
            if let Some(listener) = listener {
                let service = Arc::clone(&service);
                tasks.spawn(client_listener::accept(
                    listener,
                    speaks,
                    service,
                    tasks.clone(),
                ));
            }
        }
        tasks.spawn(close_overdue(Arc::clone(&service)));
        if let Some(listener) = listeners.exporter {
            tasks.spawn(export(Arc::clone(&service), listener, tasks.clone()));
        }
        if let Some(listener) = listeners::bind_admin(&service.config).await {
            server.addresses.admin = listener.local_addr().ok();
            let admin = Admin::new(Arc::clone(&service), origin, tasks.clone());
            tasks.spawn(Arc::new(admin).serve(listener));
        }
        tasks.close();
        if let Some(audit) = &server.audit {
            audit.started();
        }
        Ok(server)
    }
}

/// The configuration of a server for a test or a program of its own.
fn embedded_config(
    data_dir: &Path,
    settings: &[(String, String)],
    my_id: Option<ServerId>,
) -> Result<(String, Resolved), StartError> {
    let mut text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         preAllocSize=1024\n",
        data_dir.display()
    );
    if my_id.is_some() {
        text.push_str("tickTime=2000\ninitLimit=10\nsyncLimit=5\n");
    }
    let my_id = my_id.map(|id| id.get().to_string());
    for (key, value) in settings {
        text.extend([key, "=", value, "\n"]);
    }
    let strictness = Strictness::Normal;
    let mut main = Properties::parse("(embedded)", text.as_bytes(), strictness)?;
    let dynamic = newer_members(&main, None, strictness)?;
    if let Some((_, members)) = &dynamic {
        main = main.without_members(members, my_id.as_deref().unwrap_or_default());
    }
    let resolved = Config::resolve(Sources {
        main: &main,
        dynamic: dynamic.as_ref().map(|(version, file)| (*version, file)),
        environment: &[],
        my_id: my_id.as_ref().map(|id| ("(embedded)", id.as_bytes())),
        strictness,
    })?;
    Ok((text, resolved))
}
