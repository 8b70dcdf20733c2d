//! Socket inode -> process, by looking through open files. Done once, at adoption.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use crate::kernel::{netns, process};

/// Open files looked at before giving up on the rest: a few seconds' work on a node full of them.
const MAX_FILES: usize = 1_000_000;

/// A process that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pid: u32,
    pub(super) comm: [u8; 16],
}

/// Who holds the sockets `wanted`; of several processes the one with the lowest pid. Processes in one of `namespaces`
/// are looked at first, and the others only for what is still missing. Nothing when pids in `proc` are not the host's.
pub(super) fn find(proc: &Path, wanted: &HashSet<u32>, namespaces: &HashSet<u32>) -> HashMap<u32, Owner> {
    let mut found = HashMap::new();
    if wanted.is_empty() || !process::sees_host_pids(proc) {
        return found;
    }
    let mut pids: Vec<u32> = process::pids(proc).collect();
    pids.sort_unstable();
    let (likely, others): (Vec<u32>, Vec<u32>) = pids.into_iter().partition(|pid| {
        netns::inode(&proc.join(pid.to_string()).join("ns/net"))
            .is_ok_and(|inode| namespaces.contains(&inode))
    });
    let mut files = 0;
    for pid in likely.into_iter().chain(others) {
        if found.len() == wanted.len() || files > MAX_FILES {
            break;
        }
        let folder = proc.join(pid.to_string()).join("fd");
        let mut owner = None;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            files += 1;
            let Some(inode) = fs::read_link(entry.path())
                .ok()
                .and_then(|link| socket_inode(link.to_str()?))
            else {
                continue;
            };
            if wanted.contains(&inode) && !found.contains_key(&inode) {
                let comm = *owner.get_or_insert_with(|| process::comm(proc, pid).unwrap_or_default());
                found.insert(inode, Owner { pid, comm });
            }
        }
    }
    found
}

/// `socket:[123]` -> 123.
fn socket_inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
