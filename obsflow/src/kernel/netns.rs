//! Network namespaces of the node: which there are, and running something inside one.
//!
//! A thread that changed its namespace never comes back: work inside a namespace is done on a thread made for it, so
//! that no shared thread is ever left in the wrong one. Nothing here keeps a namespace alive after the work is done.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process;

/// Where `ip netns add` keeps names of namespaces.
pub const RUN_NETNS: &str = "/run/netns";

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its inode, as records carry it.
    pub inode: u32,
    /// A file that names it: `/proc/<pid>/ns/net` or a bind mount.
    pub path: PathBuf,
}

/// Why nothing could be run inside a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The file could not be opened.
    #[error("opening network namespace {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file names another namespace by now: the process is gone and its pid used again.
    #[error("{path} is network namespace {found} now, not {wanted}")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        wanted: u32,
        /// What it is.
        found: u32,
    },
    /// `setns(2)` failed.
    #[error("entering network namespace {path} (setns needs CAP_SYS_ADMIN): {source}")]
    Enter {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread could be made.
    #[error("starting a thread for a network namespace: {0}")]
    Thread(io::Error),
}

impl Namespace {
    /// The namespace that `path` names.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, NetnsError> {
        let path = path.into();
        match inode(&path) {
            Ok(inode) => Ok(Self { inode, path }),
            Err(source) => Err(NetnsError::Open { path, source }),
        }
    }

    /// The namespace of a process.
    pub fn of_pid(proc: &Path, pid: u32) -> Result<Self, NetnsError> {
        Self::open(proc.join(pid.to_string()).join("ns/net"))
    }

    /// Runs `work` inside the namespace, on a thread of its own, and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_scratch_thread(|scratch| scratch.enter(self).map(|()| work()))?
    }
}

/// The namespaces of all processes in `proc` and those named in `folder` ([`RUN_NETNS`]), each once, by inode. Costs
/// a `stat` per process.
#[must_use]
pub fn list(proc: &Path, folder: &Path) -> Vec<Namespace> {
    let mut found = BTreeMap::new();
    let named = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    // The names first: they last longer than processes.
    let paths = named.chain(process::pids(proc).map(|pid| proc.join(pid.to_string()).join("ns/net")));
    for path in paths {
        if let Ok(inode) = inode(&path) {
            found.entry(inode).or_insert(path);
        }
    }
    found
        .into_iter()
        .map(|(inode, path)| Namespace { inode, path })
        .collect()
}

/// Inode of the namespace that `path` names.
pub fn inode(path: &Path) -> io::Result<u32> {
    narrow(fs::metadata(path)?.ino())
}

fn narrow(inode: u64) -> io::Result<u32> {
    u32::try_from(inode).map_err(|_| io::Error::other("not a namespace: its inode has more than 32 bits"))
}

/// The right to move the thread that holds it between namespaces.
#[derive(Debug)]
pub struct Scratch {
    stays_on_its_thread: PhantomData<*const ()>,
}

impl Scratch {
    /// Moves this thread into `namespace`, after checking that it still is the one meant.
    pub fn enter(&mut self, namespace: &Namespace) -> Result<(), NetnsError> {
        let path = || namespace.path.clone();
        let open = |source| NetnsError::Open { path: path(), source };
        let file = File::open(&namespace.path).map_err(open)?;
        let found = file
            .metadata()
            .and_then(|meta| narrow(meta.ino()))
            .map_err(open)?;
        if found != namespace.inode {
            return Err(NetnsError::Changed {
                path: path(),
                wanted: namespace.inode,
                found,
            });
        }
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| {
            NetnsError::Enter {
                path: path(),
                source: errno.into(),
            }
        })
    }
}

/// Runs `work` on a thread of its own, which may move between namespaces, and waits for it.
pub fn on_scratch_thread<T: Send>(work: impl FnOnce(&mut Scratch) -> T + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("obsflow-netns".to_owned())
            .spawn_scoped(scope, || {
                work(&mut Scratch {
                    stays_on_its_thread: PhantomData,
                })
            })
            .map_err(NetnsError::Thread)?;
        handle
            .join()
            .map_err(|_| NetnsError::Thread(io::Error::other("it panicked")))
    })
}

#[cfg(test)]
#[path = "netns_tests.rs"]
mod tests;
