//! Keys about TLS: one list, once for clients (`ssl.`), where it is honoured, and once for other servers
//! (`ssl.quorum.`), where its values are looked at and have no effect yet.

use std::time::Duration;

use super::Kind::{Choice, Flag, Text};
use super::Twin::Prefixed;
use super::unused::{NO_QUORUM_TLS, unread};
use super::{Disposition, Key, int};
use crate::config::value::Values;

/// Like `settings!`, with every row twice.
macro_rules! tls_settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $key:literal, $client:expr, $quorum:expr;)+) => {
        /// TLS material and rules of the client ports.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct TlsSettings {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Key: `ssl.", $key, "`.")]
                pub $field: $type,
            )+
        }

        impl TlsSettings {
            /// The rows of both sides.
            pub(in crate::config) const ROWS: &'static [Key] = &[
                $(Key {
                    name: concat!("ssl.", $key),
                    aliases: &[],
                    twin: Prefixed,
                    kind: $client,
                    disposition: Disposition::Honoured,
                    field: Some(stringify!($field)),
                    reason: concat!($($doc),+),
                },)+
                $(unread(concat!("ssl.quorum.", $key), &[], Prefixed, $quorum, NO_QUORUM_TLS),)+
            ];

            /// Fills every field.
            pub(in crate::config) fn take(values: &Values) -> Self {
                Self { $($field: values.take(concat!("ssl.", $key))),+ }
            }
        }
    };
}

/// Store forms; empty is told from the file name.
const STORES: &[&str] = &["", "PEM", "PKCS12", "JKS", "BCFKS"];

/// Demands on the certificate of the connecting side.
const CLIENT_AUTH: &[&str] = &["none", "want", "need"];

tls_settings! {
    /// File of the own key and certificate chain.
    key_store_location: String = "keyStore.location", Text(""), Text("");
    /// Its form; told from the file name when empty.
    key_store_type: String = "keyStore.type",
        Choice { default: "", of: STORES }, Choice { default: "", of: STORES };
    /// File of the own certificate chain, when it is apart from the key.
    key_store_cert_location: String = "keyStore.certLocation", Text(""), Text("");
    /// File of the own key, when it is apart from the certificates.
    key_store_key_location: String = "keyStore.keyLocation", Text(""), Text("");
    /// File of the trusted certificates; the CA list of the system when empty.
    trust_store_location: String = "trustStore.location", Text(""), Text("");
    /// Its form; told from the file name when empty.
    trust_store_type: String = "trustStore.type",
        Choice { default: "", of: STORES }, Choice { default: "", of: STORES };
    /// The one protocol version spoken, unless `enabledProtocols` says more.
    protocol: String = "protocol", Text(""), Text("");
    /// Protocol versions, comma separated; 1.3 and 1.2 when empty.
    enabled_protocols: String = "enabledProtocols", Text(""), Text("");
    /// Cipher suites by their Java names, comma separated.
    cipher_suites: String = "ciphersuites", Text(""), Text("");
    /// Demand on the certificate of the connecting side.
    client_auth: String = "clientAuth",
        Choice { default: "need", of: CLIENT_AUTH }, Choice { default: "need", of: CLIENT_AUTH };
    /// Ms to wait for the first byte where one port takes TLS and plaintext.
    handshake_detection_timeout: Duration =
        "handshakeDetectionTimeoutMillis", int(5000, 1), int(5000, 1);
}

settings! {
    /// Which ports speak TLS.
    pub TlsSwitches {
        /// Takes TLS and plaintext on the plaintext client port.
        client_port_unification: bool = "client.portUnification", Prefixed, Flag(false);
        /// Reads client-side key material again when the files change; on, where the reference
        /// needs it turned on.
        client_cert_reload: bool = "client.certReload", Prefixed, Flag(true);
        /// TLS handshakes in progress; `None` is unlimited.
        outstanding_handshakes_max: Option<std::num::NonZeroU32> =
            "netty.server.outstandingHandshake.limit" or "outstandingHandshake.limit", Prefixed, int(-1, -1);
    }
}
