//! The harness of the end-to-end tests: real servers on free ports, in directories of their own.
//! A test starts what it needs from here; everything ends with the value that stands for it.

pub mod alerts;
pub mod body;
pub mod certificate;
pub mod client;
mod daemon;
pub mod dice;
pub mod environment;
pub mod eventually;
pub mod fixture;
pub mod history;
pub mod load;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod prometheus;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod relay;
pub mod stores;
pub mod upstream;
pub mod verifier;
