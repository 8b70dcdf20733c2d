//! obsflow: why is my telemetry not arriving?
//!
//! One way through: kernel hook -> ring buffer -> decode -> attribute -> correlate -> sinks. A stage knows [`model`]
//! and its own input type, nothing downstream.

pub mod api;
pub mod attribute;
pub mod capture;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod correlate;
pub mod decode;
pub mod diagnose;
pub mod expect;
pub mod filter;
pub mod fleet;
pub mod flow;
pub mod kernel;
#[cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
mod memory;
pub mod model;
pub mod pipeline;
pub mod probe;
pub mod session;
pub mod sinks;
pub mod store;
#[cfg(test)]
mod testing;
