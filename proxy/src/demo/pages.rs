//! The pages of the demo application: templates that are part of the binary, and the one place where they are filled
//! in. Every value is escaped by the template engine; nothing here decides anything.

use std::fmt;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, value::Serde};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::seed::Account;
use super::verify::Facts;
use crate::clock::Timestamp;
use crate::context::Platform;

/// The style sheet of all pages.
pub(super) const STYLE: &str = include_str!("pages/demo.css");
/// The script of all pages.
pub(super) const SCRIPT: &str = include_str!("pages/demo.js");
/// The mark in the corner and in the tab.
pub(super) const MARK: &str = include_str!("pages/mark.svg");

/// What pages may load: only what this site serves, and no script or style inside the page.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the refusal may load: nothing but the style sheet inside it, because whoever is refused here is refused the
/// style sheet's own address as well.
pub(super) static REFUSAL_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'")
});

const TEMPLATES: [(&str, &str); 10] = [
    ("layout.html", include_str!("pages/layout.html")),
    ("parts.html", include_str!("pages/parts.html")),
    ("home.html", include_str!("pages/home.html")),
    ("account.html", include_str!("pages/account.html")),
    ("admin.html", include_str!("pages/admin.html")),
    ("public.html", include_str!("pages/public.html")),
    ("login.html", include_str!("pages/login.html")),
    ("platforms.html", include_str!("pages/platforms.html")),
    ("message.html", include_str!("pages/message.html")),
    ("refused.html", include_str!("pages/refused.html")),
];

/// A page that could not be filled in: a fault of a template.
pub(super) type PageError = minijinja::Error;

/// The pages, parsed.
pub(super) struct Pages(Environment<'static>);

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    /// Parses all templates.
    pub(super) fn parse() -> Result<Self, PageError> {
        let mut templates = Environment::new();
        for (name, text) in TEMPLATES {
            templates.add_template(name, text)?;
        }
        Ok(Self(templates))
    }

    pub(super) fn home(&self, shown: &Facts, platforms: &[Platform]) -> Result<String, PageError> {
        let claims = serde_json::to_string_pretty(&shown.jwt).ok();
        self.fill("home", shown, &json!({ "platforms": platforms, "claims": claims }))
    }

    pub(super) fn account(&self, shown: &Facts) -> Result<String, PageError> {
        self.fill("account", shown, &json!({}))
    }

    pub(super) fn admin(&self, shown: &Facts, accounts: &[Account]) -> Result<String, PageError> {
        self.fill("admin", shown, &json!({ "people": people(accounts) }))
    }

    pub(super) fn public(&self, shown: &Facts) -> Result<String, PageError> {
        self.fill("public", shown, &json!({}))
    }

    pub(super) fn login(
        &self,
        shown: &Facts,
        login: &LoginForm<'_>,
        accounts: &[Account],
    ) -> Result<String, PageError> {
        let LoginForm { username, return_to, failed } = login;
        let more = json!({
            "username": username, "return_to": return_to, "failed": failed, "people": people(accounts),
        });
        self.fill("login", shown, &more)
    }

    pub(super) fn platforms(
        &self,
        shown: &Facts,
        platforms: &[Platform],
        return_to: &str,
    ) -> Result<String, PageError> {
        self.fill("platforms", shown, &json!({ "platforms": platforms, "return_to": return_to }))
    }

    pub(super) fn message(&self, shown: &Facts, headline: &str, text: &str) -> Result<String, PageError> {
        self.fill("message", shown, &json!({ "headline": headline, "text": text }))
    }

    pub(super) fn refused(&self, reason: &str, public_url: &str) -> Result<String, PageError> {
        let values = json!({ "css": STYLE, "reason": reason, "public_url": public_url });
        self.0.get_template("refused.html")?.render(Serde(values))
    }

    fn fill(&self, page: &str, shown: &Facts, more: &serde_json::Value) -> Result<String, PageError> {
        let time = |seconds: u64| Timestamp::from_secs(seconds).to_string();
        let values = json!({
            "page": page,
            "shown": shown,
            "more": more,
            "auth_time": shown.auth_time.map(time),
            "created": time(shown.signature.created),
            "expires": time(shown.signature.expires),
        });
        self.0.get_template(&format!("{page}.html"))?.render(Serde(values))
    }
}

/// What the login page shows in its form.
#[derive(Debug)]
pub(super) struct LoginForm<'a> {
    /// What was typed last time.
    pub(super) username: &'a str,
    /// Where to go afterwards; already judged to be safe.
    pub(super) return_to: &'a str,
    /// Whether it has just failed.
    pub(super) failed: bool,
}

/// What the pages may know about the people of the demo.
fn people(accounts: &[Account]) -> serde_json::Value {
    let person = |account: &Account| {
        let Account { login, user, platforms } = account;
        json!({ "login": login, "id": user.id, "name": user.name, "roles": user.roles, "platforms": platforms })
    };
    accounts.iter().map(person).collect()
}
