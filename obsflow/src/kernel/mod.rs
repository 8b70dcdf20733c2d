//! Everything that talks to the kernel.

pub mod cgroupfs;
