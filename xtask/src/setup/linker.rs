//! bpf-linker, linked against the toolchain's own LLVM.
//!
//! The linker reads the bitcode that rustc wrote, so both must be the same LLVM. The toolchain ships it as one shared
//! library with a soname of its own; a folder that holds it under both names is all that the linker's build wants, and
//! no LLVM of the system is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Step;
use crate::sh;

const VERSION: &str = "0.13.0";

/// Installs bpf-linker unless the right one runs.
///
/// # Errors
/// When the toolchain ships no LLVM library, or the linker does not build.
pub(crate) fn ensure() -> Result<Step> {
    let llvm = toolchain_llvm(&super::sysroot()?.join("lib"))?;
    if is_right(&llvm.file) {
        return Ok(Step::There(format!("{VERSION} for LLVM {} there", llvm.major)));
    }
    let prefix = prefix(&llvm)?;
    sh::run(
        sh::cargo()
            .args([
                "install",
                "bpf-linker",
                "--locked",
                "--force",
                "--version",
                VERSION,
                "--no-default-features",
            ])
            .args(["--features", &format!("llvm-{}", llvm.major)])
            // Its own: a target folder given for this workspace is no place for it.
            .env_remove("CARGO_TARGET_DIR")
            .env("LLVM_PREFIX", &prefix),
    )
    .with_context(|| {
        format!(
            "bpf-linker {VERSION} did not build against LLVM {} of {}",
            llvm.major,
            llvm.file.display()
        )
    })?;
    if !is_right(&llvm.file) {
        bail!(
            "bpf-linker {VERSION} was installed, but another one comes first in PATH: put ~/.cargo/bin first"
        );
    }
    Ok(Step::Installed(format!("{VERSION} for LLVM {}", llvm.major)))
}

/// The toolchain's LLVM.
struct Llvm {
    /// The library, whose file name is its soname.
    file: PathBuf,
    /// Its major version.
    major: u32,
}

/// Finds `libLLVM.so.<major>.<minor>-rust-<version>` in the toolchain's library folder.
fn toolchain_llvm(folder: &Path) -> Result<Llvm> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        if let Some(major) = entry.file_name().to_str().and_then(major_version) {
            return Ok(Llvm {
                file: entry.path(),
                major,
            });
        }
    }
    bail!(
        "no libLLVM.so.* in {}: the toolchain must come from rustup, a distribution's rustc does not ship its LLVM",
        folder.display()
    )
}

fn major_version(soname: &str) -> Option<u32> {
    soname
        .strip_prefix("libLLVM.so.")?
        .split(['.', '-'])
        .next()?
        .parse()
        .ok()
}

/// Whether the bpf-linker in `PATH` runs, has the version, and loads `llvm`.
fn is_right(llvm: &Path) -> bool {
    let Some(linker) = sh::find("bpf-linker") else {
        return false;
    };
    let version = sh::output(sh::command(&linker).arg("--version"));
    if version.ok().as_deref() != Some(&format!("bpf-linker {VERSION}")) {
        return false;
    }
    let Ok(libraries) = sh::output(sh::command("ldd").arg(&linker)) else {
        return false;
    };
    let loaded = libraries
        .lines()
        .filter(|line| line.trim_start().starts_with("libLLVM"))
        .find_map(|line| line.split_whitespace().nth(2))
        .map(std::fs::canonicalize);
    matches!((loaded, std::fs::canonicalize(llvm)), (Some(Ok(loaded)), Ok(wanted)) if loaded == wanted)
}

/// A folder that looks like an installed LLVM. The linker's run path points into it, so it stays.
fn prefix(llvm: &Llvm) -> Result<PathBuf> {
    let soname = llvm.file.file_name().context("a library without a name")?;
    let prefix = super::cache()?.join("llvm").join(soname);
    let lib = prefix.join("lib");
    std::fs::create_dir_all(&lib).with_context(|| format!("cannot make {}", lib.display()))?;
    for name in [soname, "libLLVM.so".as_ref()] {
        let link = lib.join(name);
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?;
        }
        std::os::unix::fs::symlink(&llvm.file, &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_from_the_soname() {
        assert_eq!(major_version("libLLVM.so.22.1-rust-1.95.0-stable"), Some(22));
        assert_eq!(major_version("libLLVM.so.23-rust-nightly"), Some(23));
        assert_eq!(major_version("libLLVM-22-rust-1.95.0-stable.so"), None);
        assert_eq!(major_version("librustc_driver-6108105cd7e839cf.so"), None);
    }

    #[test]
    fn a_folder_without_llvm_says_where_to_get_one() {
        let error = toolchain_llvm(Path::new("/proc/self/fdinfo"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("must come from rustup"), "{error}");
    }
}
