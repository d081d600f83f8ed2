//! TLS towards clients: certificates by server name, HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3, client certificates where they
//! are asked for. Everything is checked before it is put into force.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use pingora::protocols::tls::TlsRef;
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::snapshot::ListenerTls;
use crate::context::ClientCertificate;
use crate::upstream::Identity;

/// What makes a connection one with TLS.
///
/// # Errors
/// A certificate without a name, a key that does not belong to it, an authority that cannot be used.
pub(super) fn acceptor(files: &ListenerTls) -> anyhow::Result<Acceptor> {
    let certificates = Certificates::new(&files.certificates)?;
    let mut settings = TlsSettings::with_callbacks(Box::new(NoteClient))
        .map_err(|error| anyhow::anyhow!("TLS settings: {}", error.etype().as_str()))?;
    settings.set_cert_resolver(Arc::new(certificates));
    settings.enable_h2();
    if let Some(pem) = &files.client_ca {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?).context("an authority in `client_ca` cannot be used")?;
        }
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = if files.client_required { verifier } else { verifier.allow_unauthenticated() };
        settings
            .set_client_cert_verifier(verifier.build().context("building the check of client certificates")?);
    }
    Ok(settings.build())
}

/// Remembers who showed a certificate that was accepted.
struct NoteClient;

#[async_trait]
impl TlsAccept for NoteClient {
    async fn handshake_complete_callback(&self, connection: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(client_certificate(connection.peer_certificate_der()?)))
    }
}

/// What applications are told about a certificate that was accepted.
fn client_certificate(der: &[u8]) -> ClientCertificate {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let fingerprint = digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    // What rustls has accepted can be read; a subject may still be empty.
    let subject = X509Certificate::from_der(der).map(|(_, parsed)| parsed.subject().to_string());
    ClientCertificate { fingerprint, subject: subject.unwrap_or_default() }
}

/// The certificates of a listener, by the names they bear.
struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    fallback: Arc<CertifiedKey>,
}

impl Certificates {
    fn new(identities: &[Identity]) -> anyhow::Result<Self> {
        let (mut exact, mut wildcard, mut fallback) = (HashMap::new(), HashMap::new(), None);
        for identity in identities {
            let certified = Arc::new(certified(identity)?);
            for name in names(&certified)? {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                // The first in the list wins.
                map.entry(name.to_owned()).or_insert_with(|| Arc::clone(&certified));
            }
            fallback.get_or_insert(certified);
        }
        let Some(fallback) = fallback else { bail!("a listener with TLS has no certificate") };
        Ok(Self { exact, wildcard, fallback })
    }

    fn named(&self, name: &str) -> &Arc<CertifiedKey> {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.exact.get(name).or_else(|| self.wildcard.get(parent?)).unwrap_or(&self.fallback)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has parsed the name; it is lower case or made so here.
        let name = hello.server_name().map(str::to_ascii_lowercase);
        Some(Arc::clone(name.map_or(&self.fallback, |name| self.named(&name))))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("exact", &self.exact.keys()).finish_non_exhaustive()
    }
}

fn certified(identity: &Identity) -> anyhow::Result<CertifiedKey> {
    let called = &identity.called;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&identity.certificate).collect();
    let chain = chain.with_context(|| format!("reading the certificate {called}"))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose())
        .map_err(|_| anyhow::anyhow!("the key of the certificate {called} cannot be read"))?;
    CertifiedKey::from_der(chain, key, &default_provider())
        .with_context(|| format!("the certificate {called} and its key do not belong together"))
}

/// The DNS names that a certificate is for, in lower case.
fn names(certified: &CertifiedKey) -> anyhow::Result<Vec<String>> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let leaf = certified.end_entity_cert().context("an empty certificate chain")?;
    let (_, parsed) = X509Certificate::from_der(leaf).context("a certificate cannot be read")?;
    let alternative =
        parsed.subject_alternative_name().context("the names of a certificate cannot be read")?;
    let all = alternative.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let dns = all.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok(dns.collect())
}

#[cfg(test)]
mod tests {
    use super::{Certificates, acceptor};
    use crate::config::snapshot::ListenerTls;
    use crate::secret::Secret;
    use crate::upstream::Identity;

    fn identity(names: &[&str]) -> Identity {
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>())
                .unwrap();
        Identity {
            certificate: made.cert.pem().into_bytes(),
            key: Secret::new(made.signing_key.serialize_pem().into_bytes()),
            called: names[0].to_owned(),
        }
    }

    #[test]
    fn the_name_chooses_the_certificate_exactly_before_widely() {
        let made =
            [identity(&["one.test"]), identity(&["*.two.test", "Three.test"]), identity(&["a.two.test"])];
        let certificates = Certificates::new(&made).unwrap();
        for (name, chosen) in [
            ("one.test", 0),
            ("a.two.test", 2),
            ("b.two.test", 1),
            ("three.test", 1),
            ("deeper.b.two.test", 0),
            ("two.test", 0),
            ("unknown.test", 0),
            ("", 0),
        ] {
            let expected = super::certified(&made[chosen]).unwrap();
            assert_eq!(certificates.named(name).cert, expected.cert, "{name}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_by_the_name_of_the_file() {
        let (one, other) = (identity(&["one.test"]), identity(&["other.test"]));
        let mixed = Identity { key: other.key, ..one };
        let files = ListenerTls { certificates: vec![mixed], client_ca: None, client_required: false };
        let error = format!("{:#}", acceptor(&files).err().unwrap());
        assert!(error.contains("one.test") && error.contains("do not belong together"), "{error}");
    }
}
