//! Setting up a server in this process.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Server;
use super::error::StartError;
use crate::config::{Config, Properties, Sources, Strictness};
use crate::faults::Faults;
use crate::net::client_listener;

/// Sets up a server in this process.
#[derive(Debug, Default)]
pub struct Builder {
    config: Option<Config>,
    data_dir: Option<PathBuf>,
    settings: Vec<(String, String)>,
    faults: Faults,
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
        let mut temporary = None;
        let config = if let Some(config) = self.config {
            config
        } else {
            let data_dir = if let Some(path) = self.data_dir {
                path
            } else {
                let made = tempfile::tempdir().map_err(StartError::Temporary)?;
                temporary.insert(made).path().to_owned()
            };
            embedded_config(&data_dir, &self.settings)?
        };
        let (server, listener, service) = Server::prepare(config, self.faults, temporary).await?;
        // The core serves before it looks at what it is asked. One that is gone already has stopped
        // the server, which says so by itself.
        let _is_serving = service.inspect(|_| ()).await;
        let tasks = server.tasks.clone();
        server
            .tasks
            .spawn(client_listener::accept(listener, service, tasks));
        server.tasks.close();
        Ok(server)
    }
}

/// The configuration of a server for a test or a program of its own.
fn embedded_config(data_dir: &Path, settings: &[(String, String)]) -> Result<Config, StartError> {
    let mut text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         preAllocSize=1024\n",
        data_dir.display()
    );
    for (key, value) in settings {
        text.extend([key, "=", value, "\n"]);
    }
    let strictness = Strictness::Normal;
    let main = Properties::parse("(embedded)", text.as_bytes(), strictness)?;
    let resolved = Config::resolve(Sources {
        main: &main,
        dynamic: None,
        environment: &[],
        my_id: None,
        strictness,
    })?;
    Ok(resolved.config)
}
