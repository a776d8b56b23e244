//! The key stores that Java wrote before its ninth release, and reads still.
//!
//! ```text
//!  magic, version, number of entries
//!  1, alias, time, protected key, number of certificates, certificates
//!  2, alias, time, certificate
//!  …
//!  SHA-1 of the password, "Mighty Aphrodite", and all before
//! ```
//!
//! Text is UTF-8 behind 16 bits of length, everything else has 32 bits of it; passwords are UTF-16.
//!
//! # Source
//!
//! Java 17, `JavaKeyStore` and `KeyProtector`: the format, checked against stores of its keytool.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha1::{Digest as _, Sha1};
use x509_cert::der::asn1::OctetStringRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode as _, Reader as _};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::stores::{Store, StoreError};

/// What such a store begins with.
pub(super) const MAGIC: [u8; 4] = [0xFE, 0xED, 0xFE, 0xED];

/// Bytes of a SHA-1 hash.
const HASH: usize = 20;
/// How keys are protected.
const PROTECTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.42.2.17.1.1");

/// Reads a store; without a password only its certificates can be of use, and it is not known whether
/// they are those that were put in.
///
/// # Errors
///
/// It is damaged, or the password is not that of the store and its keys.
pub(super) fn read(content: &[u8], password: &str) -> Result<Store, StoreError> {
    let password: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (entries, hash) = content
        .split_last_chunk::<HASH>()
        .ok_or(StoreError::Truncated)?;
    if !password.is_empty() {
        let own = Sha1::new()
            .chain_update(&password)
            .chain_update("Mighty Aphrodite")
            .chain_update(entries)
            .finalize();
        if own.as_slice() != hash {
            return Err(StoreError::Password);
        }
    }
    let mut rest = Rest(entries);
    if rest.take(MAGIC.len())? != MAGIC {
        return Err(StoreError::Form);
    }
    let version = rest.number()?;
    if !(1..=2).contains(&version) {
        return Err(StoreError::Form);
    }
    let mut store = Store::default();
    for _ in 0..rest.number()? {
        let tag = rest.number()?;
        rest.text()?;
        rest.take(size_of::<u64>())?;
        match tag {
            1 => {
                let protected = rest.sized()?;
                let mut chain = Vec::new();
                for _ in 0..rest.number()? {
                    chain.push(rest.certificate(version)?);
                }
                // The first is the one that is used; others may have passwords of their own.
                if store.key.is_none() && !password.is_empty() {
                    store.key = Some(recover(protected, &password)?);
                    store.chain = chain;
                }
            }
            2 => store.trusted.push(rest.certificate(version)?),
            _ => return Err(StoreError::Form),
        }
    }
    Ok(store)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(StoreError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, StoreError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(StoreError::Truncated)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn sized(&mut self) -> Result<&'a [u8], StoreError> {
        let len = usize::try_from(self.number()?).map_err(|_| StoreError::Truncated)?;
        self.take(len)
    }

    fn text(&mut self) -> Result<(), StoreError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(StoreError::Truncated)?;
        self.0 = rest;
        self.take(u16::from_be_bytes(*bytes).into())?;
        Ok(())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, StoreError> {
        if version == 2 {
            // Its kind, always X.509.
            self.text()?;
        }
        Ok(CertificateDer::from(self.sized()?.to_vec()))
    }
}

/// Takes the protection off a key: it is combined with a row of hashes of the password, which begins with
/// a salt in front of it, and has a hash of itself behind.
fn recover(protected: &[u8], password: &[u8]) -> Result<PrivateKeyDer<'static>, StoreError> {
    let hash = |bytes: &[u8]| -> [u8; HASH] {
        let hash = Sha1::new().chain_update(password).chain_update(bytes);
        hash.finalize().into()
    };
    let protected = AnyRef::from_der(protected).and_then(|outer| {
        outer.sequence(|parts| {
            let algorithm: AlgorithmIdentifierRef<'_> = parts.decode()?;
            let data: OctetStringRef<'_> = parts.decode()?;
            Ok((algorithm.oid, data.as_bytes()))
        })
    });
    let (oid, protected) = protected.map_err(|_| StoreError::Form)?;
    if oid != PROTECTOR {
        return Err(StoreError::Cipher);
    }
    let (salt, protected) = protected
        .split_first_chunk::<HASH>()
        .ok_or(StoreError::Truncated)?;
    let (protected, check) = protected
        .split_last_chunk::<HASH>()
        .ok_or(StoreError::Truncated)?;
    let mut key = protected.to_vec();
    let mut row = *salt;
    for part in key.chunks_mut(HASH) {
        row = hash(&row);
        part.iter_mut()
            .zip(row)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    if hash(&key) != *check {
        return Err(StoreError::Password);
    }
    Ok(PrivatePkcs8KeyDer::from(key).into())
}
