//! Instances as Curator writes them, byte for byte.
//!
//! # Source
//! Apache Curator 5, `JsonInstanceSerializer`.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::instance::{ServiceInstance, ServiceType};
use super::uri::{UriPart, UriSpec};

/// What to write beside what must be there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct JsonStyle {
    /// The class that a Java program is to make of a payload that is an object: written as its first
    /// member, `@class`. Without it Java reads a map.
    pub java_class: Option<String>,
    /// Whether `enabled` is written, which Curator leaves out by default, and older versions of it do not
    /// read.
    pub writes_enabled: bool,
}

/// Why an instance cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {reason}")]
pub struct InstanceError {
    /// The member of the object.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

fn error(field: &'static str, reason: impl Into<String>) -> InstanceError {
    InstanceError {
        field,
        reason: reason.into(),
    }
}

impl<T: Serialize> ServiceInstance<T> {
    /// The instance as JSON.
    ///
    /// # Errors
    /// [`InstanceError`] if the payload has no JSON.
    pub fn to_json(&self, style: &JsonStyle) -> Result<String, InstanceError> {
        let mut out = String::from("{\"name\":");
        text(&mut out, &self.name);
        out.push_str(",\"id\":");
        text(&mut out, &self.id);
        out.push_str(",\"address\":");
        match &self.address {
            Some(address) => text(&mut out, address),
            None => out.push_str("null"),
        }
        out.push_str(",\"port\":");
        number(&mut out, self.port);
        out.push_str(",\"sslPort\":");
        number(&mut out, self.ssl_port);
        out.push_str(",\"payload\":");
        out.push_str(&self.payload_json(style)?);
        out.push_str(",\"registrationTimeUTC\":");
        // Writing to a string does not fail.
        let _written = write!(out, "{}", self.registration_time_utc);
        out.push_str(",\"serviceType\":\"");
        out.push_str(self.service_type.text());
        out.push_str("\",\"uriSpec\":");
        match &self.uri_spec {
            None => out.push_str("null"),
            Some(spec) => {
                out.push_str("{\"parts\":[");
                for (index, part) in spec.parts().iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str("{\"value\":");
                    text(&mut out, &part.value);
                    out.push_str(",\"variable\":");
                    out.push_str(if part.variable { "true" } else { "false" });
                    out.push('}');
                }
                out.push_str("]}");
            }
        }
        if style.writes_enabled {
            out.push_str(",\"enabled\":");
            out.push_str(if self.enabled { "true" } else { "false" });
        }
        out.push('}');
        Ok(out)
    }

    fn payload_json(&self, style: &JsonStyle) -> Result<String, InstanceError> {
        let json = serde_json::to_string(&self.payload);
        let json = json.map_err(|cause| error("payload", cause.to_string()))?;
        match (&style.java_class, json.strip_prefix('{')) {
            (Some(class), Some(members)) => {
                let mut out = String::from("{\"@class\":");
                text(&mut out, class);
                if members != "}" {
                    out.push(',');
                }
                out.push_str(members);
                Ok(out)
            }
            _ => Ok(json),
        }
    }
}

/// A number, or null.
fn number(out: &mut String, number: Option<i32>) {
    match number {
        // Writing to a string does not fail.
        Some(number) => drop(write!(out, "{number}")),
        None => out.push_str("null"),
    }
}

/// Text as Jackson writes it: what has no short escape with upper-case digits.
fn text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            // Writing to a string does not fail.
            '\0'..='\u{1f}' => drop(write!(out, "\\u{:04X}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

impl<T: DeserializeOwned> ServiceInstance<T> {
    /// Reads what Curator or this crate has written. Members that are not known are ignored.
    ///
    /// # Errors
    /// [`InstanceError`] names the first member that is not what it must be, in the order in which they
    /// are written.
    pub fn from_json(json: &[u8]) -> Result<Self, InstanceError> {
        let value = serde_json::from_slice(json);
        let value: Value = value.map_err(|cause| error("(all)", cause.to_string()))?;
        let Value::Object(mut members) = value else {
            return Err(error("(all)", "is no object"));
        };
        Ok(Self {
            name: required(&mut members, "name")?,
            id: required(&mut members, "id")?,
            address: optional(&mut members, "address")?,
            port: port(&mut members, "port")?,
            ssl_port: port(&mut members, "sslPort")?,
            payload: payload(&mut members)?,
            registration_time_utc: match members.remove("registrationTimeUTC") {
                None | Some(Value::Null) => 0,
                Some(value) => integer(&value)
                    .ok_or_else(|| error("registrationTimeUTC", "is no 64-bit integer"))?,
            },
            service_type: match optional(&mut members, "serviceType")? {
                None => ServiceType::default(),
                Some(name) => ServiceType::from_text(&name)
                    .ok_or_else(|| error("serviceType", format!("{name:?} is not known")))?,
            },
            uri_spec: uri_spec(&mut members)?,
            enabled: match members.remove("enabled") {
                None | Some(Value::Null) => true,
                Some(Value::Bool(enabled)) => enabled,
                Some(_) => return Err(error("enabled", "is neither true nor false")),
            },
        })
    }
}

fn optional(
    members: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<String>, InstanceError> {
    match members.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(error(field, "is no text")),
    }
}

fn required(
    members: &mut Map<String, Value>,
    field: &'static str,
) -> Result<String, InstanceError> {
    optional(members, field)?.ok_or_else(|| error(field, "is missing"))
}

/// An integer, or text that is one.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn port(
    members: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<i32>, InstanceError> {
    match members.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = integer(&value).and_then(|number| i32::try_from(number).ok());
            number
                .map(Some)
                .ok_or_else(|| error(field, "is no 32-bit integer"))
        }
    }
}

