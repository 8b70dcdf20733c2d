//! The kernel side as user space sees it: load, attach, read. Everything above this module is pure.

pub mod btf;
pub mod cgroupfs;
pub mod hooks;
pub mod info;
pub mod load;
pub mod ports;
pub mod ring;
pub mod symbols;
