//! The demo application over TCP, asked by the proxy's own signer and by those who have none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::app::{App, serve};
use super::seed::{self, Account};
use super::verify::{Trust, TrustSettings};
use crate::clock::{Clock, SystemClock};
use crate::context::{Authn, Context, LastUse, Layer, Session, SessionId};
use crate::headers::names::Names;
use crate::headers::render::RenderInput;
use crate::keys::{JwtAlgorithm, Key, SigningKey};
use crate::signing::keyring::{Keyring, generate};
use crate::signing::{
    JWT_LIFETIME, MESSAGE_LIFETIME, MessageAlgorithm, Outgoing, Shelf, Signer, SignerSettings,
};

/// A running application and the keys of the proxy in front of it.
struct Stage {
    address: SocketAddr,
    names: Arc<Names>,
    keyring: Arc<Keyring>,
    accounts: Vec<Account>,
}

/// What is sent.
#[derive(Default)]
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    body: &'a str,
    fields: &'a [(&'a str, &'a str)],
}

fn get(target: &str) -> Sent<'_> {
    Sent { method: "GET", target, ..Sent::default() }
}

fn post<'a>(target: &'a str, body: &'a str) -> Sent<'a> {
    Sent { method: "POST", target, body, ..Sent::default() }
}

impl Stage {
    async fn open() -> Self {
        let root = Key { id: "h1".into(), secret: generate(JwtAlgorithm::Hs256).unwrap() };
        let signing = SigningKey {
            id: "j1".into(),
            algorithm: JwtAlgorithm::EdDsa,
            secret: generate(JwtAlgorithm::EdDsa).unwrap(),
            active_from: None,
        };
        let keyring = Arc::new(Keyring::new(std::slice::from_ref(&root), &[signing]).unwrap());
        let settings = TrustSettings::for_upstream("demo", &root, &keyring, "countersign", "x-context-");
        let trust = Trust::new(&settings).unwrap();
        let accounts = seed::accounts().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app =
            App::new(trust, accounts.clone(), "http://front.example/".into(), Arc::new(SystemClock)).unwrap();
        tokio::spawn(serve(listener, app, std::future::pending()));
        Self { address, names: Arc::new(Names::new("x-context-").unwrap()), keyring, accounts }
    }

