//! How to connect and with what limits.

#[cfg(feature = "serde")]
mod document;

use std::time::Duration;

use zk_proto::ZPathBuf;
use zk_proto::frame::DEFAULT_FRAME_MAX;

use crate::acl::Acl;
use crate::connect_string::{ConnectString, DEFAULT_PORT, Server};
use crate::core::Load;
use crate::error::{Error, ErrorKind, Outcome};

/// What a client does when its session has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum OnExpire {
    /// Begins a new session. One-shot watches end, watch streams go on behind a gap, requests that
    /// were not sent yet go on, except what was asked for in the name of the old session: creations
    /// of ephemeral znodes, and whatever was asked for through a [`crate::Session`].
    #[default]
    Renew,
    /// Closes the client.
    Stop,
}

/// How to connect and with what limits; plain data, without any secret: those are the builder's
/// ([`Builder::auth`](crate::Builder::auth)) or a provider's.
///
/// With the feature `serde` it is read from documents and written to them: fields by their names;
/// `connect` as text, and the only one that must be there; times as `"10s"`, `"1m 30s"`, `"250ms"` or
/// `"forever"`; sizes as numbers of bytes; `on_expire` as `"renew"` or `"stop"`; `default_acl` as a
/// list of `"scheme:id:cdrwa"`. A field that is not known, or a value that is none, is refused with
/// the field's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Servers, and the path below which the client lives.
    pub connect: ConnectString,
    /// Session timeout asked for; servers grant what is within their bounds. 10 s by default.
    pub session_timeout: Duration,
    /// How long [`Builder::connect`](crate::Builder::connect) waits for a session. 15 s by default.
    pub connect_timeout: Duration,
    /// How long an operation may take, waiting for a connection included. 30 s by default.
    pub op_timeout: Duration,
    /// How long closing may take when the last handle is dropped. 5 s by default.
    pub close_timeout: Duration,
    /// What to do when the session has expired.
    pub on_expire: OnExpire,
    /// Whether a server that is cut off from the ensemble will do while there is none that is not.
    pub allow_read_only: bool,
    /// Requests on the wire and not answered; more wait their turn. 1000 by default.
    pub in_flight_max: usize,
    /// Bytes of them. 16 MiB by default.
    pub in_flight_bytes_max: usize,
    /// Longest request in bytes, and longest reply: the servers' `jute.maxbuffer`, 1 MiB − 1 by
    /// default.
    pub frame_max: usize,
    /// Longest reply in bytes. Servers do not limit what they send, and the children of a znode may
    /// take more than any request. 64 MiB by default.
    pub reply_max: usize,
    /// ACL of znodes that are created without one. Open by default.
    pub default_acl: Acl,
    /// Whether dropping the last handle leaves the session to its timeout instead of closing it.
    pub detach_on_drop: bool,
    /// Draws the order of servers and the pauses between attempts; by default from the system.
    pub seed: Option<u64>,
}

impl Config {
    /// The defaults.
    pub fn new(connect: ConnectString) -> Self {
        Self {
            connect,
            session_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(15),
            op_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            on_expire: OnExpire::Renew,
            allow_read_only: false,
            in_flight_max: 1_000,
            in_flight_bytes_max: 16 << 20,
            frame_max: DEFAULT_FRAME_MAX,
            reply_max: 64 << 20,
            default_acl: Acl::open(),
            detach_on_drop: false,
            seed: None,
        }
    }

    /// # Errors
    /// [`ErrorKind::Config`] if nothing could come of it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let error = |detail: &str| {
            Err(Error::new(ErrorKind::Config, Outcome::NotSent).with_detail(detail.to_owned()))
        };
        if self.session_timeout.is_zero() {
            return error("session_timeout is zero");
        }
        if self.in_flight_max == 0 || self.in_flight_bytes_max == 0 {
            return error(
                "in_flight_max or in_flight_bytes_max is zero: nothing could ever be sent",
            );
        }
        if self.connect.servers.is_empty() {
            return error("there is no server");
        }
        Ok(())
    }
}

/// One server on this machine, at the usual port.
impl Default for Config {
    fn default() -> Self {
        Self::new(ConnectString {
            servers: vec![Server::new("localhost", DEFAULT_PORT)],
            chroot: ZPathBuf::root(),
        })
    }
}

/// What every call of a client needs of its configuration.
#[derive(Debug, Clone)]
pub(crate) struct CallConfig {
    pub(crate) timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) frame_max: usize,
    pub(crate) load_max: Load,
    pub(crate) default_acl: Acl,
    pub(crate) detach_on_drop: bool,
    pub(crate) chroot: ZPathBuf,
}

impl CallConfig {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            timeout: config.op_timeout,
            close_timeout: config.close_timeout,
            // Lengths are written in 31 bits.
            frame_max: config.frame_max.min(i32::MAX as usize),
            load_max: Load {
                requests: config.in_flight_max,
                bytes: config.in_flight_bytes_max,
            },
            default_acl: config.default_acl.clone(),
            detach_on_drop: config.detach_on_drop,
            chroot: config.connect.chroot.clone(),
        }
    }
}
