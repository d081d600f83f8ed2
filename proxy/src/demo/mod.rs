//! The demo: a small web application of ours for the proxy to stand in front of, its people, and what is printed at
//! the start. It is an application like any other: it reaches the proxy only over HTTP and believes only what is signed.

pub mod app;
pub mod banner;
pub mod config;
mod forms;
mod pages;
pub mod seed;
#[cfg(test)]
mod tests;
pub mod verify;

pub use app::{App, serve};
