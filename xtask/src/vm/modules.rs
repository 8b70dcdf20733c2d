//! Kernel modules: which files a guest needs, in the order in which they can be loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

use crate::sh;

/// A module, ready to be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Name, with underscores.
    pub(crate) name: String,
    /// The file's content, not compressed.
    pub(crate) bytes: Vec<u8>,
}

/// Reads `wanted` and everything they depend on, dependencies first. Modules that are built into this kernel, or
/// that it does not have, are left out: what needs them says so in the guest.
///
/// # Errors
/// When a module cannot be read.
pub(crate) fn closure(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(folder, &mut files)?;
    let mut found = Vec::new();
    for name in wanted {
        visit(name, &files, &mut found)?;
    }
    Ok(found)
}

fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("listing {}", folder.display()))?
            .path();
        // Debian's package links to its sources; a link never leads to a module.
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some((stem, _)) = path.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
            files.insert(stem.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn visit(name: &str, files: &BTreeMap<String, PathBuf>, found: &mut Vec<Module>) -> Result<()> {
    if found.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    let bytes = read(path)?;
    for dependency in dependencies(&bytes).with_context(|| format!("reading {}", path.display()))? {
        visit(&dependency, files, found)?;
    }
    found.push(Module {
        name: name.to_owned(),
        bytes,
    });
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(path).with_context(|| format!("reading {}", path.display())),
        Some("xz") => unpack("xz", path),
        Some("zst") => unpack("zstd", path),
        _ => bail!("{} is compressed in a way that is not known here", path.display()),
    }
}

fn unpack(program: &str, path: &Path) -> Result<Vec<u8>> {
    let output = sh::command(program)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} cannot unpack {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// The module says itself what it depends on: `depends=a,b` in the section `.modinfo`.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let object = object::File::parse(module).context("not an object file")?;
    let section = object
        .section_by_name(".modinfo")
        .context("no section .modinfo")?;
    let data = section.data().context("reading .modinfo")?;
    let depends = data
        .split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(b"depends="));
    let depends = String::from_utf8_lossy(depends.unwrap_or_default());
    Ok(depends
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}
