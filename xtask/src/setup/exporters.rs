//! What the lab's exporters are made of: OpenTelemetry for Python and Node as people install it, and a Go service.
//!
//! Each is made once per machine and state of its sources, in the cache, and linked into `target/lab/`, where the lab
//! looks for it. Afterwards no network is needed.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::apt::{self, Package};
use super::{Step, cache};
use crate::sh;

/// A folder that set-up makes.
pub(crate) struct Made {
    /// What it is called in the lab and in the cache.
    pub(crate) name: &'static str,
    /// Below `tests/exporters`: it is made again when one of these changes.
    pub(crate) sources: &'static [&'static str],
    /// What makes it, beyond the packages of the machine (`apt::BASE`).
    pub(crate) packages: &'static [Package],
    pub(crate) make: fn(&Path) -> Result<()>,
    /// A program in it and arguments that prove that it works: an interpreter may have gone.
    pub(crate) works: &'static [&'static str],
}

pub(crate) const PYTHON: Made = Made {
    name: "python",
    sources: &["requirements.txt"],
    packages: &[],
    make: python,
    works: &[
        "bin/python",
        "-c",
        "import flask, kubernetes_validate, opentelemetry.sdk",
    ],
};

pub(crate) const NODE: Made = Made {
    name: "node",
    sources: &["package.json", "package-lock.json"],
    packages: &[("nodejs", "node"), ("npm", "npm")],
    make: node,
    works: &[],
};

pub(crate) const GO: Made = Made {
    name: "go",
    sources: &[
        "go/go.mod",
        "go/main.go",
        "go/metrics/go.mod",
        "go/metrics/metrics.go",
        "go/traces/go.mod",
        "go/traces/traces.go",
    ],
    packages: &[("golang-go", "go")],
    make: go,
    works: &[],
};

/// Makes the folder unless it is there, and links it.
///
/// # Errors
/// When what makes it is missing and cannot be installed, or fails.
pub(crate) fn ensure(made: &Made) -> Result<Step> {
    let sources = sh::root().join("tests/exporters");
    let mut fingerprint = Fnv::default();
    for source in made.sources {
        let path = sources.join(source);
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fingerprint.add(&text);
    }
    let folder = cache()?.join(format!("{}-{:016x}", made.name, fingerprint.0));
    let complete = folder.join("complete");
    let there = complete.exists() && works(made, &folder);
    if !there {
        // Their commands count, wherever they come from: another source of packages than the distribution's is common.
        let missing: Vec<Package> = made
            .packages
            .iter()
            .copied()
            .filter(|package| sh::find(package.1).is_none())
            .collect();
        if !missing.is_empty() {
            apt::ensure(&missing)?;
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        (made.make)(&folder)?;
        // Last, so that what was interrupted starts over.
        std::fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    }
    link(&folder, made.name)?;
    Ok(if there {
        Step::There(format!("target/lab/{} there", made.name))
    } else {
        Step::Installed(format!("target/lab/{}", made.name))
    })
}

fn works(made: &Made, folder: &Path) -> bool {
    let Some((program, arguments)) = made.works.split_first() else {
        return true;
    };
    sh::output(sh::command(folder.join(program)).args(arguments)).is_ok()
}

/// Puts a link to it where the lab looks.
fn link(folder: &Path, name: &str) -> Result<()> {
    let lab = sh::root().join("target/lab");
    std::fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
    let link = lab.join(name);
    if std::fs::read_link(&link).ok().as_deref() == Some(folder) {
        return Ok(());
    }
    if link.symlink_metadata().is_ok() {
        std::fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?;
    }
    std::os::unix::fs::symlink(folder, &link).with_context(|| format!("cannot make {}", link.display()))
}

fn python(folder: &Path) -> Result<()> {
    sh::run(sh::command("python3").args(["-m", "venv"]).arg(folder))
        .context("python3 needs its venv module (Debian: python3-venv)")?;
    let install = "-m pip install --quiet --no-input --disable-pip-version-check --no-deps -r";
    sh::run(
        sh::command(folder.join("bin/python"))
            .args(install.split(' '))
            .arg("tests/exporters/requirements.txt"),
    )
    .context("Python's package index must be reachable once")
}

fn node(folder: &Path) -> Result<()> {
    for source in NODE.sources {
        let from = sh::root().join("tests/exporters").join(source);
        std::fs::copy(&from, folder.join(source))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let install = "ci --no-audit --no-fund --ignore-scripts --omit=optional --loglevel=error";
    sh::run(sh::command("npm").args(install.split(' ')).current_dir(folder))
        .context("npm's registry must be reachable once")
}

fn go(folder: &Path) -> Result<()> {
    sh::run(
        sh::command("go")
            .args(["build", "-mod=mod", "-trimpath", "-buildvcs=false", "-o"])
            .arg(folder.join("image-gallery"))
            .arg(".")
            .current_dir(sh::root().join("tests/exporters/go"))
            // Everything that it needs is there: Go's own resolver, no other module, no other toolchain.
            .envs([("CGO_ENABLED", "0"), ("GOPROXY", "off"), ("GOFLAGS", "")]),
    )
    .context("the Go service does not build")
}

/// FNV-1a: whether sources changed, not whether somebody forged them.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_is_the_published_one() {
        let mut fnv = Fnv::default();
        fnv.add(b"foo");
        fnv.add(b"bar");
        assert_eq!(fnv.0, 0x85944171f73967e8);
    }
}
