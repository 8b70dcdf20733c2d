//! Files of a container, read from outside, whatever the container makes of them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

/// The root folder of a process.
///
/// # Errors
/// When the process is gone, or may not be looked at.
pub fn of_pid(proc: &Path, pid: u32) -> io::Result<OwnedFd> {
    let path = proc.join(pid.to_string()).join("root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Finds something below `root` without opening it. Links are followed as the container sees them and never lead out of
/// it (Linux 5.6).
///
/// # Errors
/// When there is no such thing.
pub fn find(root: BorrowedFd<'_>, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    Ok(openat2(
        root,
        path.as_ref(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// Reads the first `max` bytes of a regular file below `root`, as [`find`] finds it. Nothing but a regular file is ever opened: a pipe would hold whoever opens it, and a device
/// may do something at once.
///
/// # Errors
/// When there is no such file, or it is no regular one.
pub fn read(root: BorrowedFd<'_>, path: impl AsRef<Path>, max: u64) -> io::Result<Vec<u8>> {
    let found = find(root, path)?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    // The same file once more, for reading; by this process's own /proc, whatever the container mounts on its.
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = File::from(open(
        again.as_str(),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    )?);
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::TempDir;

    const MAX: u64 = 4096;

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
        assert_eq!(read(root.as_fd(), "/etc/absolute", MAX).unwrap(), b"inside");
        assert_eq!(read(root.as_fd(), "etc/relative", MAX).unwrap(), b"inside");
        let error = read(root.as_fd(), "etc/out", MAX).unwrap_err();
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
        let error = read(root.as_fd(), "pipe", MAX).unwrap_err().to_string();
        assert_eq!(error, "it is no regular file");
        assert!(read(root.as_fd(), ".", MAX).is_err());
        assert_eq!(
            read(root.as_fd(), "large", MAX).unwrap().len(),
            usize::try_from(MAX).unwrap()
        );
    }

    /// A device may do something as soon as it is opened: a watchdog begins to count.
    #[test]
    fn a_device_is_not_opened() {
        let dir = TempDir::new();
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        );
        made.expect("making a device: these tests run as root");
        let error = read(root(&dir).as_fd(), "null", MAX).unwrap_err().to_string();
        assert_eq!(error, "it is no regular file");
    }
}
