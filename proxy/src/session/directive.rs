//! The response header by which a trusted upstream starts, rotates or ends a session: an Item of RFC 9651 whose token
//! says what to do. Pure; whether the directive is possible is found out when it is carried out. What cannot be read
//! completely is not carried out in part.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use sfv::visitor::{ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};

use crate::context::{PlatformId, UserId};

/// The header that carries a directive; it never leaves the proxy.
pub const HEADER: HeaderName = HeaderName::from_static("countersign-session");

/// Longest directive that is read: three ids of 128 bytes, escaped, and their names.
const MOST_BYTES: usize = 1024;

/// What a trusted upstream wants done with the session of its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Directive {
    /// `create;user="42";platform="7";actor="1"`: start a session; the browser's old one ends.
    Create {
        /// Whose session it will be.
        user: UserId,
        /// Its platform; the user's default when `None`.
        platform: Option<PlatformId>,
        /// Who acts for the user, when somebody does.
        actor: Option<UserId>,
    },
    /// `rotate` or `rotate;authenticated`: give the session a new token.
    Rotate {
        /// The user has just proved who they are: the login time is renewed and the old token ends at once.
        authenticated: bool,
    },
    /// `end`: end the session.
    End,
    /// `end-all`: end all sessions of the current user.
    EndAll,
    /// `platform;id="7"`: choose a platform; without an id, clear the choice.
    Platform(Option<PlatformId>),
}

/// Why a directive cannot be read. Never echoes what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.why())]
pub enum DirectiveError {
    /// There are several directives.
    Repeated,
    /// It is longer than 1 KiB.
    TooLong,
    /// It is not an Item of RFC 9651, or a parameter is given twice.
    Malformed,
    /// Its token is none of ours.
    UnknownDirective,
    /// A parameter does not belong to this directive.
    UnknownParameter,
    /// A parameter is missing, has the wrong type, or is no id.
    BadParameter,
}

impl DirectiveError {
    /// The same as its display text, as a constant.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Repeated => "there is more than one directive",
            Self::TooLong => "the directive is too long",
            Self::Malformed => "the directive is not a well-formed structured field",
            Self::UnknownDirective => "the directive is unknown",
            Self::UnknownParameter => "the directive has a parameter that it cannot have",
            Self::BadParameter => "a parameter of the directive is missing or has a wrong value",
        }
    }
}

impl Directive {
    /// Reads the directive of a response; `None` when it has none.
    ///
    /// # Errors
    /// When there is one that cannot be read completely; nothing of it may be carried out then.
    pub fn parse(headers: &HeaderMap) -> Result<Option<Self>, DirectiveError> {
        let mut fields = headers.get_all(HEADER).iter();
        let Some(field) = fields.next() else { return Ok(None) };
        if fields.next().is_some() {
            return Err(DirectiveError::Repeated);
        }
        if field.len() > MOST_BYTES {
            return Err(DirectiveError::TooLong);
        }
        let raw = Parser::new(field.as_bytes())
            .parse_item_with_visitor(Reader::default())
            .map_err(|_| DirectiveError::Malformed)?;
        raw.into_directive().map(Some)
    }

    /// The directive's own word, as the header spells it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Rotate { .. } => "rotate",
            Self::End => "end",
            Self::EndAll => "end-all",
            Self::Platform(_) => "platform",
        }
    }
}

/// A parameter as it was read.
type Parameter<'a> = (&'a KeyRef, BareItemFromInput<'a>);

/// Collects an Item as it is parsed; unlike a map it notices a parameter that is given twice, of which RFC 9651 would
/// take the last: here two readers could differ about whose session begins.
#[derive(Default)]
struct Reader<'a> {
    item: Option<BareItemFromInput<'a>>,
    parameters: Vec<Parameter<'a>>,
}

#[derive(Debug, thiserror::Error)]
#[error("a parameter is given twice")]
struct GivenTwice;

impl<'a> ItemVisitor<'a> for Reader<'a> {
    type Out = Self;
    type Error = GivenTwice;

    fn bare_item(
        mut self,
        item: BareItemFromInput<'a>,
    ) -> Result<impl ParameterVisitor<'a, Out = Self>, GivenTwice> {
        self.item = Some(item);
        Ok(self)
    }
}

impl<'a> ParameterVisitor<'a> for Reader<'a> {
    type Out = Self;
    type Error = GivenTwice;

    fn parameter(&mut self, key: &'a KeyRef, value: BareItemFromInput<'a>) -> Result<(), GivenTwice> {
        if self.parameters.iter().any(|(earlier, _)| *earlier == key) {
            return Err(GivenTwice);
        }
        self.parameters.push((key, value));
        Ok(())
    }

    fn finish(self) -> Result<Self, GivenTwice> {
        Ok(self)
    }
}

impl Reader<'_> {
    fn into_directive(mut self) -> Result<Directive, DirectiveError> {
        let Some(BareItemFromInput::Token(token)) = self.item.take() else {
            return Err(DirectiveError::UnknownDirective);
        };
        let directive = match token.as_str() {
            "create" => Directive::Create {
                user: self.id("user")?.ok_or(DirectiveError::BadParameter)?,
                platform: self.id("platform")?,
                actor: self.id("actor")?,
            },
            "rotate" => Directive::Rotate { authenticated: self.flag("authenticated")? },
            "end" => Directive::End,
            "end-all" => Directive::EndAll,
            "platform" => Directive::Platform(self.id("id")?),
            _ => return Err(DirectiveError::UnknownDirective),
        };
        if self.parameters.is_empty() { Ok(directive) } else { Err(DirectiveError::UnknownParameter) }
    }

    /// Takes an id out. A String, or for ids outside ASCII a Display String (RFC 9651, sections 3.3.3 and 3.3.8).
    fn id<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, DirectiveError> {
        let text = match self.take(name) {
            None => return Ok(None),
            Some(BareItemFromInput::String(text)) => Cow::Owned(text.as_str().to_owned()),
            Some(BareItemFromInput::DisplayString(text)) => text,
            Some(_) => return Err(DirectiveError::BadParameter),
        };
        text.parse().map(Some).map_err(|_| DirectiveError::BadParameter)
    }

    fn flag(&mut self, name: &str) -> Result<bool, DirectiveError> {
        match self.take(name) {
            None => Ok(false),
            Some(BareItemFromInput::Boolean(value)) => Ok(value),
            Some(_) => Err(DirectiveError::BadParameter),
        }
    }

    fn take(&mut self, name: &str) -> Option<BareItemFromInput<'_>> {
        let at = self.parameters.iter().position(|(key, _)| key.as_str() == name)?;
        Some(self.parameters.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests;
