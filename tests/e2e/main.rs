//! End-to-end tests: the built binary between real clients, real stores and a recording application.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

mod acceptance;
mod accounting;
mod admin;
mod answers;
mod apps;
mod attacks;
mod book;
mod book_servers;
mod browser;
mod cached_sessions;
mod cold_start;
mod config;
mod context_extras;
mod credentials;
mod events;
mod faults;
mod foreign;
mod framework_sessions;
mod framing;
mod identity;
mod interop;
mod kept_beside;
mod limits;
mod observe;
mod ops;
mod outages;
mod own;
mod passwords;
mod paths;
mod platform_per_request;
mod pooler;
mod protocols;
#[expect(unreachable_pub, clippy::disallowed_methods, reason = "an application of its own has neither rule")]
mod readme_example;
mod report_mode;
mod schemas;
mod sessions;
mod setup;
mod spellings;
mod switching;
mod table_sessions;
mod upstreams;
