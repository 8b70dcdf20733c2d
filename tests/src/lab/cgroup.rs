//! Cgroups named as a kubelet names them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::wait;

/// Where the unified hierarchy is mounted.
///
/// # Errors
/// When it is mounted nowhere.
pub fn mount_point() -> Result<PathBuf> {
    let mounts = mounts("cgroup2")?;
    mounts.into_iter().next().context("cgroup v2 is mounted nowhere")
}

/// Mount points of file systems of a type.
fn mounts(wanted: &str) -> Result<Vec<PathBuf>> {
    let all = fs::read_to_string("/proc/self/mounts")?;
    let of = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == wanted).then(|| PathBuf::from(path))
    };
    Ok(all.lines().filter_map(of).collect())
}

/// Kills every process below `root` and removes it with all cgroups in it, and what a container runtime made of the same name
/// in hierarchies of v1.
///
/// # Errors
/// When a process does not die or a cgroup cannot be removed.
pub fn remove(root: &Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    fs::write(root.join("cgroup.kill"), "1").with_context(|| format!("cannot kill {}", root.display()))?;
    wait::until(format!("{} to be empty", root.display()), wait::SOON, || {
        Ok(fs::read_to_string(root.join("cgroup.events"))?
            .contains("populated 0")
            .then_some(()))
    })?;
    remove_empty(root)?;
    let name = root.strip_prefix(mount_point()?)?;
    for twin in mounts("cgroup")?.iter().map(|mount| mount.join(name)) {
        if twin.exists() {
            remove_empty(&twin)?;
        }
    }
    Ok(())
}

fn remove_empty(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    // A process that was reaped a moment ago may still hold it.
    wait::until(
        format!("{} to go", dir.display()),
        wait::SOON,
        || match fs::remove_dir(dir) {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(())),
            Err(error) => Err(error.into()),
        },
    )
}
