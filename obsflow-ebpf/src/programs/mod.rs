//! One file per hook family, with the same stem in user space's `decode/`.

mod cgroup;
mod connect;
mod dns;
mod drop;
mod payload;
mod process;
mod skb;
mod sock_error;
mod sock_ops;
mod tcp;
mod tunnel;
