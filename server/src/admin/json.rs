//! JSON as the reference's Jackson prints it: two blanks a level, ` : ` behind names, arrays in one
//! line.

use std::fmt::Write as _;

/// A value. Members keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// An object, by its members.
pub(crate) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

impl Json {
    /// The members of an object; what is none has none.
    pub(crate) fn into_members(self) -> Vec<(String, Self)> {
        if let Self::Object(members) = self {
            members
        } else {
            Vec::new()
        }
    }

    /// The text.
    pub(crate) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, level: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => write!(out, "{value}").expect("writing to a string cannot fail"),
            Self::Double(value) => out.push_str(&crate::four_letter::java_double(*value)),
            Self::Text(text) => quote(text, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { " " } else { ", " });
                    item.write(out, level);
                }
                out.push_str(" ]");
            }
            Self::Object(members) if members.is_empty() => out.push_str("{ }"),
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "\n" } else { ",\n" });
                    indent(out, level + 1);
                    quote(name, out);
                    out.push_str(" : ");
                    value.write(out, level + 1);
                }
                out.push('\n');
                indent(out, level);
                out.push('}');
            }
        }
    }
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                write!(out, "\\u{:04X}", u32::from(control))
                    .expect("writing to a string cannot fail");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Json {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_jackson_prints_them() {
        let value = object([
            ("a", 1_i64.into()),
            ("none", Json::Array(Vec::new())),
            (
                "some",
                Json::Array(vec![object([("b", true.into())]), Json::Null]),
            ),
            ("mean", Json::Double(0.0)),
            ("empty", object([])),
            ("text", "\"\n\u{1}é".into()),
        ]);
        assert_eq!(
            value.pretty(),
            "{\n  \"a\" : 1,\n  \"none\" : [ ],\n  \"some\" : [ {\n    \"b\" : true\n  }, null ],\n  \
             \"mean\" : 0.0,\n  \"empty\" : { },\n  \"text\" : \"\\\"\\n\\u0001é\"\n}"
        );
        // It is JSON, too.
        serde_json::from_str::<serde_json::Value>(&value.pretty()).expect("JSON");
    }
}
