//! The admin listener as an `OpenAPI` 3.1 document, made from one table and from the types that are answered and read. A
//! test holds the table against what is served, another one holds docs/admin-openapi.json against this.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::console::overview::Overview;
use super::documents as doc;
use super::input::LARGEST_LIMIT;
use super::problem::Fault;
use super::status::Status;
use super::trial::Trial;
use crate::endpoints::reload::ReportView;
use crate::signing::jwks::Jwks;

type Schema = fn(&mut SchemaGenerator) -> Value;

/// One thing that can be asked for.
struct Line {
    method: &'static str,
    /// A segment in braces is a parameter.
    path: &'static str,
    summary: &'static str,
    /// Parameters of the query.
    query: &'static [&'static str],
    reads: Option<Schema>,
    /// Statuses and documents beside problems.
    answers: &'static [(u16, Schema)],
    /// What can be wrong beside what can be wrong with every request.
    faults: &'static [Fault],
}

const PAGE: &[&str] = &["limit", "cursor"];
const ONE: &[Fault] = &[Fault::SessionNotFound, Fault::AmbiguousId, Fault::Undetermined];
const UNSURE: &[Fault] = &[Fault::Undetermined];
const INVALIDATED: &[(u16, Schema)] = &[(200, of::<doc::Invalidated>)];

