//! The ways in and out: certificates by name, changed while connections are open; certificates of clients; Unix sockets;
//! the PROXY protocol; certificates towards applications.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use e2e::eventually::until;
use e2e::proxy::replace_file;
use e2e::stores::Stores;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::setup::Site;

/// An authority of the tests' own.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// A certificate that it has given.
struct Given {
    der: CertificateDer<'static>,
    pem: String,
    key: rcgen::KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wishes = rcgen::CertificateParams::new(Vec::new()).unwrap();
        wishes.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = wishes.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(wishes, key) }
    }

    fn give(&self, names: &[&str], subject: &str) -> Given {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut wishes = rcgen::CertificateParams::new(names).unwrap();
        wishes.distinguished_name = rcgen::DistinguishedName::new();
        wishes.distinguished_name.push(rcgen::DnType::CommonName, subject);
        let certificate = wishes.signed_by(&key, &self.issuer).unwrap();
        Given { der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        Arc::new(roots)
    }
}

impl Given {
    /// Writes both files; the TOML that names them.
    fn write(&self, directory: &Path, name: &str) -> String {
        let (certificate, key) =
            (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        // The key first: a certificate without its key is refused, a moment later both are there.
        replace_file(&key, &self.key.serialize_pem());
        replace_file(&certificate, &self.pem);
        format!("certificate = \"{}\", key = \"{}\"", certificate.display(), key.display())
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }
}

/// A handshake with the server at `address`, naming it `name`.
async fn connect(
    address: SocketAddr,
    name: &str,
    roots: &Arc<RootCertStore>,
    own: Option<&Given>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots.clone());
    let mut config = match own {
        Some(own) => config.with_client_auth_cert(vec![own.der.clone()], own.private_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// Asks for `path` and answers head and body, or why there is none.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let mut length = None;
    while length.is_none_or(|length| bytes.len() < length) {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::Error::other("closed"));
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        length = end.map(|end| end + 4 + content_length(&bytes[..end]));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// A site with one more listener, whose keys are `more`.
async fn site_with(listener: &str, more: &str) -> (Site, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], e2e::ports::free()));
    let text = if listener.is_empty() { format!("address = \"{address}\"") } else { listener.to_owned() };
    let site =
        Site::with(Stores::embedded(), |builder| builder.more(&format!("[[listen]]\n{text}\n{more}\n")))
            .await;
    (site, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_chosen_by_name_and_change_while_connections_stay_open() {
    let files = tempfile::tempdir().unwrap();
    let (authority, next) = (Authority::new(), Authority::new());
    let first = authority.give(&["one.test"], "one").write(files.path(), "one");
    let second = authority.give(&["*.two.test"], "two").write(files.path(), "two");
    let (_site, address) =
        site_with("", &format!("tls = {{ {first}, more_certificates = [{{ {second} }}] }}")).await;
    let (roots, next_roots) = (authority.roots(), next.roots());
    for version in BOTH {
        for name in ["one.test", "a.two.test", "b.two.test"] {
            let mut stream = connect(address, name, &roots, None, &[*version]).await.unwrap();
            assert!(ask(&mut stream, "/public/").await.unwrap().starts_with("HTTP/1.1 200"));
            assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
        assert!(connect(address, "unknown.test", &roots, None, &[*version]).await.is_err());
    }
    let mut old = connect(address, "one.test", &roots, None, BOTH).await.unwrap();
    assert!(ask(&mut old, "/public/").await.is_ok());
    let _ = next.give(&["one.test"], "one").write(files.path(), "one");
    until("the new certificate is shown", async || {
        connect(address, "one.test", &next_roots, None, BOTH).await.is_ok()
    })
    .await;
    assert!(connect(address, "one.test", &roots, None, BOTH).await.is_err());
    assert!(connect(address, "a.two.test", &roots, None, BOTH).await.is_ok());
    assert!(ask(&mut old, "/public/").await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_a_client_is_part_of_the_signed_context() {
    let files = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new(), Authority::new());
    let own = servers.give(&["one.test"], "one").write(files.path(), "one");
    let client_ca = files.path().join("clients.crt");
    replace_file(&client_ca, &clients.certificate.pem());
    let tls = format!("tls = {{ {own}, client_ca = \"{}\" }}", client_ca.display());
    let (site, address) = site_with("", &tls).await;
    let (roots, robot) = (servers.roots(), clients.give(&[], "robot, the 7th"));
    let mut known = connect(address, "one.test", &roots, Some(&robot), BOTH).await.unwrap();
    assert!(ask(&mut known, "/public/").await.unwrap().starts_with("HTTP/1.1 200"));
    let request = site.app.last();
    let fingerprint = ring_digest(&robot.der).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let expected = format!("sha256={fingerprint};subject=CN=robot, the 7th");
    assert_eq!(request.context("client-certificate"), Some(expected.as_str()));
    let covered = request.header("signature-input").unwrap();
    assert!(covered.contains("\"x-context-client-certificate\""), "{covered}");

    let mut unknown = connect(address, "one.test", &roots, None, BOTH).await.unwrap();
    let forged =
        "/public/ HTTP/1.1\r\nx-context-client-certificate: sha256=00;subject=CN=root\r\nx-ignored: ";
    assert!(ask(&mut unknown, forged).await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(site.app.last().context("client-certificate"), None);
    let foreign = Authority::new().give(&[], "robot, the 7th");
    let mut refused = connect(address, "one.test", &roots, Some(&foreign), BOTH).await;
    let served = match &mut refused {
        Ok(stream) => ask(stream, "/public/").await.is_ok(),
        Err(_) => false,
    };
    assert!(!served);

    site.proxy.edit(&tls, &tls.replace("client_ca =", "client_certificate = \"required\", client_ca ="));
    assert_eq!(site.proxy.reload().await["result"], "applied");
    let mut nobody = connect(address, "one.test", &roots, None, BOTH).await;
    let served = match &mut nobody {
        Ok(stream) => ask(stream, "/public/").await.is_ok(),
        Err(_) => false,
    };
    assert!(!served);
    let mut known = connect(address, "one.test", &roots, Some(&robot), BOTH).await.unwrap();
    assert!(ask(&mut known, "/public/").await.is_ok());
}

fn ring_digest(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_a_way_in_and_a_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let (way_in, way_out) = (directory.path().join("in.sock"), directory.path().join("out.sock"));
    let app = UnixListener::bind(&way_out).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = app.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while stream.read_buf(&mut bytes).await.is_ok_and(|length| length > 0) {
                    if bytes.ends_with(b"\r\n\r\n") {
                        bytes.clear();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nunix";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let site = Site::with(Stores::embedded(), |builder| {
        builder
            .more(&format!("[[listen]]\nsocket = \"{}\"\nsocket_mode = \"0600\"\n", way_in.display()))
            .more(&format!("[[upstream]]\nname = \"local\"\nservers = [\"unix:{}\"]\n", way_out.display()))
            .route("/local/", "local", "\"nothing\"", "")
    })
    .await;
    site.browser().get("/local/").send().await.expect(200);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&way_in).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&way_in).await.unwrap();
    for path in ["/local/", "/public/", "/local/"] {
        assert!(ask(&mut stream, path).await.unwrap().starts_with("HTTP/1.1 200"), "{path}");
    }
    assert_eq!(site.app.last().header("x-forwarded-for"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_protocol_is_believed_from_trusted_balancers_only() {
    let (site, address) = site_with("", "proxy_protocol = [\"127.0.0.1/32\"]").await;
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 2, 198, 51, 100, 1, 0xdc, 4, 1, 187]]
        .concat();
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"[..], "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"),
        (&v2, "192.0.2.2"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(header).await.unwrap();
        for _ in 0..2 {
            assert!(ask(&mut stream, "/public/").await.unwrap().starts_with("HTTP/1.1 200"));
            assert_eq!(site.app.last().header("x-forwarded-for"), Some(client));
        }
    }
    // Without the header there is nothing to be had here; elsewhere the header is no request.
    assert!(ask(&mut TcpStream::connect(address).await.unwrap(), "/public/").await.is_err());
    assert!(site.proxy.metric("countersign_connections_refused_total", &["proxy_header"]).await >= 1.0);
    let mut elsewhere = TcpStream::connect(site.proxy.addresses().http1).await.unwrap();
    elsewhere.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n").await.unwrap();
    let refused = ask(&mut elsewhere, "/public/").await;
    assert!(refused.is_err() || refused.unwrap().starts_with("HTTP/1.1 400"));
    assert!(site.app.take().is_empty());
    // Taken off the list, the header does not come any more.
    site.proxy.edit("proxy_protocol = [\"127.0.0.1/32\"]", "proxy_protocol = [\"192.0.2.0/24\"]");
    assert_eq!(site.proxy.reload().await["result"], "applied");
    assert!(ask(&mut TcpStream::connect(address).await.unwrap(), "/public/").await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_can_ask_for_the_certificate_of_the_proxy() {
    let files = tempfile::tempdir().unwrap();
    let (authority, proxies) = (Authority::new(), Authority::new());
    let server = authority.give(&["app.internal"], "app");
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(proxies.roots(), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.der.clone()], server.private_key())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n")
                && stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0)
            {}
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    let ca = files.path().join("ca.crt");
    replace_file(&ca, &authority.certificate.pem());
    let own = proxies.give(&[], "proxy").write(files.path(), "proxy");
    let tls =
        |more: &str| format!("tls = {{ ca = \"{}\", server_name = \"app.internal\"{more} }}", ca.display());
    let (with, without) = (tls(&format!(", {own}")), tls(""));
    let site = Site::with(Stores::embedded(), |builder| {
        builder
            .upstream("with", address, &with)
            .upstream("without", address, &without)
            .route("/with/", "with", "\"nothing\"", "")
            .route("/without/", "without", "\"nothing\"", "")
    })
    .await;
    site.browser().get("/with/").send().await.expect(200);
    site.browser().get("/without/").send().await.expect(502);
}
