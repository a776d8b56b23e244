//! The SASL mechanism DIGEST-MD5 as servers and clients of `ZooKeeper` speak it: what is in the tokens
//! of [`OpCode::Sasl`](crate::OpCode::Sasl), and in those between servers.
//!
//! ```text
//! client                                  server
//!    ── (empty) ─────────────────────────▶
//!    ◀───────────────── Challenge ────────
//!    ── Answer, made of the password ────▶   Answer::proves(password)
//!    ◀───────── rspauth: Answer::reply ───
//! ```
//!
//! MD5 protects nothing against who can listen and compute: TLS under it does.
//!
//! # Source
//! RFC 2831, with `algorithm=md5-sess`, `qop=auth`; realm, service and host are those of Apache
//! `ZooKeeper` 3.9, `SecurityUtils`, `ZooKeeperSaslServer`, `QuorumAuth`.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};

/// Who speaks with whom: an answer for one service is of no use for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Realm of the challenge, and host in the answer.
    realm: &'static str,
    /// What the answer is for: the protocol, and the name that servers go by.
    digest_uri: &'static str,
}

impl Service {
    /// Clients, and the server that they connect to.
    pub const CLIENT: Self = Self {
        realm: "zk-sasl-md5",
        digest_uri: "zookeeper/zk-sasl-md5",
    };

    /// Servers of one ensemble.
    pub const QUORUM: Self = Self {
        realm: "zk-quorum-sasl-md5",
        digest_uri: "zookeeper-quorum/zk-quorum-sasl-md5",
    };
}

/// Longest token that is looked at.
const TOKEN_MAX: usize = 4096;
/// The count of answers to one nonce: there is one answer.
const NONCE_COUNT: &str = "00000001";

/// A token that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// It goes on too long.
    #[error("a SASL token has {len} bytes, and {TOKEN_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It is no list of directives.
    #[error("a SASL token does not parse behind byte {at}")]
    Syntax {
        /// Offset into the token.
        at: usize,
    },
    /// A directive is missing, or says what is not supported.
    #[error("a SASL token has {directive}={value:?}, which is not supported")]
    Directive {
        /// Its name.
        directive: &'static str,
        /// What it says; empty if it is missing.
        value: String,
    },
}

/// What a server asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    service: Service,
    realm: String,
    nonce: String,
}

impl Challenge {
    /// A server's; `nonce` must never have been used before, and not be guessed.
    pub fn new(service: Service, nonce: impl Into<String>) -> Self {
        Self {
            service,
            realm: service.realm.to_owned(),
            nonce: nonce.into(),
        }
    }

    /// What tells the challenge from others.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The token.
    pub fn to_token(&self) -> String {
        let Self { realm, nonce, .. } = self;
        format!("realm=\"{realm}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess")
    }

    /// Reads a token of a service.
    ///
    /// # Errors
    /// It is no challenge, or asks for more than a proof of who the client is.
    pub fn parse(service: Service, token: &[u8]) -> Result<Self, SaslError> {
        let directives = Directives::parse(token)?;
        directives.only("algorithm", "md5-sess")?;
        if let Some(offered) = directives.get("qop")
            && !offered.split(',').any(|qop| qop.trim() == "auth")
        {
            return Err(unsupported("qop", offered));
        }
        Ok(Self {
            service,
            realm: directives.get("realm").unwrap_or_default().to_owned(),
            nonce: directives.needed("nonce")?.to_owned(),
        })
    }

    /// What a client answers; `cnonce` is its own nonce.
    pub fn answer(&self, user: &str, password: &str, cnonce: &str) -> Answer {
        let mut answer = Answer {
            user: user.to_owned(),
            authzid: None,
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            cnonce: cnonce.to_owned(),
            digest_uri: self.service.digest_uri.to_owned(),
            response: String::new(),
        };
        answer.response = answer.digest(password, "AUTHENTICATE");
        answer
    }
}

/// What a client answers to a [`Challenge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    user: String,
    authzid: Option<String>,
    realm: String,
    nonce: String,
    cnonce: String,
    digest_uri: String,
    response: String,
}

impl Answer {
    /// Who it is from, if it is true.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The token.
    pub fn to_token(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut token = format!(
            "charset=utf-8,username=\"{}\",realm=\"{}\",nonce=\"{}\",nc={NONCE_COUNT},\
             cnonce=\"{}\",digest-uri=\"{}\",maxbuf=65536,response={},qop=auth",
            quoted(&self.user),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(&self.cnonce),
            quoted(&self.digest_uri),
            self.response,
        );
        if let Some(authzid) = &self.authzid {
            write!(token, ",authzid=\"{}\"", quoted(authzid)).ok();
        }
        token
    }

