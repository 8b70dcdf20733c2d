//! The kernel side of obsflow.
//!
//! Programs never change, block or delay traffic: every one of them allows the packet or the call.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unstable_features,
        reason = "inline assembly for this target is unstable; atomic adds need it"
    ),
    expect(
        unreachable_pub,
        reason = "nothing is reachable in a binary: `pub` marks what a module offers its siblings, and what the object exports"
    )
)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod programs;

/// The programs exist for the bpf target only; on the host there is nothing to run.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers that read kernel memory are for GPL-compatible programs only; "Dual MIT/GPL" is how the kernel spells a
/// permissive licence that may be combined with it.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
