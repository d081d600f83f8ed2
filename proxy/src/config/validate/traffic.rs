//! Judges listeners, the admin listener and upstreams.

use http::uri::Authority;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::{Judge, NAME_EXPECTED, is_name};
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::raw::traffic as written;
use crate::config::raw::traffic::{ClientCertificate, Http, Sign, SignatureAlgorithm};
use crate::config::raw::values::Switch;
use crate::config::snapshot::{Admin, Listener, ListenerTls, Listening};
use crate::secret::Secret;
use crate::signing::MessageAlgorithm;
use crate::upstream::{HealthCheck, HttpVersion, Identity, Upstream, UpstreamTls};

/// The shortest bearer token: 16 bytes cannot be guessed when they are random.
const SHORTEST_TOKEN: usize = 16;

/// What fits into the address of a Unix socket (unix(7)), its final zero byte left out.
const LONGEST_SOCKET_PATH: usize = 107;

impl Judge<'_> {
    pub(super) fn listeners(&mut self, raw: &[written::Listen]) -> Vec<Listener> {
        if raw.is_empty() {
            self.tell_missing(
                self.problem("listen", "there is no listener")
                    .expected("at least one `[[listen]]` with an `address`"),
            );
        }
        let mut listeners: Vec<Listener> = Vec::with_capacity(raw.len());
        for (index, listen) in raw.iter().enumerate() {
            let key = format!("listen[{index}]");
            let tls = listen.tls.as_ref().and_then(|tls| self.listener_tls(&format!("{key}.tls"), tls));
            if listen.h2c && listen.tls.is_some() {
                self.tell(
                    self.problem(&format!("{key}.h2c"), "a listener with TLS cannot speak cleartext HTTP/2")
                        .hint("take `h2c` out: with TLS, HTTP/2 is offered anyway"),
                );
            }
            let Some(place) = self.place(&key, listen) else { continue };
            if listeners.iter().any(|other| collide(&other.place, &place)) {
                let name = if matches!(place, Listening::Tcp(_)) { "address" } else { "socket" };
                let problem = self.problem(&format!("{key}.{name}"), "two listeners have the same address");
                self.tell(problem.found(shown(&place.to_string())));
            }
            let trusted_proxies = listen.trusted_proxies.iter().map(|network| network.0).collect();
            let proxy_protocol = listen.proxy_protocol.iter().map(|network| network.0).collect();
            listeners.push(Listener { place, tls, h2c: listen.h2c, trusted_proxies, proxy_protocol });
        }
        listeners
    }

    fn place(&mut self, key: &str, listen: &written::Listen) -> Option<Listening> {
        if let (Some(mode), None) = (&listen.socket_mode, &listen.socket) {
            let problem = self.problem(&format!("{key}.socket_mode"), "there is no `socket` beside it");
            self.tell(problem.found(shown(mode)).hint("take `socket_mode` out"));
        }
        match (&listen.address, &listen.socket) {
            (Some(address), None) => Some(Listening::Tcp(address.0)),
            (None, Some(path)) => self.unix_place(key, path, listen.socket_mode.as_deref()),
            (given, _) => {
                let what = if given.is_some() {
                    "a listener has both `address` and `socket`"
                } else {
                    "a listener has neither `address` nor `socket`"
                };
                self.tell_missing(self.problem(&format!("{key}.address"), what).expected("one of them"));
                None
            }
        }
    }

    fn unix_place(&mut self, key: &str, written: &str, mode: Option<&str>) -> Option<Listening> {
        let path = self.path(&format!("{key}.socket"), written);
        if path.as_os_str().len() > LONGEST_SOCKET_PATH {
            let problem = self.problem(&format!("{key}.socket"), "the path of a Unix socket is too long");
            self.tell(problem.expected(format!("at most {LONGEST_SOCKET_PATH} bytes (unix(7))")));
        }
        let text = mode.unwrap_or("0660");
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            let problem = self.problem(&format!("{key}.socket_mode"), "this is no set of permissions");
            self.tell(problem.found(shown(text)).expected("three octal digits, such as \"0660\""));
        }
        Some(Listening::Unix { path, mode: mode? })
    }

    fn listener_tls(&mut self, key: &str, tls: &written::ListenTls) -> Option<ListenerTls> {
        let mut certificates = vec![self.identity(key, tls.certificate.as_deref()?, tls.key.as_deref()?)];
        for (index, more) in tls.more_certificates.iter().enumerate() {
            let key = format!("{key}.more_certificates[{index}]");
            let (Some(certificate), Some(private)) = (&more.certificate, &more.key) else { continue };
            certificates.push(self.identity(&key, certificate, private));
        }
        let client_ca =
            tls.client_ca.as_deref().and_then(|file| self.certificates(&format!("{key}.client_ca"), file));
        let client_required = tls.client_certificate == ClientCertificate::Required;
        if client_required && tls.client_ca.is_none() {
            self.tell(
                self.problem(
                    &format!("{key}.client_certificate"),
                    "no certificate of a client can be checked",
                )
                .hint("name the authority's file in `client_ca`"),
            );
        }
        Some(ListenerTls {
            certificates: certificates.into_iter().flatten().collect(),
            client_ca,
            client_required,
        })
    }

    /// A certificate and the key that belongs to it.
    fn identity(&mut self, key: &str, certificate: &str, private_key: &str) -> Option<Identity> {
        let chain = self.certificates(&format!("{key}.certificate"), certificate);
        let key = format!("{key}.key");
        let pem = self.read(&key, private_key)?;
        if PrivateKeyDer::from_pem_slice(&pem).is_err() {
            self.tell(
                self.problem(&key, "the file holds no private key")
                    .found(shown(private_key))
                    .expected("a PEM file with a private key"),
            );
            return None;
        }
        Some(Identity { certificate: chain?, key: Secret::new(pem), called: certificate.to_owned() })
    }

    /// The content of a PEM file that must hold certificates.
    pub(super) fn certificates(&mut self, key: &str, file: &str) -> Option<Vec<u8>> {
        let pem = self.read(key, file)?;
        let mut found = 0_usize;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            found += 1;
            let readable = certificate.is_ok_and(|der| {
                use x509_parser::prelude::{FromDer, X509Certificate};
                X509Certificate::from_der(&der).is_ok()
            });
            if !readable {
                found = 0;
                break;
            }
        }
        if found == 0 {
            self.tell(
                self.problem(key, "the file holds no certificate")
                    .found(shown(file))
                    .expected("a PEM file with one or more certificates"),
            );
        }
        Some(pem)
    }

    pub(super) fn admin(&mut self, raw: &raw::Admin, listeners: &[Listener]) -> Admin {
        let address = raw.address.0;
        let token = raw.token.as_ref().and_then(|source| self.secret("admin.token", source));
        if raw.token.is_none() && !address.ip().is_loopback() {
            self.tell_missing(
                self.problem("admin.token", "the admin listener is open to others and has no `token`")
                    .found(shown(&address.to_string()))
                    .expected("`token = { file = \"...\" }`, or a loopback address"),
            );
        }
        if let Some(length) = token.as_ref().map(|token| token.expose().len())
            && length < SHORTEST_TOKEN
        {
            self.tell(
                self.problem("admin.token", "the token of the admin listener is too short")
                    .found(format!("{length} bytes"))
                    .expected(format!("at least {SHORTEST_TOKEN} bytes"))
                    .hint("`countersign key new token` prints something fit"),
            );
        }
        let place = Listening::Tcp(address);
        if listeners.iter().any(|listener| collide(&listener.place, &place)) {
            let problem =
                self.problem("admin.address", "the admin listener has the address of another listener");
            self.tell(problem.found(shown(&address.to_string())).expected("an address of its own"));
        }
        Admin { address, token }
    }

    pub(super) fn upstreams(&mut self, raw: &[written::Upstream]) -> Vec<Upstream> {
        let mut upstreams: Vec<Upstream> = Vec::with_capacity(raw.len());
        for (index, upstream) in raw.iter().enumerate() {
            let key = format!("upstream[{index}]");
            let judged = self.upstream(&key, upstream);
            if !judged.name.is_empty() && upstreams.iter().any(|other| other.name == judged.name) {
                let problem = self.problem(&format!("{key}.name"), "two upstreams have the same name");
                self.tell(problem.found(shown(&judged.name)).expected("a name of its own"));
            }
            upstreams.push(judged);
        }
        upstreams
    }

    fn upstream(&mut self, key: &str, raw: &written::Upstream) -> Upstream {
        if let Some(name) = raw.name.as_deref().filter(|name| !is_name(name)) {
            let problem = self.problem(&format!("{key}.name"), "this cannot be the name of an upstream");
            self.tell(problem.found(shown(name)).expected(NAME_EXPECTED));
        }
        self.servers(&format!("{key}.servers"), raw.servers.as_deref());
        self.upstream_protocol(key, raw);
        let signs = raw.sign.contains(&Sign::HttpMessageSignature);
        Upstream {
            name: raw.name.clone().unwrap_or_default(),
            servers: raw.servers.clone().unwrap_or_default(),
            tls: self.upstream_tls(&format!("{key}.tls"), raw.tls.as_ref(), raw.servers.as_deref()),
            http: match raw.http {
                Http::One => HttpVersion::Http1,
                Http::Two => HttpVersion::Http2,
                Http::Auto => HttpVersion::Auto,
            },
            message_signature: signs.then_some(match raw.signature_algorithm {
                SignatureAlgorithm::HmacSha256 => MessageAlgorithm::HmacSha256,
                SignatureAlgorithm::Ed25519 => MessageAlgorithm::Ed25519,
            }),
            jwt: raw.sign.contains(&Sign::Jwt),
            host: raw.host.clone(),
            connect_timeout: raw.connect_timeout.0,
            read_timeout: raw.read_timeout.0,
            write_timeout: raw.write_timeout.0,
            idle_timeout: raw.idle_timeout.0,
            retries: raw.retries,
            health: raw.health.as_ref().map(|health| HealthCheck {
                path: health.path.clone(),
                interval: health.interval.0,
                timeout: health.timeout.0,
            }),
        }
    }

    fn servers(&mut self, key: &str, servers: Option<&[String]>) {
        let Some(servers) = servers else { return };
        if servers.is_empty() {
            self.tell_missing(
                self.problem(key, "an upstream without servers serves nobody")
                    .found("an empty list")
                    .expected("`host:port` of at least one server"),
            );
        }
        for (index, server) in servers.iter().enumerate() {
            let key = format!("{key}[{index}]");
            if let Some(path) = server.strip_prefix("unix:") {
                if !path.starts_with('/') || path.len() > LONGEST_SOCKET_PATH {
                    let problem = self.problem(&key, "this is not the path of a socket").found(shown(server));
                    self.tell(problem.expected("an absolute path, such as \"unix:/run/app/http.sock\""));
                }
            } else if !is_server(server) {
                let problem = self.problem(&key, "this is not the address of a server");
                let problem = problem
                    .found(shown(server))
                    .expected("`host:port`, such as \"127.0.0.1:5000\", or `unix:PATH`");
                self.tell(match server.split_once("://") {
                    Some(("https", _)) => problem.hint("leave the scheme out; for TLS, set `tls = true`"),
                    Some(_) => problem.hint("leave the scheme out"),
                    None => problem,
                });
            } else if servers[..index].contains(server) {
                let problem = self.problem(&key, "this server is named twice").found(shown(server));
                self.tell(problem.expected("each server once"));
            }
        }
    }

    fn upstream_protocol(&mut self, key: &str, raw: &written::Upstream) {
        let has_tls = !matches!(raw.tls, None | Some(Switch::Plain(false)));
        if raw.http == Http::Auto && !has_tls {
            self.tell(
                self.problem(&format!("{key}.http"), "without TLS the version of HTTP cannot be negotiated")
                    .found("\"auto\"")
                    .expected("\"1\" or \"2\", or `tls = true`"),
            );
        }
        if raw.signature_algorithm == SignatureAlgorithm::Ed25519
            && !raw.sign.contains(&Sign::HttpMessageSignature)
        {
            self.tell(
                self.problem(
                    &format!("{key}.signature_algorithm"),
                    "no message signature is sent to this upstream",
                )
                .hint("add \"http-message-signature\" to `sign`, or take `signature_algorithm` out")
                .as_warning(),
            );
        }
        if raw.sign.is_empty() {
            self.tell(
                self.problem(
                    &format!("{key}.sign"),
                    "nothing would prove to this upstream that the context is ours",
                )
                .found("an empty list")
                .expected("\"http-message-signature\", \"jwt\" or both; nothing is forwarded unsigned"),
            );
        }
        if let Some(host) = raw.host.as_deref().filter(|host| !is_host_header(host)) {
            let problem = self.problem(&format!("{key}.host"), "this cannot be a Host");
            self.tell(problem.found(shown(host)).expected("a host, perhaps with `:port`"));
        }
        let path = raw.health.as_ref().and_then(|health| health.path.as_deref());
        if let Some(path) =
            path.filter(|path| !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()))
        {
            let problem = self.problem(&format!("{key}.health.path"), "this is not a path");
            self.tell(problem.found(shown(path)).expected("a path that begins with `/`, visible ASCII"));
        }
    }

    fn upstream_tls(
        &mut self,
        key: &str,
        tls: Option<&Switch<written::UpstreamTls>>,
        servers: Option<&[String]>,
    ) -> Option<UpstreamTls> {
        let plain = written::UpstreamTls::default();
        let tls = match tls? {
            Switch::Plain(false) => return None,
            Switch::Plain(true) => &plain,
            Switch::With(tls) => tls,
        };
        let server_name = tls.server_name.clone();
        if let Some(name) = server_name.as_deref().filter(|name| ServerName::try_from(*name).is_err()) {
            let problem = self.problem(&format!("{key}.server_name"), "this is not the name of a server");
            self.tell(problem.found(shown(name)).expected("a host name or an address, without port"));
        }
        let ca = tls.ca.as_deref().and_then(|file| self.certificates(&format!("{key}.ca"), file));
        let identity = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(private)) => self.identity(key, certificate, private),
            (None, None) => None,
            _ => {
                let problem = self.problem(key, "`certificate` and `key` go together");
                self.tell(problem.expected("both of them, or neither"));
                None
            }
        };
        let by_socket =
            servers.is_some_and(|servers| servers.iter().any(|server| server.starts_with("unix:")));
        if by_socket && server_name.is_none() {
            let problem =
                self.problem(&format!("{key}.server_name"), "a Unix socket has no name to be checked");
            self.tell_missing(problem.expected("the name that the certificate must show"));
        }
        Some(UpstreamTls { server_name, ca, identity })
    }
}

