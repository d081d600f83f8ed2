//! Ids are text everywhere but in the parameters of the operator's queries: there they are what the column is. A text that
//! no such id has is not there, which is no error. Nothing is rounded, cut or read in two ways.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, PgTypeKind, Postgres};
use sqlx::{Arguments, Type, TypeInfo};

use super::shape::base;

/// What a parameter is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parameter {
    kind: Kind,
    /// Whether it takes many at once.
    pub(super) is_array: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Int2,
    Int4,
    Int8,
    Text,
    Uuid,
}

impl Parameter {
    /// By the type that the server described; `None` for one that ids cannot be sent as.
    pub(super) fn of(described: &PgTypeInfo) -> Option<Self> {
        let described = base(described);
        let (element, is_array) = match described.kind() {
            PgTypeKind::Array(element) => (base(element), true),
            _ => (described, false),
        };
        let kind = match element.name() {
            "INT2" => Kind::Int2,
            "INT4" => Kind::Int4,
            "INT8" => Kind::Int8,
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" => Kind::Text,
            "UUID" => Kind::Uuid,
            _ => return None,
        };
        Some(Self { kind, is_array })
    }

    /// Whether there could be such an id.
    pub(super) fn takes(self, id: &str) -> bool {
        match self.kind {
            Kind::Int2 => whole::<i16>(id).is_some(),
            Kind::Int4 => whole::<i32>(id).is_some(),
            Kind::Int8 => whole::<i64>(id).is_some(),
            // The server refuses a NUL in text.
            Kind::Text => !id.contains('\0'),
            Kind::Uuid => Uuid::parse(id).is_some(),
        }
    }

    /// Adds ids that it takes: all of them, or the one that there is.
    pub(super) fn bind(self, arguments: &mut PgArguments, ids: &[&str]) -> Result<(), BoxDynError> {
        match self.kind {
            Kind::Int2 => self.add(arguments, ids, whole::<i16>),
            Kind::Int4 => self.add(arguments, ids, whole::<i32>),
            Kind::Int8 => self.add(arguments, ids, whole::<i64>),
            Kind::Text => self.add(arguments, ids, |id| Some(id.to_owned())),
            Kind::Uuid => self.add(arguments, ids, Uuid::parse),
        }
    }

    fn add<T>(
        self,
        arguments: &mut PgArguments,
        ids: &[&str],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<(), BoxDynError>
    where
        T: for<'q> Encode<'q, Postgres> + Type<Postgres> + PgHasArrayType + Send + 'static,
    {
        let mut values: Vec<T> = ids.iter().filter_map(|id| read(id)).collect();
        if self.is_array { arguments.add(values) } else { arguments.add(values.pop()) }
    }

    /// For people: `bigint[]`.
    pub(super) fn describe(self) -> String {
        let name = match self.kind {
            Kind::Int2 => "smallint",
            Kind::Int4 => "integer",
            Kind::Int8 => "bigint",
            Kind::Text => "text",
            Kind::Uuid => "uuid",
        };
        format!("{name}{}", if self.is_array { "[]" } else { "" })
    }
}

/// A whole number in its one spelling: `7`, not `07`, `+7` or `7.0`, which would be answered by another text.
fn whole<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    text.parse::<N>().ok().filter(|number| number.to_string() == text)
}

/// A UUID as the server takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Uuid([u8; 16]);

impl Uuid {
    /// In the one spelling in which the server answers it: small letters, with hyphens.
    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut uuid = [0; 16];
        let mut digits = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            uuid[digits / 2] = uuid[digits / 2] << 4 | digit;
            digits += 1;
        }
        Some(Self(uuid))
    }
}

/// `uuid` and `uuid[]` in the server's own catalogue (PostgreSQL, `pg_type.dat`).
const UUID: Oid = Oid(2950);
const UUID_ARRAY: Oid = Oid(2951);

impl Type<Postgres> for Uuid {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UUID)
    }
}

impl PgHasArrayType for Uuid {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UUID_ARRAY)
    }
}

impl Encode<'_, Postgres> for Uuid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(kind: Kind) -> Parameter {
        Parameter { kind, is_array: true }
    }

    #[test]
    fn a_text_that_no_such_id_has_is_never_sent() {
        for (kind, good, bad) in [
            (
                Kind::Int2,
                &["0", "-1", "32767"][..],
                &["32768", "", " 1", "1 ", "+1", "01", "1e3", "1.0", "٣"][..],
            ),
            (Kind::Int4, &["2147483647"], &["2147483648", "-0"]),
            (Kind::Int8, &["9223372036854775807", "-9223372036854775808"], &["9223372036854775808", "0x10"]),
            (
                Kind::Uuid,
                &["3f85fe62-0000-4000-8000-00000000002a"],
                &["3F85FE62-0000-4000-8000-00000000002A", "3f85fe6200004000800000000000002a", "42"],
            ),
            (Kind::Text, &["", "7", "ünï ☃:%"], &["a\0b"]),
        ] {
            for id in good {
                assert!(parameter(kind).takes(id), "{kind:?} {id}");
            }
            for id in bad {
                assert!(!parameter(kind).takes(id), "{kind:?} {id}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_an_integer_column_takes_is_that_very_text(text in "\\PC{0,24}|[-+0-9]{0,22}") {
            if let Some(number) = whole::<i64>(&text) {
                proptest::prop_assert_eq!(number.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics_as_a_uuid(text in "[0-9a-fA-F-]{30,40}|.{0,40}") {
            let _ = Uuid::parse(&text);
        }
    }
}
