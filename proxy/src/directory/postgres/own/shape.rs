//! What each query has to look like: its parameters, its columns, and how each column is made into something that is read
//! in one way. Tables only.

use sqlx::TypeInfo;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

/// What a query is for.
#[derive(Debug)]
pub(super) struct Shape {
    /// What its parameters are, in order.
    pub(super) parameters: &'static [&'static str],
    pub(super) columns: &'static [Column],
}

/// A column that a query answers.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) want: Want,
    pub(super) presence: Presence,
}

/// Whether a column may be left out or empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// It has to be there, and to have a value in every row.
    Needed,
    /// It may be left out, which means this; if it is there, it has a value in every row.
    Or(&'static str),
    /// It may be left out, and may be NULL.
    Optional,
}

/// What a column has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Id,
    Text,
    Truth,
    Roles,
    Json,
    Moment,
    Session,
}

const fn column(name: &'static str, want: Want, presence: Presence) -> Column {
    Column { name, want, presence }
}

/// The column that is asked for, and read, only where passwords are compared.
pub(super) const PASSWORD: &str = "password";

pub(super) static USER: Shape = Shape {
    parameters: &["the ids of users"],
    columns: &[
        column("id", Want::Id, Presence::Needed),
        column("name", Want::Text, Presence::Optional),
        column("roles", Want::Roles, Presence::Optional),
        column("active", Want::Truth, Presence::Or("true")),
        column("sessions_valid_after", Want::Moment, Presence::Optional),
        column(PASSWORD, Want::Text, Presence::Optional),
    ],
};

const PLATFORM_COLUMNS: &[Column] = &[
    column("id", Want::Id, Presence::Needed),
    column("user_id", Want::Id, Presence::Needed),
    column("type", Want::Text, Presence::Optional),
    column("name", Want::Text, Presence::Optional),
    column("url", Want::Text, Presence::Optional),
    column("active", Want::Truth, Presence::Or("true")),
    column("is_default", Want::Truth, Presence::Or("false")),
    column("credential", Want::Text, Presence::Optional),
];

pub(super) static PLATFORMS: Shape = Shape { parameters: &["the ids of users"], columns: PLATFORM_COLUMNS };

pub(super) static PLATFORM: Shape =
    Shape { parameters: &["the ids of platforms"], columns: PLATFORM_COLUMNS };

pub(super) static SETTINGS: Shape = Shape {
    parameters: &["the ids of users", "the ids of platforms"],
    columns: &[
        column("user_id", Want::Id, Presence::Needed),
        column("platform_id", Want::Id, Presence::Needed),
        column("settings", Want::Json, Presence::Needed),
    ],
};

pub(super) static STATS: Shape = Shape {
    parameters: &["the ids of users", "the ids of platforms"],
    columns: &[
        column("user_id", Want::Id, Presence::Needed),
        column("platform_id", Want::Id, Presence::Needed),
        column("stats", Want::Json, Presence::Needed),
    ],
};

pub(super) static SESSIONS: Shape = Shape {
    parameters: &["the keys of sessions"],
    columns: &[
        column("id", Want::Id, Presence::Needed),
        column("expires", Want::Moment, Presence::Needed),
        column("data", Want::Session, Presence::Optional),
        column("user_id", Want::Id, Presence::Optional),
        column("platform_id", Want::Id, Presence::Optional),
        column("created", Want::Moment, Presence::Optional),
    ],
};

impl Want {
    /// Whether a column of this type can be read so.
    pub(super) fn fits(self, kind: &PgTypeInfo) -> bool {
        let kind = base(kind);
        let name = kind.name();
        match self {
            Self::Id => is_text(kind) || matches!(name, "INT2" | "INT4" | "INT8" | "UUID"),
            Self::Text => is_text(kind) || is_enum(kind) || matches!(name, "INT2" | "INT4" | "INT8" | "UUID"),
            Self::Truth => name == "BOOL",
            Self::Roles => is_role(kind) || matches!(name, "JSON" | "JSONB") || is_list_of_roles(kind),
            Self::Json => matches!(name, "JSON" | "JSONB"),
            Self::Moment => matches!(name, "TIMESTAMPTZ" | "INT8"),
            Self::Session => is_text(kind) || matches!(name, "BYTEA" | "JSON" | "JSONB"),
        }
    }

