//! The README's example in Rust, word for word (`book_servers.rs` compares them).

use std::time::SystemTime;

use countersign_verify::{Authn, Keys, Request, Verifier, VerifyError};

/// Demands the signature and the JWT, and that they agree.
pub fn verifier(key: &str, jwks: &str) -> Result<Verifier, Box<dyn std::error::Error>> {
    let keys = Keys::default().with_hmac("h1", key)?.with_jwks(jwks)?;
    Ok(Verifier::new(keys, "captions"))
}

/// Whose request it is, `None` if nobody's; answer 403 to an error.
pub fn user<B>(verifier: &Verifier, request: &http::Request<B>) -> Result<Option<String>, VerifyError> {
    let context = verifier.verify(&Request::of(request)?, SystemTime::now())?;
    Ok(if context.authn == Authn::Session { context.user_id } else { None })
}
