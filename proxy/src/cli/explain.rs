//! `countersign explain`: which route a request takes, what it asks for, why it is let through or not. Offline from a
//! configuration; who asks is found out through the admin API.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::operators::{Access, json_text, plain, text};
use super::{NO, Stop, UNDETERMINED, cookie, load};
use crate::clock::{Clock, SystemClock};
use crate::endpoints::operators::explain;

/// Flags of `explain`.
#[derive(Clone, Debug, Args)]
pub(super) struct Explain {
    /// The method.
    method: Method,
    /// The address, `https://app.example/admin/`, or a path alone.
    #[arg(value_parser = url)]
    url: String,
    /// Ask with this cookie: the value of the session cookie or a whole `Cookie` line; `-` reads standard input.
    #[arg(long, value_name = "COOKIE", allow_hyphen_values = true)]
    cookie: Option<String>,
    /// Read the cookie from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "cookie")]
    cookie_file: Option<PathBuf>,
    /// Ask as if this user logged in now.
    #[arg(long = "as", value_name = "USER", conflicts_with_all = ["cookie", "cookie_file"])]
    user: Option<String>,
    #[command(flatten)]
    access: Access,
}

fn url(text: &str) -> Result<String, &'static str> {
    let fits = text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://");
    if fits { Ok(text.to_owned()) } else { Err("an address begins with `https://`, `http://` or `/`") }
}

/// Explains one request. Exit code 3 when somebody is refused, 4 when it could not be found out.
pub(super) fn explain(flags: &Explain, out: &mut dyn Write) -> anyhow::Result<()> {
    let cookie = cookie::read(flags.cookie.as_deref(), flags.cookie_file.as_deref())?;
    let explained = if cookie.is_some() || flags.user.is_some() {
        let body = json!({
            "method": flags.method.as_str(), "url": flags.url, "cookie": cookie, "user": flags.user,
        });
        flags.access.client()?.call(&Method::POST, "/v1/explain", Some(&body))?
    } else {
        let Some(config) = &flags.access.config else {
            bail!(
                "say which configuration with `--config FILE`; with `--cookie` or `--as` a running proxy is asked"
            )
        };
        let now = SystemClock.now();
        json!({ "request": explain::explain(&load(config)?, &flags.method, &flags.url, None, now) })
    };
    if flags.access.json {
        json_text(&explained, out)?;
    } else {
        out.write_all(told(&explained).as_bytes())?;
    }
    end(&explained)
}

/// The exit code, when somebody in particular asked.
fn end(explained: &Value) -> anyhow::Result<()> {
    let cases = explained["request"]["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [case] = cases else { return Ok(()) };
    match (case["decision"].as_str(), case["status"].as_u64()) {
        (Some("refuse"), Some(503)) => Err(Stop::silent(UNDETERMINED)),
        (Some("refuse"), _) => Err(Stop::silent(NO)),
        _ => Ok(()),
    }
}

fn told(explained: &Value) -> String {
    use std::fmt::Write as _;
    let (request, context) = (&explained["request"], &explained["context"]);
    let mut said = String::new();
    let route = &request["route"];
    if route.is_object() {
        let host = if route["host"].is_null() { "every host".to_owned() } else { text(&route["host"]) };
        let _ = writeln!(said, "route     {} ({host} {})", text(&route["name"]), text(&route["path"]));
        let _ = writeln!(said, "upstream  {}", text(&route["upstream"]));
        let _ = writeln!(said, "requires  {}", demands(route));
    } else {
        said.push_str("route     none\n");
    }
    if context.is_object() {
        let _ = writeln!(
            said,
            "who       user {}, roles {}, platform {}",
            text(&context["user"]),
            text(&context["roles"]),
            text(&context["platform"])
        );
    }
    for case in request["cases"].as_array().into_iter().flatten() {
        let who = match case["who"].as_str() {
            Some("nobody") => "nobody    ",
            Some("stores_away") => "in outage ",
            Some("session") => "session   ",
            _ => "anybody   ",
        };
        let what = match case["decision"].as_str() {
            Some("forward") => format!("forwarded, authn {}", text(&case["authn"])),
            Some("refuse") => format!("refused with {} {}", text(&case["status"]), text(&case["code"])),
            _ => "answered by the proxy".to_owned(),
        };
        let _ = writeln!(said, "{who}{what}: {}", text(&case["why"]));
        if let Some(page) = case["redirect"].as_str() {
            let _ = writeln!(said, "          a browser's navigation is sent to {}", plain(page));
        }
    }
    said
}

fn demands(route: &Value) -> String {
    let mut words = vec![match route["requires"].as_str() {
        Some("nothing") => "nothing".to_owned(),
        Some("optional") => "nothing; a session is used if there is one".to_owned(),
        _ => "a session".to_owned(),
    }];
    if route["platform"] == true {
        words.push("a platform".to_owned());
    }
    let roles: Vec<String> = route["roles"].as_array().into_iter().flatten().map(text).collect();
    if !roles.is_empty() {
        words.push(format!("role {}", roles.join(" or ")));
    }
    if let Some(seconds) = route["recent_login_seconds"].as_u64() {
        let span = humantime::format_duration(std::time::Duration::from_secs(seconds));
        words.push(format!("a login within {span}"));
    }
    words.join(", ")
}
