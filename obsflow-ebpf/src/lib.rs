//! The wire format between obsflow's kernel side and its user side: records, map keys and values, names, globals.
//!
//! Everything here is fixed-width integers in `#[repr(C)]` structs without padding, so that both sides can copy
//! bytes to values without `unsafe`. All integers are in the machine's byte order; ports are plain numbers
//! (host order), addresses are 16 bytes in network order with IPv4 as `::ffff:a.b.c.d`.
#![no_std]

pub mod abi;
