//! The part of the proxy that reads sessions, and nothing of what stands around it: so a fuzz target is built in a minute,
//! and the fuzzer watches nothing but the decoders. The files are the proxy's own.

#[path = "../../proxy/src/clock.rs"]
pub mod clock;
#[path = "../../proxy/src/context/mod.rs"]
pub mod context;
#[path = "../../proxy/src/formats/mod.rs"]
pub mod formats;
#[path = "../../proxy/src/reason.rs"]
pub mod reason;
#[path = "../../proxy/src/secret.rs"]
pub mod secret;
