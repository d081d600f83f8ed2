//! A user's settings for a platform change: read, merged and checked, then written only over what was read, so that
//! two pages which change different fields at once both get through. The directory first, then the store, then copies.

use serde_json::{Map, Value};

use super::{ATTEMPTS, Lifecycle, LifecycleError, Origin};
use crate::cache::Invalidate;
use crate::context::{PlatformId, Session, UserId};
use crate::directory::{AuditEntry, Change};
use crate::store::EntityKey;

/// What settings may be. Fields that are not named here are kept as they come.
#[derive(Clone, PartialEq, Debug)]
pub struct Schema {
    /// Fields that are checked.
    pub fields: Vec<Field>,
    /// The largest size of all settings together, as JSON, in bytes (16 KiB).
    pub bytes: usize,
}

/// One field of the settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The least number, or length of a text.
    pub min: Option<f64>,
    /// The largest number, or length of a text.
    pub max: Option<f64>,
    /// The only values that are allowed; empty allows all.
    pub choices: Vec<Value>,
    /// What holds where nothing was set.
    pub default: Option<Value>,
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A text.
    Text,
    /// Anything.
    Any,
}

/// What is to be done with settings.
#[derive(Clone, PartialEq, Debug)]
pub enum SettingsChange {
    /// What is named changes, `null` removes, everything else stays (RFC 7396).
    Merge(Map<String, Value>),
    /// Nothing of the old stays.
    Replace(Map<String, Value>),
}

/// A field that is not as it has to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    /// Its name, which is one of the configuration's.
    pub field: String,
    /// What was expected.
    pub expected: String,
}

/// Why settings were not changed. Nothing was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// These fields are not as they have to be.
    Misfits(Vec<Misfit>),
    /// All together would be larger than this many bytes.
    TooLarge(usize),
    /// As for every other change.
    Refused(LifecycleError),
}

impl From<LifecycleError> for SettingsError {
    fn from(error: LifecycleError) -> Self {
        Self::Refused(error)
    }
}

impl Schema {
    /// Every field that does not fit, by name.
    #[must_use]
    pub fn misfits(&self, settings: &Map<String, Value>) -> Vec<Misfit> {
        let judge = |field: &Field| {
            let value = settings.get(&field.name)?;
            (!field.fits(value)).then(|| Misfit { field: field.name.clone(), expected: field.expected() })
        };
        self.fields.iter().filter_map(judge).collect()
    }

    /// Settings as a front end sees them: the defaults where nothing was set.
    #[must_use]
    pub fn complete(&self, stored: Option<Value>) -> Map<String, Value> {
        let mut settings = object(stored);
        for field in &self.fields {
            if let Some(default) = &field.default {
                settings.entry(field.name.clone()).or_insert_with(|| default.clone());
            }
        }
        settings
    }
}

impl Field {
    /// Whether the field may hold this value.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        let within =
            |size: f64| self.min.is_none_or(|min| size >= min) && self.max.is_none_or(|max| size <= max);
        let of_kind = match self.kind {
            Kind::Boolean => value.is_boolean(),
            Kind::Integer => (value.is_i64() || value.is_u64()) && value.as_f64().is_some_and(within),
            Kind::Number => value.as_f64().is_some_and(within),
            Kind::Text => value.as_str().is_some_and(|text| within(length(text))),
            Kind::Any => true,
        };
        of_kind && (self.choices.is_empty() || self.choices.contains(value))
    }

    fn expected(&self) -> String {
        if !self.choices.is_empty() {
            return format!("one of {}", Value::from(self.choices.clone()));
        }
        let what = match self.kind {
            Kind::Boolean => "true or false",
            Kind::Integer => "a whole number",
            Kind::Number => "a number",
            Kind::Text => "a text",
            Kind::Any => "a value",
        };
        let unit = if self.kind == Kind::Text { " characters" } else { "" };
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{what} from {min} to {max}{unit}"),
            (Some(min), None) => format!("{what} of at least {min}{unit}"),
            (None, Some(max)) => format!("{what} of at most {max}{unit}"),
            (None, None) => what.to_owned(),
        }
    }
}

