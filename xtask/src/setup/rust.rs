//! Components and targets of the pinned toolchain.

use anyhow::{Context as _, Result, bail};

use super::Step;
use crate::sh;

/// The static binary's target.
pub(crate) const MUSL: &str = "x86_64-unknown-linux-musl";

/// Installs rust-src (the kernel side builds its own `core`), rustfmt, clippy and the musl target.
///
/// # Errors
/// When rustup cannot install one of them.
pub(crate) fn ensure() -> Result<Step> {
    let sysroot = super::sysroot()?;
    let missing: Vec<_> = [
        (
            "component",
            "rust-src",
            "lib/rustlib/src/rust/library/core/Cargo.toml".to_owned(),
        ),
        ("component", "rustfmt", "bin/rustfmt".to_owned()),
        ("component", "clippy", "bin/cargo-clippy".to_owned()),
        ("target", MUSL, format!("lib/rustlib/{MUSL}/lib")),
    ]
    .into_iter()
    .filter(|(_, _, file)| !sysroot.join(file).exists())
    .collect();
    if missing.is_empty() {
        return Ok(Step::There(format!("rust-src, rustfmt, clippy and {MUSL} there")));
    }
    if sh::find("rustup").is_none() {
        let names: Vec<_> = missing.iter().map(|m| m.1).collect();
        bail!(
            "rustup is not there: install it from https://rustup.rs, or add to this toolchain: {}",
            names.join(", ")
        );
    }
    for (kind, name, _) in &missing {
        sh::run(sh::command("rustup").args([kind, "add", name])).with_context(|| {
            format!("run `rustup {kind} add {name}` by hand to see why, then run this again")
        })?;
    }
    Ok(Step::Installed(
        missing.iter().map(|m| m.1).collect::<Vec<_>>().join(", "),
    ))
}