    /// Reads a token.
    ///
    /// # Errors
    /// It is no answer, or asks for another protection than `auth`.
    pub fn parse(token: &[u8]) -> Result<Self, SaslError> {
        let directives = Directives::parse(token)?;
        directives.only("nc", NONCE_COUNT)?;
        if directives.get("qop").is_some() {
            directives.only("qop", "auth")?;
        }
        Ok(Self {
            user: directives.needed("username")?.to_owned(),
            authzid: directives.get("authzid").map(str::to_owned),
            realm: directives.get("realm").unwrap_or_default().to_owned(),
            nonce: directives.needed("nonce")?.to_owned(),
            cnonce: directives.needed("cnonce")?.to_owned(),
            digest_uri: directives.needed("digest-uri")?.to_owned(),
            response: directives.needed("response")?.to_owned(),
        })
    }

    /// Whether it answers this challenge, for nobody but its user, by who knows the password.
    pub fn proves(&self, challenge: &Challenge, password: &str) -> bool {
        let is_for_us = self.nonce == challenge.nonce
            && self.realm == challenge.realm
            && self.digest_uri == challenge.service.digest_uri
            && self.authzid.as_ref().is_none_or(|id| *id == self.user);
        let wanted = self.digest(password, "AUTHENTICATE");
        is_for_us && is_same(wanted.as_bytes(), self.response.as_bytes())
    }

    /// The server's last token: that it knows the password too.
    pub fn reply(&self, password: &str) -> String {
        format!("rspauth={}", self.digest(password, ""))
    }

    /// Whether this last token is from a server that knows the password.
    pub fn is_confirmed(&self, token: &[u8], password: &str) -> bool {
        is_same(token, self.reply(password).as_bytes())
    }

    fn digest(&self, password: &str, method: &str) -> String {
        let secret = Md5::new()
            .chain_update(latin1(&self.user))
            .chain_update(":")
            .chain_update(latin1(&self.realm))
            .chain_update(":")
            .chain_update(latin1(password))
            .finalize();
        let mut a1 = Md5::new()
            .chain_update(secret)
            .chain_update(format!(":{}:{}", self.nonce, self.cnonce));
        if let Some(authzid) = &self.authzid {
            a1.update(format!(":{authzid}"));
        }
        let a1 = hex(&a1.finalize());
        let a2 = hex(&Md5::digest(format!("{method}:{}", self.digest_uri)));
        let Self { nonce, cnonce, .. } = self;
        let all = format!("{a1}:{nonce}:{NONCE_COUNT}:{cnonce}:auth:{a2}");
        hex(&Md5::digest(all))
    }
}

/// Text as it is hashed: in ISO 8859-1 if it can be.
fn latin1(text: &str) -> Vec<u8> {
    let narrow: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    narrow.unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Compares in a time that does not tell where the difference is.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    a.len() == b.len() && differing == 0
}

fn unsupported(directive: &'static str, value: &str) -> SaslError {
    SaslError::Directive {
        directive,
        value: value.to_owned(),
    }
}

/// `name=value,name="value"`; of a name that is there twice the first counts.
struct Directives(Vec<(String, String)>);

impl Directives {
    fn parse(token: &[u8]) -> Result<Self, SaslError> {
        if token.len() > TOKEN_MAX {
            return Err(SaslError::TooLong { len: token.len() });
        }
        let syntax = |at| SaslError::Syntax { at };
        let text = std::str::from_utf8(token).map_err(|err| syntax(err.valid_up_to()))?;
        let (mut rest, mut found) = (text, Vec::new());
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let (name, behind) = rest.split_once('=').ok_or_else(|| syntax(at))?;
            let (value, behind) = if let Some(quoted) = behind.strip_prefix('"') {
                unquote(quoted).ok_or_else(|| syntax(at))?
            } else {
                let end = behind.find(',').unwrap_or(behind.len());
                let (value, behind) = behind.split_at(end);
                (value.trim().to_owned(), behind)
            };
            found.push((name.trim().to_ascii_lowercase(), value));
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(',') {
                Some(next) => next,
                None if behind.is_empty() => behind,
                None => return Err(syntax(text.len() - behind.len())),
            };
        }
        Ok(Self(found))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        Some(value)
    }

    fn needed(&self, name: &'static str) -> Result<&str, SaslError> {
        self.get(name).ok_or_else(|| unsupported(name, ""))
    }

    fn only(&self, name: &'static str, wanted: &str) -> Result<(), SaslError> {
        let value = self.get(name).unwrap_or_default();
        if value == wanted {
            return Ok(());
        }
        Err(unsupported(name, value))
    }
}