/// Below `/v1/` everything needs the token; nothing else does.
const LINES: &[Line] = &[
    get("/live", "Whether the process works", &[(200, health)]),
    get("/ready", "Whether new requests should be sent here", &[(200, health), (503, health)]),
    get("/.well-known/jwks.json", "The public keys of signatures and JWTs", &[(200, object)]),
    get("/v1/status", "How this proxy is doing", &[(200, of::<Status>)]),
    get("/v1/overview", "What the page for people shows", &[(200, of::<Overview>)]),
    get("/v1/config", "The configuration in force, without secrets", &[(200, object)]),
    get("/v1/reload", "What the last reading of the configuration came to", &[(200, of::<ReportView<'_>>)]),
    Line {
        answers: &[(200, of::<ReportView<'_>>), (409, of::<ReportView<'_>>), (503, object)],
        ..post("/v1/reload", "Has the configuration read again; 409 when the one before stays in force", &[])
    },
    Line {
        query: &["user", "limit", "cursor"],
        faults: UNSURE,
        ..get("/v1/sessions", "Sessions that have not ended, newest first", &[(200, of::<doc::SessionsPage>)])
    },
    Line {
        reads: Some(of::<doc::NewSession>),
        faults: &[Fault::Impossible, Fault::Conflict, Fault::Undetermined],
        ..post("/v1/sessions", "Begins a session; the only answer with a token", &[(201, of::<doc::Created>)])
    },
    Line {
        faults: ONE,
        ..get(
            "/v1/sessions/{id}",
            "One session, ended or not, wherever it is known",
            &[(200, of::<doc::FoundSession>)],
        )
    },
    Line {
        faults: ONE,
        ..delete(
            "/v1/sessions/{id}",
            "Ends a session with those that a rotation joined to it; 202 until the directory is back",
            &[(200, of::<doc::EndedSession>), (202, of::<doc::EndedSession>)],
        )
    },
    Line {
        query: PAGE,
        faults: UNSURE,
        ..get("/v1/users/{user}/sessions", "The sessions of a user", &[(200, of::<doc::SessionsPage>)])
    },
    Line {
        faults: &[Fault::UserNotFound, Fault::Undetermined],
        ..delete(
            "/v1/users/{user}/sessions",
            "Ends all sessions of a user; 202 until the directory is back",
            &[(200, of::<doc::EndedUser>), (202, of::<doc::EndedUser>)],
        )
    },
    invalidate("/v1/users/{user}/invalidate", "Has a user read again, with all that hangs on it"),
    invalidate("/v1/users/{user}/settings/{platform}/invalidate", "Has settings read again"),
    invalidate("/v1/users/{user}/stats/{platform}/invalidate", "Has statistics read again"),
    Line {
        faults: UNSURE,
        ..post(
            "/v1/platforms/{platform}/clear",
            "Clears a platform from every session that chose it",
            &[(200, of::<doc::ClearedPlatform>)],
        )
    },
    invalidate("/v1/platforms/{platform}/invalidate", "Has a platform read again"),
    Line {
        query: &["user", "since", "limit", "cursor"],
        faults: UNSURE,
        ..get("/v1/audit", "The audit log, newest first", &[(200, of::<doc::AuditLogPage>)])
    },
    Line {
        reads: Some(of::<doc::Question>),
        faults: UNSURE,
        ..post("/v1/explain", "Which route, which requirement, what it comes to", &[(200, of::<doc::Told>)])
    },
    Line {
        reads: Some(of::<doc::CookieToTry>),
        ..post(
            "/v1/test-session",
            "What this proxy sees of a cookie, without side effects",
            &[(200, of::<Trial>)],
        )
    },
    get("/v1/openapi.json", "This interface as an OpenAPI document", &[(200, object)]),
];

const fn line(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    answers: &'static [(u16, Schema)],
) -> Line {
    Line { method, path, summary, query: &[], reads: None, answers, faults: &[] }
}

const fn get(path: &'static str, summary: &'static str, answers: &'static [(u16, Schema)]) -> Line {
    line("get", path, summary, answers)
}

const fn post(path: &'static str, summary: &'static str, answers: &'static [(u16, Schema)]) -> Line {
    line("post", path, summary, answers)
}

const fn delete(path: &'static str, summary: &'static str, answers: &'static [(u16, Schema)]) -> Line {
    line("delete", path, summary, answers)
}

const fn invalidate(path: &'static str, summary: &'static str) -> Line {
    Line { faults: UNSURE, ..post(path, summary, INVALIDATED) }
}

impl Line {
    fn needs_token(&self) -> bool {
        self.path.starts_with("/v1/")
    }

    /// The media type of its documents.
    fn kind(&self) -> &'static str {
        if self.path.ends_with("jwks.json") { Jwks::CONTENT_TYPE } else { "application/json" }
    }

    /// Names in braces.
    fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }

    /// What can be wrong.
    fn all_faults(&self) -> impl Iterator<Item = Fault> {
        let groups: [(bool, &[Fault]); 6] = [
            (true, &[Fault::MalformedRequest, Fault::Misdirected]),
            (
                self.needs_token(),
                &[
                    Fault::TokenNeeded,
                    Fault::ApiOff,
                    Fault::ForeignOrigin,
                    Fault::InvalidParameter,
                    Fault::Starting,
                ],
            ),
            (self.method == "post", &[Fault::NotJson, Fault::BodyTooLarge, Fault::BodyMissing]),
            (self.reads.is_some(), &[Fault::MalformedJson, Fault::InvalidBody]),
            // An empty segment, or one that a client takes for a step up.
            (self.parameters().next().is_some(), &[Fault::NotThere, Fault::MethodNotAllowed]),
            (true, self.faults),
        ];
        groups.into_iter().filter(|(applies, _)| *applies).flat_map(|(_, faults)| faults.iter().copied())
    }
}

/// The description as docs/admin-openapi.json holds it.
#[must_use]
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&describe()).unwrap_or_default();
    text.push('\n');
    text
}

