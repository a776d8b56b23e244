//! SASL between servers: who dials proves who it is, before a connection is of use.
//!
//! | key of `quorum.auth.` | who dials | who accepts |
//! |---|---|---|
//! | `enableSasl` | proves nothing | takes a proof if there is one |
//! | and `learnerRequireSasl` | proves who it is | takes a proof if there is one |
//! | and `serverRequireSasl` | proves who it is | demands a proof |
//!
//! From the first row to the last, one server after the other is restarted with the next key.

use std::fmt;
use std::io::{self, Cursor};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use zk_core::conn::auth::SaslUsers;
use zk_core::wire::quorum_auth::{AuthStatus, MAGIC, QuorumAuthPacket};
use zk_proto::sasl::{Challenge, Service};

use super::peer_socket::{PeerSocket, Source};
use crate::config::Config;
use crate::config::jaas::{self, JaasError};
use crate::entropy::random;

/// Longest that an exchange may take, and that its begin is waited for if there has to be one.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest that the begin of an exchange is waited for that may be left out. Who proves something does
/// so at once; who proves nothing may wait to be spoken to.
const OPTIONAL: Duration = Duration::from_millis(500);

/// What is proved to other servers, and demanded of them.
pub(crate) struct PeerSasl {
    /// Who this server is when it dials.
    login: Option<(String, String)>,
    users: SaslUsers,
    is_demanded: bool,
}

impl fmt::Debug for PeerSasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSasl")
            .field("proves", &self.login.is_some())
            .field("is_demanded", &self.is_demanded)
            .finish_non_exhaustive()
    }
}

impl PeerSasl {
    /// As configured; `None` if it is off.
    ///
    /// # Errors
    /// The JAAS file lacks what is needed.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, JaasError> {
        let settings = &config.quorum_auth;
        if !settings.enable_sasl {
            return Ok(None);
        }
        let file = &config.auth.jaas_file;
        let login = settings
            .learner_require_sasl
            .then(|| jaas::login(file, &settings.learner_section))
            .transpose()?;
        Ok(Some(Self {
            login,
            users: SaslUsers {
                passwords: jaas::users(file, &settings.server_section)?,
                ..SaslUsers::default()
            },
            is_demanded: settings.server_require_sasl,
        }))
    }

    /// Proves to the server that was dialled who this one is.
    ///
    /// # Errors
    /// It does not believe it, or is not who it has to be.
    pub(super) async fn prove(&self, socket: &mut PeerSocket) -> io::Result<()> {
        let Some((user, password)) = &self.login else {
            return Ok(());
        };
        timeout(LIMIT, prove(socket, user, password))
            .await
            .map_err(|_| failed("it does not answer in the middle of SASL"))?
    }

    /// Hears who dialled, if it proves it.
    ///
    /// # Errors
    /// A proof is demanded, and there is none.
    pub(super) async fn hear(&self, socket: &mut PeerSocket) -> io::Result<()> {
        let mut begin = Vec::new();
        let reading = read_begin(&mut socket.source, &mut begin);
        let limit = if self.is_demanded { LIMIT } else { OPTIONAL };
        let is_proof = matches!(timeout(limit, reading).await, Ok(Ok(()))) && begin == MAGIC;
        if !is_proof {
            if self.is_demanded {
                return Err(failed(
                    "it proves nothing by SASL (quorum.auth.serverRequireSasl)",
                ));
            }
            // It began with something else, which is still to be read.
            let source = std::mem::replace(&mut socket.source, Box::new(tokio::io::empty()));
            socket.source = Box::new(Cursor::new(begin).chain(source));
            return Ok(());
        }
        let heard = timeout(LIMIT, self.hear_proof(socket)).await;
        let heard = heard.unwrap_or_else(|_| Err(failed("it does not go on with SASL")));
        if let Err(error) = heard {
            send(socket, AuthStatus::Error, Bytes::new()).await.ok();
            if self.is_demanded {
                return Err(error);
            }
            tracing::warn!(err = %error, "a server proves nothing by SASL, and is let in all the same");
        }
        Ok(())
    }

    /// Behind the magic of the first packet.
    async fn hear_proof(&self, socket: &mut PeerSocket) -> io::Result<()> {
        receive_rest(socket).await?;
        let nonce = format!("{:016x}{:016x}", random(), random());
        let challenge = Challenge::new(Service::QUORUM, nonce);
        let token = Bytes::from(challenge.to_token());
        send(socket, AuthStatus::InProgress, token).await?;
        let (_, token) = receive(socket).await?;
        let proved = self.users.prove(&challenge, &token);
        let (_, reply) = proved.map_err(|failure| failed(&failure.to_string()))?;
        send(socket, AuthStatus::Success, Bytes::from(reply)).await
    }
}

async fn prove(socket: &mut PeerSocket, user: &str, password: &str) -> io::Result<()> {
    send(socket, AuthStatus::InProgress, Bytes::new()).await?;
    let (status, token) = receive(socket).await?;
    if status != AuthStatus::InProgress {
        return Err(failed("it refuses SASL"));
    }
    let challenge = Challenge::parse(Service::QUORUM, &token);
    let challenge = challenge.map_err(|error| failed(&error.to_string()))?;
    let cnonce = format!("{:016x}{:016x}", random(), random());
    let answer = challenge.answer(user, password, &cnonce);
    let token = Bytes::from(answer.to_token());
    send(socket, AuthStatus::InProgress, token).await?;
    let (status, token) = receive(socket).await?;
    if status != AuthStatus::Success {
        return Err(failed("it does not believe the SASL password"));
    }
    if !answer.is_confirmed(&token, password) {
        return Err(failed("it does not prove that it knows the SASL password"));
    }
    Ok(())
}

async fn read_begin(source: &mut Source, begin: &mut Vec<u8>) -> io::Result<()> {
    while begin.len() < MAGIC.len() {
        let mut byte = [0];
        source.read_exact(&mut byte).await?;
        begin.extend(byte);
        if !MAGIC.starts_with(begin) {
            break;
        }
    }
    Ok(())
}

async fn send(socket: &mut PeerSocket, status: AuthStatus, token: Bytes) -> io::Result<()> {
    let packet = QuorumAuthPacket { status, token };
    socket.sink.write_all(&packet.to_bytes()).await?;
    socket.sink.flush().await
}

async fn receive(socket: &mut PeerSocket) -> io::Result<(AuthStatus, Bytes)> {
    let mut magic = MAGIC;
    socket.source.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(failed("it does not speak SASL"));
    }
    receive_rest(socket).await
}

async fn receive_rest(socket: &mut PeerSocket) -> io::Result<(AuthStatus, Bytes)> {
    let mut head = [0; QuorumAuthPacket::HEAD];
    socket.source.read_exact(&mut head).await?;
    let head = QuorumAuthPacket::head(head);
    let (status, len) = head.map_err(|error| failed(&error.to_string()))?;
    let mut token = vec![0; len];
    socket.source.read_exact(&mut token).await?;
    Ok((status, token.into()))
}

fn failed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
