//! Keys and certificates in the forms that files hold them: PEM, PKCS12, JKS.

use std::path::Path;

use p12_keystore::error::Error as Pkcs12Error;
use p12_keystore::{CertificateBag, Pkcs12Archive};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::pem::PemLabel as _;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::jks;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The first private key.
    pub(super) key: Option<PrivateKeyDer<'static>>,
    /// The certificates to show with it, that of the key first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The certificates that those of others have to lead to.
    pub(super) trusted: Vec<CertificateDer<'static>>,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text, of keys and certificates in any order.
    Pem,
    /// A store of Java's. Which of its two forms, the file itself says; Java does not go by the name
    /// either.
    Java,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It ends too early.
    #[error("it ends too early")]
    Truncated,
    /// It is something else.
    #[error("it is none, or damaged")]
    Form,
    /// It is protected with another password, or damaged.
    #[error("the password is not the one it was made with, or it is damaged")]
    Password,
    /// It is protected, and no password is set.
    #[error("it is protected, and no password is set")]
    NoPassword,
    /// It is protected in a way that is not known here.
    #[error("it is protected in a way that is not known here")]
    Cipher,
    /// A part of it is no good PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// A part of it is no good PKCS12.
    #[error(transparent)]
    Pkcs12(Pkcs12Error),
}

impl Form {
    /// The form that the settings name, or else the name of the file; `Err` with that of a store that
    /// cannot be read. A name that says nothing is taken for PEM.
    pub(super) fn of(named: &str, path: &Path) -> Result<Self, &'static str> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match (named, extension) {
            ("BCFKS", _) | ("", Some("bcfks")) => Err("BCFKS"),
            ("JKS" | "PKCS12", _) | ("", Some("jks" | "p12" | "pfx")) => Ok(Self::Java),
            _ => Ok(Self::Pem),
        }
    }
}

impl Store {
    /// Reads what a file holds.
    ///
    /// # Errors
    ///
    /// It is of another form or damaged, or the password is not the right one.
    pub(super) fn read(content: &[u8], form: Form, password: &str) -> Result<Self, StoreError> {
        match form {
            Form::Pem => Self::from_pem(content, password),
            Form::Java if content.starts_with(&jks::MAGIC) => jks::read(content, password),
            Form::Java => Self::from_pkcs12(content, password),
        }
    }

    fn from_pem(content: &[u8], password: &str) -> Result<Self, StoreError> {
        let trusted = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>()?;
        let key = match PrivateKeyDer::from_pem_slice(content) {
            Ok(key) => Some(key),
            Err(pem::Error::NoItemsFound) => encrypted_key(content, password)?,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            key,
            chain: trusted.clone(),
            trusted,
        })
    }

    /// Java trusts the certificates that it has marked so. OpenSSL marks none: of its stores, all that
    /// belong to no key are meant.
    fn from_pkcs12(content: &[u8], password: &str) -> Result<Self, StoreError> {
        let archive = Pkcs12Archive::from_pkcs12(content, password);
        let archive = archive.map_err(|error| of_pkcs12(error, password))?;
        let der = |bag: &CertificateBag| CertificateDer::from(bag.cert.as_der().to_vec());
        let is_marked = archive.certs.iter().any(|bag| bag.trusted);
        let is_trusted = |bag: &&CertificateBag| {
            bag.trusted || !is_marked && archive.keys.is_empty() && bag.local_key_id.is_none()
        };
        let trusted = archive.certs.iter().filter(is_trusted).map(der).collect();
        let Some(key) = archive.keys.first() else {
            return Ok(Self {
                trusted,
                ..Self::default()
            });
        };
        let id = key.local_key_id.as_ref().map(AsRef::as_ref);
        let is_own =
            |bag: &&CertificateBag| bag.local_key_id.is_some() && bag.local_key_id.as_deref() == id;
        let mut chain = Vec::new();
        let mut next = archive.certs.iter().find(is_own);
        while let Some(bag) = next
            && chain.len() < archive.certs.len()
        {
            chain.push(der(bag));
            let has_signed = |other: &&CertificateBag| other.cert.subject() == bag.cert.issuer();
            let is_last = bag.cert.issuer() == bag.cert.subject();
            next = archive.certs.iter().find(has_signed).filter(|_| !is_last);
        }
        Ok(Self {
            key: Some(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into()),
            chain,
            trusted,
        })
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others are told as they are"
)]
fn of_pkcs12(error: Pkcs12Error, password: &str) -> StoreError {
    match error {
        Pkcs12Error::MacError(_) if password.is_empty() => StoreError::NoPassword,
        Pkcs12Error::MacError(_) => StoreError::Password,
        Pkcs12Error::UnsupportedEncryptionScheme | Pkcs12Error::UnsupportedMacAlgorithm => {
            StoreError::Cipher
        }
        error => StoreError::Pkcs12(error),
    }
}

