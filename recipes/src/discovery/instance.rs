use std::time::{SystemTime, UNIX_EPOCH};

use super::uri::UriSpec;
use crate::kernel::chance::unique;

/// One process that offers a service. What Curator calls by the same name.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServiceInstance<T> {
    /// The service.
    pub name: String,
    /// Who it is among those that offer it.
    pub id: String,
    /// Where it is to be reached.
    pub address: Option<String>,
    /// Its plain port.
    pub port: Option<i32>,
    /// Its TLS port.
    pub ssl_port: Option<i32>,
    /// What else it has to say.
    pub payload: Option<T>,
    /// When it was registered, milliseconds since 1970 by its own clock.
    pub registration_time_utc: i64,
    /// How long it stays.
    pub service_type: ServiceType,
    /// How to make a URI of it.
    pub uri_spec: Option<UriSpec>,
    /// Whether it wants to be asked.
    pub enabled: bool,
}

/// How long an instance stays registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServiceType {
    /// As long as its session.
    #[default]
    Dynamic,
    /// As long as its session; the server puts a number behind the id.
    DynamicSequential,
    /// Until it is unregistered.
    Static,
    /// Until it is unregistered.
    Permanent,
}

impl ServiceType {
    /// The name in the JSON.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Dynamic => "DYNAMIC",
            Self::DynamicSequential => "DYNAMIC_SEQUENTIAL",
            Self::Static => "STATIC",
            Self::Permanent => "PERMANENT",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let all = [
            Self::Dynamic,
            Self::DynamicSequential,
            Self::Static,
            Self::Permanent,
        ];
        all.into_iter().find(|kind| kind.text() == text)
    }
}

impl<T> ServiceInstance<T> {
    /// An instance with a new random id, as long as its session.
    pub fn new(name: impl Into<String>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            name: name.into(),
            id: unique().as_hyphenated().to_string(),
            address: None,
            port: None,
            ssl_port: None,
            payload: None,
            registration_time_utc: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            service_type: ServiceType::default(),
            uri_spec: None,
            enabled: true,
        }
    }

    /// Who it is, instead of a random id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Where it is to be reached.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Its plain port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port.into());
        self
    }

    /// Its TLS port.
    #[must_use]
    pub fn ssl_port(mut self, port: u16) -> Self {
        self.ssl_port = Some(port.into());
        self
    }

    /// What else it has to say.
    #[must_use]
    pub fn payload(mut self, payload: T) -> Self {
        self.payload = Some(payload);
        self
    }

    /// How long it stays.
    #[must_use]
    pub fn service_type(mut self, kind: ServiceType) -> Self {
        self.service_type = kind;
        self
    }

    /// How to make a URI of it.
    #[must_use]
    pub fn uri_spec(mut self, spec: UriSpec) -> Self {
        self.uri_spec = Some(spec);
        self
    }

    /// Whether it wants to be asked.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Its URI, if it has a [`UriSpec`].
    pub fn uri(&self) -> Option<String> {
        self.uri_spec.as_ref().map(|spec| spec.build(self))
    }
}
