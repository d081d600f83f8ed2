//! The JWT: a statement about the session that is valid for a minute. Its key and algorithm are ours to know, not its
//! to say; header parameters that point to keys are not looked at.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::VerifyError;
use crate::verifier::Verifier;

/// Verifies a token in compact form and gives its claims.
pub(crate) fn verify(verifier: &Verifier, token: &str, now: u64) -> Result<Value, VerifyError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::MalformedToken)?;
    let (header, claims) = signed.split_once('.').ok_or(VerifyError::MalformedToken)?;
    let header = json(header)?;
    let claims_text = claims;
    let text = |name: &str| header[name].as_str().ok_or(VerifyError::MalformedToken);
    // `crit` names extensions that must be understood (RFC 7515, section 4.1.11); we understand none.
    if text("typ")? != "txntoken+jwt" || header.get("crit").is_some() {
        return Err(VerifyError::MalformedToken);
    }
    let signature = decode(signature)?;
    verifier.keys.verify_token(text("kid")?, text("alg")?, signed.as_bytes(), &signature)?;

    let claims = json(claims_text)?;
    let seconds = |name: &str| claims[name].as_u64().ok_or(VerifyError::MalformedToken);
    verifier.check_time(seconds("iat")?, seconds("exp")?, now)?;
    if claims["aud"].as_str() != Some(verifier.audience.as_str()) {
        return Err(VerifyError::WrongAudience);
    }
    let issuer = claims["iss"].as_str().ok_or(VerifyError::MalformedToken)?;
    if verifier.issuer.as_ref().is_some_and(|expected| expected != issuer) {
        return Err(VerifyError::WrongIssuer);
    }
    if claims["jti"].as_str().is_none_or(str::is_empty) {
        return Err(VerifyError::MalformedToken);
    }
    Ok(claims)
}

fn json(part: &str) -> Result<Value, VerifyError> {
    let value: Value = serde_json::from_slice(&decode(part)?).map_err(|_| VerifyError::MalformedToken)?;
    if value.is_object() { Ok(value) } else { Err(VerifyError::MalformedToken) }
}

fn decode(part: &str) -> Result<Vec<u8>, VerifyError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::MalformedToken)
}
