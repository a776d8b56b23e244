//! Authentication by SASL on a fresh connection: before any credential, watch or request.

use bytes::Bytes;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::response::SetSaslResponse;
use zk_proto::sasl::{Answer, Challenge, Service};
use zk_proto::{ByteString, Xid};

use super::link::Stage;
use super::{
    Action, AttemptError, AttemptErrorKind, CloseReason, Core, Credential, Phase, Proofs, Secret,
    Time, Urgent, Waiter,
};

/// Who the client is, and what its own nonces are made of.
#[derive(Debug, Clone)]
pub(crate) struct SaslConfig {
    pub(crate) user: ByteString,
    /// UTF-8.
    pub(crate) password: Secret,
    /// Nobody can guess it.
    pub(crate) nonce: u128,
}

/// An exchange under way on a connection.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// What is to be answered by the server, and since when.
    pub(super) asked: Option<(Xid, Time)>,
    /// The proof that was sent.
    answer: Option<Answer>,
}

impl<W: Waiter, S: Clone> Core<W, S> {
    /// A session was granted: says who the client is.
    pub(super) fn authenticate(&mut self, out: &mut Vec<Action<W, S>>) {
        self.urgent.clear();
        if self.sasl.is_none() {
            return self.present_credentials(out);
        }
        if let Phase::Linked(link) = &mut self.phase {
            link.sasl = Some(Exchange::default());
            self.urgent.push_back(Urgent::Sasl(Bytes::new()));
        }
    }

    /// What to say on the connection that is about to begin.
    pub(super) fn provided(&mut self, proofs: Proofs) {
        let credentials: Vec<_> = proofs
            .credentials
            .into_iter()
            .map(|(scheme, auth)| Credential {
                scheme,
                auth,
                waiter: None,
                was_sent: false,
            })
            .collect();
        let added = self.credentials.split_off(self.provided);
        self.provided = credentials.len();
        self.credentials = credentials;
        self.credentials.extend(added);
        self.sasl = proofs.sasl.or_else(|| self.config.sasl.clone());
    }

    fn present_credentials(&mut self, out: &mut Vec<Action<W, S>>) {
        self.urgent = (0..self.credentials.len()).map(Urgent::Auth).collect();
        if self.urgent.is_empty() {
            self.authenticated(out);
        }
    }

    /// The server's next token.
    ///
    /// # Errors
    /// It makes no sense, or does not prove that the server knows the password.
    pub(super) fn sasl_answered(
        &mut self,
        header: &ReplyHeader,
        body: &Bytes,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        let broken = |message: String| AttemptError::new(AttemptErrorKind::Protocol, message);
        let (Phase::Linked(link), Some(config)) = (&mut self.phase, &self.sasl) else {
            return Ok(());
        };
        let (Some(exchange), Stage::Authenticating) = (&mut link.sasl, link.stage) else {
            return Ok(());
        };
        exchange.asked = None;
        let token = match header.error() {
            None => {
                SetSaslResponse::decode(&mut Reader::shared(body))
                    .map_err(|err| broken(format!("a SASL token does not decode: {err}")))?
                    .token
            }
            Some(_) => None,
        };
        // Refused, or the server was never told whom to believe.
        let Some(token) = token else {
            self.shut(CloseReason::AuthFailed, out);
            return Ok(());
        };
        let password = String::from_utf8_lossy(config.password.reveal());
        match &exchange.answer {
            None => {
                let challenge = Challenge::parse(Service::CLIENT, &token)
                    .map_err(|err| broken(err.to_string()))?;
                self.nonces += 1;
                let cnonce = format!("{:032x}{:x}", config.nonce, self.nonces);
                let answer = challenge.answer(&config.user, &password, &cnonce);
                let token = Bytes::from(answer.to_token());
                exchange.answer = Some(answer);
                self.urgent.push_back(Urgent::Sasl(token));
            }
            Some(answer) if answer.is_confirmed(&token, &password) => {
                link.sasl = None;
                self.present_credentials(out);
            }
            Some(_) => {
                let message = "the server does not prove that it knows the SASL password";
                return Err(broken(message.to_owned()));
            }
        }
        Ok(())
    }
}
