//! TLS towards upstreams: which name a certificate must show, and which authority it must lead to.

use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::upstream::{Identity, Upstream};

/// Sets the name that the certificate must show. Never left empty: rustls refuses an empty name, other back ends would
/// skip the check.
pub(super) fn name_server(peer: &mut HttpPeer, settings: &Upstream, server: &str) {
    if let Some(tls) = &settings.tls {
        peer.sni = tls.server_name.clone().unwrap_or_else(|| host_of(server).to_owned());
    }
}

/// What the proxy shows to an upstream, in Pingora's form.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn own_certificate(identity: &Identity) -> Result<Arc<CertKey>, String> {
    let called = &identity.called;
    let unreadable = |_| format!("the certificate {called} or its key cannot be read");
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&identity.certificate)
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose()).map_err(unreadable)?;
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &default_provider())
        .map_err(|_| format!("the certificate {called} and its key do not belong together"))?;
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    Ok(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
}

/// The host of `host:port`.
fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host.trim_matches(['[', ']']))
}

/// What an upstream's certificate must lead to, in Pingora's form.
pub(super) fn certificate_authority(pem: &[u8]) -> Option<Arc<CaType>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem)
        .map(|der| der.map(|der| WrappedX509::new(der.to_vec(), parse_x509)))
        .collect();
    certificates.ok().filter(|all| !all.is_empty()).map(Into::into)
}
