//! Cargo subcommands that the gate uses, built from source at a pinned version.

use anyhow::{Context as _, Result};

use super::Step;
use crate::sh;

/// A cargo subcommand.
pub(crate) struct Tool {
    /// Crate and program.
    pub(crate) name: &'static str,
    version: &'static str,
    /// More arguments to `cargo install`.
    arguments: &'static [&'static str],
}

/// One process a test: a test may enter a namespace without taking its neighbours along.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.151",
    arguments: &["--no-default-features", "--features", "default-no-update"],
};

/// Licences and sources of dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    arguments: &[],
};

/// Installs a tool unless a version of it that is not older runs.
///
/// # Errors
/// When it does not build.
pub(crate) fn ensure(tool: &Tool) -> Result<Step> {
    let Tool {
        name,
        version,
        arguments,
    } = tool;
    let there = sh::output(sh::command(name).arg("--version")).ok();
    if let Some(there) = there.as_deref().and_then(version_of)
        && Some(there) >= version_of(version)
    {
        let (major, minor, patch) = there;
        return Ok(Step::There(format!("{major}.{minor}.{patch} there")));
    }
    sh::run(
        sh::cargo()
            .args(["install", name, "--locked", "--force", "--version", version])
            .args(*arguments)
            .env_remove("CARGO_TARGET_DIR"),
    )
    .with_context(|| format!("run `cargo install --locked {name} --version {version}` by hand to see why"))?;
    Ok(Step::Installed((*version).to_owned()))
}

/// The first word that is a version: `cargo-deny 0.20.2`, `cargo-nextest 0.9.151 (…)`.
fn version_of(text: &str) -> Option<(u32, u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut parts = word.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Some((major, minor, patch)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_ordered() {
        assert_eq!(version_of("cargo-deny 0.20.2"), Some((0, 20, 2)));
        assert_eq!(
            version_of("cargo-nextest 0.9.151 (abc 2026-01-01)\nrelease: x"),
            Some((0, 9, 151))
        );
        assert_eq!(version_of("error: no such command"), None);
        assert!(version_of("0.10.0") > version_of("0.9.151"));
    }
}
