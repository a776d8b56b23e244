//! Who a client is: what it shows to servers, and where it gets that from.

use std::error::Error as StdError;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use bytestring::ByteString;

use crate::connect_string::Server;
use crate::core::{Proofs, SaslConfig, Secret};
use crate::error::{Error, ErrorKind, Outcome};

/// Where a client gets its credentials from: a file, a vault, whatever changes them while the client
/// lives. Asked before every attempt to connect, so that each connection begins with what holds then.
///
/// ```
/// use zk_client::{Auth, CredentialProvider, Credentials, Server};
///
/// /// A user and a password, `user:password`, in a file that somebody else keeps up to date.
/// #[derive(Debug)]
/// struct InFile(std::path::PathBuf);
///
/// #[async_trait::async_trait]
/// impl CredentialProvider for InFile {
///     async fn credentials(
///         &self,
///         _server: &Server,
///     ) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
///         let text = tokio::fs::read_to_string(&self.0).await?;
///         Ok(Credentials::new().auth(Auth::new("digest", text.trim_end().to_owned())))
///     }
/// }
/// ```
///
/// # Cancel safety
/// The client drops the future of an attempt that it does not want any more.
#[async_trait]
pub trait CredentialProvider: fmt::Debug + Send + Sync + 'static {
    /// What to show to this server, on the connection that is about to be made. It has 5 s.
    ///
    /// # Errors
    /// Whatever it is: the attempt ends with [`ErrorKind::Credentials`] without a connection, and
    /// others follow, with the pauses that any failure has. The text of the error is shown to
    /// whoever waits, by [`Client::trouble`](crate::Client::trouble), and in a warning: it must not
    /// have secrets.
    async fn credentials(
        &self,
        server: &Server,
    ) -> Result<Credentials, Box<dyn StdError + Send + Sync>>;
}

/// What a client shows on one connection. `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    auth: Vec<Auth>,
    sasl: Option<Sasl>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Tls>,
}

impl Credentials {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a credential. Those of a provider are sent in this order, in front of those of
    /// [`Builder::auth`](crate::Builder::auth) and [`Client::add_auth`](crate::Client::add_auth).
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth.push(auth);
        self
    }

    /// Proves this by SASL, in the place of [`Builder::sasl`](crate::Builder::sasl).
    #[must_use]
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Connects by this TLS, with whatever certificate is in it, in the place of
    /// [`Builder::tls`](crate::Builder::tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: crate::tls::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn take_tls(&mut self) -> Option<crate::tls::Tls> {
        self.tls.take()
    }

    /// What is sent once there is a connection.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the system has no entropy.
    pub(crate) fn proofs(self) -> Result<Proofs, Error> {
        let credentials = self.auth.into_iter().map(Auth::into_parts);
        Ok(Proofs {
            credentials: credentials
                .map(|(scheme, credential)| (scheme, Secret::new(credential)))
                .collect(),
            sasl: self.sasl.map(Sasl::config).transpose()?,
        })
    }
}

/// A credential. `Debug` shows the scheme only.
#[derive(Clone)]
pub struct Auth {
    scheme: ByteString,
    credential: Bytes,
}

impl Auth {
    /// A user and a password for the `digest` scheme. They cross the wire in clear: use TLS.
    pub fn digest(user: &str, password: &str) -> Self {
        Self::new("digest", format!("{user}:{password}").into_bytes())
    }

    /// A credential of any scheme that the servers know.
    pub fn new(scheme: impl Into<ByteString>, credential: impl Into<Bytes>) -> Self {
        Self {
            scheme: scheme.into(),
            credential: credential.into(),
        }
    }

    pub(crate) fn into_parts(self) -> (ByteString, Bytes) {
        (self.scheme, self.credential)
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// Who a client is, proved by SASL. `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct Sasl {
    user: ByteString,
    password: Secret,
}

impl Sasl {
    /// A user and a password for the mechanism DIGEST-MD5, which servers find in their JAAS file. The
    /// password does not cross the wire, but who listens can try passwords: use TLS.
    pub fn digest_md5(user: impl Into<ByteString>, password: impl Into<ByteString>) -> Self {
        Self {
            user: user.into(),
            password: Secret::new(password.into().into_bytes()),
        }
    }

    /// With what the core needs beside: numbers that nobody can guess.
    pub(crate) fn config(self) -> Result<SaslConfig, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|err| {
            let detail = format!("there is no entropy for SASL: {err}");
            Error::new(ErrorKind::Config, Outcome::NotSent).with_detail(detail)
        })?;
        Ok(SaslConfig {
            user: self.user,
            password: self.password,
            nonce: u128::from_ne_bytes(nonce),
        })
    }
}
