use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use zk_proto::Zxid;

use crate::acl::Acl;
use crate::client::Client;
use crate::config::{Config, OnExpire};
use crate::connect_string::{ConnectString, Server};
use crate::core::{CoreConfig, Granted, Secret};
use crate::credentials::{Auth, CredentialProvider, Sasl};
use crate::driver::{Connector, Dialer, Driver, Resolver, TcpConnector};
use crate::error::{Error, ErrorKind, Outcome};
use crate::host;
use crate::shared::Shared;
use crate::state::SessionToken;

/// Sets up a client. Made by [`Client::builder`].
#[must_use = "a builder does nothing until it connects"]
pub struct Builder {
    config: Result<Config, Error>,
    credentials: Vec<(ByteString, Bytes)>,
    resume: Option<SessionToken>,
    sasl: Option<Sasl>,
    provider: Option<Arc<dyn CredentialProvider>>,
    connector: Option<Arc<dyn Connector>>,
    resolver: Option<Arc<dyn Resolver>>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Tls>,
}

impl Builder {
    pub(crate) fn new(connect: &str) -> Self {
        Self::parsed(connect.parse().map(Config::new).map_err(Error::from))
    }

    /// Starts from plain data.
    pub fn from_config(config: Config) -> Self {
        Self::parsed(Ok(config))
    }

