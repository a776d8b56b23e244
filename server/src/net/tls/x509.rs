//! Scheme `x509`: clients by the names in their certificates, as Java writes and reads them.

use std::fmt::Write as _;
use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::name::RdnSequence;
use zk_core::conn::auth::{AuthRefused, AuthScheme, Identity};

/// The distinguished name of a certificate, as ACLs have it: RFC 2253, such as `CN=client,O=Acme`.
///
/// # Source
///
/// Java 17, `X500Principal#getName`.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    written(&certificate.tbs_certificate.subject)
}

/// Scheme `x509`: the name in the certificate of a client. The handshake of TLS proves it; a packet
/// cannot.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `X509AuthenticationProvider`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct X509Scheme;

impl AuthScheme for X509Scheme {
    fn name(&self) -> &'static str {
        "x509"
    }

    fn authenticate(&self, _: Option<&[u8]>, _: IpAddr) -> Result<Vec<Identity>, AuthRefused> {
        Err(AuthRefused)
    }

    fn is_valid(&self, id: &str) -> bool {
        is_name(id)
    }

    fn matches(&self, own: &str, listed: &str) -> bool {
        own == listed
    }

    fn is_authenticated(&self) -> bool {
        true
    }
}

/// Attributes that have a keyword in RFC 2253; others are written as numbers.
const WRITTEN: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// Keywords that are read.
const READ: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// What stands between attributes.
const SEPARATORS: [char; 3] = [',', ';', '+'];

fn written(name: &RdnSequence) -> Option<String> {
    let mut text = String::new();
    for (at, part) in name.0.iter().rev().enumerate() {
        if at > 0 {
            text.push(',');
        }
        for (at, attribute) in part.0.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute)?;
        }
    }
    Some(text)
}

/// Java takes the bytes of every kind of text for UTF-8, whatever they are.
fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue) -> Option<()> {
    let AttributeTypeAndValue { oid, value } = attribute;
    let number = oid.to_string();
    let keyword = WRITTEN.iter().find(|(known, _)| *known == number);
    text.push_str(keyword.map_or(&number, |(_, keyword)| keyword));
    text.push('=');
    let is_text = matches!(
        value.tag(),
        Tag::Utf8String
            | Tag::PrintableString
            | Tag::TeletexString
            | Tag::Ia5String
            | Tag::BmpString
    );
    if keyword.is_some() && is_text {
        push_escaped(text, &String::from_utf8_lossy(value.value()));
        return Some(());
    }
    text.push('#');
    for byte in value.to_der().ok()? {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(())
}

fn push_escaped(text: &mut String, value: &str) {
    let is_blank = |c| matches!(c, ' ' | '\r');
    let first = value.len() - value.trim_start_matches(is_blank).len();
    let last = value.trim_end_matches(is_blank).len();
    for (at, c) in value.char_indices() {
        let is_special = matches!(c, ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\');
        if is_special || at < first || at >= last {
            text.push('\\');
        }
        match c {
            '\0' => text.push_str("\\00"),
            c => text.push(c),
        }
    }
}

/// Whether text is a distinguished name: RFC 2253, and what Java reads beside it.
///
/// Any client may send any text, as long as a request: it is looked at once, from its begin to its end.
///
/// # Source
///
/// Java 17, `X500Principal(String)`.
fn is_name(text: &str) -> bool {
    let mut rest = text;
    loop {
        let Some((key, value)) = rest.split_once('=') else {
            return text.is_empty();
        };
        let Some(behind) = is_key(key).then(|| behind_value(value)).flatten() else {
            return false;
        };
        match behind.strip_prefix(SEPARATORS) {
            Some(next) => rest = next,
            None => return behind.is_empty(),
        }
    }
}

fn is_key(key: &str) -> bool {
    let key = key.trim_matches(|c| c <= ' ');
    if READ.iter().any(|known| known.eq_ignore_ascii_case(key)) {
        return true;
    }
    let number = match key.split_at_checked(4) {
        Some((prefix, number)) if prefix.eq_ignore_ascii_case("OID.") => number,
        _ => key,
    };
    is_oid(number)
}

fn is_oid(number: &str) -> bool {
    let is_count = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
    let below = |arc: &str, end: u32| {
        let arc = arc.trim_start_matches('0');
        arc.is_empty() || arc.parse::<u32>().is_ok_and(|arc| arc < end)
    };
    let mut arcs = number.split('.');
    let (Some(root), Some(second)) = (arcs.next(), arcs.next()) else {
        return false;
    };
    let is_rooted = below(root, 2) && below(second, 40) || below(root, 3) && !below(root, 2);
    is_count(root) && is_count(second) && is_rooted && arcs.all(is_count)
}

/// What is behind a value: nothing, or a separator and more. `None` if it is no value.
fn behind_value(value: &str) -> Option<&str> {
    let value = value.trim_start_matches([' ', '\n']);
    if let Some(hex) = value.strip_prefix('#') {
        let (hex, behind) = hex.split_at(hex.find(SEPARATORS).unwrap_or(hex.len()));
        is_der(hex).then_some(behind)
    } else if let Some(quoted) = value.strip_prefix('"') {
        let behind = behind_text(quoted, &['"'], ",=\n+<>#;\\\"")?;
        let behind = behind.strip_prefix('"')?;
        let behind = behind.trim_start_matches([' ', '\n']);
        (behind.is_empty() || behind.starts_with(SEPARATORS)).then_some(behind)
    } else {
        let ends = [',', ';', '+', '<', '>', '"'];
        let behind = behind_text(value, &ends, ",=\n+<>#;\\\" ")?;
        (behind.is_empty() || behind.starts_with(SEPARATORS)).then_some(behind)
    }
}

/// What is left from the first of `ends` on that is not escaped. A backslash escapes one of `special`,
/// or writes a byte as two digits.
fn behind_text<'a>(mut rest: &'a str, ends: &[char], special: &str) -> Option<&'a str> {
    loop {
        let end = rest.find(|c| c == '\\' || ends.contains(&c));
        let (_, behind) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(escaped) = behind.strip_prefix('\\') else {
            return Some(behind);
        };
        let mut escaped = escaped.chars();
        let first = escaped.next()?;
        if first.is_ascii_hexdigit() {
            escaped.next().filter(char::is_ascii_hexdigit)?;
        } else if !special.contains(first) {
            return None;
        }
        rest = escaped.as_str();
    }
}