/// Whether two listeners would fight for one port.
fn collide(one: &Listening, other: &Listening) -> bool {
    let (Listening::Tcp(one), Listening::Tcp(other)) = (one, other) else { return one == other };
    let same_host = one.ip() == other.ip()
        || one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4()
        || other.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4();
    // Port 0 is another free port for each.
    one.port() == other.port() && one.port() != 0 && same_host
}

fn is_server(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    !authority.host().is_empty() && !text.contains('@') && authority.port_u16().is_some_and(|port| port > 0)
}

fn is_host_header(text: &str) -> bool {
    text.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty()) && !text.contains('@')
}

#[cfg(test)]
mod tests {
    use crate::config::snapshot::Listening;
    use crate::config::{self, Problems, Snapshot};

    fn read(more: &str) -> Result<Snapshot, Problems> {
        let key = "[{ id = \"k\", secret = { env = \"TOKEN\" } }]";
        let text = format!("[keys]\ntoken = {key}\ncsrf = {key}\n{more}\n");
        let key = |name: &str| (name == "TOKEN").then(|| "a token key of more than 32 bytes!".to_owned());
        config::parse(&text, "/etc/countersign/test.toml", &key)
    }

    fn refusal(more: &str) -> String {
        read(more).unwrap_err().render(false)
    }

