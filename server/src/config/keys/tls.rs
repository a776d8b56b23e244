//! Keys about TLS: one list of members, once for clients (`ssl.`) and once for other servers
//! (`ssl.quorum.`).

use std::time::Duration;

use super::Kind::{Choice, Flag, Secret, Text};
use super::Twin::Prefixed;
use super::{Disposition, Key, int};
use crate::config::value::{Secret as SecretText, Values};

/// Whose connections a [`TlsSettings`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients.
    Client,
    /// Members of the ensemble.
    Quorum,
}

/// Like `settings!`, with every row twice.
macro_rules! tls_settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $key:literal, $client:expr, $quorum:expr;)+) => {
        /// TLS material and rules of one side.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct TlsSettings {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Key: `ssl.", $key, "`, `ssl.quorum.", $key, "`.")]
                pub $field: $type,
            )+
        }

        impl TlsSettings {
            /// The rows of both sides.
            pub(in crate::config) const ROWS: &'static [Key] = &[
                $(row(concat!("ssl.", $key), $client, stringify!($field), concat!($($doc),+)),)+
                $(row(concat!("ssl.quorum.", $key), $quorum, stringify!($field), concat!($($doc),+)),)+
            ];

            /// Fills the fields of one side.
            pub(in crate::config) fn take(values: &Values, side: Side) -> Self {
                match side {
                    Side::Client => Self { $($field: values.take(concat!("ssl.", $key))),+ },
                    Side::Quorum => Self { $($field: values.take(concat!("ssl.quorum.", $key))),+ },
                }
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
    /// Its password.
    key_store_password: Option<SecretText> = "keyStore.password", Secret, Secret;
    /// File with its password, which wins over the one set.
    key_store_password_path: String = "keyStore.passwordPath", Text(""), Text("");
    /// File of the own certificate chain, when it is apart from the key.
    key_store_cert_location: String = "keyStore.certLocation", Text(""), Text("");
    /// File of the own key, when it is apart from the certificates.
    key_store_key_location: String = "keyStore.keyLocation", Text(""), Text("");
    /// File of the trusted certificates; needed where those of others are checked.
    trust_store_location: String = "trustStore.location", Text(""), Text("");
    /// Its form; told from the file name when empty.
    trust_store_type: String = "trustStore.type",
        Choice { default: "", of: STORES }, Choice { default: "", of: STORES };
    /// Its password.
    trust_store_password: Option<SecretText> = "trustStore.password", Secret, Secret;
    /// File with its password, which wins over the one set.
    trust_store_password_path: String = "trustStore.passwordPath", Text(""), Text("");
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

/// One honoured row.
const fn row(
    name: &'static str,
    kind: super::Kind,
    field: &'static str,
    reason: &'static str,
) -> Key {
    Key {
        name,
        aliases: &[],
        twin: Prefixed,
        kind,
        disposition: Disposition::Honoured,
        field: Some(field),
        reason,
    }
}

settings! {
    /// Which ports speak TLS.
    pub TlsSwitches {
        /// Takes TLS and plaintext on the plaintext client port.
        client_port_unification: bool = "client.portUnification", Prefixed, Flag(false);
        /// Reads client-side key material again when the files change; on, where the reference
        /// needs it turned on.
        client_cert_reload: bool = "client.certReload", Prefixed, Flag(true);
        /// Speaks TLS with other members.
        ssl_quorum: bool = "sslQuorum", super::Twin::None, Flag(false);
        /// Takes TLS and plaintext from other members.
        port_unification: bool = "portUnification", super::Twin::None, Flag(false);
        /// Reads quorum key material again when the files change.
        quorum_cert_reload: bool = "sslQuorumReloadCertFiles", super::Twin::None, Flag(true);
        /// Checks the name in the certificate of the member connected to.
        quorum_names: bool = "ssl.quorum.hostnameVerification", Prefixed, Flag(true);
        /// Checks the name in the certificate of the member that connects.
        quorum_client_names: bool = "ssl.quorum.clientHostnameVerification", Prefixed, Flag(true);
        /// TLS handshakes in progress; `None` is unlimited.
        outstanding_handshakes_max: Option<std::num::NonZeroU32> =
            "netty.server.outstandingHandshake.limit" or "outstandingHandshake.limit", Prefixed, int(-1, -1);
    }
}
