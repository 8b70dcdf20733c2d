//! Reading one process from `/proc`, within bounds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::file_name;
use super::go::{GoBuild, GoPrograms};
use super::otel_config;
use super::profile::{Process, ReadFile};
use crate::kernel::process::{self, Stat};
use crate::kernel::rootfs;

/// Bytes read of an environment. The kernel allows 6 MiB; what runs in containers has a few KiB.
const MAX_ENVIRON: usize = 256 << 10;
/// Bytes read of a command line.
const MAX_CMDLINE: usize = 64 << 10;
/// Bytes read of the list of mapped files.
const MAX_MAPS: usize = 1 << 20;

/// Libraries of protobuf's Python package: upb, and the C++ one before it.
const PROTOBUF: [&str; 2] = ["/google/_upb/_message.", "/google/protobuf/pyext/_message."];

/// What was found.
pub(super) enum Outcome {
    /// The process is gone, or a thread of the kernel.
    Gone,
    /// It is there, and may not be read.
    Unreadable(Stat, Arc<str>),
    /// It was read.
    Read(Box<Raw>),
}

/// A process as it was read; dropped as soon as its profile is made.
pub(super) struct Raw {
    pub(super) stat: Stat,
    pub(super) environ: Vec<u8>,
    pub(super) cmdline: Vec<u8>,
    pub(super) exe: String,
    pub(super) go: Option<Arc<GoBuild>>,
}

impl Raw {
    pub(super) fn process<'a>(&'a self, file: &'a ReadFile<'a>) -> Process<'a> {
        Process {
            environ: &self.environ,
            cmdline: &self.cmdline,
            exe: &self.exe,
            go: self.go.as_deref(),
            file,
        }
    }
}

/// Reads processes.
pub(super) struct Reader {
    proc: PathBuf,
    go: GoPrograms,
}

impl Reader {
    pub(super) fn new(proc: PathBuf) -> Self {
        Self {
            proc,
            go: GoPrograms::default(),
        }
    }

    fn path(&self, pid: u32, name: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(name)
    }

    pub(super) fn read(&mut self, pid: u32) -> Outcome {
        let Some(stat) = process::stat(&self.proc, pid).filter(|stat| !stat.is_kernel) else {
            return Outcome::Gone;
        };
        let environ = match head(&self.path(pid, "environ"), MAX_ENVIRON) {
            Ok(environ) => environ,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::PermissionDenied => Outcome::Unreadable(
                        stat,
                        Arc::from(
                            "its environment may not be read (CAP_SYS_PTRACE is missing, or a security module \
                             refuses it): what it is set to export is not known",
                        ),
                    ),
                    // ESRCH: it has no memory any more.
                    _ => Outcome::Gone,
                };
            }
        };
        // The kernel shows nothing of a process that is ending.
        if environ.is_empty() && stat.environ.1 > stat.environ.0 && is_ending(&self.path(pid, "stat")) {
            return Outcome::Gone;
        }
        let cmdline = head(&self.path(pid, "cmdline"), MAX_CMDLINE).unwrap_or_default();
        let exe = self.path(pid, "exe");
        let link = fs::read_link(&exe).unwrap_or_default();
        let link = link.to_string_lossy();
        let name = file_name(link.strip_suffix(" (deleted)").unwrap_or(&link)).to_owned();
        let go = File::open(&exe).ok().and_then(|file| self.go.of(&file));
        Outcome::Read(Box::new(Raw {
            stat,
            environ,
            cmdline,
            exe: name,
            go,
        }))
    }

    /// What among the files that the process has mapped shows that it has loaded an SDK with an exporter: a C++ library
    /// or a .NET assembly by its name. Python's exporters are no libraries, but they load protobuf's: what counts is
    /// protobuf mapped from a folder of packages that has the exporters, too.
    pub(super) fn loaded_sdk(&self, pid: u32) -> Option<Arc<str>> {
        let maps = head(&self.path(pid, "maps"), MAX_MAPS).ok()?;
        let maps = String::from_utf8_lossy(&maps);
        let mut before = "";
        for line in maps.lines() {
            let Some(path) = line.find('/').and_then(|at| line.get(at..)) else {
                continue;
            };
            // A file is mapped in several pieces, one after the other.
            if std::mem::replace(&mut before, path) == path {
                continue;
            }
            let name = file_name(path);
            let name = name.strip_suffix(" (deleted)").unwrap_or(name);
            let lower = name.to_ascii_lowercase();
            if lower.contains("opentelemetry") && lower.contains("export") {
                return Some(super::endpoint::shown(name, 96));
            }
            if PROTOBUF.iter().any(|end| path.contains(end)) && self.has_exporters(pid, path) {
                return Some(Arc::from("protobuf beside opentelemetry/exporter/otlp"));
            }
        }
        None
    }

    /// Whether the folder of packages that `path` is in has OpenTelemetry's OTLP exporters.
    fn has_exporters(&self, pid: u32, path: &str) -> bool {
        let packages = ["/site-packages/", "/dist-packages/"]
            .iter()
            .find_map(|name| path.get(..path.rfind(name)? + name.len()));
        let (Some(packages), Ok(root)) = (packages, rootfs::of_pid(&self.proc, pid)) else {
            return false;
        };
        let exporters = Path::new(packages).join("opentelemetry/exporter/otlp");
        rootfs::find(root.as_fd(), exporters).is_ok()
    }

    /// A file as process `pid` sees it: `path` from its root, or from its working directory.
    pub(super) fn file_of(&self, pid: u32, path: &str) -> Result<Vec<u8>, Arc<str>> {
        let path = match path.starts_with('/') {
            true => PathBuf::from(path),
            false => fs::read_link(self.path(pid, "cwd")).map_err(word)?.join(path),
        };
        let root = rootfs::of_pid(&self.proc, pid).map_err(word)?;
        rootfs::read(root.as_fd(), path, otel_config::MAX_FILE as u64).map_err(word)
    }
}

/// What an error means, in words that are the same everywhere.
fn word(error: io::Error) -> Arc<str> {
    Arc::from(match error.kind() {
        io::ErrorKind::NotFound => "there is no such file in the container".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        io::ErrorKind::Other => error.to_string(),
        io::ErrorKind::Unsupported => "reading it takes Linux 5.6".to_owned(),
        _ => format!("it cannot be read: {error}"),
    })
}

/// Whether the process is a zombie, or dead.
fn is_ending(stat: &Path) -> bool {
    let Ok(text) = fs::read(stat) else { return true };
    let state = text
        .iter()
        .rposition(|b| *b == b')')
        .and_then(|at| text.get(at + 2));
    matches!(state, Some(b'Z' | b'X' | b'x') | None)
}

/// The first `max` bytes of a file.
fn head(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(max as u64).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