    fn parsed(config: Result<Config, Error>) -> Self {
        Self {
            config,
            credentials: Vec::new(),
            resume: None,
            sasl: None,
            provider: None,
            connector: None,
            resolver: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Ok(config) = &mut self.config {
            change(config);
        }
        self
    }

    /// See [`Config::session_timeout`].
    pub fn session_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.session_timeout = timeout)
    }

    /// See [`Config::connect_timeout`].
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.connect_timeout = timeout)
    }

    /// See [`Config::op_timeout`]; [`Duration::MAX`] waits for ever.
    pub fn op_timeout(self, timeout: Duration) -> Self {
        self.with(|config| config.op_timeout = timeout)
    }

    /// See [`Config::on_expire`].
    pub fn on_expire(self, on_expire: OnExpire) -> Self {
        self.with(|config| config.on_expire = on_expire)
    }

    /// See [`Config::allow_read_only`].
    pub fn allow_read_only(self, allow: bool) -> Self {
        self.with(|config| config.allow_read_only = allow)
    }

    /// See [`Config::in_flight_max`].
    pub fn max_in_flight(self, requests: usize) -> Self {
        self.with(|config| config.in_flight_max = requests)
    }

    /// See [`Config::in_flight_bytes_max`].
    pub fn max_in_flight_bytes(self, bytes: usize) -> Self {
        self.with(|config| config.in_flight_bytes_max = bytes)
    }

    /// See [`Config::frame_max`].
    pub fn frame_max(self, bytes: usize) -> Self {
        self.with(|config| config.frame_max = bytes)
    }

    /// See [`Config::reply_max`].
    pub fn reply_max(self, bytes: usize) -> Self {
        self.with(|config| config.reply_max = bytes)
    }

    /// See [`Config::default_acl`].
    pub fn default_acl(self, acl: Acl) -> Self {
        self.with(|config| config.default_acl = acl)
    }

    /// See [`Config::detach_on_drop`].
    pub fn detach_on_drop(self, detach: bool) -> Self {
        self.with(|config| config.detach_on_drop = detach)
    }

    /// See [`Config::seed`].
    pub fn seed(self, seed: u64) -> Self {
        self.with(|config| config.seed = Some(seed))
    }

    /// Adds a credential, sent on every connection before anything else, in the order of addition.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.credentials.push(auth.into_parts());
        self
    }

    /// Says who the client is on every new connection, before it does anything else there. A server
    /// that refuses it, or knows nothing of SASL, closes the client with [`ErrorKind::AuthFailed`].
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Asks for credentials before every attempt to connect, for those that change: see
    /// [`CredentialProvider`]. What the provider gives and a server refuses closes the client, as it
    /// does without a provider: give nothing, or fail, while it is not known what holds.
    pub fn credentials(mut self, provider: impl CredentialProvider) -> Self {
        self.provider = Some(Arc::new(provider));
        self
    }

    /// Goes on with a session of another client instead of beginning one.
    pub fn resume(mut self, token: SessionToken) -> Self {
        self.resume = Some(token);
        self
    }

    /// Connects by other means than TCP. TLS on top of them is theirs to make.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// Finds addresses by other means than the system's.
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Connects by TLS, to every server but those named with `tcp://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::tls::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Starts connecting in the background. Operations wait for the connection.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectString`] or [`ErrorKind::Config`] if there is nothing to start with.
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    pub fn start(self) -> Result<Client, Error> {
        let config = self.config?;
        config.check()?;
        let unused = |what| {
            let detail = format!("a connector connects by itself: {what} would not be applied");
            Error::new(ErrorKind::Config, Outcome::NotSent).with_detail(detail)
        };
        #[cfg(feature = "tls")]
        if self.connector.is_some() && self.tls.is_some() {
            return Err(unused("tls"));
        }
        let is_service = config.connect.servers.iter().any(Server::is_service);
        if self.connector.is_some() && self.resolver.is_some() && !is_service {
            return Err(unused("the resolver"));
        }
        if is_service && self.resolver.is_none() && cfg!(not(feature = "srv")) {
            let detail = "servers behind a name (zk+srv://) need the feature `srv`, or a resolver";
            return Err(Error::new(ErrorKind::Config, Outcome::NotSent).with_detail(detail));
        }
        let mut tcp = TcpConnector::default();
        if let Some(resolver) = self.resolver {
            tcp.resolver = resolver;
        }
        #[cfg(feature = "tls")]
        {
            tcp.tls = self.tls;
        }
        let dialer = Dialer {
            tcp,
            connector: self.connector,
            provider: self.provider,
        };
        let shared = Arc::new(Shared::new());
        let core = CoreConfig {
            servers: config.connect.servers.clone(),
            session_timeout: config.session_timeout,
            allow_read_only: config.allow_read_only,
            renew: config.on_expire == OnExpire::Renew,
            in_flight_max: config.in_flight_max,
            in_flight_bytes_max: config.in_flight_bytes_max,
            last_zxid: self
                .resume
                .as_ref()
                .map_or(Zxid::ZERO, |token| token.last_zxid),
            sasl: self.sasl.map(Sasl::config).transpose()?,
            resume: self.resume.map(|token| Granted {
                id: token.id,
                password: Secret::new(token.password_bytes()),
                timeout: token.timeout,
            }),
            seed: config
                .seed
                .or_else(host::drawn)
                .unwrap_or_else(|| fastrand::Rng::new().u64(..)),
        };
        let driver = Driver::new(core, Arc::clone(&shared), dialer, config.reply_max);
        let client = Client::new(shared, &config);
        for (scheme, auth) in self.credentials {
            client.send_auth(scheme, auth, None);
        }
        host::spawn(driver.run());
        Ok(client)
    }

    /// Connects and waits for the session.
    ///
    /// # Errors
    /// As [`Builder::start`]; [`ErrorKind::AuthFailed`] if a server refuses a credential;
    /// [`ErrorKind::SessionExpired`] if a session to be resumed is over and [`OnExpire::Stop`] holds;
    /// [`ErrorKind::Tls`] or [`ErrorKind::Protocol`] once every server was found to be none that
    /// could ever do; after [`Config::connect_timeout`] [`ErrorKind::Dns`], [`ErrorKind::Io`],
    /// [`ErrorKind::Tls`], [`ErrorKind::Credentials`], [`ErrorKind::Protocol`] or
    /// [`ErrorKind::Timeout`], by the last failure.
    ///
    /// # Cancel safety
    /// Dropping the future gives up; a session that was just begun is closed.
    pub async fn connect(self) -> Result<Client, Error> {
        let within = self
            .config
            .as_ref()
            .map_or(Duration::ZERO, |config| config.connect_timeout);
        let client = self.start()?;
        client.wait_first_session(within).await?;
        Ok(client)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Servers from a list, for [`Client::set_servers`].
pub(crate) fn servers(text: &str) -> Result<Vec<Server>, Error> {
    Ok(text.parse::<ConnectString>()?.servers)
}