/// The description of what the admin listener serves to programs.
#[must_use]
pub fn describe() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for line in LINES {
        let path = paths.entry(line.path).or_insert_with(|| json!({}));
        path[line.method] = operation(line, &mut schemas);
    }
    let mut components = schemas.take_definitions(true);
    components.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign: admin API",
            "version": "1",
            "description": "What operators may ask of one proxy, on its admin listener. Besides what is listed it serves \
                            `/metrics` and a page for people.",
        },
        "servers": [{ "url": "http://127.0.0.1:9901" }],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(line: &Line, schemas: &mut SchemaGenerator) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    for status in statuses(line) {
        let codes: Vec<&str> = line.all_faults().filter(|f| f.status() == status).map(Fault::code).collect();
        let document = line.answers.iter().find(|(of, _)| *of == status);
        let mut content: Map<String, Value> = Map::new();
        if let Some((_, schema)) = document {
            content.insert(line.kind().into(), json!({ "schema": schema(schemas) }));
        }
        if !codes.is_empty() {
            let problem = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
            content.insert("application/problem+json".into(), problem);
        }
        let description = if codes.is_empty() { "Done.".to_owned() } else { codes.join(", ") };
        responses.insert(status.to_string(), json!({ "description": description, "content": content }));
    }
    let mut operation = json!({
        "operationId": format!("{}{}", line.method, line.path.replace(['/', '.', '_'], "-").replace(['{', '}'], "")),
        "summary": line.summary,
        "responses": responses,
    });
    let in_path = line.parameters().map(|name| parameter(name, "path"));
    let parameters: Vec<Value> =
        in_path.chain(line.query.iter().map(|name| parameter(name, "query"))).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = line.reads {
        let content = json!({ "application/json": { "schema": schema(schemas) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if line.needs_token() {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

fn statuses(line: &Line) -> Vec<u16> {
    let mut all: Vec<u16> = line.answers.iter().map(|(status, _)| *status).collect();
    all.extend(line.all_faults().map(Fault::status));
    all.sort_unstable();
    all.dedup();
    all
}

fn parameter(name: &str, place: &str) -> Value {
    let schema = match name {
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT }),
        "since" => json!({ "type": "string", "format": "date-time", "description": "RFC 3339, in UTC" }),
        "cursor" => json!({ "type": "string", "minLength": 1, "description": "`next` of the page before" }),
        "id" => {
            json!({ "type": "string", "minLength": 1, "description": "A whole id, or at least six characters" })
        }
        _ => json!({ "type": "string", "minLength": 1, "maxLength": 128 }),
    };
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn object(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "object" })
}

fn health(_: &mut SchemaGenerator) -> Value {
    json!({ "type": "object", "required": ["status"], "properties": { "status": { "type": "string" } } })
}

fn problem() -> Value {
    let codes: Vec<&str> = Fault::ALL.iter().map(|fault| fault.code()).collect();
    json!({
        "type": "object",
        "description": "RFC 9457. `code` is stable; docs/admin-api.md says what to do about each.",
        "required": ["type", "title", "status", "code", "next", "request_id"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "code": { "enum": codes },
            "next": { "type": "string" },
            "detail": { "type": "string" },
            "request_id": { "type": "string" },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use http::Method;

    use super::super::input::Resource;
    use super::*;

    #[test]
    fn what_is_described_is_served_and_what_is_served_is_described() {
        let mut described: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for line in LINES.iter().filter(|line| line.needs_token() && line.path != "/v1/reload") {
            described.entry(line.path).or_default().insert(line.method.to_uppercase());
        }
        for (path, methods) in described {
            let example = path.replace("{user}", "1").replace("{platform}", "2").replace("{id}", "abcdef");
            let resource = Resource::parse(example.trim_start_matches("/v1/")).unwrap();
            assert!(
                methods.iter().all(|method| resource.serves(&method.parse::<Method>().unwrap())),
                "{path}"
            );
            let served = resource.methods().split(", ").filter(|method| *method != "HEAD");
            assert_eq!(served.map(str::to_owned).collect::<BTreeSet<_>>(), methods, "{path}");
        }
        // Of each kind one; whoever adds a kind meets this list.
        let paths: BTreeSet<&str> = LINES.iter().map(|line| line.path).collect();
        assert_eq!(
            paths.len(),
            LINES.len() - 4,
            "sessions, one session, a user's sessions and reload have two methods"
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_used_once() {
        let described = describe();
        let text = described.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 40);
        for reference in references {
            assert!(described.pointer(reference).is_some(), "{reference}");
        }
        let names: Vec<&str> = text.split("\"operationId\":\"").skip(1).collect();
        let names: BTreeSet<&str> = names.iter().filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(names.len(), LINES.len());
    }
}
