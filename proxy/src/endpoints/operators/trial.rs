//! What a proxy with this configuration would see of a cookie, step by step, without side effects. Works over any store
//! and directory: those of a running proxy, or those that the command line opened for itself.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Serialize;

use super::explain::{self, Explanation};
use super::view::ContextView;
use crate::clock::Timestamp;
use crate::config::Snapshot;
use crate::context::Resolution;
use crate::directory::Directory;
use crate::formats::trace;
use crate::reason::Reason;
use crate::resolve::inspect::{Step, Verdict, inspect, inspect_foreign};
use crate::session::profile::{Candidate, Claim, Reading, Why};
use crate::store::Store;

/// All that was seen.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trial {
    /// Step by step.
    pub steps: Vec<Step>,
    /// `known`, `unknown` or `undetermined`.
    pub outcome: &'static str,
    /// Why it is not known: the word of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Whose session it is, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextView>,
    /// What a request would come to, when one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Explanation>,
}

/// Tries a cookie: the value of the session cookie alone, or a whole `Cookie` line. With a request, also says what that
/// would come to.
pub async fn try_cookie(
    snapshot: &Snapshot,
    (store, directory): (&dyn Store, &dyn Directory),
    cookie: &str,
    request: Option<(&Method, &str)>,
    now: Timestamp,
) -> Trial {
    let (mut steps, claims) = read(snapshot, cookie);
    let mut resolution = Resolution::Unknown(*claims.as_ref().err().unwrap_or(&Reason::NoCookie));
    // As a request would: the first claim that holds, and none after one that cannot be judged.
    for (tried, candidate) in claims.unwrap_or_default().iter().enumerate() {
        let inspection = match candidate {
            Candidate::Native(id) => inspect(id, store, directory, &snapshot.session, now).await,
            Candidate::Foreign(format, claimed) => {
                inspect_foreign((format, claimed), store, directory, &snapshot.session, now).await
            }
        };
        steps.extend(inspection.steps);
        if tried == 0 || !matches!(inspection.resolution, Resolution::Unknown(_)) {
            resolution = inspection.resolution;
        }
        if !matches!(resolution, Resolution::Unknown(_)) {
            break;
        }
    }
    let request =
        request.map(|(method, url)| explain::explain(snapshot, method, url, Some(&resolution), now));
    if let Some(case) = request.as_ref().and_then(|request| request.cases.first()) {
        let verdict = match (case.decision, case.status) {
            ("refuse", Some(503)) => Verdict::Undetermined,
            ("refuse", _) => Verdict::Bad,
            _ => Verdict::Good,
        };
        let found = format!("{}: {}", case.decision, case.why);
        steps.push(Step { step: "decision", verdict, found });
    }
    let (outcome, code, context) = match &resolution {
        Resolution::Known(context) => ("known", None, Some(ContextView::of(context, true))),
        Resolution::Unknown(reason) => ("unknown", Some(reason.code()), None),
        Resolution::Undetermined(reason) => ("undetermined", Some(reason.code()), None),
    };
    Trial { steps, outcome, code, context, request }
}

/// Reads the claim through the profile, as a request is read, and tells what each format of it makes of the cookie.
fn read(snapshot: &Snapshot, cookie: &str) -> (Vec<Step>, Result<Vec<Candidate>, Reason>) {
    let name = &snapshot.session.cookie;
    let headers = line(cookie, snapshot);
    let claim = match &headers {
        Some(headers) => snapshot.profile.claim(headers),
        None => Claim::Nobody(Reason::MalformedCookie),
    };
    let step = |step, verdict, found: String| Step { step, verdict, found };
    let readings = headers.map(|headers| snapshot.profile.each(&headers)).unwrap_or_default();
    if !readings.is_empty() {
        let claims = match claim {
            Claim::Candidates(candidates) => Ok(candidates.to_vec()),
            Claim::Session(id) => Ok(vec![Candidate::Native(id)]),
            Claim::Nobody(reason) => Err(reason),
        };
        return (readings.iter().flat_map(told).collect(), claims);
    }
    let cookie_is_there = step("cookie", Verdict::Good, format!("there is one cookie `{name}`"));
    match claim {
        Claim::Session(id) => {
            let genuine = format!("shape and tag are right; it opens session {id}");
            (vec![cookie_is_there, step("token", Verdict::Good, genuine)], Ok(vec![Candidate::Native(id)]))
        }
        Claim::Candidates(candidates) => (Vec::new(), Ok(candidates.to_vec())),
        Claim::Nobody(reason) => {
            let found = reason.explanation().trim().to_owned();
            let steps = match reason {
                Reason::NoCookie | Reason::ConflictingCookies => vec![step("cookie", Verdict::Bad, found)],
                _ => vec![cookie_is_there, step("token", Verdict::Bad, found)],
            };
            (steps, Err(reason))
        }
    }
}

