//! Countersign: session cookies in, signed context headers out. See ARCHITECTURE.md for the map.
//! The modules stand in the order of their layers, lowest first.

// Layer 0: words that everybody shares
pub mod breaker;
pub mod clock;
pub mod context;
pub mod keys;
pub mod reason;
pub mod secret;
pub mod sync;
pub mod telemetry;
pub mod upkeep;

// Layer 1: pure rules
pub mod formats;
pub mod headers;
pub mod policy;
pub mod sealing;
pub mod session;
pub mod signing;
pub mod upstream;

// Layer 2: where things are kept
pub mod directory;
pub mod store;

// Layer 3: what a session comes to
pub mod cache;
pub mod events;
pub mod lifecycle;
pub mod resolve;

// Layer 4: from file to rules
pub mod config;

// Layer 5: the way of a request
pub mod endpoints;
pub mod gateway;

// Layer 6: assembly
pub mod server;

// Layer 7: the command line
pub mod cli;
pub mod demo;
