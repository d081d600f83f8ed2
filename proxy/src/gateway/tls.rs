//! TLS towards upstreams: which name a certificate must show, and which authority it must lead to.

use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::upstream::Upstream;

/// Sets the name that the certificate must show. Never left empty: rustls refuses an empty name, other back ends would
/// skip the check.
pub(super) fn name_server(peer: &mut HttpPeer, settings: &Upstream, server: &str) {
    if let Some(tls) = &settings.tls {
        peer.sni = tls.server_name.clone().unwrap_or_else(|| host_of(server).to_owned());
    }
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
