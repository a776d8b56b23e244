use std::fmt;

use bytes::Bytes;

/// Declares a record: the struct, and its codec as the fields in order.
///
/// A field declared `as secret` shows its length when debugged, not its bytes.
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident : $type:ty $(as $secret:ident)?, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Default)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $( .field(
                        stringify!($field),
                        $crate::jute::record!(@shown self.$field $(, as $secret)?),
                    ) )*
                    .finish()
            }
        }

        impl $crate::jute::Encode for $name {
            fn encoded_len(&self) -> usize {
                0 $( + $crate::jute::Encode::encoded_len(&self.$field) )*
            }

            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $( $crate::jute::Encode::encode(&self.$field, out); )*
            }
        }

        impl $crate::jute::Decode for $name {
            const LEN_MIN: usize = 0 $( + <$type as $crate::jute::Decode>::LEN_MIN )*;

            fn decode(
                reader: &mut $crate::jute::Reader<'_>,
            ) -> Result<Self, $crate::jute::DecodeError> {
                $(
                    let $field = <$type as $crate::jute::Decode>::decode(reader)
                        .map_err(|err| err.at(stringify!($name), stringify!($field)))?;
                )*
                Ok(Self { $( $field, )* })
            }
        }
    )*};
    (@shown $value:expr, as secret) => { &$crate::jute::Secret(&$value) };
    (@shown $value:expr) => { &$value };
}

pub(crate) use record;

/// Shows how long a password or a token is, and nothing of it.
pub(crate) struct Secret<'a>(pub(crate) &'a Option<Bytes>);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "Some(<{} bytes>)", bytes.len()),
            None => f.write_str("None"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::{ConnectRequest, ConnectResponse};
    use crate::request::{AuthPacket, GetSaslRequest};
    use crate::response::SetSaslResponse;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Some(Bytes::from_static(b"pw"));
        let packet = AuthPacket {
            auth_type: 0,
            scheme: Some("digest".into()),
            auth: secret.clone(),
        };
        assert_eq!(
            format!("{packet:?}"),
            r#"AuthPacket { auth_type: 0, scheme: Some("digest"), auth: Some(<2 bytes>) }"#
        );
        let request = ConnectRequest {
            password: secret.clone(),
            ..ConnectRequest::default()
        };
        let response = ConnectResponse {
            password: secret.clone(),
            ..ConnectResponse::default()
        };
        let question = GetSaslRequest {
            token: secret.clone(),
        };
        let answer = SetSaslResponse { token: secret };
        for shown in [
            format!("{request:?}"),
            format!("{response:?}"),
            format!("{question:?}"),
            format!("{answer:?}"),
        ] {
            assert!(
                shown.contains("Some(<2 bytes>)") && !shown.contains("pw"),
                "{shown}"
            );
        }
        assert_eq!(
            format!("{:?}", GetSaslRequest::default()),
            "GetSaslRequest { token: None }"
        );
    }
}