    #[test]
    fn a_listener_is_at_an_address_or_at_a_socket() {
        let snapshot = read("[[listen]]\nsocket = \"http.sock\"").unwrap();
        let place = Listening::Unix { path: "/etc/countersign/http.sock".into(), mode: 0o660 };
        assert_eq!(snapshot.listeners[0].place, place);
        assert!(refusal("[[listen]]\nh2c = false").contains("neither `address` nor `socket`"));
        let both = "[[listen]]\naddress = \"127.0.0.1:1\"\nsocket = \"/run/x\"";
        assert!(refusal(both).contains("both `address` and `socket`"));
        assert!(refusal("[[listen]]\nsocket = \"/run/x\"\nsocket_mode = \"rw\"").contains("0660"));
        assert!(
            refusal("[[listen]]\naddress = \"127.0.0.1:1\"\nsocket_mode = \"0600\"").contains("socket_mode")
        );
        let twice = "[[listen]]\nsocket = \"/run/x\"\n[[listen]]\nsocket = \"/run/x\"";
        assert!(refusal(twice).contains("the same address"));
        let long = format!("[[listen]]\nsocket = \"/run/{}\"", "x".repeat(103));
        assert!(refusal(&long).contains("too long"));
    }

    #[test]
    fn what_belongs_together_in_tls_is_asked_for_together() {
        let listen = "[[listen]]\naddress = \"127.0.0.1:1\"\n";
        let required = format!(
            "{listen}tls = {{ certificate = \"a\", key = \"b\", client_certificate = \"required\" }}"
        );
        assert!(refusal(&required).contains("name the authority's file in `client_ca`"));
        let upstream = |more: &str| format!("{listen}[[upstream]]\nname = \"a\"\nsign = [\"jwt\"]\n{more}");
        let half = upstream("servers = [\"127.0.0.1:1\"]\ntls = { certificate = \"a\" }");
        assert!(refusal(&half).contains("`certificate` and `key` go together"));
        let nameless = upstream("servers = [\"unix:/run/x\"]\ntls = true");
        let told = refusal(&nameless);
        assert!(told.contains("no name to be checked"), "{told}");
        assert!(refusal(&upstream("servers = [\"unix:x\"]")).contains("an absolute path"));
    }
}