/// The payload without what Java says of its class.
fn payload<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
) -> Result<Option<T>, InstanceError> {
    let value = match members.remove("payload") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(mut object)) => {
            object.remove("@class");
            Value::Object(object)
        }
        Some(Value::Array(mut items)) => match items.as_slice() {
            [Value::String(class), _] if is_java_class(class) => items.pop().unwrap_or_default(),
            _ => Value::Array(items),
        },
        Some(value) => value,
    };
    match serde_json::from_value(value) {
        Ok(payload) => Ok(Some(payload)),
        Err(cause) => Err(error("payload", cause.to_string())),
    }
}

/// Whether text is the name of a class with its package.
fn is_java_class(text: &str) -> bool {
    let is_part = |part: &str| {
        let mut characters = part.chars();
        characters
            .next()
            .is_some_and(|first| first.is_alphabetic() || matches!(first, '_' | '$'))
            && characters.all(|other| other.is_alphanumeric() || matches!(other, '_' | '$'))
    };
    text.contains('.') && text.split('.').all(is_part)
}

fn uri_spec(members: &mut Map<String, Value>) -> Result<Option<UriSpec>, InstanceError> {
    let field = "uriSpec";
    let mut spec = match members.remove(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(spec)) => spec,
        Some(_) => return Err(error(field, "is no object")),
    };
    let parts = match spec.remove("parts") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(error(field, "its parts are no list")),
    };
    let part = |part: Value| {
        let Value::Object(mut part) = part else {
            return Err(error(field, "a part is no object"));
        };
        let value = optional(&mut part, "value")?.unwrap_or_default();
        let variable = matches!(part.remove("variable"), Some(Value::Bool(true)));
        Ok(UriPart { value, variable })
    };
    let parts: Result<Vec<_>, _> = parts.into_iter().map(part).collect();
    Ok(Some(UriSpec::of(parts?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Details {
        zone: String,
        weight: u32,
    }

    fn instance<T>() -> ServiceInstance<T> {
        let mut instance = ServiceInstance::new("api")
            .id("1")
            .address("10.0.0.1")
            .port(8080);
        instance.registration_time_utc = 1_325_129_459_728;
        instance
    }

    fn details() -> Details {
        Details {
            zone: "a".into(),
            weight: 3,
        }
    }

    #[test]
    fn instances_are_written_as_curator_writes_them() {
        let json = instance::<()>().to_json(&JsonStyle::default()).unwrap();
        assert_eq!(
            json,
            r#"{"name":"api","id":"1","address":"10.0.0.1","port":8080,"sslPort":null,"payload":null,"registrationTimeUTC":1325129459728,"serviceType":"DYNAMIC","uriSpec":null}"#
        );
        let style = JsonStyle {
            java_class: Some("com.x.Details".into()),
            writes_enabled: true,
        };
        let spec = UriSpec::parse("{scheme}://{address}");
        let full = instance()
            .payload(details())
            .ssl_port(443)
            .uri_spec(spec)
            .enabled(false);
        let full = full.service_type(ServiceType::DynamicSequential);
        assert_eq!(
            full.to_json(&style).unwrap(),
            concat!(
                r#"{"name":"api","id":"1","address":"10.0.0.1","port":8080,"sslPort":443,"#,
                r#""payload":{"@class":"com.x.Details","zone":"a","weight":3},"#,
                r#""registrationTimeUTC":1325129459728,"serviceType":"DYNAMIC_SEQUENTIAL","#,
                r#""uriSpec":{"parts":[{"value":"scheme","variable":true},"#,
                r#"{"value":"://","variable":false},{"value":"address","variable":true}]},"#,
                r#""enabled":false}"#
            )
        );
        let mut bare = ServiceInstance::<String>::new("a\"\\\u{1b}\n é")
            .id("")
            .payload("x".into());
        bare.registration_time_utc = 0;
        assert_eq!(
            bare.to_json(&JsonStyle::default()).unwrap(),
            "{\"name\":\"a\\\"\\\\\\u001B\\n é\",\"id\":\"\",\"address\":null,\"port\":null,\
             \"sslPort\":null,\"payload\":\"x\",\"registrationTimeUTC\":0,\
             \"serviceType\":\"DYNAMIC\",\"uriSpec\":null}"
        );
    }

    fn with_payload(payload: &str) -> Vec<u8> {
        format!(r#"{{"name":"api","id":"1","payload":{payload}}}"#).into_bytes()
    }

    #[test]
    fn payloads_of_java_are_read() {
        fn read<T: DeserializeOwned>(payload: &str) -> Option<T> {
            ServiceInstance::from_json(&with_payload(payload))
                .unwrap()
                .payload
        }
        let object = r#"{"@class":"com.x.Details","zone":"a","weight":3}"#;
        assert_eq!(read::<Details>(object), Some(details()));
        assert_eq!(
            read::<Details>(r#"{"zone":"a","weight":3}"#),
            Some(details())
        );
        assert_eq!(read::<i64>(r#"["java.lang.Long",5]"#), Some(5));
        assert_eq!(
            read::<Vec<String>>(r#"["java.util.ArrayList",["a","b"]]"#),
            Some(vec!["a".into(), "b".into()])
        );
        assert_eq!(
            read::<Vec<String>>(r#"["a","b"]"#),
            Some(vec!["a".into(), "b".into()])
        );
        assert_eq!(read::<String>(r#""x""#), Some("x".into()));
        assert_eq!(read::<f64>("1.5"), Some(1.5));
        assert_eq!(read::<bool>("true"), Some(true));
        assert_eq!(read::<Details>("null"), None);
    }

    #[test]
    fn what_may_be_left_out_is() {
        let read =
            ServiceInstance::<()>::from_json(br#"{"id":"1","name":"api","port":"80","new":{}}"#);
        let read = read.unwrap();
        assert_eq!(
            (read.port, read.ssl_port, read.enabled),
            (Some(80), None, true)
        );
        assert_eq!(
            (read.registration_time_utc, read.service_type),
            (0, ServiceType::Dynamic)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let field = |json: &str| {
            ServiceInstance::<u32>::from_json(json.as_bytes())
                .unwrap_err()
                .field
        };
        assert_eq!(field(""), "(all)");
        assert_eq!(field("[]"), "(all)");
        assert_eq!(field(r#"{"id":"1"}"#), "name");
        assert_eq!(field(r#"{"name":"a","id":1}"#), "id");
        assert_eq!(field(r#"{"name":"a","id":"1","port":1.5}"#), "port");
        assert_eq!(
            field(r#"{"name":"a","id":"1","sslPort":99999999999}"#),
            "sslPort"
        );
        assert_eq!(field(r#"{"name":"a","id":"1","payload":"x"}"#), "payload");
        assert_eq!(
            field(r#"{"name":"a","id":"1","serviceType":"dynamic"}"#),
            "serviceType"
        );
        assert_eq!(field(r#"{"name":"a","id":"1","uriSpec":[]}"#), "uriSpec");
        assert_eq!(field(r#"{"name":"a","id":"1","enabled":1}"#), "enabled");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in ".*", id in ".*", address in proptest::option::of(".*"),
            port: Option<i32>, time: i64, kind in 0..4_usize, payload in proptest::option::of(".*"),
            template in proptest::option::of("[a-z{}:/]*"), enabled: bool,
        ) {
            let kinds = [
                ServiceType::Dynamic,
                ServiceType::DynamicSequential,
                ServiceType::Static,
                ServiceType::Permanent,
            ];
            let mut instance = ServiceInstance::<String>::new(name).id(id).service_type(kinds[kind]);
            (instance.address, instance.port, instance.payload) = (address, port, payload);
            (instance.registration_time_utc, instance.enabled) = (time, enabled);
            instance.uri_spec = template.as_deref().map(UriSpec::parse);
            let style = JsonStyle { java_class: None, writes_enabled: true };
            let json = instance.to_json(&style).unwrap();
            prop_assert_eq!(ServiceInstance::from_json(json.as_bytes()), Ok(instance));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _read = ServiceInstance::<Value>::from_json(&bytes);
        }
    }
}
