//! From the rows of the operator's queries to entities. Every column may be NULL as far as the server says.

use serde_json::Value;
use sqlx::FromRow;

use crate::clock::Timestamp;
use crate::context::{PasswordKeys, Platform, SealedCredential, User};
use crate::directory::{Pair, TableSession};
use crate::secret::Secret;

#[derive(FromRow)]
pub(super) struct UserRow {
    id: Option<String>,
    name: Option<String>,
    roles: Option<Value>,
    active: Option<bool>,
    sessions_valid_after: Option<i64>,
    password: Option<String>,
}

#[derive(FromRow)]
pub(super) struct PlatformRow {
    id: Option<String>,
    user_id: Option<String>,
    #[sqlx(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    url: Option<String>,
    active: Option<bool>,
    is_default: Option<bool>,
    credential: Option<String>,
}

/// Settings or figures: the column has the name of what it is.
pub(super) struct ValueRow {
    user_id: Option<String>,
    platform_id: Option<String>,
    value: Option<Value>,
}

#[derive(FromRow)]
pub(super) struct SessionColumns {
    id: Option<String>,
    expires: Option<i64>,
    data: Option<Vec<u8>>,
    user_id: Option<String>,
    platform_id: Option<String>,
    created: Option<i64>,
}

impl<'r> FromRow<'r, sqlx::postgres::PgRow> for ValueRow {
    fn from_row(row: &'r sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row;
        // In the order of the shape: user, platform, value.
        Ok(Self { user_id: row.try_get(0)?, platform_id: row.try_get(1)?, value: row.try_get(2)? })
    }
}

type Read<T> = Result<T, &'static str>;

/// Several rows of one user, as a join gives them, are one user with the roles of all. Of the password only marks are kept.
pub(super) fn users(rows: Vec<UserRow>, keys: &PasswordKeys) -> Read<Vec<User>> {
    let mut users: Vec<User> = Vec::with_capacity(rows.len());
    let mut places = std::collections::HashMap::new();
    for row in rows {
        let id = needed(row.id, "column `id` of a row is NULL, expected a value")?;
        let id = id
            .parse()
            .map_err(|_| "column `id` of a row is no id: 1 to 128 bytes without control characters")?;
        let roles = roles(row.roles)?;
        let password = row.password.map(|text| Secret::new(text.into_bytes()));
        let place = *places.entry(id).or_insert_with_key(|id: &crate::context::UserId| {
            users.push(User {
                id: id.clone(),
                name: Box::default(),
                roles: Vec::new(),
                active: true,
                sessions_valid_after: None,
                // Python's text for NULL, which is what Django would take it for.
                passwords: keys.marks(password.as_ref().map_or(b"None", Secret::expose)),
            });
            users.len() - 1
        });
        let user = &mut users[place];
        user.name = row.name.unwrap_or_default().into();
        user.active &= needed(row.active, "column `active` of a row is NULL, expected true or false")?;
        user.sessions_valid_after = user.sessions_valid_after.max(row.sessions_valid_after.map(moment));
        for role in roles {
            if !user.roles.contains(&role) {
                user.roles.push(role);
            }
        }
    }
    Ok(users)
}

/// One role, several with commas between them, or a list.
fn roles(found: Option<Value>) -> Read<Vec<String>> {
    let one = |value: Value| match value {
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Null => Ok(None),
        _ => Err("column `roles` of a row holds something that is no role, expected texts"),
    };
    match found {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.into_iter().filter_map(|item| one(item).transpose()).collect(),
        Some(Value::String(text)) => {
            let parts = text.split(',').map(str::trim).filter(|role| !role.is_empty());
            Ok(parts.map(str::to_owned).collect())
        }
        Some(single) => Ok(one(single)?.into_iter().collect()),
    }
}

pub(super) fn platforms(rows: Vec<PlatformRow>) -> Read<Vec<Platform>> {
    rows.into_iter()
        .map(|row| {
            let id = needed(row.id, "column `id` of a row is NULL, expected a value")?;
            let user = needed(row.user_id, "column `user_id` of a row is NULL, expected a value")?;
            Ok(Platform {
                id: id.parse().map_err(|_| "column `id` of a row is no id of a platform")?,
                user: user.parse().map_err(|_| "column `user_id` of a row is no id of a user")?,
                kind: row.kind.unwrap_or_default().into(),
                name: row.name.unwrap_or_default().into(),
                url: row.url.unwrap_or_default().into(),
                active: needed(row.active, "column `active` of a row is NULL, expected true or false")?,
                default: needed(
                    row.is_default,
                    "column `is_default` of a row is NULL, expected true or false",
                )?,
                credential: row.credential.map(SealedCredential::from_text),
            })
        })
        .collect()
}

/// Per user the default first, then by name, whatever order the query has.
pub(super) fn default_first(platforms: &mut [Platform]) {
    platforms.sort_by(|one, other| {
        let key = |platform: &Platform| (platform.user.clone(), !platform.default);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.name.as_bytes().cmp(other.name.as_bytes()))
            .then_with(|| one.id.as_str().cmp(other.id.as_str()))
    });
}

pub(super) fn values(rows: Vec<ValueRow>) -> Read<Vec<(Pair, Value)>> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let user = needed(row.user_id, "column `user_id` of a row is NULL, expected a value")?;
        let platform = needed(row.platform_id, "column `platform_id` of a row is NULL, expected a value")?;
        let user = user.parse().map_err(|_| "column `user_id` of a row is no id of a user")?;
        let platform =
            platform.parse().map_err(|_| "column `platform_id` of a row is no id of a platform")?;
        let value = needed(row.value, "the value of a row is NULL, expected json")?;
        values.push(((user, platform), value));
    }
    Ok(values)
}

pub(super) fn sessions(rows: Vec<SessionColumns>) -> Read<Vec<TableSession>> {
    rows.into_iter()
        .map(|row| {
            let id = needed(row.id, "column `id` of a row is NULL, expected a value")?;
            let ends = needed(row.expires, "column `expires` of a row is NULL, expected a moment")?;
            Ok(TableSession {
                key: Secret::from(id.as_str()),
                ends: moment(ends),
                data: row.data,
                user: row.user_id,
                platform: row.platform_id,
                created: row.created.map(moment),
            })
        })
        .collect()
}

fn needed<T>(found: Option<T>, why: &'static str) -> Read<T> {
    found.ok_or(why)
}

/// What lies before 1970 was over before anything here began.
fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
}
