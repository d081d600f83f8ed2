//! RFC 9421: what a signature must cover, and whether it matches the request as it arrived.
//! Only the exact form that the proxy writes is accepted; there is nothing lenient to be confused by.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, FieldType, InnerList, ListEntry, Parser};

use crate::verifier::{Request, Verifier};
use crate::{Keys, VerifyError};

const LABEL: &str = "countersign";
const DERIVED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

/// Verifies the message signature and gives its nonce.
pub(crate) fn verify(verifier: &Verifier, request: &Request<'_>, now: u64) -> Result<String, VerifyError> {
    let input = once(request.headers, "signature-input")?;
    let list = inner_list(input)?;
    let components = components(&list)?;
    check_coverage(verifier, request.headers, &components)?;
    let parameters = Parameters::read(&list)?;
    let tag = signature(once(request.headers, "signature")?)?;

    // The field is in its canonical form, so that its text is the text of the signature parameters.
    let written = input.strip_prefix("countersign=").ok_or(VerifyError::MalformedSignature)?;
    let base = base(request, &components, written)?;
    let keys: &Keys = &verifier.keys;
    keys.verify_message(&parameters.key_id, &parameters.algorithm, base.as_bytes(), &tag)?;
    verifier.check_time(parameters.created, parameters.expires, now)?;
    Ok(parameters.nonce)
}

/// The only value of a field, as visible ASCII and spaces.
pub(crate) fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| VerifyError::Missing(name.to_owned()))?;
    if values.next().is_some() {
        return Err(VerifyError::Repeated(name.to_owned()));
    }
    let text = value.to_str().map_err(|_| VerifyError::MalformedValue(name.to_owned()))?;
    if text.contains('\t') {
        Err(VerifyError::MalformedValue(name.to_owned()))
    } else {
        Ok(text.trim_matches(' '))
    }
}

/// The one member of the dictionary `text`, which must be written exactly as RFC 9651 serialises it.
fn only_member(text: &str) -> Result<ListEntry, VerifyError> {
    let mut dictionary: Dictionary =
        Parser::new(text).parse().map_err(|_| VerifyError::MalformedSignature)?;
    let canonical = dictionary.serialize().is_some_and(|canonical| canonical == text);
    if !canonical || dictionary.len() != 1 {
        return Err(VerifyError::MalformedSignature);
    }
    dictionary.swap_remove(LABEL).ok_or(VerifyError::MalformedSignature)
}

fn inner_list(text: &str) -> Result<InnerList, VerifyError> {
    match only_member(text)? {
        ListEntry::InnerList(list) => Ok(list),
        ListEntry::Item(_) => Err(VerifyError::MalformedSignature),
    }
}

fn signature(text: &str) -> Result<Vec<u8>, VerifyError> {
    match only_member(text)? {
        ListEntry::Item(item) if item.params.is_empty() => match item.bare_item {
            BareItem::ByteSequence(bytes) => Ok(bytes),
            _ => Err(VerifyError::MalformedSignature),
        },
        _ => Err(VerifyError::MalformedSignature),
    }
}

/// The covered components: strings without parameters, none twice (RFC 9421, section 2.5).
fn components(list: &InnerList) -> Result<Vec<String>, VerifyError> {
    let mut components = Vec::with_capacity(list.items.len());
    for item in &list.items {
        let name = item.bare_item.as_string().ok_or(VerifyError::MalformedSignature)?.as_str().to_owned();
        if !item.params.is_empty() || components.contains(&name) {
            return Err(VerifyError::MalformedSignature);
        }
        components.push(name);
    }
    Ok(components)
}

/// The whole request line and the whole context namespace are covered, and nothing else is.
fn check_coverage(
    verifier: &Verifier,
    headers: &HeaderMap,
    components: &[String],
) -> Result<(), VerifyError> {
    let covered = |name: &str| components.iter().any(|component| component == name);
    if let Some(missing) = DERIVED.into_iter().find(|name| !covered(name)) {
        return Err(VerifyError::MissingComponent(missing.to_owned()));
    }
    for suffix in ["authn", "request-id"] {
        let name = verifier.name(suffix);
        if !covered(&name) {
            return Err(VerifyError::MissingComponent(name));
        }
    }
    let foreign = |name: &&String| !DERIVED.contains(&name.as_str()) && !name.starts_with(&verifier.prefix);
    if let Some(foreign) = components.iter().find(foreign) {
        return Err(VerifyError::UnexpectedComponent(foreign.clone()));
    }
    let uncovered = |name: &&HeaderName| verifier.is_context(name.as_str()) && !covered(name.as_str());
    match headers.keys().find(uncovered) {
        Some(uncovered) => Err(VerifyError::NotCovered(uncovered.to_string())),
        None => Ok(()),
    }
}

struct Parameters {
    created: u64,
    expires: u64,
    nonce: String,
    algorithm: String,
    key_id: String,
}

impl Parameters {
    fn read(list: &InnerList) -> Result<Self, VerifyError> {
        let text = |name: &str| {
            let value = list.params.get(name).and_then(BareItem::as_string);
            value.map(|text| text.as_str().to_owned()).ok_or(VerifyError::MalformedSignature)
        };
        let seconds = |name: &str| {
            let value = list.params.get(name).and_then(BareItem::as_integer);
            value
                .and_then(|seconds| u64::try_from(i64::from(seconds)).ok())
                .ok_or(VerifyError::MalformedSignature)
        };
        if text("tag")? != LABEL {
            return Err(VerifyError::MalformedSignature);
        }
        Ok(Self {
            created: seconds("created")?,
            expires: seconds("expires")?,
            nonce: text("nonce")?,
            algorithm: text("alg")?,
            key_id: text("keyid")?,
        })
    }
}

/// The signature base (RFC 9421, section 2.5), made from the request as it arrived.
fn base(request: &Request<'_>, components: &[String], parameters: &str) -> Result<String, VerifyError> {
    let mut lines = Vec::with_capacity(components.len() + 1);
    for component in components {
        let value = match component.as_str() {
            "@method" => request.method.to_owned(),
            "@authority" => request.authority.to_ascii_lowercase(),
            "@path" if request.path.is_empty() => "/".to_owned(),
            "@path" => request.path.to_owned(),
            "@query" => format!("?{}", request.query.unwrap_or_default()),
            field => once(request.headers, field)?.to_owned(),
        };
        if value.contains(['\n', '\r']) {
            return Err(VerifyError::MalformedValue(component.clone()));
        }
        lines.push(format!("\"{component}\": {value}"));
    }
    lines.push(format!("\"@signature-params\": {parameters}"));
    Ok(lines.join("\n"))
}
