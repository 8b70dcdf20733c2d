//! A pod from outside: its network namespace and two files, without running or trusting anything of it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ProbeError;
use super::hosts::Hosts;
use super::resolv_conf::ResolvConf;
use crate::kernel::rootfs;

/// Bytes of a file that are read; what kubelet writes has a few hundred.
const MAX_FILE: u64 = 256 * 1024;

/// A process of the pod. The handle stays with this process: when it ends, everything through it fails, even if another
/// one gets its number.
pub(super) struct Pod {
    pid: u32,
    folder: OwnedFd,
}

/// How the pod resolves names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) resolv_conf: ResolvConf,
    pub(super) hosts: Hosts,
}

impl Pod {
    pub(super) fn open(proc: &Path, pid: u32) -> Result<Self, ProbeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(proc.join(pid.to_string()), flags, Mode::empty()) {
            Ok(folder) => Ok(Self { pid, folder }),
            Err(errno) => Err(Self::error(pid, "its folder in /proc", errno)),
        }
    }

    fn error(pid: u32, what: &'static str, source: impl Into<io::Error>) -> ProbeError {
        ProbeError::Process {
            pid,
            what,
            source: source.into(),
        }
    }

    /// `resolv.conf` and `hosts` of its `/etc`. One that is not there is as the C library has it: empty.
    pub(super) fn files(&self) -> Result<Files, ProbeError> {
        let root = openat(
            &self.folder,
            "root",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Self::error(self.pid, "its root folder", errno))?;
        let read = |path: &str, what| match rootfs::read(root.as_fd(), path, MAX_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| Self::error(self.pid, what, source)),
        };
        Ok(Files {
            resolv_conf: ResolvConf::parse(&read("etc/resolv.conf", "its /etc/resolv.conf")?),
            hosts: Hosts::parse(&read("etc/hosts", "its /etc/hosts")?),
        })
    }

    /// Moves this thread into its network namespace, for good.
    pub(super) fn enter(&self) -> Result<(), ProbeError> {
        let namespace = openat(
            &self.folder,
            "ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Self::error(self.pid, "its network namespace", errno))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| {
            ProbeError::Enter {
                pid: self.pid,
                source: errno.into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_says_so() {
        let error = match Pod::open(Path::new("/proc"), u32::MAX) {
            Ok(_) => panic!("there is no such process"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("process 4294967295"), "{error}");
    }
}
