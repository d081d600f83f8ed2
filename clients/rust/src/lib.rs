//! Verifies in an application what Countersign signed. Shares no code with the proxy, so that a mistake on one side is
//! not repeated on the other.
#![doc = include_str!("../README.md")]

mod error;
mod keys;
mod message;
mod token;
mod verified;
mod verifier;

pub use error::VerifyError;
pub use keys::{KeyError, Keys};
pub use verified::{Authn, Platform, Verified};
pub use verifier::{Demand, Request, Verifier};
