//! What one lab owns on this machine, and how it is cleaned up: by the lab itself, or, when its process was killed, by
//! a reaper that outlives it, or, when that was killed too, by the next lab.
//!
//! A slot is a number held by a file lock, so it is free exactly when its owner is gone. Everything a lab leaves
//! behind is a folder and cgroups that carry that number; namespaces, interfaces and rules die with the processes.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cgroup;
use crate::tool;

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
    /// `lab-tool reap`; its standard input ends with this process, however that ends.
    reaper: Child,
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
            let path = lock_path(number);
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
            sweep(&mount, number)?;
            if mine.is_none() {
                mine = Some((number, lock));
            }
        }
        let Some((number, lock)) = mine else {
            bail!("all {SLOTS} slots for labs are taken");
        };
        let reaper = Command::new(tool::binary("lab-tool")?)
            .args(["reap", &number.to_string()])
            .stdin(Stdio::piped())
            // Ctrl-C is for the lab; what follows is for the reaper.
            .process_group(0)
            .spawn()
            .context("cannot start the reaper")?;
        let dir = base.join(number.to_string());
        fs::create_dir_all(&dir)?;
        let cgroup = mount.join(format!("{}{}", cgroup_prefix(number), std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make cgroup {}", cgroup.display()))?;
        Ok(Self {
            number,
            dir,
            cgroup,
            reaper,
            lock,
        })
    }
}

/// Waits until standard input ends, which is when the owner of the slot does, and removes what it left.
///
/// # Errors
/// When something cannot be removed.
pub fn reap(number: u8) -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let lock = File::options().write(true).open(lock_path(number))?;
    match lock.try_lock() {
        Ok(()) => sweep(&cgroup::mount_point()?, number),
        // The owner lives and has cleaned up, or the next one has.
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
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
        // Its input ends while the lock is still held: there is nothing left for it to do.
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
        // Given back last; closing the file would do it, too.
        let _ = self.lock.unlock();
    }
}

fn lock_path(number: u8) -> PathBuf {
    Path::new(BASE).join(format!("{number}.lock"))
}

fn cgroup_prefix(number: u8) -> String {
    format!("obsflow-lab-{number}-")
}

/// Removes what the last owner of a slot left. The caller holds its lock.
fn sweep(mount: &Path, number: u8) -> Result<()> {
    let prefix = cgroup_prefix(number);
    for entry in fs::read_dir(mount)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            cgroup::remove(&entry.path())?;
        }
    }
    let dir = Path::new(BASE).join(number.to_string());
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}
