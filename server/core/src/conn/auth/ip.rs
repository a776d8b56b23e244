//! Scheme `ip`: the address that a connection comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AuthRefused, AuthScheme, Identity};

/// Addresses, in lists also networks: `10.0.0.0/8`, `2001:db8::/32`.
///
/// Every connection has its address from the start; a packet of this scheme adds nothing.
///
/// # Source
/// Apache `ZooKeeper` 3.9.5, `IPAuthenticationProvider`; IPv6 since 3.9.4.
#[derive(Debug, Clone, Copy)]
pub struct IpScheme;

impl AuthScheme for IpScheme {
    fn name(&self) -> &'static str {
        "ip"
    }

    fn authenticate(
        &self,
        _auth: Option<&[u8]>,
        _peer: IpAddr,
    ) -> Result<Vec<Identity>, AuthRefused> {
        Ok(Vec::new())
    }

    fn is_valid(&self, id: &str) -> bool {
        Network::parse(id).is_some()
    }

    fn matches(&self, own: &str, listed: &str) -> bool {
        match (parse_address(own), Network::parse(listed)) {
            (Some(own), Some(network)) => network.contains(own),
            (None, _) | (_, None) => false,
        }
    }

    fn is_authenticated(&self) -> bool {
        false
    }
}

/// The addresses whose first bits are those of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = parse_address(address)?;
        let width = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let bits = bits.map_or(Some(width), parse_decimal)?;
        (bits <= width).then_some(Self { address, bits })
    }

    fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differ = a.to_bits() ^ b.to_bits();
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differ = a.to_bits() ^ b.to_bits();
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        // The form that ends in an IPv4 address is not one that lists know.
        let v6 = (!text.contains('.')).then(|| text.parse::<Ipv6Addr>().ok());
        return v6.flatten().map(IpAddr::V6);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        // Leading zeros are decimal, as lists on disk have been read so far.
        *octet = u8::try_from(parse_decimal(parts.next()?)?).ok()?;
    }
    parts
        .next()
        .is_none()
        .then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A number in digits only: no sign, no blank.
fn parse_decimal(text: &str) -> Option<u32> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_networks_are_valid() {
        for id in [
            "10.0.0.7",
            "0.0.0.0",
            "255.255.255.255/32",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "010.0.0.1",
            "::",
            "::1",
            "2001:db8::/32",
            "2001:db8:0:0:0:0:ff00:42/128",
            "::/0",
        ] {
            assert!(IpScheme.is_valid(id), "{id}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for id in [
            "",
            "10.0.0",
            "10.0.0.7.8",
            "10.0.0.256",
            "10.0.0.-1",
            "10.0.0.+1",
            "10.0.0.7/33",
            "10.0.0.7/",
            "10.0.0.7/-1",
            "10.0.0.7/8/8",
            "10.0.0.",
            " 10.0.0.7",
            "host",
            "::1/129",
            "1:2:3",
            "::1::",
            ":::",
            "12345::",
            "::ffff:10.0.0.7",
            "fe80::1%eth0",
        ] {
            assert!(!IpScheme.is_valid(id), "{id}");
        }
    }

    #[test]
    fn connection_matches_networks_that_hold_its_address() {
        for (own, listed, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("10.1.2.3", "10.1.2.4/31", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "::/0", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
            ("2001:db8:1:0:0:0:0:9", "2001:db8::/32", true),
            ("2001:db9:1:0:0:0:0:9", "2001:db8::/32", false),
            ("2001:db8:1:0:0:0:0:9", "2001:db8:1::8/127", true),
        ] {
            assert_eq!(IpScheme.matches(own, listed), expected, "{own} {listed}");
        }
    }

    proptest! {
        #[test]
        fn networks_hold_what_agrees_in_their_bits(a in any::<u32>(), b in any::<u32>(), bits in 0u32..=32) {
            let listed = format!("{}/{bits}", Ipv4Addr::from(a));
            let agree = (0..bits).all(|bit| (a ^ b) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(IpScheme.matches(&Ipv4Addr::from(b).to_string(), &listed), agree);
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[0-9a-f:./%]{0,20}") {
            IpScheme.is_valid(&text);
            IpScheme.matches(&text, &text);
        }
    }
}
