//! A pod from outside: its network namespace and two files, without running or trusting anything of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ProbeError;
use super::hosts::Hosts;
use super::resolv_conf::ResolvConf;

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
        let read = |path: &str, what| match read(root.as_fd(), path) {
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

/// Reads a regular file below `root`. Symbolic links are followed as the container sees them and never lead out of it;
/// nothing but a regular file is ever opened, so no device or pipe of the container's making can do or hold anything.
fn read(root: BorrowedFd<'_>, path: &str) -> io::Result<Vec<u8>> {
    let found = openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    // The same file once more, for reading; this process's own /proc, whatever the container mounts on its.
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = File::from(open(
        again.as_str(),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    )?);
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::TempDir;

    fn root(dir: &TempDir) -> OwnedFd {
        open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn links_stay_inside_the_container() {
        let outside = TempDir::new();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        let dir = TempDir::new();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("inside"), "inside").unwrap();
        symlink("/inside", dir.path().join("etc/absolute")).unwrap();
        symlink("../../../../inside", dir.path().join("etc/relative")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("etc/out")).unwrap();
        let root = root(&dir);
        assert_eq!(read(root.as_fd(), "etc/absolute").unwrap(), b"inside");
        assert_eq!(read(root.as_fd(), "etc/relative").unwrap(), b"inside");
        let error = read(root.as_fd(), "etc/out").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn only_regular_files_of_a_bounded_size() {
        let dir = TempDir::new();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::write(dir.path().join("large"), vec![b'#'; 1024 * 1024]).unwrap();
        let root = root(&dir);
        // A pipe without a writer would hold whoever opens it.
        let error = read(root.as_fd(), "pipe").unwrap_err().to_string();
        assert_eq!(error, "not a regular file");
        assert!(read(root.as_fd(), ".").is_err());
        assert_eq!(
            read(root.as_fd(), "large").unwrap().len(),
            usize::try_from(MAX_FILE).unwrap()
        );
    }

    #[test]
    fn a_process_that_is_gone_says_so() {
        let error = match Pod::open(Path::new("/proc"), u32::MAX) {
            Ok(_) => panic!("there is no such process"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("process 4294967295"), "{error}");
    }
}