    /// Context headers and signatures of the proxy for a request to `upstream`.
    fn sign(
        &self,
        upstream: &str,
        sent: &Sent<'_>,
        context: Option<&Context>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let settings = SignerSettings {
            upstream: upstream.into(),
            issuer: "countersign".into(),
            names: self.names.clone(),
            message_keys: Arc::clone(&self.keyring),
            token_keys: Arc::clone(&self.keyring),
            message_signature: Some(MessageAlgorithm::HmacSha256),
            jwt: true,
            message_lifetime: MESSAGE_LIFETIME,
            jwt_lifetime: JWT_LIFETIME,
            shelf: Arc::new(Shelf::new(1 << 20)),
            number: 1,
            budget: 8192,
        };
        let input = RenderInput {
            authn: if context.is_some() { Authn::Session } else { Authn::Unchecked },
            context,
            request_id: "request-1",
            platform_authorization: None,
            settings: None,
            stats: None,
            client_certificate: None,
        };
        let (path, query) = match sent.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (sent.target, None),
        };
        let authority = self.address.to_string();
        let outgoing = Outgoing { method: sent.method, authority: &authority, path, query };
        let signer = Signer::new(&settings).unwrap();
        let mut headers = signer.map(&outgoing, &input, None, SystemClock.now()).unwrap();
        headers.remove("host");
        headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    async fn send(&self, sent: &Sent<'_>, headers: &[(HeaderName, HeaderValue)]) -> String {
        let Sent { method, target, body, fields } = sent;
        let fields = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
        let head: String = fields.chain(headers).collect();
        let (host, length) = (self.address, body.len());
        let message = format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The answer to a request as the proxy forwards it.
    async fn ask(&self, sent: &Sent<'_>, context: Option<&Context>) -> String {
        self.send(sent, &self.sign("demo", sent, context)).await
    }

    /// The context of somebody who has logged in, with their platform at `platform`.
    fn context(&self, login: &str, platform: Option<usize>) -> Context {
        let account = self.accounts.iter().find(|account| account.login == login).unwrap();
        let platform = platform.map(|place| account.platforms[place].clone());
        let now = SystemClock.now();
        let session = Session {
            id: SessionId::of_token(b"token"),
            user: account.user.id.clone(),
            platform: platform.as_ref().map(|platform| platform.id.clone()),
            created: now,
            authenticated: now,
            expires: now.plus(Duration::from_hours(1)),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        };
        Context {
            session: session.into(),
            user: account.user.clone().into(),
            platform: platform.map(Arc::new),
            platform_refused: false,
            last_seen: LastUse::at(now),
            layer: Layer::Store,
            password: None,
        }
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn whatever_is_not_signed_is_refused_and_told_why() {
    let stage = Stage::open().await;
    let forged = [("x-context-user-id", "1"), ("x-context-authn", "session")];
    for target in ["/", "/public", "/login", "/assets/demo.css", "/nowhere"] {
        let answer = stage.send(&Sent { fields: &forged, ..get(target) }, &[]).await;
        assert_eq!(status(&answer), "403", "{target}");
        assert!(answer.contains("This request did not come through Countersign"));
        assert!(answer.contains("front.example") && !answer.contains("Ana"));
    }
    let answer = stage.send(&post("/login", "username=ana&password=demo"), &[]).await;
    assert_eq!((status(&answer), field(&answer, "countersign-session")), ("403", None));
    let answer = stage.send(&get("/api/whoami"), &[]).await;
    assert_eq!(field(&answer, "content-type"), Some("application/problem+json"));
}

#[tokio::test]
async fn a_signature_for_another_request_or_application_is_refused() {
    let stage = Stage::open().await;
    let ana = stage.context("ana", Some(0));
    let sent = get("/account?a=b");
    let good = stage.sign("demo", &sent, Some(&ana));
    assert_eq!(status(&stage.send(&sent, &good).await), "200");

    assert_eq!(status(&stage.send(&get("/account?a=c"), &good).await), "403");
    assert_eq!(status(&stage.send(&get("/admin/"), &good).await), "403");
    assert_eq!(status(&stage.send(&sent, &stage.sign("other", &sent, Some(&ana))).await), "403");
    for place in 0..good.len() {
        let mut altered = good.clone();
        altered[place].1 = HeaderValue::from_static("x");
        assert_eq!(status(&stage.send(&sent, &altered).await), "403", "{} was altered", good[place].0);
        let mut without = good.clone();
        without.remove(place);
        assert_eq!(status(&stage.send(&sent, &without).await), "403", "{} was removed", good[place].0);
    }
    let mut more = good;
    more.push((HeaderName::from_static("x-context-actor-id"), HeaderValue::from_static("9")));
    assert_eq!(status(&stage.send(&sent, &more).await), "403", "a header was added");
}

#[tokio::test]
async fn the_verified_context_is_answered_as_json() {
    let stage = Stage::open().await;
    let answer = stage.ask(&get("/api/whoami"), Some(&stage.context("ana", Some(2)))).await;
    assert_eq!((status(&answer), field(&answer, "content-type")), ("200", Some("application/json")));
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["authn"], "session");
    assert_eq!((&body["user_id"], &body["user_name"]), (&"1".into(), &"Ana Kovač".into()));
    assert_eq!(body["roles"], serde_json::json!(["admin", "reviewer"]));
    assert_eq!((&body["platform_id"], &body["platform_name"]), (&"13".into(), &"Übersee".into()));
    assert_eq!(body["signature"]["verified"], true);
    assert_eq!(body["signature"]["algorithm"], "hmac-sha256");
    assert_eq!((&body["jwt"]["aud"], &body["jwt"]["sub"]), (&"demo".into(), &"1".into()));
}

#[tokio::test]
async fn a_login_asks_for_a_session_and_leads_to_an_address_of_this_site() {
    let stage = Stage::open().await;
    for (return_to, location) in
        [("%2Faccount%3Fa%3Db", "/account?a=b"), ("%2F%2Fevil.example", "/"), ("", "/")]
    {
        let form = format!("username=ben&password=demo&return_to={return_to}");
        let answer = stage.ask(&post("/login", &form), None).await;
        assert_eq!(status(&answer), "303");
        assert_eq!(field(&answer, "location"), Some(location));
        assert_eq!(field(&answer, "countersign-session"), Some("create;user=\"2\""));
    }
}

#[tokio::test]
async fn a_failed_login_starts_nothing_and_shows_the_form_again() {
    let stage = Stage::open().await;
    for form in ["username=ana&password=wrong", "username=%22%3E%3Cb%3Ex&password=demo", ""] {
        let answer = stage.ask(&post("/login", form), None).await;
        assert_eq!((status(&answer), field(&answer, "countersign-session")), ("401", None), "{form}");
        assert!(answer.contains("do not go together") && answer.contains("name=\"password\""));
        assert!(!answer.contains("<b>x"), "what was typed is escaped");
    }
}

#[tokio::test]
async fn only_a_platform_of_ones_own_is_switched_to() {
    let stage = Stage::open().await;
    let ana = stage.context("ana", Some(0));
    let answer = stage.ask(&post("/switch", "platform=12&return_to=%2Faccount"), Some(&ana)).await;
    assert_eq!((status(&answer), field(&answer, "location")), ("303", Some("/account")));
    assert_eq!(field(&answer, "countersign-session"), Some("platform;id=\"12\""));
    for form in ["platform=21", "platform=", "platform=12&platform=11"] {
        let answer = stage.ask(&post("/switch", form), Some(&ana)).await;
        assert!(status(&answer).starts_with('4'), "{form}");
        assert_eq!(field(&answer, "countersign-session"), None);
    }
    let answer = stage.ask(&post("/switch", "platform=12"), None).await;
    assert_eq!((status(&answer), field(&answer, "countersign-session")), ("403", None));
}

#[tokio::test]
async fn a_form_from_elsewhere_or_beyond_the_limit_does_nothing() {
    let stage = Stage::open().await;
    let foreign = [("origin", "https://evil.example")];
    for target in ["/login", "/logout", "/switch"] {
        let sent = Sent { fields: &foreign, ..post(target, "username=ana&password=demo&platform=11") };
        let answer = stage.ask(&sent, Some(&stage.context("ana", Some(0)))).await;
        assert_eq!((status(&answer), field(&answer, "countersign-session")), ("403", None), "{target}");
    }
    let large = format!("username=ana&password=demo&x={}", "a".repeat(5000));
    assert_eq!(status(&stage.ask(&post("/login", &large), None).await), "400");
    assert_eq!(status(&stage.ask(&get("/logout"), None).await), "405");
    let answer = stage.ask(&post("/logout", ""), Some(&stage.context("cho", None))).await;
    assert_eq!((status(&answer), field(&answer, "countersign-session")), ("303", Some("end")));
    let answer = stage.ask(&post("/logout", ""), None).await;
    assert_eq!((status(&answer), field(&answer, "countersign-session")), ("303", None), "nobody to log out");
}

#[tokio::test]
async fn pages_show_what_was_signed_and_carry_no_script_or_style_of_their_own() {
    let stage = Stage::open().await;
    let mut ana = stage.context("ana", Some(1));
    let mut user = (*ana.user).clone();
    user.name = "<script>alert(1)</script>".into();
    ana.user = user.into();
    for target in ["/", "/account", "/admin/", "/platforms", "/nowhere"] {
        let answer = stage.ask(&get(target), Some(&ana)).await;
        assert!(answer.contains("&lt;script&gt;alert(1)"), "{target}");
        assert!(!answer.contains("<script>") && !answer.contains("<style") && !answer.contains(" style="));
        let policy = field(&answer, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        assert_eq!(field(&answer, "cache-control"), Some("no-store"));
    }
    let cho = stage.ask(&get("/platforms"), Some(&stage.context("cho", None))).await;
    assert!(cho.contains("no platform is connected"));
    let public = stage.ask(&get("/public"), None).await;
    assert!(public.contains(">unchecked<") && public.contains("Signature verified"));
    for target in ["/assets/demo.css", "/assets/demo.js", "/assets/mark.svg"] {
        assert_eq!(status(&stage.ask(&get(target), None).await), "200");
    }
    assert_eq!(status(&stage.ask(&get("/"), None).await), "403", "a route that asks for too little");
}
