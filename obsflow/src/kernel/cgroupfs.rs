//! The cgroup2 file system: where it is mounted, what is in it, where pods are.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use obsflow_ebpf::abi::record::{self, Header, kind};
use zerocopy::IntoBytes as _;

use crate::model::Mono;

/// Inode of a cgroup2 hierarchy's root; anything else is a subtree (`kernfs_root` gives its root id 1).
pub const ROOT_ID: u64 = 1;
/// A snapshot stops here; a node has a few thousand cgroups.
const MAX_CGROUPS: usize = 131_072;
/// `FILEID_KERNFS` of `include/linux/exportfs.h`: the handle is the 64-bit id, the same that BPF calls cgroup id.
const FILEID_KERNFS: i32 = 0xfe;

/// Why the cgroup2 file system cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The list of mounts could not be read.
    #[error("reading {path}: {source}; is /proc mounted?")]
    Mounts {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no cgroup2 mount.
    #[error(
        "no cgroup2 file system is mounted; mount it with `mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NotMounted,
    /// Only a part of the hierarchy is mounted here.
    #[error(
        "{path} is a container's own part of the cgroup2 hierarchy (inode {inode}, the root has 1): mount the host's /sys/fs/cgroup into the container, or run in the host's cgroup namespace"
    )]
    Subtree {
        /// Mount point.
        path: PathBuf,
        /// Inode of its root.
        inode: u64,
    },
    /// The mount point could not be opened.
    #[error("opening the cgroup2 mount {path}: {source}")]
    Open {
        /// Mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A cgroup2 mount that shows the whole hierarchy.
#[derive(Debug)]
pub struct CgroupFs {
    path: PathBuf,
    root: File,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id, the inode of its folder.
    pub id: u64,
    /// Its path below the mount, beginning with a slash; bytes that are not UTF-8 are replaced.
    pub path: String,
}

impl CgroupFs {
    /// Finds the mount in `mounts` (`/proc/self/mounts`) that shows the whole hierarchy.
    pub fn find(mounts: &Path) -> Result<Self, CgroupError> {
        let text = fs::read_to_string(mounts).map_err(|source| CgroupError::Mounts {
            path: mounts.to_owned(),
            source,
        })?;
        let mut error = CgroupError::NotMounted;
        for path in cgroup2_mounts(&text) {
            match Self::open(&path) {
                Ok(found) => return Ok(found),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// Takes `path` as the mount and checks that it is the whole hierarchy.
    pub fn open(path: &Path) -> Result<Self, CgroupError> {
        let opened = File::open(path).and_then(|root| root.metadata().map(|meta| (root, meta.ino())));
        match opened {
            Ok((root, ROOT_ID)) => Ok(Self {
                path: path.to_owned(),
                root,
            }),
            Ok((_, inode)) => Err(CgroupError::Subtree {
                path: path.to_owned(),
                inode,
            }),
            Err(source) => Err(CgroupError::Open {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every cgroup, parents before children. Cgroups that vanish meanwhile are left out.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Cgroup> {
        let mut found = vec![Cgroup {
            id: ROOT_ID,
            path: "/".to_owned(),
        }];
        let mut next = 0;
        while let Some(parent) = found.get(next).map(|cgroup| cgroup.path.clone()) {
            next += 1;
            let folder = self.path.join(parent.trim_start_matches('/'));
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if found.len() >= MAX_CGROUPS {
                    return found;
                }
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                // A name that is not UTF-8 cannot be walked into; `path_of` still finds what is below.
                let name = entry.file_name();
                let path = format!("{}/{}", parent.trim_end_matches('/'), name.to_string_lossy());
                if let Ok(meta) = entry.metadata() {
                    found.push(Cgroup { id: meta.ino(), path });
                }
            }
        }
        found
    }

    /// Path of the cgroup `id`, `None` when it is gone. Needs `CAP_DAC_READ_SEARCH`.
    #[must_use]
    pub fn path_of(&self, id: u64) -> Option<String> {
        let opened = self.open_by_id(id).ok()?;
        let link = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        let below = link.strip_prefix(&self.path).ok()?.to_string_lossy();
        // The kernel marks a folder that was removed between the two calls; one may also be called like that.
        let marked = below.strip_suffix(" (deleted)");
        let is_there = || fs::metadata(&link).is_ok_and(|meta| meta.ino() == id);
        let below = marked.filter(|_| !is_there()).unwrap_or(&below);
        Some(format!("/{below}"))
    }

    fn open_by_id(&self, id: u64) -> io::Result<OwnedFd> {
        /// `struct file_handle` with the 8 bytes of a kernfs handle.
        #[repr(C)]
        struct Handle {
            bytes: u32,
            kind: i32,
            id: u64,
        }
        let mut handle = Handle {
            bytes: 8,
            kind: FILEID_KERNFS,
            id,
        };
        // SAFETY: the kernel reads `bytes` bytes after the two leading fields, which `Handle` has, and keeps nothing.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                self.root.as_raw_fd(),
                &raw mut handle,
                libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY,
            )
        };
        let fd = i32::try_from(fd)
            .ok()
            .filter(|fd| *fd >= 0)
            .ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the call above gave this descriptor to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Cgroup {
    /// The record that announces this cgroup, as the kernel side makes it for new ones.
    #[must_use]
    pub fn record(&self, at: Mono) -> Vec<u8> {
        let path = self.path.as_bytes();
        let size = size_of::<record::Cgroup>() + path.len();
        let head = record::Cgroup {
            header: Header {
                kind: kind::CGROUP,
                flags: 0,
                len: u32::try_from(size).unwrap_or(u32::MAX),
                ts_ns: at.0,
                cgroup: self.id,
                cookie: 0,
                netns: 0,
                pid: 0,
            },
            path_len: u32::try_from(path.len()).unwrap_or(u32::MAX),
            pad: 0,
        };
        let mut out = Vec::with_capacity(size);
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(path);
        out
    }
}

/// The outermost cgroups below which a kubelet keeps all its pods: `/kubepods`, `/kubepods.slice`,
/// `/kubelet.slice/kubelet-kubepods.slice` … Empty when no kubelet runs here.
#[must_use]
pub fn kubepods(cgroups: &[Cgroup]) -> Vec<&Cgroup> {
    let is_kubepods =
        |name: &str| name == "kubepods" || name == "kubepods.slice" || name.ends_with("-kubepods.slice");
    cgroups
        .iter()
        .filter(|cgroup| {
            let mut names = cgroup.path.split('/').rev();
            names.next().is_some_and(is_kubepods) && !names.any(is_kubepods)
        })
        .collect()
}

/// Mount points of type cgroup2 in the text of a mounts file.
fn cgroup2_mounts(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(unescape(path)))
    })
}

/// Blanks and backslashes stand as `\040` and the like in a mounts file.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[path = "cgroupfs_tests.rs"]
mod tests;