    /// What is expected, for people.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Id => "an integer, uuid or text",
            Self::Text => "text",
            Self::Truth => "boolean",
            Self::Roles => "text (roles separated by commas), an array, or json (an array of texts)",
            Self::Json => "json or jsonb",
            Self::Moment => "timestamptz, or bigint (milliseconds since 1970)",
            Self::Session => "text, bytea, json or jsonb",
        }
    }

    /// What to write instead, where that can be known.
    pub(super) fn remedy(self, column: &str, kind: &PgTypeInfo) -> Option<String> {
        let name = base(kind).name();
        Some(match (self, name) {
            (Self::Truth, "INT2" | "INT4" | "INT8" | "NUMERIC") => {
                format!("write `{column} <> 0 AS {column}`")
            }
            (Self::Truth, _) if is_text(base(kind)) => {
                format!("write `{column} IN ('t', 'true', '1') AS {column}`, or whatever means yes there")
            }
            (Self::Moment, "TIMESTAMP") => {
                format!(
                    "write `{column} AT TIME ZONE 'UTC' AS {column}`, with the zone that the application writes in"
                )
            }
            (Self::Moment, "INT4") => {
                format!("write `to_timestamp({column}) AS {column}` if it counts seconds")
            }
            (Self::Json, _) if is_text(base(kind)) => format!("write `{column}::jsonb AS {column}`"),
            (Self::Id | Self::Text, _) => format!("write `{column}::text AS {column}`"),
            _ => return None,
        })
    }

    /// The column of the operator's query `q` as it is read.
    pub(super) fn projection(self, column: &str, kind: &PgTypeInfo) -> String {
        let name = base(kind).name();
        match self {
            Self::Id | Self::Text => format!("q.\"{column}\"::text"),
            Self::Truth => format!("q.\"{column}\"::boolean"),
            Self::Roles => format!("to_jsonb(q.\"{column}\")"),
            Self::Json => format!("q.\"{column}\"::jsonb"),
            Self::Moment if name == "INT8" => format!("q.\"{column}\"::bigint"),
            // Infinity has no epoch. Least and greatest pass over NULL, hence the case.
            Self::Moment => format!(
                "CASE WHEN q.\"{column}\" IS NOT NULL THEN (extract(epoch FROM greatest(timestamptz 'epoch', \
                 least(timestamptz '9999-12-31 23:59:59+00', q.\"{column}\"))) * 1000)::bigint END"
            ),
            Self::Session if name == "BYTEA" => format!("q.\"{column}\"::bytea"),
            Self::Session => format!("convert_to(q.\"{column}\"::text, 'UTF8')"),
        }
    }

    /// A column that is not there.
    pub(super) const fn nothing(self) -> &'static str {
        match self {
            Self::Id | Self::Text => "NULL::text",
            Self::Truth => "NULL::boolean",
            Self::Roles | Self::Json => "NULL::jsonb",
            Self::Moment => "NULL::bigint",
            Self::Session => "NULL::bytea",
        }
    }
}

/// A type without the domains around it.
pub(super) fn base(kind: &PgTypeInfo) -> &PgTypeInfo {
    let mut kind = kind;
    // Domains over domains are rare, and never many.
    for _ in 0..8 {
        match kind.kind() {
            PgTypeKind::Domain(inner) => kind = inner,
            _ => break,
        }
    }
    kind
}

fn is_text(kind: &PgTypeInfo) -> bool {
    let name = kind.name();
    matches!(name, "TEXT" | "VARCHAR" | "CHAR" | "NAME") || name.eq_ignore_ascii_case("citext")
}

fn is_enum(kind: &PgTypeInfo) -> bool {
    matches!(kind.kind(), PgTypeKind::Enum(_))
}

fn is_role(kind: &PgTypeInfo) -> bool {
    is_text(kind) || is_enum(kind) || matches!(kind.name(), "INT2" | "INT4" | "INT8" | "UUID")
}

fn is_list_of_roles(kind: &PgTypeInfo) -> bool {
    matches!(kind.kind(), PgTypeKind::Array(element) if is_role(base(element)))
}
