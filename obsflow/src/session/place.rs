//! Where and what a session watches: its cgroups, the lock on them, what is loaded.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{PAYLOAD_PER_SECOND, SessionError};
use crate::cli::AttachArg;
use crate::config::Live;
use crate::kernel::cgroupfs::{self, Cgroup, CgroupFs};
use crate::kernel::load::{LoadConfig, LoadError};
use crate::kernel::netns::Namespace;
use crate::kernel::{ports, route};

/// Directories of the cgroups to attach to.
pub(super) fn attach_to(
    attach: &AttachArg,
    fs: &CgroupFs,
    cgroups: &[Cgroup],
) -> Result<Vec<PathBuf>, SessionError> {
    let below = |path: &str| fs.path().join(path.trim_start_matches('/'));
    let kubepods = || -> Vec<PathBuf> {
        cgroupfs::kubepods(cgroups)
            .into_iter()
            .map(|cgroup| below(&cgroup.path))
            .collect()
    };
    Ok(match attach {
        AttachArg::Root => vec![fs.path().to_owned()],
        AttachArg::Auto => {
            let pods = kubepods();
            if pods.is_empty() {
                vec![fs.path().to_owned()]
            } else {
                pods
            }
        }
        AttachArg::Kubepods => {
            let pods = kubepods();
            if pods.is_empty() {
                return Err(SessionError::NoKubepods);
            }
            pods
        }
        AttachArg::Path(path) => {
            let full = if path.starts_with(fs.path()) {
                path.clone()
            } else {
                fs.path().join(path.strip_prefix("/").unwrap_or(path))
            };
            if !full.join("cgroup.procs").is_file() {
                return Err(SessionError::NoCgroup(path.clone(), fs.path().to_owned()));
            }
            vec![full]
        }
    })
}

/// Locks a cgroup for this process. The lock lives in the kernel and ends with the process, however that ends.
pub(super) fn lock(cgroup: &Path) -> Result<File, SessionError> {
    let open = |source| LoadError::Cgroup {
        path: cgroup.to_owned(),
        source,
    };
    let file = File::open(cgroup).map_err(open)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SessionError::Running(cgroup.to_owned())),
        Err(error) => Err(open(error.into()).into()),
    }
}

pub(super) fn load_config(config: &Live, cgroups: Vec<PathBuf>) -> Result<LoadConfig, SessionError> {
    let list = |ports: &BTreeSet<u16>| ports.iter().copied().collect::<Vec<_>>();
    Ok(LoadConfig {
        cgroups,
        ports: ports::classes(
            &list(&config.ports),
            &list(&config.dns_ports),
            &list(&config.tunnel_ports),
        ),
        ring_bytes: config.ring_bytes,
        payload: config.payload,
        payload_per_second: PAYLOAD_PER_SECOND,
        kernel_log: match config.kernel_log {
            log::LevelFilter::Off => None,
            log::LevelFilter::Error => Some(aya_log::Level::Error),
            log::LevelFilter::Warn => Some(aya_log::Level::Warn),
            log::LevelFilter::Info => Some(aya_log::Level::Info),
            log::LevelFilter::Debug => Some(aya_log::Level::Debug),
            log::LevelFilter::Trace => Some(aya_log::Level::Trace),
        },
        required: config.hooks.clone(),
        without: config.without_hooks.clone(),
        without_btf: config.without_btf,
    })
}

/// What the routing table of the process's network namespace answers now, 0 when it has a route or cannot be asked.
pub(super) fn route_errno(pid: u32, to: std::net::IpAddr) -> u32 {
    Namespace::of_pid(Path::new("/proc"), pid)
        .ok()
        .and_then(|namespace| route::route_errno(&namespace, to).ok().flatten())
        .unwrap_or(0)
}
