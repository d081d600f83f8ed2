//! End-to-end tests: the built binary between real clients, real stores and a recording application.

mod accounting;
mod answers;
mod apps;
mod browser;
mod config;
mod framing;
mod identity;
mod interop;
mod outages;
mod paths;
mod protocols;
mod sessions;
mod setup;
mod spellings;
mod upstreams;
