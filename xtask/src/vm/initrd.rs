//! The initial RAM disk: the first process, obsflow, nft with its libraries, modules, and the plan.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cpio::newc;
use obsflow_vm_guest::{NAME_SERVER, OBSFLOW_PATH, PLAN_PATH, Plan, RULES_PATH};

use obsflow_vm_guest::scenario::{PORT_DROPPED, PORT_REJECTED};

use super::modules::Module;
use crate::sh;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;
/// `nft` in the guest.
const NFT: &str = "usr/sbin/nft";

/// What goes into the disk.
pub(crate) struct Content<'a> {
    /// The first process.
    pub(crate) init: &'a Path,
    /// The obsflow binary, when there is one.
    pub(crate) obsflow: Option<&'a Path>,
    /// Modules in the order of loading.
    pub(crate) modules: &'a [Module],
}

/// Packs the disk.
///
/// # Errors
/// When a file cannot be read, or nft is missing on this machine.
pub(crate) fn pack(content: &Content<'_>) -> Result<Vec<u8>> {
    let mut disk = Disk::default();
    for folder in ["dev", "proc", "sys", "run", "tmp"] {
        disk.folder(folder)?;
    }
    // The kernel opens it before anything is mounted; without it the first process has no standard output.
    disk.add("dev/console", DEVICE, (5, 1), &[])?;
    disk.program("init", content.init)?;
    if let Some(obsflow) = content.obsflow {
        disk.program(OBSFLOW_PATH, obsflow)?;
    }
    let nft = sh::find("nft").context("nft is missing: `cargo xtask setup` installs it")?;
    disk.program(NFT, &nft)?;
    for library in libraries(&nft)? {
        disk.program(&library.display().to_string(), &library)?;
    }
    disk.file(
        "etc/resolv.conf",
        format!("nameserver {NAME_SERVER}\n").as_bytes(),
    )?;
    let rules = format!(
        "table inet scenario {{\n chain input {{\n type filter hook input priority 0;\n \
         tcp dport {PORT_DROPPED} drop\n tcp dport {PORT_REJECTED} reject\n }}\n}}\n"
    );
    disk.file(RULES_PATH, rules.as_bytes())?;
    let mut plan = Plan {
        modules: Vec::new(),
        obsflow: content.obsflow.is_some(),
    };
    for module in content.modules {
        let path = format!("/modules/{}.ko", module.name);
        disk.file(&path, &module.bytes)?;
        plan.modules.push(path.into());
    }
    disk.file(PLAN_PATH, &serde_json::to_vec(&plan).context("writing the plan")?)?;
    newc::trailer(disk.bytes).context("writing the end of the disk")
}

/// The shared libraries of a program, by the loader that would load them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let lines = sh::output(sh::command("ldd").arg(program))?;
    let paths = lines
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    let paths: Vec<PathBuf> = paths.collect();
    ensure!(
        !paths.is_empty(),
        "ldd names no libraries of {}",
        program.display()
    );
    Ok(paths)
}

#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    folders: BTreeSet<PathBuf>,
    entries: u32,
}

impl Disk {
    fn program(&mut self, path: &str, source: &Path) -> Result<()> {
        let bytes = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        self.file(path, &bytes)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        if let Some(parent) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(parent)?;
        }
        self.add(path, PROGRAM, (0, 0), bytes)
    }

    fn folder(&mut self, path: &str) -> Result<()> {
        let parents: Vec<PathBuf> = Path::new(path).ancestors().map(Path::to_owned).collect();
        for folder in parents
            .into_iter()
            .rev()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            if self.folders.insert(folder.clone()) {
                self.add(&folder.display().to_string(), FOLDER, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(bytes.len()).with_context(|| format!("{path} is too large"))?;
        let entry = newc::Builder::new(path)
            .ino(self.entries)
            .mode(mode)
            .nlink(1)
            .rdev_major(device.0)
            .rdev_minor(device.1);
        let mut writer = entry.write(std::mem::take(&mut self.bytes), size);
        std::io::Write::write_all(&mut writer, bytes).with_context(|| format!("packing {path}"))?;
        self.bytes = writer.finish().with_context(|| format!("packing {path}"))?;
        Ok(())
    }
}
