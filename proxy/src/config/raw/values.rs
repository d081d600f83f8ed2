//! The kinds of value that the file knows beyond TOML's own: each reads one text, and says what it looks like.
//! Whether a text fits its kind is asked through [`Format`] before serde reads it, so that all misfits are told at once.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use http::Method;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clock::Timestamp;

/// A kind of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// A length of time, not zero.
    Span,
    /// A length of time, or zero.
    SpanOrZero,
    /// A number of bytes.
    Size,
    /// A network.
    Cidr,
    /// An address with port.
    Address,
    /// A moment.
    Moment,
    /// A method of HTTP.
    Method,
}

impl Format {
    const ALL: [Self; 7] =
        [Self::Span, Self::SpanOrZero, Self::Size, Self::Cidr, Self::Address, Self::Moment, Self::Method];

    /// The format that a schema calls `name`.
    pub(crate) fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What a schema calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Span => "duration-text",
            Self::SpanOrZero => "duration-or-zero-text",
            Self::Size => "size-text",
            Self::Cidr => "cidr",
            Self::Address => "socket-address",
            Self::Moment => "date-time",
            Self::Method => "http-method",
        }
    }

    /// What is expected, for people.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Span => "a length of time above zero, such as \"250ms\", \"30s\", \"10m\" or \"1h 30m\"",
            Self::SpanOrZero => "a length of time such as \"0s\", \"10s\" or \"1m 30s\"",
            Self::Size => "a size such as \"512B\", \"8KiB\", \"10MiB\" or \"1GiB\"",
            Self::Cidr => "a network such as \"10.0.0.0/8\" or \"fd00::/8\", or one address",
            Self::Address => "an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8443\"",
            Self::Moment => "a moment with time zone, such as \"2026-11-01T00:00:00Z\"",
            Self::Method => "a method such as \"GET\", but neither TRACE nor CONNECT",
        }
    }

    /// Whether `text` is of this kind.
    pub(crate) fn fits(self, text: &str) -> bool {
        match self {
            Self::Span => parse_span(text).is_some_and(|span| !span.is_zero()),
            Self::SpanOrZero => parse_span(text).is_some(),
            Self::Size => parse_size(text).is_some(),
            Self::Cidr => parse_cidr(text).is_some(),
            Self::Address => text.parse::<SocketAddr>().is_ok(),
            Self::Moment => parse_moment(text).is_some(),
            Self::Method => parse_method(text).is_some(),
        }
    }

    fn schema(self) -> Schema {
        json_schema!({ "type": "string", "format": self.name() })
    }
}

/// A century: far beyond any use, far from where adding to a moment could overflow.
const LONGEST_SPAN: Duration = Duration::from_hours(100 * 366 * 24);

fn parse_span(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|span| *span <= LONGEST_SPAN)
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn parse_cidr(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

fn parse_moment(text: &str) -> Option<Timestamp> {
    let moment = humantime::parse_rfc3339(text).ok()?;
    let since_epoch = moment.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).ok()?))
}

fn parse_method(text: &str) -> Option<Method> {
    let is_upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    Method::from_bytes(text.as_bytes())
        .ok()
        .filter(|method| is_upper && *method != Method::TRACE && *method != Method::CONNECT)
}

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:expr, $parse:expr, $print:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<$inner> = $parse;
                parse(&text).map(Self).ok_or_else(|| de::Error::custom($format.expected()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let print: fn(&$inner) -> String = $print;
                serializer.serialize_str(&print(&self.0))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $format.schema()
            }
        }
    };
}

fn print_span(span: &Duration) -> String {
    humantime::format_duration(*span).to_string()
}

text_value!(
    /// A length of time above zero.
    Span(Duration), Format::Span, parse_span, print_span
);
text_value!(
    /// A length of time, or zero.
    SpanOrZero(Duration), Format::SpanOrZero, parse_span, print_span
);
text_value!(
    /// A network, or one address.
    Cidr(IpNet), Format::Cidr, parse_cidr, ToString::to_string
);
text_value!(
    /// An address with port.
    Address(SocketAddr), Format::Address, |text| text.parse().ok(), ToString::to_string
);
text_value!(
    /// A moment, RFC 3339.
    Moment(Timestamp), Format::Moment, parse_moment, ToString::to_string
);
text_value!(
    /// A method of HTTP.
    MethodName(Method), Format::Method, parse_method, ToString::to_string
);

impl Span {
    pub(crate) const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

/// A number of bytes: an integer, or a text with a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    pub(crate) fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Bytes(u64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Bytes(bytes) => Ok(Self(bytes)),
            Either::Text(text) => {
                parse_size(&text).map(Self).ok_or_else(|| de::Error::custom(Format::Size.expected()))
            }
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (number, unit) = match self.0 {
            bytes if bytes > 0 && bytes % (1 << 30) == 0 => (bytes >> 30, "GiB"),
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => (bytes >> 20, "MiB"),
            bytes if bytes > 0 && bytes % (1 << 10) == 0 => (bytes >> 10, "KiB"),
            bytes => (bytes, "B"),
        };
        serializer.serialize_str(&format!("{number}{unit}"))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "format": Format::Size.name() },
        ] })
    }
}

/// Where a secret is found; never the secret itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct SecretSource {
    /// Name of the environment variable that holds the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<String>,
    /// Path of the file that holds the secret; one newline at its end is not part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

/// A text that may hold a secret: written out where it does not, else a source.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-secret" = true))]
pub(crate) enum SecretText {
    /// Written out; fit only for texts without password.
    Written(#[serde(serialize_with = "not_shown")] String),
    /// From the environment or a file.
    From(SecretSource),
}

/// Whoever is shown the configuration learns where a secret is, not what it is.
fn not_shown<S: Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("not shown: it may hold a password")
}

/// One text or a list of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// `true` or `false`, or a table with the particulars.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Switch<T> {
    /// On or off, with nothing particular.
    Plain(bool),
    /// On, with these particulars.
    With(T),
}