/// What one of several formats makes of the cookie.
fn told(reading: &Reading) -> Vec<Step> {
    let name = reading.format.as_ref().map_or("native", |format| format.name);
    let step = |step, verdict, found: String| Step { step, verdict, found: format!("`{name}`: {found}") };
    let there = step("cookie", Verdict::Good, format!("there is one cookie `{}`", reading.cookie));
    match &reading.claim {
        Ok(Candidate::Native(id)) => {
            vec![there, step("token", Verdict::Good, format!("genuine; it opens session {id}"))]
        }
        Ok(Candidate::Foreign(format, claimed)) => {
            let found = format!("genuine; session {} is the {}", claimed.session, trace::place(format));
            vec![there, step("token", Verdict::Good, found)]
        }
        Err(Why::Cookie(Reason::NoCookie)) => {
            vec![step("cookie", Verdict::Silent, format!("there is no cookie `{}`", reading.cookie))]
        }
        Err(Why::Cookie(reason @ (Reason::ConflictingCookies | Reason::MalformedCookie))) => {
            vec![step("cookie", Verdict::Bad, reason.explanation().trim().to_owned())]
        }
        Err(Why::Cookie(reason)) => {
            vec![there, step("token", Verdict::Bad, reason.explanation().trim().to_owned())]
        }
        Err(Why::Refused(refusal)) => {
            let found = match &reading.format {
                Some(format) => trace::advice(format, *refusal),
                None => refusal.to_string(),
            };
            vec![there, step("token", Verdict::Bad, found)]
        }
    }
}

/// The `Cookie` field that a browser would send: what was given, or that as the value of the session cookie.
fn line(cookie: &str, snapshot: &Snapshot) -> Option<HeaderMap> {
    let readings = snapshot.profile.each(&HeaderMap::new());
    let own = std::iter::once(snapshot.session.cookie.as_str());
    let mut names = readings.iter().map(|reading| reading.cookie.as_str()).chain(own);
    let first = names.clone().next().unwrap_or_default();
    let begins = |part: &str, name: &str| {
        part.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
    };
    // A lone value has `=` at its end at most.
    let whole = names.any(|name| cookie.split(';').any(|part| begins(part, name)))
        || cookie.contains("; ")
        || cookie.trim_end().trim_end_matches('=').contains('=');
    let text = if whole { cookie.to_owned() } else { format!("{first}={cookie}") };
    let mut value = HeaderValue::from_str(text.trim()).ok()?;
    value.set_sensitive(true);
    Some(HeaderMap::from_iter([(COOKIE, value)]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::faults::Fault::Fails;
    use crate::cache::world::World;
    use crate::context::Session;
    use crate::session::token::SessionToken;

    const CONFIGURATION: &str = r#"
public_scheme = "http"
[[listen]]
address = "127.0.0.1:8080"
[keys]
token = [{ id = "t", secret = { env = "K" } }]
csrf = [{ id = "c", secret = { env = "K" } }]
hmac = [{ id = "h", secret = { env = "K" } }]
jwt = [{ id = "j", algorithm = "HS256", secret = { env = "K" } }]
[[upstream]]
name = "app"
servers = ["127.0.0.1:5000"]
[[route]]
path = "/"
upstream = "app"
require = { roles = ["admin"] }
"#;

    async fn tried(world: &World, snapshot: &Snapshot, cookie: &str) -> (Vec<&'static str>, Trial) {
        let method = Method::GET;
        let layers = (world.store.as_ref() as &dyn Store, world.directory.as_ref() as &dyn Directory);
        let trial = try_cookie(snapshot, layers, cookie, Some((&method, "/x")), world.now()).await;
        (trial.steps.iter().map(|step| step.step).collect(), trial)
    }

    #[tokio::test]
    async fn a_cookie_is_followed_to_the_step_at_which_it_fails() {
        let environment = |name: &str| (name == "K").then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let snapshot = crate::config::parse(CONFIGURATION, "test.toml", &environment).unwrap();
        let world = World::new().await;
        let token = SessionToken::mint(&snapshot.keys.token);
        let session = Session { id: token.id(), ..world.session("ana", None) };
        world.directory.inner().create_session(&session, None, world.now(), None).await.unwrap();
        let unknown = SessionToken::mint(&snapshot.keys.token);
        let name = "countersign-session";
        let (a, f) = ("A".repeat(43), format!("{}x", &token.expose()[..42]));
        for (cookie, last, outcome, code) in [
            (token.expose().to_owned(), "decision", "known", None),
            (format!("a=b; {name}={}", token.expose()), "decision", "known", None),
            (unknown.expose().to_owned(), "directory", "unknown", Some("session_not_found")),
            (a, "token", "unknown", Some("forged_token")),
            (f, "token", "unknown", None),
            (String::new(), "token", "unknown", Some("malformed_cookie")),
            (format!("{name}=a; {name}=b"), "cookie", "unknown", Some("conflicting_cookies")),
            ("a=b; c=d".to_owned(), "cookie", "unknown", Some("no_cookie")),
            ("\u{7}".to_owned(), "token", "unknown", Some("malformed_cookie")),
        ] {
            let (steps, trial) = tried(&world, &snapshot, &cookie).await;
            let before_decision = steps.iter().rev().find(|step| **step != "decision").unwrap();
            assert_eq!(trial.outcome, outcome, "{last}");
            assert!(last == "decision" || *before_decision == last, "{steps:?}");
            assert!(code.is_none() || trial.code == code, "{:?}", trial.code);
            let shown = serde_json::to_string(&trial).unwrap();
            assert!(!shown.contains(token.expose()) && !shown.contains(unknown.expose()));
        }
        let (_, trial) = tried(&world, &snapshot, token.expose()).await;
        assert_eq!(trial.request.unwrap().cases[0].code, Some("role_missing"));
        world.directory.break_all(Fails);
        let (_, trial) = tried(&world, &snapshot, token.expose()).await;
        assert_eq!((trial.outcome, trial.code), ("undetermined", Some("store_unavailable")));
        assert_eq!(Arc::strong_count(&world.directory), 1);
    }
}