/// The key of a PEM file that is protected with a password.
fn encrypted_key(
    content: &[u8],
    password: &str,
) -> Result<Option<PrivateKeyDer<'static>>, StoreError> {
    let label = EncryptedPrivateKeyInfoRef::PEM_LABEL;
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let content = String::from_utf8_lossy(content);
    let Some((_, rest)) = content.split_once(&begin) else {
        return Ok(None);
    };
    let (body, _) = rest.split_once(&end).ok_or(StoreError::Truncated)?;
    if password.is_empty() {
        return Err(StoreError::NoPassword);
    }
    let document = format!("{begin}\n{}\n{end}\n", body.trim());
    let (_, document) = pkcs8::SecretDocument::from_pem(&document).map_err(|_| StoreError::Form)?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|_| StoreError::Cipher)?;
    let key = encrypted
        .decrypt(password)
        .map_err(|_| StoreError::Password)?;
    let key = PrivatePkcs8KeyDer::from(key.as_bytes().to_vec());
    Ok(Some(key.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PASSWORD: &str = "zk-secret";

    fn content(name: &str) -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/stores");
        fs::read(folder.join(name)).expect("there")
    }

    fn read(name: &str, content: &[u8], password: &str) -> Result<Store, StoreError> {
        let form = Form::of("", Path::new(name)).expect("readable");
        Store::read(content, form, password)
    }

    fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
        let pem = read(name, &content(name), PASSWORD).expect("good");
        pem.trusted
    }

    #[test]
    fn a_key_and_its_chain_are_the_same_in_every_form() {
        let pem = read("encrypted.pem", &content("encrypted.pem"), PASSWORD).expect("good");
        let key = pem.key.expect("there");
        for name in ["openssl.p12", "legacy.p12", "java.p12", "java.jks"] {
            let store = read(name, &content(name), PASSWORD).expect(name);
            let own = store.key.expect(name);
            assert_eq!(own.secret_der(), key.secret_der(), "{name}");
            assert_eq!(store.chain, pem.chain, "{name}");
            // The authority is there to show who signed, not to be trusted.
            assert_eq!(store.trusted, [], "{name}");
        }
    }

    #[test]
    fn what_is_trusted_is_found_in_every_form() {
        let authority = certificates("ca.pem");
        assert_eq!(authority.len(), 1);
        for name in ["trust.p12", "trust.jks", "trust-openssl.p12"] {
            let store = read(name, &content(name), PASSWORD).expect(name);
            assert_eq!(store.trusted, authority, "{name}");
            assert!(store.key.is_none(), "{name}");
        }
        // As Java reads it: without a password nobody knows whether it was changed.
        let unchecked = read("trust.jks", &content("trust.jks"), "").expect("good");
        assert_eq!(unchecked.trusted, authority);
    }

    #[test]
    fn java_stores_are_known_by_their_content() {
        for (name, form) in [("java.p12", "JKS"), ("java.jks", "PKCS12")] {
            let form = Form::of(form, Path::new(name)).expect("readable");
            let store = Store::read(&content(name), form, PASSWORD).expect("good");
            assert!(store.key.is_some(), "{name}");
        }
        assert_eq!(Form::of("", Path::new("a.bcfks")), Err("BCFKS"));
        assert_eq!(Form::of("BCFKS", Path::new("a.jks")), Err("BCFKS"));
        assert_eq!(Form::of("PEM", Path::new("a.jks")), Ok(Form::Pem));
        assert_eq!(Form::of("", Path::new("server.crt")), Ok(Form::Pem));
    }

    #[test]
    fn a_wrong_password_is_told_as_one() {
        for name in [
            "openssl.p12",
            "legacy.p12",
            "java.p12",
            "java.jks",
            "encrypted.pem",
        ] {
            let error = read(name, &content(name), "guess").expect_err(name);
            assert!(matches!(error, StoreError::Password), "{name}: {error}");
            match read(name, &content(name), "") {
                Ok(store) => assert!(name == "java.jks" && store.key.is_none(), "{name}"),
                Err(error) => assert!(matches!(error, StoreError::NoPassword), "{name}: {error}"),
            }
        }
    }

    #[test]
    fn damaged_stores_are_refused() {
        for name in [
            "openssl.p12",
            "legacy.p12",
            "java.p12",
            "java.jks",
            "trust.jks",
        ] {
            let whole = content(name);
            for len in 0..whole.len() {
                let cut = whole.get(..len).expect("shorter");
                read(name, cut, PASSWORD).expect_err(name);
            }
        }
        // Also where no hash is looked at.
        let whole = content("java.jks");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped
                .get_mut(at)
                .into_iter()
                .for_each(|byte| *byte ^= 0xFF);
            read("java.jks", &flipped, PASSWORD).expect_err("another hash, or form");
            drop(read("java.jks", &flipped, ""));
        }
    }
}
