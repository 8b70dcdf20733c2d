//! Tunnels of this node: which VXLAN and Geneve devices there are, and the programs on the devices beneath them.

mod attach;
mod find;

pub use attach::{Scan, Tunnels};
pub use find::{Device, Kind, Underlay, find};

/// Why the hook is not attached, most of the time.
pub const NONE_HERE: &str = "no tunnel devices on this node";

#[cfg(test)]
mod tests;
