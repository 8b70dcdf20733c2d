//! From an observation to Hubble's flow: pure, one for one. `docs/flows.md` has the table.

pub mod dns;
mod drop_reason;
pub mod errno;
mod http;
mod make;
mod row;
mod summary;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use make::FlowMaker;
pub(crate) use make::with_dot;
pub use row::{ROWS, Row};
