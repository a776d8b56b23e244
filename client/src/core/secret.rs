use std::fmt;

use bytes::Bytes;

/// Bytes that are never shown: a password or a credential.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Bytes);

impl Secret {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, for the wire.
    pub(crate) fn reveal(&self) -> &Bytes {
        &self.0
    }
}

/// Shows how long it is.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new(Bytes::from_static(b"user:canary"));
        assert_eq!(format!("{secret:?}"), "<11 bytes>");
    }
}
