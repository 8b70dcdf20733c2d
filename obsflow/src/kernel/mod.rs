//! The kernel side as user space sees it: load, attach, read, ask. Everything above this module is pure.

pub mod btf;
pub mod cgroupfs;
pub mod connections;
pub mod counters;
pub mod hooks;
pub mod info;
pub mod load;
pub mod netns;
pub mod port_map;
pub mod ports;
pub mod privileges;
pub mod process;
pub mod ring;
pub mod rootfs;
pub mod route;
pub mod rtnetlink;
pub mod sockdiag;
pub mod symbols;
pub mod tunnels;