/// The text up to the closing quote, and what is behind that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, quoted.get(at + 1..)?)),
            '\\' => text.push(chars.next()?.1),
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens between Apache's client and server 3.9.3, as captured: bob may, bob may not.
    const ASKED: &str = r#"realm="zk-sasl-md5",nonce="w2WKYDp3y2Bjs3nFcAVyvZNdFM2tBF0RMzpDJoMa",charset=utf-8,algorithm=md5-sess"#;
    const ANSWERED: &str = r#"charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="w2WKYDp3y2Bjs3nFcAVyvZNdFM2tBF0RMzpDJoMa",nc=00000001,cnonce="0EBw3uYGuIhkDnbs2l0q1hNhP3XSX50aWhKnHIKP",digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response=7c73147a7bcb8194f153334b15027bbb,qop=auth,authzid="bob""#;
    const CONFIRMED: &str = "rspauth=67f71c36fb564e61c54794dba8e5d9f9";

    #[test]
    fn captured_exchange_is_understood() {
        let challenge = Challenge::parse(Service::CLIENT, ASKED.as_bytes()).unwrap();
        assert_eq!(challenge.to_token(), ASKED);
        let answer = Answer::parse(ANSWERED.as_bytes()).unwrap();
        assert_eq!(answer.to_token(), ANSWERED);
        assert_eq!(answer.user(), "bob");
        assert!(answer.proves(&challenge, "bobsecret"));
        assert!(!answer.proves(&challenge, "bobsecret "));
        assert!(!answer.proves(&Challenge::new(Service::CLIENT, "another"), "bobsecret"));
        assert_eq!(answer.reply("bobsecret"), CONFIRMED);
    }

    #[test]
    fn answer_for_one_service_is_none_for_another() {
        let asked = Challenge::new(Service::QUORUM, "n");
        let answer = asked.answer("bob", "secret", "c");
        assert!(answer.proves(&asked, "secret"));
        assert!(!answer.proves(&Challenge::new(Service::CLIENT, "n"), "secret"));
    }

    #[test]
    fn own_answer_is_proof_and_survives_the_wire() {
        for (user, password) in [("a\"b\\", "p,=\""), ("café", "ÿ"), ("猫", "ключ"), ("", "")]
        {
            let challenge = Challenge::new(Service::CLIENT, "n+/=");
            let parsed =
                Challenge::parse(Service::CLIENT, challenge.to_token().as_bytes()).unwrap();
            let token = parsed.answer(user, password, "c").to_token();
            let answer = Answer::parse(token.as_bytes()).unwrap();
            assert_eq!(answer.user(), user);
            assert!(answer.proves(&challenge, password), "{user}");
            assert!(!answer.proves(&challenge, "x"), "{user}");
        }
    }

    #[test]
    fn user_in_the_name_of_another_proves_nothing() {
        let challenge = Challenge::new(Service::CLIENT, "n");
        let mut answer = challenge.answer("bob", "secret", "c");
        answer.authzid = Some("super".to_owned());
        answer.response = answer.digest("secret", "AUTHENTICATE");
        let answer = Answer::parse(answer.to_token().as_bytes()).unwrap();
        assert!(!answer.proves(&challenge, "secret"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let syntax = |token: &str| match Challenge::parse(Service::CLIENT, token.as_bytes()) {
            Err(SaslError::Syntax { at }) => at,
            other => panic!("{token}: {other:?}"),
        };
        assert_eq!(syntax("nonce"), 0);
        assert_eq!(syntax("a=b,nonce=\"x"), 4);
        assert_eq!(syntax("nonce=\"x\"y"), 9);
        assert_eq!(syntax("nonce=\"x\\"), 0);
        let long = Challenge::parse(Service::CLIENT, &[b'a'; 5000]).unwrap_err();
        assert_eq!(long, SaslError::TooLong { len: 5000 });
        let other = Challenge::parse(Service::CLIENT, b"nonce=\"x\",algorithm=md5").unwrap_err();
        assert_eq!(other, unsupported("algorithm", "md5"));
        let other = Challenge::parse(
            Service::CLIENT,
            b"nonce=x,algorithm=md5-sess,qop=\"auth-conf\"",
        )
        .unwrap_err();
        assert_eq!(other, unsupported("qop", "auth-conf"));
        let none = Challenge::parse(Service::CLIENT, b"algorithm=md5-sess").unwrap_err();
        assert_eq!(none, unsupported("nonce", ""));
        assert!(Answer::parse(&[0xff]).is_err());
    }

    #[test]
    fn example_of_the_rfc() {
        let mut answer = Answer {
            user: "chris".to_owned(),
            authzid: None,
            realm: "elwood.innosoft.com".to_owned(),
            nonce: "OA6MG9tEQGm2hh".to_owned(),
            cnonce: "OA6MHXh6VqTrRk".to_owned(),
            digest_uri: "imap/elwood.innosoft.com".to_owned(),
            response: String::new(),
        };
        answer.response = answer.digest("secret", "AUTHENTICATE");
        assert_eq!(answer.response, "d388dad90d4bbd760a152321f2143af7");
        let reply = answer.reply("secret");
        assert_eq!(reply, "rspauth=ea40f60335c427b5527b84dbabcdfffd");
        assert!(answer.is_confirmed(reply.as_bytes(), "secret"));
        assert!(!answer.is_confirmed(reply.as_bytes(), "secret2"));
        assert!(!answer.is_confirmed(b"rspauth=", "secret"));
    }
}
