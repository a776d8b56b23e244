/// Declares a record: the struct, and its codec as the fields in order.
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident : $type:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
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
}

pub(crate) use record;
