//! Our endpoints as an `OpenAPI` 3.1 document, made from the table of `policy::own` and the types in `documents`, so that
//! it cannot say anything else than what is served.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::documents as doc;
use crate::endpoints::own_answer;
use crate::policy::own::{Audience, Endpoint, Line, lines};
use crate::reason::Reason;
use crate::signing::jwks::Jwks;

/// The description as an answer; `cookie` is the name of the session cookie.
#[must_use]
pub fn answer(reserved: &str, cookie: &str) -> Response<Bytes> {
    let body = Bytes::from(describe(reserved, cookie).to_string());
    own_answer(StatusCode::OK, "description", "application/json", body)
}

/// The cookie's name in docs/openapi.json: the default where browsers speak https.
const USUAL_COOKIE: &str = "__Host-session";

/// The description as docs/openapi.json holds it.
#[must_use]
pub fn text() -> String {
    let described = describe("/.countersign/", USUAL_COOKIE);
    let mut text = serde_json::to_string_pretty(&described).unwrap_or_default();
    text.push('\n');
    text
}

/// The endpoints as docs/endpoints.md lists them.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "# Own endpoints\n\nMade from the code (`COUNTERSIGN_WRITE_DOCS=1 cargo test -p countersign --lib openapi`). \
         Paths are below `reserved_path`; an `[[alias]]` names an endpoint. Whatever is not GET needs same-origin \
         evidence (`Sec-Fetch-Site`, else `Origin`) and the session's anti-forgery token in `x-csrf-token`; by an alias, \
         one of the two. Without a session the answer is 401; \
         where the table names no 401 it is 200, and the document says that nobody is logged in.\n\n\
         | Method | Path | Endpoint | What it does | Answers beside 200 |\n|---|---|---|---|---|\n",
    );
    for line in lines() {
        let codes: Vec<String> = reasons(line).map(|r| format!("{} `{}`", r.status(), r.code())).collect();
        let _ = writeln!(
            text,
            "| {} | `{}` | `{}` | {} | {} |",
            line.method,
            line.path,
            line.name,
            line.summary,
            codes.join(", ")
        );
    }
    text
}

/// The description of the endpoints below `reserved`, for whoever sends the session in `cookie`.
#[must_use]
pub fn describe(reserved: &str, cookie: &str) -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for line in lines() {
        let path = paths.entry(format!("/{}", line.path)).or_insert_with(|| json!({}));
        path[line.method.as_str().to_lowercase()] = operation(line, &mut schemas);
    }
    let mut components = schemas.take_definitions(true);
    components.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign: own endpoints",
            "version": "1",
            "description": "What pages of the applications behind the proxy may ask of it. Everything that changes \
                            something must come from the same origin and carry the anti-forgery token of the session.",
        },
        "servers": [{ "url": reserved.trim_end_matches('/') }],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": cookie },
                "csrf": { "type": "apiKey", "in": "header", "name": "x-csrf-token" },
            },
        },
    })
}

fn operation(line: &Line, schemas: &mut SchemaGenerator) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    let kind = match line.endpoint {
        Endpoint::Events => "text/event-stream",
        Endpoint::PublicKeys => Jwks::CONTENT_TYPE,
        _ => "application/json",
    };
    let document = json!({ kind: { "schema": schema_of(line.endpoint, schemas) } });
    if matches!(line.endpoint, Endpoint::SessionEnd | Endpoint::Logout | Endpoint::LogoutEverywhere) {
        let description = "In force, and durable as soon as the directory is back.";
        responses.insert("202".into(), json!({ "description": description, "content": document.clone() }));
    }
    responses.insert("200".into(), json!({ "description": "Done.", "content": document }));
    for status in problems(line) {
        let titles: Vec<&str> = reasons(line).filter(|r| r.status() == status).map(Reason::code).collect();
        let content =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        responses.insert(status.to_string(), json!({ "description": titles.join(", "), "content": content }));
    }
    let mut operation = json!({
        "operationId": format!("{}-{}", line.name, line.method.as_str().to_lowercase()),
        "summary": line.summary,
        "responses": responses,
    });
    if line.has_parameter() {
        operation["parameters"] = json!([{
            "name": "id", "in": "path", "required": true,
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        }]);
    }
    if line.body {
        let schema = match line.endpoint {
            Endpoint::PlatformSwitch => schemas.subschema_for::<doc::Choice>().to_value(),
            _ => json!({ "type": "object", "additionalProperties": true }),
        };
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if line.audience == Audience::Session {
        let csrf =
            if line.is_unsafe() { json!({ "session": [], "csrf": [] }) } else { json!({ "session": [] }) };
        operation["security"] = json!([csrf]);
    }
    operation
}

