//! What one lab owns on this machine, and how it is cleaned up: by the lab itself, or, when its process was killed, by
//! the next one.
//!
//! A slot is a number held by a file lock, so it is free exactly when its owner is gone. Everything a lab leaves
//! behind is a folder and cgroups that carry that number; namespaces, interfaces and rules die with the processes.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cgroup;

/// Labs that can run at once; their addresses are `10.(100+slot).0.0/16` and `fd0b:slot::/32`.
const SLOTS: u8 = 100;
const BASE: &str = "/run/obsflow-lab";

/// A number that belongs to this lab alone, with a folder and a cgroup.
#[derive(Debug)]
pub(super) struct Slot {
    /// The number.
    pub(super) number: u8,
    /// A folder for files.
    pub(super) dir: PathBuf,
    /// A cgroup for everything that runs.
    pub(super) cgroup: PathBuf,
    lock: File,
}

impl Slot {
    /// Takes a free slot and removes what dead labs left.
    ///
    /// # Errors
    /// Without root, without cgroup v2, and when all slots are taken.
    pub(super) fn take() -> Result<Self> {
        let base = Path::new(BASE);
        fs::create_dir_all(base).with_context(|| format!("cannot make {BASE} (the lab needs root)"))?;
        let mount = cgroup::mount_point()?;
        let mut mine = None;
        for number in 0..SLOTS {
            let path = base.join(format!("{number}.lock"));
            // Slots that never were used hold nothing to sweep.
            if mine.is_some() && !path.exists() {
                break;
            }
            let lock = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error.into()),
                Ok(()) => {}
            }
            sweep(base, &mount, number)?;
            if mine.is_none() {
                mine = Some((number, lock));
            }
        }
        let Some((number, lock)) = mine else {
            bail!("all {SLOTS} slots for labs are taken");
        };
        let dir = base.join(number.to_string());
        fs::create_dir_all(&dir)?;
        let cgroup = mount.join(format!("{}{}", cgroup_prefix(number), std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make cgroup {}", cgroup.display()))?;
        Ok(Self {
            number,
            dir,
            cgroup,
            lock,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if std::env::var_os("OBSFLOW_LAB_KEEP").is_none() {
            let cleaned = cgroup::remove(&self.cgroup).and_then(|()| Ok(fs::remove_dir_all(&self.dir)?));
            if let Err(error) = cleaned {
                eprintln!("lab {}: {error:#}; the next lab tries again", self.number);
            }
        }
        // Given back last; closing the file would do it, too.
        let _ = self.lock.unlock();
    }
}

fn cgroup_prefix(number: u8) -> String {
    format!("obsflow-lab-{number}-")
}

/// Removes what the last owner of a slot left. The caller holds its lock.
fn sweep(base: &Path, mount: &Path, number: u8) -> Result<()> {
    let prefix = cgroup_prefix(number);
    for entry in fs::read_dir(mount)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            cgroup::remove(&entry.path())?;
        }
    }
    let dir = base.join(number.to_string());
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}
