//! Keys about who may connect and who is who.

use super::Kind::{Flag, Secret, Text};
use super::Twin::{None, Prefixed, Raw};
use crate::config::value::Secret as SecretText;

settings! {
    /// Authentication of clients.
    pub AuthSettings {
        /// Hash of the super user: `super:<digest>`.
        super_digest: Option<SecretText> = "DigestAuthenticationProvider.superDigest", Prefixed, Secret;
        /// Takes `digest` credentials.
        digest_enabled: bool = "DigestAuthenticationProvider.enabled", Prefixed, Flag(true);
        /// Distinguished name of the certificate that is the super user.
        x509_super_user: String = "X509AuthenticationProvider.superUser", Prefixed, Text("");
        /// SASL id that is the super user.
        sasl_super_user: String = "superUser", Prefixed, Text("");
        /// SASL password of the user `super`.
        sasl_super_password: Option<SecretText> =
            "SASLAuthenticationProvider.superPassword", Prefixed, Secret;
        /// Lets any SASL user pass ACLs of the named one.
        let_any_sasl_user_do: String = "letAnySaslUserDoX", Prefixed, Text("");
        /// Keeps connections whose SASL exchange failed.
        allow_sasl_failed_clients: bool = "allowSaslFailedClients", Prefixed, Flag(false);
        /// Demands SASL of every client.
        session_require_client_sasl: bool = "sessionRequireClientSASLAuth", Prefixed, Flag(false);
        /// Demands one of the schemes below of every client.
        enforce_enabled: bool = "enforce.auth.enabled", Prefixed, Flag(false);
        /// Schemes that satisfy the demand, comma separated.
        enforce_schemes: String = "enforce.auth.schemes", Prefixed, Text("");
        /// File with the SASL users and passwords, in JAAS form.
        jaas_file: String = "java.security.auth.login.config",
            Raw("java.security.auth.login.config"), Text("");
        /// Section of that file for clients.
        sasl_server_section: String = "sasl.serverconfig", Prefixed, Text("Server");
        /// Leaves the names in certificates of other members alone, as the reference does.
        fips_mode: bool = "fips-mode", Prefixed, Flag(true);
    }
}

settings! {
    /// Authentication between members.
    pub QuorumAuthSettings {
        /// Takes proofs by SASL of the members that connect to this one.
        enable_sasl: bool = "quorum.auth.enableSasl", None, Flag(false);
        /// Proves by SASL to the members that this one connects to who it is.
        learner_require_sasl: bool = "quorum.auth.learnerRequireSasl", None, Flag(false);
        /// Demands a proof of the members that connect to this one.
        server_require_sasl: bool = "quorum.auth.serverRequireSasl", None, Flag(false);
        /// Section of the JAAS file with the user that this member is when it connects.
        learner_section: String = "quorum.auth.learner.saslLoginContext", None, Text("QuorumLearner");
        /// Section of the JAAS file with the users that connecting members may be.
        server_section: String = "quorum.auth.server.saslLoginContext", None, Text("QuorumServer");
    }
}
