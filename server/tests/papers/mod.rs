//! Certificates for servers, made here.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests may panic like tests"
)]

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// A directory with `ca.pem`, and with keys and certificates of its authority.
pub struct Papers(tempfile::TempDir);

impl Papers {
    /// One file `NAME.pem` for each name, with its hosts.
    pub fn new(names: &[(&str, &[&str])]) -> Self {
        let papers = Self(tempfile::tempdir().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = KeyPair::generate().unwrap();
        let ca = params.self_signed(&authority).unwrap();
        papers.write("ca", &ca.pem());
        for (name, hosts) in names {
            let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            let params = CertificateParams::new(hosts).unwrap();
            let key = KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, &ca, &authority).unwrap();
            papers.write(name, &format!("{}{}", key.serialize_pem(), cert.pem()));
        }
        papers
    }

    /// Where the file of a name is.
    pub fn path(&self, name: &str) -> String {
        let path = self.0.path().join(format!("{name}.pem"));
        path.to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }
}
