//! Context in, header values out. Every value that leaves here is visible ASCII with inner spaces at most; whatever
//! the directory held, no CR, LF, NUL or non-ASCII byte is ever written raw (THREATS V1, V2).

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::names::{ContextHeader, Names};
use crate::context::{Authn, Context, Platform};
use crate::reason::Reason;
use crate::secret::Secret;

/// Context headers in the order in which they are sent, each name once.
pub type ContextHeaders = Vec<(HeaderName, HeaderValue)>;

/// What one request's context headers are made of.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// What is known about identity.
    pub authn: Authn,
    /// Whose request it is; present exactly when `authn` is `Session`, and ignored otherwise.
    pub context: Option<&'a Context>,
    /// The id of this request.
    pub request_id: &'a str,
    /// The platform's opened credential, where the route asks for it.
    pub platform_authorization: Option<&'a Secret>,
    /// The user's settings for the platform, where the route asks for them.
    pub settings: Option<&'a serde_json::Value>,
    /// Figures about the user's platform, where the route asks for them.
    pub stats: Option<&'a serde_json::Value>,
}

impl<'a> RenderInput<'a> {
    /// The context that may be told: none unless identity was proved by a session.
    #[must_use]
    pub fn identity(&self) -> Option<&'a Context> {
        self.context.filter(|_| self.authn == Authn::Session)
    }
}

/// The context headers that are the same for every request with this context: who, with which platform, since when. An
/// empty value is not sent: absent is empty.
///
/// # Errors
/// `CannotSign` when a session is claimed and no context given.
pub fn of_context(names: &Names, authn: Authn, context: Option<&Context>) -> Result<ContextHeaders, Reason> {
    let mut sheet = Sheet { names, headers: Vec::with_capacity(ContextHeader::ALL.len()) };
    sheet.write(ContextHeader::Authn, authn.as_str().as_bytes())?;
    match (authn, context) {
        (Authn::Session, Some(context)) => sheet.identity(context)?,
        (Authn::Session, None) => return Err(Reason::CannotSign),
        _ => {}
    }
    Ok(sheet.headers)
}

/// The context headers of one request alone: its id, and what its route asks for besides.
///
/// # Errors
/// `CannotSign` when a value cannot be written down.
pub fn of_request(names: &Names, input: &RenderInput<'_>) -> Result<ContextHeaders, Reason> {
    let mut sheet = Sheet { names, headers: Vec::with_capacity(4) };
    sheet.write(ContextHeader::RequestId, input.request_id.as_bytes())?;
    if input.identity().is_none() {
        return Ok(sheet.headers);
    }
    if let Some(settings) = input.settings {
        sheet.write(ContextHeader::Settings, settings.to_string().as_bytes())?;
    }
    if let Some(stats) = input.stats {
        sheet.write(ContextHeader::Stats, stats.to_string().as_bytes())?;
    }
    if let Some(credential) = input.platform_authorization {
        sheet.write(ContextHeader::PlatformAuthorization, credential.expose())?;
        if let Some((_, value)) = sheet.headers.last_mut() {
            value.set_sensitive(true);
        }
    }
    Ok(sheet.headers)
}

/// The sum of names and values in bytes: what the budget is about.
#[must_use]
pub fn size<'a>(headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> usize {
    headers.into_iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

struct Sheet<'a> {
    names: &'a Names,
    headers: ContextHeaders,
}

impl Sheet<'_> {
    fn identity(&mut self, context: &Context) -> Result<(), Reason> {
        let session = &context.session;
        self.write(ContextHeader::SessionId, session.id.to_string().as_bytes())?;
        self.write(ContextHeader::UserId, context.user.id.as_str().as_bytes())?;
        self.write(ContextHeader::UserName, context.user.name.as_bytes())?;
        self.attach(ContextHeader::Roles, role_list(&context.user.roles).as_bytes())?;
        if let Some(platform) = &context.platform {
            self.platform(platform)?;
        }
        self.attach(ContextHeader::AuthTime, session.authenticated.as_secs().to_string().as_bytes())?;
        if let Some(actor) = &session.actor {
            self.write(ContextHeader::ActorId, actor.as_str().as_bytes())?;
        }
        Ok(())
    }

    fn platform(&mut self, platform: &Platform) -> Result<(), Reason> {
        self.write(ContextHeader::PlatformId, platform.id.as_str().as_bytes())?;
        self.write(ContextHeader::PlatformType, platform.kind.as_bytes())?;
        self.write(ContextHeader::PlatformName, platform.name.as_bytes())?;
        self.write(ContextHeader::PlatformUrl, platform.url.as_bytes())
    }

    fn write(&mut self, header: ContextHeader, text: &[u8]) -> Result<(), Reason> {
        let encoded = encode(text);
        self.attach(header, &encoded)
    }

    /// Takes a value that is in its final form.
    fn attach(&mut self, header: ContextHeader, value: &[u8]) -> Result<(), Reason> {
        if value.is_empty() {
            return Ok(());
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| Reason::CannotSign)?;
        self.headers.push((self.names.of(header).clone(), value));
        Ok(())
    }
}

/// What is never sent raw inside a value: controls and `%`. (Non-ASCII bytes always are encoded.)
const INSIDE: &AsciiSet = &CONTROLS.add(b'%');
/// The same at the first and the last byte, where a recipient would strip a space (RFC 9110, section 5.5).
const AT_THE_EDGE: &AsciiSet = &INSIDE.add(b' ');
/// The same within a role, where a comma separates and space around it means nothing.
const IN_A_ROLE: &AsciiSet = &AT_THE_EDGE.add(b',');

/// The wire form of any text: visible ASCII and inner spaces stand for themselves, but for `%`; everything else is
/// percent-encoded, byte by byte. Percent-decoding is the exact inverse, and the result is never trimmed.
#[must_use]
pub fn encode(text: &[u8]) -> Cow<'_, [u8]> {
    let edge = |byte: Option<&u8>| byte.is_none_or(|&byte| byte != b' ');
    let plain = text.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'%');
    if plain && edge(text.first()) && edge(text.last()) {
        return Cow::Borrowed(text);
    }
    let Some((first, rest)) = text.split_first() else { return Cow::Borrowed(text) };
    let mut encoded = String::with_capacity(text.len() * 2);
    encoded.extend(percent_encode(std::slice::from_ref(first), AT_THE_EDGE));
    if let Some((last, middle)) = rest.split_last() {
        encoded.extend(percent_encode(middle, INSIDE));
        encoded.extend(percent_encode(std::slice::from_ref(last), AT_THE_EDGE));
    }
    Cow::Owned(encoded.into_bytes())
}

/// Roles separated by commas, each percent-encoded with space and comma too. An empty role is no role.
fn role_list(roles: &[String]) -> String {
    let mut list = String::with_capacity(64);
    for role in roles.iter().filter(|role| !role.is_empty()) {
        if !list.is_empty() {
            list.push(',');
        }
        list.extend(percent_encode(role.as_bytes(), IN_A_ROLE));
    }
    list
}

#[cfg(test)]
mod tests;
