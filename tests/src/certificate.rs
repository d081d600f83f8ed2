//! A certificate for this machine, made anew for each test, and clients that trust just that one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A self-signed certificate for `localhost`, `app.test` and 127.0.0.1.
#[derive(Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    key: Vec<u8>,
    /// PEM of the certificate.
    pub pem: String,
    /// PEM of its private key.
    pub key_pem: String,
}

impl Certificate {
    /// A new one.
    ///
    /// # Panics
    /// Never in practice: the names are valid.
    #[must_use]
    pub fn new() -> Self {
        let names = ["localhost", "app.test", "127.0.0.1"].map(str::to_owned).to_vec();
        let made = rcgen::generate_simple_self_signed(names).expect("the names are valid");
        Self {
            der: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// One for the same names that ended years ago.
    ///
    /// # Panics
    /// Never in practice: the names are valid.
    #[must_use]
    pub fn ended() -> Self {
        let names = ["localhost", "app.test", "127.0.0.1"].map(str::to_owned).to_vec();
        let mut wishes = rcgen::CertificateParams::new(names).expect("the names are valid");
        wishes.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let key = rcgen::KeyPair::generate().expect("ring makes keys");
        let made = wishes.self_signed(&key).expect("ring signs");
        Self {
            der: made.der().clone(),
            key: key.serialize_der(),
            pem: made.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Writes both files into `directory`; answers certificate and key.
    ///
    /// # Panics
    /// When the directory is not writable.
    #[must_use]
    pub fn write_to(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let files = (directory.join("tls.crt"), directory.join("tls.key"));
        std::fs::write(&files.0, &self.pem).expect("a writable directory");
        std::fs::write(&files.1, &self.key_pem).expect("a writable directory");
        files
    }

    /// A client that trusts this certificate alone and offers these protocols.
    ///
    /// # Panics
    /// Never in practice: the certificate is valid.
    #[must_use]
    pub fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a valid certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows the versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A server that shows this certificate and speaks these protocols.
    ///
    /// # Panics
    /// Never in practice: the certificate is valid.
    #[must_use]
    pub fn server(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows the versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .expect("a matching key");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
