//! Authorities that sign certificates, as a site has one of its own.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority that nobody knows but who is handed its file.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// A new one, of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority can be made");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("the folder can be written");
        Self { issuer, folder }
    }

    /// Its own certificate, by which others are trusted.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a host, and its key.
    pub fn issue(&self, host: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new([host.to_owned()]).expect("the host is a name");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("an authority can sign");
        let files = ["certificate", "key"]
            .map(|kind| self.folder.path().join(format!("{host}.{kind}.pem")));
        fs::write(&files[0], certificate.pem()).expect("the folder can be written");
        fs::write(&files[1], key.serialize_pem()).expect("the folder can be written");
        files
    }
}
