//! TLS towards clients. Checked before Pingora sees it, which would panic inside a task.

use anyhow::{Context as _, bail};
use pingora::listeners::tls::TlsSettings;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::snapshot::ListenerTls;

/// Settings for a listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When certificate or key cannot be read, or do not belong together.
pub(super) fn settings(files: &ListenerTls) -> anyhow::Result<TlsSettings> {
    check(files)?;
    let (certificate, key) = (files.certificate.to_string_lossy(), files.key.to_string_lossy());
    let mut settings = TlsSettings::intermediate(&certificate, &key)
        .map_err(|error| anyhow::anyhow!("TLS settings: {}", error.etype().as_str()))?;
    settings.enable_h2();
    Ok(settings)
}

fn check(files: &ListenerTls) -> anyhow::Result<()> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("reading the certificate {}", files.certificate.display()))?;
    if chain.is_empty() {
        bail!("{} holds no PEM certificate", files.certificate.display());
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("reading the private key {}", files.key.display()))?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!("{} and {} do not belong together", files.certificate.display(), files.key.display())
        })?;
    Ok(())
}
