//! Cgroup path -> what lives there. Pure; a path is data somebody else chose, so nothing is taken on trust beyond the
//! shapes that kubelets, container runtimes and systemd make.
//!
//! | who made it | shape |
//! | --- | --- |
//! | kubelet, cgroupfs driver | `[/prefix]/kubepods[/burstable\|/besteffort]/pod<uid>/<container>` |
//! | kubelet, systemd driver | `[/prefix]/[…-]kubepods.slice/[…-]kubepods[-burstable]-pod<uid>.slice/<container>` |
//! | kubelet on systemd, containerd on cgroupfs | `…/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>` |
//! | a runtime | `<id>`, `crio-<id>`, `cri-containerd-<id>.scope`, `docker-<id>.scope`, `libpod-<id>.scope` … |
//! | systemd | slices, then one unit; below `user@<uid>.service` the same again |
//!
//! The outermost pod wins, then the outermost container: what is below a container's own cgroup is under that
//! container's control, so a path inside cannot pass for another pod. For the same reason no pods are believed below
//! `user@<uid>.service`, which systemd hands to an unprivileged user.

use std::sync::Arc;

use crate::model::workload::{Workload, WorkloadKind};

/// What lives at `path`, a path below the cgroup2 mount or one of `/proc/<pid>/cgroup`. Names of namespace, pod and
/// container are not in a path and stay `None`.
#[must_use]
pub fn parse(path: &str) -> Workload {
    if path.is_empty() {
        return Workload::default();
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // A reader in a cgroup namespace of its own sees `/../../…`: what is left out is not known.
    let cut = parts.iter().take_while(|part| **part == "..").count();
    let parts = parts.get(cut..).unwrap_or_default();
    let mut workload = Workload {
        kind: WorkloadKind::Cgroup,
        cgroup_path: Some(shown(path)),
        ..Workload::default()
    };
    if let Some(pod) = pod(parts, cut > 0) {
        workload.kind = WorkloadKind::Pod;
        workload.pod_uid = pod.uid.map(Arc::from);
        workload.container_id = pod.container.map(Arc::from);
    } else if let Some(id) = parts.iter().find_map(|part| container_id(part)) {
        workload.kind = WorkloadKind::Container;
        workload.container_id = Some(Arc::from(id));
    } else if let Some(unit) = unit(parts) {
        workload.kind = WorkloadKind::Unit;
        workload.unit = Some(shown(unit));
    }
    workload
}

/// The canonical form of a pod UID as it stands in a cgroup or folder name: a lower-case UUID (with `_` for `-` where
/// the systemd driver wrote it), or the 32 hexadecimal digits that a kubelet gives static pods.
#[must_use]
pub fn pod_uid(text: &str) -> Option<String> {
    match text.len() {
        32 => is_hex(text).then(|| text.to_owned()),
        36 => {
            let separator = if text.contains('_') { '_' } else { '-' };
            let groups: Vec<&str> = text.split(separator).collect();
            let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
            (lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| is_hex(group)))
                .then(|| groups.join("-"))
        }
        _ => None,
    }
}

/// A path or name fit for a terminal: control characters are escaped.
#[must_use]
pub fn shown(text: &str) -> Arc<str> {
    if !text.chars().any(char::is_control) {
        return Arc::from(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Arc::from(out)
}

struct Pod<'a> {
    uid: Option<String>,
    container: Option<&'a str>,
}

fn pod<'a>(parts: &[&'a str], cut: bool) -> Option<Pod<'a>> {
    for (i, part) in parts.iter().copied().enumerate() {
        if is_user_manager(part) {
            return None;
        }
        let below = parts.get(i + 1).copied();
        if let Some((slice, rest)) = part.split_once(".slice:") {
            if let Some(uid) = pod_slice(slice) {
                let container = rest.rsplit_once(':').map(|(_, id)| id).filter(|id| is_id(id));
                return Some(Pod { uid, container });
            }
        } else if let Some(uid) = part.strip_suffix(".slice").and_then(pod_slice) {
            return Some(Pod {
                uid,
                container: below.and_then(container_id),
            });
        } else if let Some(uid) = part.strip_prefix("pod") {
            let parents = parts.get(..i).unwrap_or_default();
            let known = pod_uid(uid);
            let in_kubepods = match parents {
                [.., "kubepods"] | [.., "kubepods", "burstable" | "besteffort"] => !uid.is_empty(),
                [] | ["burstable" | "besteffort"] => cut && known.is_some(),
                _ => false,
            };
            if in_kubepods {
                return Some(Pod {
                    uid: known,
                    container: below.and_then(container_id),
                });
            }
        }
    }
    None
}

/// `stem` of a pod's slice -> its UID, the inner `None` when it is a pod's but not in a shape known here.
fn pod_slice(stem: &str) -> Option<Option<String>> {
    let (parent, uid) = stem.rsplit_once("-pod")?;
    let parent = parent
        .strip_suffix("-burstable")
        .or_else(|| parent.strip_suffix("-besteffort"))
        .unwrap_or(parent);
    if uid.is_empty() || !(parent == "kubepods" || parent.ends_with("-kubepods")) {
        return None;
    }
    Some(pod_uid(uid))
}

/// The id in a container's own cgroup name. Monitors (`crio-conmon-<id>`) are not the container.
fn container_id(name: &str) -> Option<&str> {
    let scope = name.strip_suffix(".scope");
    let stem = scope.unwrap_or(name);
    let id = match stem.rsplit_once('-') {
        Some((runtime, id)) => {
            let plain = runtime
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if runtime.is_empty() || !plain || runtime.ends_with("conmon") {
                return None;
            }
            id
        }
        None if scope.is_some() => return None,
        None => stem,
    };
    is_id(id).then_some(id)
}

/// The systemd unit that `parts` is in: the first one below leading slices, below `user@<uid>.service` the user's own
/// in the same way, else the innermost slice. What a service makes below itself is its own affair.
fn unit<'a>(parts: &[&'a str]) -> Option<&'a str> {
    let slices = parts.iter().take_while(|part| is_slice(part)).count();
    match parts.get(slices).copied() {
        Some(name) if is_user_manager(name) => {
            unit(parts.get(slices + 1..).unwrap_or_default()).or(Some(name))
        }
        Some(name) if is_unit(name) => Some(name),
        _ => slices.checked_sub(1).and_then(|last| parts.get(last).copied()),
    }
    // systemd puts `_` before names that would collide with files of the cgroup file system.
    .map(|name| name.strip_prefix('_').unwrap_or(name))
}

fn is_unit(name: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|suffix| name.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty()))
}

fn is_slice(name: &str) -> bool {
    name.strip_suffix(".slice").is_some_and(|stem| !stem.is_empty())
}

fn is_user_manager(name: &str) -> bool {
    name.strip_prefix("user@")
        .and_then(|rest| rest.strip_suffix(".service"))
        .is_some_and(|uid| !uid.is_empty() && uid.bytes().all(|b| b.is_ascii_digit()))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "cgroup_path_tests.rs"]
pub(super) mod tests;
