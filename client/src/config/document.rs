//! A configuration as documents have it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{Config, OnExpire};
use crate::acl::Acl;

/// How a time without end is written.
const FOREVER: &str = "forever";

/// The fields as they are written; what is not there has its default.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Config", deny_unknown_fields)]
struct Document {
    connect: String,
    session_timeout: Option<String>,
    connect_timeout: Option<String>,
    op_timeout: Option<String>,
    close_timeout: Option<String>,
    on_expire: Option<OnExpire>,
    allow_read_only: Option<bool>,
    in_flight_max: Option<usize>,
    in_flight_bytes_max: Option<usize>,
    frame_max: Option<usize>,
    reply_max: Option<usize>,
    default_acl: Option<Vec<String>>,
    detach_on_drop: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// Why a field cannot be read or written.
#[derive(Debug)]
struct FieldError {
    field: &'static str,
    why: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field `{}`: {}", self.field, self.why)
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Document::deserialize(deserializer)?
            .read()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Document::of(self)
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

impl Document {
    fn read(self) -> Result<Config, FieldError> {
        let connect = self.connect.parse().map_err(|err| FieldError {
            field: "connect",
            why: crate::error::chain(&err),
        })?;
        let default = Config::new(connect);
        Ok(Config {
            session_timeout: time(
                "session_timeout",
                self.session_timeout.as_deref(),
                default.session_timeout,
            )?,
            connect_timeout: time(
                "connect_timeout",
                self.connect_timeout.as_deref(),
                default.connect_timeout,
            )?,
            op_timeout: time("op_timeout", self.op_timeout.as_deref(), default.op_timeout)?,
            close_timeout: time(
                "close_timeout",
                self.close_timeout.as_deref(),
                default.close_timeout,
            )?,
            on_expire: self.on_expire.unwrap_or(default.on_expire),
            allow_read_only: self.allow_read_only.unwrap_or(default.allow_read_only),
            in_flight_max: self.in_flight_max.unwrap_or(default.in_flight_max),
            in_flight_bytes_max: self
                .in_flight_bytes_max
                .unwrap_or(default.in_flight_bytes_max),
            frame_max: self.frame_max.unwrap_or(default.frame_max),
            reply_max: self.reply_max.unwrap_or(default.reply_max),
            default_acl: match self.default_acl {
                None => default.default_acl,
                Some(entries) => acl(&entries)?,
            },
            detach_on_drop: self.detach_on_drop.unwrap_or(default.detach_on_drop),
            seed: self.seed,
            connect: default.connect,
        })
    }

    fn of(config: &Config) -> Result<Self, FieldError> {
        let Config {
            connect,
            session_timeout,
            connect_timeout,
            op_timeout,
            close_timeout,
            on_expire,
            allow_read_only,
            in_flight_max,
            in_flight_bytes_max,
            frame_max,
            reply_max,
            default_acl,
            detach_on_drop,
            seed,
        } = config;
        Ok(Self {
            connect: connect.to_string(),
            session_timeout: Some(written(*session_timeout)),
            connect_timeout: Some(written(*connect_timeout)),
            op_timeout: Some(written(*op_timeout)),
            close_timeout: Some(written(*close_timeout)),
            on_expire: Some(*on_expire),
            allow_read_only: Some(*allow_read_only),
            in_flight_max: Some(*in_flight_max),
            in_flight_bytes_max: Some(*in_flight_bytes_max),
            frame_max: Some(*frame_max),
            reply_max: Some(*reply_max),
            default_acl: Some(entries(default_acl)?),
            detach_on_drop: Some(*detach_on_drop),
            seed: *seed,
        })
    }
}

fn time(
    field: &'static str,
    text: Option<&str>,
    default: Duration,
) -> Result<Duration, FieldError> {
    match text {
        None => Ok(default),
        Some(FOREVER) => Ok(Duration::MAX),
        Some(text) => humantime::parse_duration(text).map_err(|err| FieldError {
            field,
            why: format!("{text:?} is no time as \"10s\", \"1m 30s\" or \"forever\": {err}"),
        }),
    }
}

fn written(time: Duration) -> String {
    if time == Duration::MAX {
        FOREVER.to_owned()
    } else {
        humantime::format_duration(time).to_string()
    }
}

fn acl(entries: &[String]) -> Result<Acl, FieldError> {
    let entries = entries.iter().map(|entry| {
        entry.parse().map_err(|err| FieldError {
            field: "default_acl",
            why: crate::error::chain(&err),
        })
    });
    Ok(Acl::of(entries.collect::<Result<Vec<_>, _>>()?))
}

/// # Errors
/// An entry cannot be written: it has no scheme, or permissions that nobody knows.
fn entries(acl: &Acl) -> Result<Vec<String>, FieldError> {
    let entry = |entry: &zk_proto::Acl| {
        let text = entry.to_string();
        if text.parse().as_ref() == Ok(entry) {
            return Ok(text);
        }
        Err(FieldError {
            field: "default_acl",
            why: format!("{text:?} does not say all that the entry is"),
        })
    };
    acl.entries().iter().map(entry).collect()
}
