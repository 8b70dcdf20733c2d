//! Components and targets of the pinned toolchain.

use std::fmt;

use anyhow::{Context as _, Result, bail};

use super::Step;
use super::apt::Package;
use crate::sh;

/// The static binary's target on the machine that builds.
pub(crate) const MUSL: &str = Arch::Amd64.target();

/// An architecture of nodes, as images name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// The Rust target of its static binary.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The C compiler for it that is not the machine's own: `ring` is C and assembly in part. The binary itself is linked by
    /// it, too, with the C library that comes with the Rust target.
    pub(crate) const fn cross(self) -> Option<Package> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some(("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc")),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// What is wanted of the toolchain: what rustup calls it, its name, and a file that is there with it.
type Part = (&'static str, &'static str, String);

fn target(name: &'static str) -> Part {
    ("target", name, format!("lib/rustlib/{name}/lib"))
}

/// Installs rust-src (the kernel side builds its own `core`), rustfmt, clippy and the musl target.
///
/// # Errors
/// When rustup cannot install one of them.
pub(crate) fn ensure() -> Result<Step> {
    add(vec![
        (
            "component",
            "rust-src",
            "lib/rustlib/src/rust/library/core/Cargo.toml".to_owned(),
        ),
        ("component", "rustfmt", "bin/rustfmt".to_owned()),
        ("component", "clippy", "bin/cargo-clippy".to_owned()),
        target(MUSL),
    ])
}

/// Installs the targets of these architectures.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_targets(architectures: &[Arch]) -> Result<Step> {
    add(architectures.iter().map(|arch| target(arch.target())).collect())
}

fn add(wanted: Vec<Part>) -> Result<Step> {
    let sysroot = super::sysroot()?;
    let names = |parts: &[Part]| parts.iter().map(|part| part.1).collect::<Vec<_>>().join(", ");
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(_, _, file)| !sysroot.join(file).exists())
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(Step::There(format!("{} there", names(&wanted))));
    }
    if sh::find("rustup").is_none() {
        bail!(
            "rustup is not there: install it from https://rustup.rs, or add to this toolchain: {}",
            names(&missing)
        );
    }
    for (kind, name, _) in &missing {
        sh::run(sh::command("rustup").args([kind, "add", name])).with_context(|| {
            format!("run `rustup {kind} add {name}` by hand to see why, then run this again")
        })?;
    }
    Ok(Step::Installed(names(&missing)))
}
