//! Judges what concerns our own endpoints: anti-forgery tokens, aliases, limits of settings.

use super::Judge;
use crate::config::problem::shown;
use crate::config::raw::own as written;
use crate::config::raw::own::FieldKind;
use crate::keys::Key;
use crate::lifecycle::settings::{Field, Kind, Schema};
use crate::policy::own::{lines, named};
use crate::policy::route::RouteTable;
use crate::policy::route::alias::{Alias, Aliases};
use crate::session::csrf;

/// More would have to be read and written whole for every field that changes.
const LARGEST_SETTINGS: usize = 1024 * 1024;

impl Judge<'_> {
    pub(super) fn csrf(&mut self, raw: &written::Csrf, keys: &[Key]) -> csrf::Settings {
        let secret = raw.application_secret.as_ref();
        let secret = secret.and_then(|source| self.secret("csrf.application_secret", source));
        let lifetime = raw.application_lifetime.0;
        csrf::Settings {
            keys: keys.to_vec(),
            lifetime: raw.lifetime.0,
            seeds: secret.map(|secret| csrf::Seeds { secret, lifetime }),
        }
    }

    /// Aliases, none of which takes what a route, another alias or the reserved path serves as well.
    pub(super) fn aliases(&mut self, raw: &[written::Alias], routes: &RouteTable, reserved: &str) -> Aliases {
        let mut aliases: Vec<Alias> = Vec::with_capacity(raw.len());
        for (index, raw) in raw.iter().enumerate() {
            let (Some(path), Some(endpoint)) = (&raw.path, &raw.endpoint) else { continue };
            let (at, of) = (format!("alias[{index}].path"), format!("alias[{index}].endpoint"));
            let Some(line) = named(endpoint) else {
                let names = lines().iter().map(|line| line.name);
                let near = names
                    .max_by(|one, two| strsim::jaro(one, endpoint).total_cmp(&strsim::jaro(two, endpoint)));
                let problem = self.problem(&of, "there is no such endpoint").found(shown(endpoint));
                self.tell(problem.hint(format!("did you mean `{}`?", near.unwrap_or_default())));
                continue;
            };
            let alias = Alias { path: path.trim_end_matches('/').to_owned(), endpoint: line.name };
            let parameters = path.split('/').filter(|segment| segment.starts_with('{')).count();
            let plain = path.replace(['{', '}'], "");
            if !super::routes::is_canonical_path(&plain) || path.starts_with(reserved) || path.len() < 2 {
                let problem = self.problem(&at, "this cannot be the path of an alias").found(shown(path));
                self.tell(
                    problem.expected("a path outside the reserved one, such as \"/api/session/state\""),
                );
            } else if parameters != usize::from(line.has_parameter()) {
                let problem = self.problem(&at, "the path does not give the endpoint what it asks for");
                let expected =
                    if line.has_parameter() { "one segment `{id}`" } else { "no segment in braces" };
                self.tell(problem.found(shown(path)).expected(expected));
            } else if let Some(route) = routes.routes().iter().find(|route| alias.meets(route)) {
                let problem = self.problem(&at, format!("the alias overlaps the route `{}`", route.name));
                self.tell(problem.found(shown(path)).expected("a path that no route has"));
            } else if aliases.iter().any(|other| alias.meets_alias(other)) {
                let problem = self.problem(&at, "two aliases match the same requests").found(shown(path));
                self.tell(problem.expected("one endpoint for each path and method"));
            } else {
                aliases.push(alias);
            }
        }
        Aliases::new(aliases)
    }

    pub(super) fn user_settings(&mut self, raw: &written::UserSettings) -> Schema {
        let bytes = raw.size.as_usize();
        if !(2..=LARGEST_SETTINGS).contains(&bytes) {
            self.tell(
                self.problem("settings.size", "`settings.size` is out of range")
                    .found(format!("{bytes} bytes"))
                    .expected("2B to 1MiB"),
            );
        }
        let mut fields: Vec<Field> = Vec::with_capacity(raw.field.len());
        for (index, raw) in raw.field.iter().enumerate() {
            let key = format!("settings.field[{index}]");
            let Some(field) = field(raw) else { continue };
            if field.name.is_empty() || fields.iter().any(|other| other.name == field.name) {
                let problem =
                    self.problem(&format!("{key}.name"), "this field is named twice, or not at all");
                self.tell(problem.found(shown(&field.name)).expected("a name of its own for each field"));
            }
            if let (Some(min), Some(max)) = (field.min, field.max)
                && min > max
            {
                let problem = self.problem(&format!("{key}.min"), "`min` is larger than `max`");
                self.tell(problem.found(min.to_string()).expected(format!("at most {max}")));
            }
            let unfit = |value: &serde_json::Value| !field.fits(value);
            if let Some(default) = field.default.as_ref().filter(|default| unfit(default)) {
                let problem = self.problem(&format!("{key}.default"), "the default is not allowed itself");
                self.tell(problem.found(default.to_string()).expected("a value that fits the field"));
            }
            if let Some(choice) = field.choices.iter().find(|choice| unfit(choice)) {
                let problem = self.problem(&format!("{key}.enum"), "this choice does not fit its own field");
                self.tell(
                    problem.found(choice.to_string()).expected("values that fit `type`, `min` and `max`"),
                );
            }
            fields.push(field);
        }
        Schema { fields, bytes }
    }
}

/// A field as it is judged; `None` when its kind or name is missing, which the schema has told.
fn field(raw: &written::SettingsField) -> Option<Field> {
    let kind = match raw.kind? {
        FieldKind::Boolean => Kind::Boolean,
        FieldKind::Integer => Kind::Integer,
        FieldKind::Number => Kind::Number,
        FieldKind::String => Kind::Text,
        FieldKind::Any => Kind::Any,
    };
    Some(Field {
        name: raw.name.clone()?,
        kind,
        min: raw.min,
        max: raw.max,
        choices: raw.choices.clone(),
        default: raw.default.clone(),
    })
}