fn schema_of(endpoint: Endpoint, schemas: &mut SchemaGenerator) -> Value {
    fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
        schemas.subschema_for::<T>().to_value()
    }
    match endpoint {
        Endpoint::SessionState => of::<doc::SessionState>(schemas),
        Endpoint::SessionHeartbeat => of::<doc::KnownSession>(schemas),
        Endpoint::SessionValidate => of::<doc::Validity>(schemas),
        Endpoint::CsrfToken => of::<doc::Csrf>(schemas),
        Endpoint::Context => of::<doc::FrontEndContext>(schemas),
        Endpoint::Platforms => of::<doc::Platforms>(schemas),
        Endpoint::PlatformSwitch | Endpoint::PlatformClear => of::<doc::Switched>(schemas),
        Endpoint::Settings | Endpoint::SettingsChange | Endpoint::SettingsReplace => {
            of::<doc::Settings>(schemas)
        }
        Endpoint::Stats => of::<doc::Stats>(schemas),
        Endpoint::Sessions => of::<doc::Sessions>(schemas),
        Endpoint::SessionEnd | Endpoint::Logout | Endpoint::LogoutEverywhere => of::<doc::Ended>(schemas),
        Endpoint::Events => json!({ "type": "string", "description": "Server-sent events, or a WebSocket" }),
        Endpoint::PublicKeys | Endpoint::Description => json!({ "type": "object" }),
    }
}

/// What an endpoint can answer instead, by its line and its kind.
pub fn reasons(line: &Line) -> impl Iterator<Item = Reason> {
    let session = line.audience != Audience::Everybody;
    let platform = matches!(
        line.endpoint,
        Endpoint::Settings | Endpoint::SettingsChange | Endpoint::SettingsReplace | Endpoint::Stats
    );
    let switches = line.endpoint == Endpoint::PlatformSwitch;
    let changes = line.is_unsafe() && line.endpoint != Endpoint::SessionValidate;
    let groups: [(bool, &[Reason]); 13] = [
        (line.has_parameter(), &[Reason::AmbiguousPath]),
        (line.endpoint == Endpoint::PublicKeys, &[Reason::NoRoute]),
        (line.endpoint == Endpoint::Events, &[Reason::TooManyStreams, Reason::ForeignOrigin]),
        (switches, &[Reason::TooManySwitches]),
        (line.audience == Audience::Session, &[Reason::NoCookie, Reason::SessionEnded, Reason::SessionIdle]),
        (session, &[Reason::StoreUnavailable, Reason::StoreTimeout]),
        (
            line.is_unsafe(),
            &[
                Reason::OriginUnproven,
                Reason::ForeignOrigin,
                Reason::CsrfMissing,
                Reason::CsrfInvalid,
                Reason::CsrfExpired,
            ],
        ),
        (
            line.body,
            &[
                Reason::MalformedJson,
                Reason::BodyTooLarge,
                Reason::UnsupportedMediaType,
                Reason::InvalidFields,
            ],
        ),
        (platform && !line.has_parameter(), &[Reason::PlatformMissing, Reason::PlatformUnavailable]),
        (platform || switches, &[Reason::PlatformNotFound, Reason::PlatformInactive]),
        (changes, &[Reason::ReadOnlyDirectory, Reason::ChangedMeanwhile, Reason::ChangeUndetermined]),
        (platform && line.body, &[Reason::SettingsTooLarge]),
        (line.endpoint == Endpoint::SessionEnd, &[Reason::NoSuchSession, Reason::CurrentSession]),
    ];
    groups.into_iter().filter(|(applies, _)| *applies).flat_map(|(_, reasons)| reasons.iter().copied())
}

fn problems(line: &Line) -> Vec<u16> {
    let mut statuses: Vec<u16> = reasons(line).map(Reason::status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457. `code` is stable; docs/reasons.md lists all.",
        "required": ["type", "title", "status", "code", "request_id"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "type": "string" },
            "request_id": { "type": "string" },
            "detail": { "type": "string" },
            "line": { "type": "integer" },
            "column": { "type": "integer" },
            "limit_bytes": { "type": "integer" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": { "field": { "type": "string" }, "expected": { "type": "string" } },
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_pages_are_fresh() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for (name, text) in [("openapi.json", text()), ("endpoints.md", table())] {
            let page = docs.join(name);
            if std::env::var_os("COUNTERSIGN_WRITE_DOCS").is_some() {
                std::fs::write(&page, &text).unwrap();
            }
            let found = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(
                found == text,
                "docs/{name} is out of date: COUNTERSIGN_WRITE_DOCS=1 cargo test --lib openapi"
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let described = describe("/.countersign/", USUAL_COOKIE);
        let text = described.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20);
        for reference in references {
            assert!(described.pointer(reference).is_some(), "{reference}");
        }
    }
}
