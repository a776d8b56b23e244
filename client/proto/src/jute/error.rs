use std::fmt;

/// Why bytes are not the record that they should be. Carries no payload bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    record: &'static str,
    /// Path of the field inside `record`, outermost first: `acl[2].id.scheme`.
    field: String,
    reason: Reason,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The frame ends inside the field.
    #[error("needs {needed} bytes where {left} are left")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// A string or buffer has a negative length other than −1 (null).
    #[error("has the negative length {0}")]
    NegativeLength(i32),
    /// A vector claims more elements than the rest of the frame can hold.
    #[error("claims {count} elements where {left} bytes are left")]
    Count {
        /// Number of elements claimed.
        count: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// Null where the protocol has no meaning for it.
    #[error("is null")]
    Null,
    /// A number outside the values that the protocol defines.
    #[error("has the undefined value {0}")]
    Undefined(i32),
}

impl DecodeError {
    /// An error at the value being decoded; callers add where that is.
    pub fn new(reason: Reason) -> Self {
        Self(Box::new(Inner {
            record: "",
            field: String::new(),
            reason,
        }))
    }

    /// Says that the value is `field` of `record`.
    #[must_use]
    pub fn at(mut self, record: &'static str, field: &str) -> Self {
        self.0.record = record;
        let inner = &mut self.0.field;
        if !inner.is_empty() && !inner.starts_with('[') {
            inner.insert(0, '.');
        }
        inner.insert_str(0, field);
        self
    }

    /// Says that the value is an element of a vector.
    #[must_use]
    pub fn at_index(mut self, index: usize) -> Self {
        let inner = &mut self.0.field;
        let dot = if inner.is_empty() || inner.starts_with('[') {
            ""
        } else {
            "."
        };
        inner.insert_str(0, &format!("[{index}]{dot}"));
        self
    }

    /// Name of the outermost record, as its type is called here; empty for a bare value.
    pub fn record(&self) -> &'static str {
        self.0.record
    }

    /// Path of the field inside the record: `acl[2].id.scheme`.
    pub fn field(&self) -> &str {
        &self.0.field
    }

    /// What is wrong with the field.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.record(), self.field()) {
            ("", "") => write!(f, "value {}", self.reason()),
            ("", field) => write!(f, "{field} {}", self.reason()),
            (record, field) => write!(f, "{record}.{field} {}", self.reason()),
        }
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({self})")
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_record_and_field() {
        let err = DecodeError::new(Reason::Truncated { needed: 4, left: 1 })
            .at("Id", "scheme")
            .at("Acl", "id")
            .at_index(2)
            .at("CreateRequest", "acl");
        assert_eq!(err.record(), "CreateRequest");
        assert_eq!(err.field(), "acl[2].id.scheme");
        assert_eq!(
            err.to_string(),
            "CreateRequest.acl[2].id.scheme needs 4 bytes where 1 are left"
        );
    }

    #[test]
    fn error_is_one_pointer() {
        assert_eq!(size_of::<DecodeError>(), size_of::<usize>());
    }
}
