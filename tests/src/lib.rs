//! The harness of the end-to-end tests: real servers on free ports, in directories of their own.

mod daemon;
pub mod ports;
pub mod postgres;
pub mod redis;
