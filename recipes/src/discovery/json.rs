//! Instances as Curator writes them, byte for byte.
//!
//! # Source
//! Apache Curator 5, `JsonInstanceSerializer`.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CharEscape, Formatter, Serializer};
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
        let failed = |cause: &dyn std::error::Error| error("payload", cause.to_string());
        let mut json = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut json, Jackson);
        let written = self.payload.serialize(&mut serializer);
        written.map_err(|cause| failed(&cause))?;
        let json = String::from_utf8(json).map_err(|cause| failed(&cause))?;
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

/// Text as Jackson writes it to bytes.
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
            '\0'..='\u{1f}' | '\u{10000}'.. => escape(out, character),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// A character by its UTF-16, one escape or two, with upper-case digits.
fn escape(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string does not fail.
        let _written = write!(out, "\\u{unit:04X}");
    }
}

/// Writes payloads with the escapes of [`text`].
struct Jackson;

impl Formatter for Jackson {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut out = String::with_capacity(fragment.len());
        for character in fragment.chars() {
            match character {
                '\u{10000}'.. => escape(&mut out, character),
                _ => out.push(character),
            }
        }
        writer.write_all(out.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        char_escape: CharEscape,
    ) -> io::Result<()> {
        let short = match char_escape {
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04X}"),
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"\\/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
        };
        writer.write_all(short)
    }
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
///
/// Java writes the class of what is no object, nor of a type that JSON has itself, as an array of two: the
/// class and the value. It looks like a list of ours whose first element is a name with dots: that of a class
/// of Java's own is taken for one if the value can be read, any other if the whole cannot.
fn payload<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
) -> Result<Option<T>, InstanceError> {
    let value = match members.remove("payload") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(mut object)) => {
            object.remove("@class");
            Value::Object(object)
        }
        Some(value) => value,
    };
    let read = match value.as_array().map(Vec::as_slice) {
        Some([Value::String(class), inner]) if is_java_class(class) => {
            if class.starts_with("java.") {
                T::deserialize(inner).or_else(|cause| T::deserialize(&value).map_err(|_| cause))
            } else {
                T::deserialize(&value).or_else(|_| T::deserialize(inner))
            }
        }
        _ => T::deserialize(&value),
    };
    read.map(Some)
        .map_err(|cause| error("payload", cause.to_string()))
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
        assert_eq!(
            read::<Value>(r#"["java.util.ArrayList",["a","b"]]"#),
            Some(serde_json::json!(["a", "b"]))
        );
        assert_eq!(
            read::<String>(r#"["com.x.Color","RED"]"#),
            Some("RED".into())
        );
        assert_eq!(read::<String>(r#""x""#), Some("x".into()));
        assert_eq!(read::<f64>("1.5"), Some(1.5));
        assert_eq!(read::<bool>("true"), Some(true));
        assert_eq!(read::<Details>("null"), None);
    }

    #[test]
    fn text_is_escaped_as_jackson_does() {
        let strange = "\u{1f600}\u{1b}\0\u{7f}\u{2028}\u{fffd}é/\"\\\u{8}\t\n\u{c}\r\u{10ffff}";
        let mut instance = ServiceInstance::new(strange).id("1");
        instance.registration_time_utc = 0;
        let payload = std::collections::BTreeMap::from([(strange, strange)]);
        let json = instance
            .payload(payload)
            .to_json(&JsonStyle::default())
            .unwrap();
        let escaped = concat!(
            r#""\uD83D\uDE00\u001B\u0000"#,
            "\u{7f}\u{2028}\u{fffd}é/",
            r#"\"\\\b\t\n\f\r\uDBFF\uDFFF""#
        );
        assert_eq!(
            json,
            format!(
                r#"{{"name":{escaped},"id":"1","address":null,"port":null,"sslPort":null,"payload":{{{escaped}:{escaped}}},"registrationTimeUTC":0,"serviceType":"DYNAMIC","uriSpec":null}}"#
            )
        );
    }

    fn comes_back<T>(payload: T)
    where
        T: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let instance = instance().payload(payload);
        let json = instance.to_json(&JsonStyle::default()).unwrap();
        let read = ServiceInstance::from_json(json.as_bytes());
        assert_eq!(read, Ok(instance), "{json}");
    }

    #[test]
    fn lists_that_look_like_what_java_writes_are_read_as_they_were_written() {
        let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        comes_back(texts(["db.example.com", "cache.example.com"]));
        comes_back(texts(["java.lang.Long", "5"]));
        comes_back(("eu.west".to_owned(), 3));
        comes_back(("java.util".to_owned(), 3));
        comes_back(serde_json::json!(["eu.west", ["a"]]));
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
        fn lists_are_read_as_they_were_written(
            payload in proptest::collection::vec("(java\\.)?[a-z]{1,3}(\\.[a-z]{1,3})?|.*", 0..4),
        ) {
            comes_back(payload);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _read = ServiceInstance::<Value>::from_json(&bytes);
        }
    }
}