/// Whether digits are one value in DER, or what Java takes for it.
fn is_der(hex: &str) -> bool {
    let digits = hex.chars().map(|digit| digit.to_digit(16));
    let Some(digits) = digits.collect::<Option<Vec<_>>>() else {
        return false;
    };
    let (pairs, odd) = digits.as_chunks::<2>();
    let mut bytes = pairs.iter().map(|[high, low]| u64::from(high << 4 | low));
    let (Some(tag), Some(len)) = (bytes.next(), bytes.next()) else {
        return false;
    };
    let len = match len {
        0..=0x7f => Some(len),
        0x81..=0x84 => (0x80..len).try_fold(0, |len, _| Some(len << 8 | bytes.next()?)),
        _ => None,
    };
    odd.is_empty() && tag & 0x1f != 0x1f && len == u64::try_from(bytes.len()).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn vectors<T: serde::de::DeserializeOwned>(name: &str) -> Vec<(String, T)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/x509/");
        let text = std::fs::read_to_string(format!("{folder}{name}")).expect("there");
        serde_json::from_str(&text).expect("pairs")
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
        digits.map(|pair| byte(pair).expect("hex")).collect()
    }

    #[test]
    fn names_are_written_as_java_writes_them() {
        for (der, expected) in vectors::<String>("names.json") {
            let name = RdnSequence::from_der(&bytes(&der)).expect(&der);
            assert_eq!(written(&name), Some(expected), "{der}");
        }
    }

    #[test]
    fn names_are_read_where_java_reads_them() {
        for (id, is_valid) in vectors::<bool>("ids.json") {
            assert_eq!(X509Scheme.is_valid(&id), is_valid, "{id}");
        }
    }

    #[test]
    fn what_is_written_is_valid() {
        for (_, name) in vectors::<String>("names.json") {
            // A carriage return is written in a way that Java does not read either.
            assert!(X509Scheme.is_valid(&name) || name.contains('\r'), "{name}");
        }
    }

    /// What Java says of the same certificate.
    #[test]
    fn the_name_of_a_certificate_has_numbers_where_rfc_2253_has_no_keyword() {
        let mut params = CertificateParams::new(Vec::new()).expect("legal");
        params.distinguished_name = DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "DE");
        name.push(DnType::OrganizationName, "Acme, Inc.");
        name.push(DnType::CommonName, "client");
        let email = DnValue::Ia5String("a@b.c".try_into().expect("ASCII"));
        name.push(
            DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
            email,
        );
        let serial = DnValue::PrintableString("1234".try_into().expect("printable"));
        name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        assert_eq!(
            subject(certificate.der()).as_deref(),
            Some(
                "2.5.4.5=#130431323334,1.2.840.113549.1.9.1=#16056140622e63,\
                 CN=client,O=Acme\\, Inc.,C=DE"
            )
        );
    }

    /// Whoever may connect may send them, as part of a list.
    #[test]
    fn ids_of_any_length_are_looked_at_with_little_stack_and_time() {
        let digits = format!("{}=x", "0".repeat(1 << 20));
        let parts: Vec<String> = (0..100_000).rev().map(|n| format!("CN={n:05}")).collect();
        let quotes = format!("CN=\"{}", "\\\"".repeat(1 << 19));
        let hex = format!("CN=#0483100000{}", "00".repeat(1 << 20));
        let keys = "1.".repeat(1 << 19);
        let looked = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || {
                [digits, parts.join("+"), parts.join(","), quotes, hex, keys]
                    .map(|id| X509Scheme.is_valid(&id))
            });
        let looked = looked.expect("a thread").join().expect("enough stack");
        assert_eq!(looked, [false, true, true, false, true, false]);
    }
}
