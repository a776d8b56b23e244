/// Declares a record: the struct, and its codec as the fields in order.
macro_rules! record {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident : $type:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl zk_proto::jute::Encode for $name {
            fn encoded_len(&self) -> usize {
                0 $( + zk_proto::jute::Encode::encoded_len(&self.$field) )*
            }

            fn encode(&self, out: &mut ::bytes::BytesMut) {
                $( zk_proto::jute::Encode::encode(&self.$field, out); )*
            }
        }

        impl zk_proto::jute::Decode for $name {
            const LEN_MIN: usize = 0 $( + <$type as zk_proto::jute::Decode>::LEN_MIN )*;

            fn decode(
                reader: &mut zk_proto::jute::Reader<'_>,
            ) -> Result<Self, zk_proto::jute::DecodeError> {
                $(
                    let $field = <$type as zk_proto::jute::Decode>::decode(reader)
                        .map_err(|err| err.at(stringify!($name), stringify!($field)))?;
                )*
                Ok(Self { $( $field, )* })
            }
        }
    )*};
}

pub(crate) use record;
