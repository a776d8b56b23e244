//! Rules between the keys about authentication and TLS.

use super::error::Problem;
use super::resolve::Config;
use super::value::Values;

/// An authentication scheme offered beside `ip` and `digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthProvider {
    /// `sasl`.
    Sasl,
    /// `x509`.
    X509,
    /// `digest`, which is always offered.
    Digest,
    /// `ip`, which is always offered.
    Ip,
}

/// Class names of the reference and the schemes they stand for.
const CLASSES: [(&str, AuthProvider); 4] = [
    (
        "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
        AuthProvider::Sasl,
    ),
    (
        "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
        AuthProvider::X509,
    ),
    (
        "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
        AuthProvider::Digest,
    ),
    (
        "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
        AuthProvider::Ip,
    ),
];

/// Schemes named by `authProvider.*`.
pub(super) fn auth_providers(values: &Values, problems: &mut Vec<Problem>) -> Vec<AuthProvider> {
    let mut providers = Vec::new();
    for setting in values.family("authProvider.") {
        match CLASSES.iter().find(|(class, _)| *class == setting.value) {
            Some((_, provider)) if providers.contains(provider) => {}
            Some((_, provider)) => providers.push(*provider),
            None => {
                let known: Vec<&str> = CLASSES.iter().map(|(class, _)| *class).collect();
                problems.push(
                    Problem::new(
                        Some(setting.origin.clone()),
                        &setting.key,
                        format!("unknown class, expected one of {}", known.join(", ")),
                    )
                    .with_value(&setting.value),
                );
            }
        }
    }
    providers
}

/// Refuses contradictions.
pub(super) fn check_security(config: &Config, values: &Values, problems: &mut Vec<Problem>) {
    let mut refuse = |key: &str, reason: String| {
        problems.push(Problem::new(values.origin(key).cloned(), "", reason));
    };

    let quorum = &config.quorum_auth;
    for (needs, needed, key, missing) in [
        (
            quorum.server_require_sasl,
            quorum.enable_sasl,
            "quorum.auth.serverRequireSasl",
            "quorum.auth.enableSasl",
        ),
        (
            quorum.learner_require_sasl,
            quorum.enable_sasl,
            "quorum.auth.learnerRequireSasl",
            "quorum.auth.enableSasl",
        ),
        (
            quorum.server_require_sasl,
            quorum.learner_require_sasl,
            "quorum.auth.serverRequireSasl",
            "quorum.auth.learnerRequireSasl",
        ),
    ] {
        if needs && !needed {
            refuse(
                key,
                format!("{missing} is disabled, so cannot enable {key}"),
            );
        }
    }

    let auth = &config.auth;
    let schemes: Vec<&str> = auth
        .enforce_schemes
        .split(',')
        .map(str::trim)
        .filter(|scheme| !scheme.is_empty())
        .collect();
    if auth.enforce_enabled && schemes.is_empty() {
        refuse(
            "enforce.auth.enabled",
            "enforce.auth.enabled is true, enforce.auth.schemes must be configured".to_owned(),
        );
    }
    let offers = |provider| config.auth_providers.contains(&provider);
    let tls = config.secure_client_port.is_some() || config.tls.client_port_unification;
    for scheme in schemes {
        let available = match scheme {
            "ip" => true,
            "digest" => auth.digest_enabled,
            "sasl" => offers(AuthProvider::Sasl),
            "x509" => tls || offers(AuthProvider::X509),
            _ => false,
        };
        if auth.enforce_enabled && !available {
            refuse(
                "enforce.auth.schemes",
                format!("authentication scheme {scheme} is not available"),
            );
        }
    }
    if auth.session_require_client_sasl && !offers(AuthProvider::Sasl) {
        refuse(
            "sessionRequireClientSASLAuth",
            "sessionRequireClientSASLAuth needs authProvider.1=\
             org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
                .to_owned(),
        );
    }

    let has_key = |tls: &super::keys::TlsSettings| {
        !tls.key_store_location.is_empty() || !tls.key_store_key_location.is_empty()
    };
    if config.secure_client_port.is_some() && !has_key(&config.client_tls) {
        refuse(
            "secureClientPort",
            "secureClientPort needs ssl.keyStore.location".to_owned(),
        );
    }
    if config.tls.client_port_unification && !has_key(&config.client_tls) {
        refuse(
            "client.portUnification",
            "client.portUnification needs ssl.keyStore.location".to_owned(),
        );
    }
    if config.tls.ssl_quorum && !has_key(&config.quorum_tls) {
        refuse(
            "sslQuorum",
            "sslQuorum needs ssl.quorum.keyStore.location".to_owned(),
        );
    }
}
