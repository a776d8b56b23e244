//! What the programs share: servers to talk to.

use std::error::Error;

use zk_client::Client;

/// What programs end with.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Servers of a program: those named on its command line, or one of its own.
#[derive(Debug)]
pub struct Servers {
    connect: String,
    /// It lives as long as this does, in memory and a temporary directory.
    _embedded: Option<zk_server::Server>,
}

impl Servers {
    /// Takes the servers named on the command line, or starts one in this process.
    ///
    /// # Errors
    /// If there is no server to be had.
    pub async fn from_args() -> Result<Self, Box<dyn Error + Send + Sync>> {
        if let Some(connect) = std::env::args().nth(1) {
            return Ok(Self {
                connect,
                _embedded: None,
            });
        }
        let server = zk_server::Server::builder()
            .set("tickTime", 200)
            .start()
            .await?;
        Ok(Self {
            connect: server.client_address().to_string(),
            _embedded: Some(server),
        })
    }

    /// A client of them that lives below a path of the program's own, which is made.
    ///
    /// # Errors
    /// If it cannot connect.
    pub async fn client(&self, below: &str) -> Result<Client, zk_client::Error> {
        let client = Client::connect(&format!("{}{below}", self.connect)).await?;
        client.ensure_path("/").await?;
        Ok(client)
    }

    /// Their addresses, as clients take them.
    pub fn connect_string(&self) -> &str {
        &self.connect
    }
}

/// The programs in README.md compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