impl Lifecycle {
    /// Changes the settings of the session's user for one of their platforms. Answers them as they stand, from then on
    /// served so by this process.
    ///
    /// # Errors
    /// `Misfits` or `TooLarge` for what `schema` does not allow; `NO_SUCH_PLATFORM` or `PLATFORM_INACTIVE`; `Conflict`
    /// when others kept changing the same settings, `Undetermined` when the directory could not say. Nothing was
    /// written then.
    pub async fn change_settings(
        &self,
        session: &Session,
        platform: &PlatformId,
        change: &SettingsChange,
        schema: &Schema,
        origin: &Origin,
    ) -> Result<Value, SettingsError> {
        let user = &session.user;
        self.own_platform(user, platform).await?;
        let line = origin.line_about("settings_changed", session, self.clock.now());
        let line = AuditEntry { platform: Some(platform.clone()), ..line };
        for _ in 0..ATTEMPTS {
            let before = self.stored_settings(user, platform).await?;
            let after = change.apply(before.clone(), schema)?;
            let written =
                self.directory.replace_settings(user, platform, before.as_ref(), &after, Some(&line)).await;
            match written.map_err(LifecycleError::from)? {
                Change::Done(()) => {
                    self.tell_settings(user, platform).await;
                    self.announce_settings(user, platform).await;
                    return Ok(after);
                }
                Change::Gone => return Err(super::NO_SUCH_PLATFORM.into()),
                Change::Conflict => {}
            }
        }
        Err(LifecycleError::Conflict.into())
    }

    async fn stored_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
    ) -> Result<Option<Value>, LifecycleError> {
        let pair = (user.clone(), platform.clone());
        let found = self.directory.settings_of(std::slice::from_ref(&pair)).await?;
        Ok(found.into_iter().find(|(of, _)| *of == pair).map(|(_, settings)| settings))
    }

    /// Drops what is cached. What the store could not be told, the directory's own word will tell.
    async fn tell_settings(&self, user: &UserId, platform: &PlatformId) {
        self.copies.user_settings(user, platform);
        let key = EntityKey::UserSettings(user.clone(), platform.clone());
        let told = self.store.forget(std::slice::from_ref(&key)).await;
        self.note_telling("entities", told);
        self.copies.user_settings(user, platform);
    }
}

impl SettingsChange {
    fn apply(&self, before: Option<Value>, schema: &Schema) -> Result<Value, SettingsError> {
        let (named, after) = match self {
            Self::Replace(settings) => (settings, settings.clone()),
            Self::Merge(patch) => {
                let mut after = object(before);
                merge(&mut after, patch);
                (patch, after)
            }
        };
        // What the application wrote itself, and nobody changes now, is not judged.
        let mut misfits = schema.misfits(&after);
        misfits.retain(|misfit| named.contains_key(&misfit.field));
        if !misfits.is_empty() {
            return Err(SettingsError::Misfits(misfits));
        }
        let after = Value::Object(after);
        if after.to_string().len() > schema.bytes {
            return Err(SettingsError::TooLarge(schema.bytes));
        }
        Ok(after)
    }
}

/// RFC 7396, section 2. As deep as the patch, whose depth its parser bounds (128).
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(inner) => {
                let place = target.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                if let Value::Object(place) = place {
                    merge(place, inner);
                }
            }
            _ => {
                target.insert(name.clone(), value.clone());
            }
        }
    }
}

fn object(stored: Option<Value>) -> Map<String, Value> {
    match stored {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Characters of a text; a number of this size is exact.
#[expect(clippy::cast_precision_loss, reason = "texts are far shorter than 2^52")]
fn length(text: &str) -> f64 {
    text.chars().count() as f64
}

#[cfg(test)]
mod tests;
