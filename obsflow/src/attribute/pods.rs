//! Pod UID -> names, from the kubelet's log folders and from captures.
//!
//! The kubelet makes `<folder>/<namespace>_<pod>_<uid>/` before it starts the pod's sandbox, and
//! `<container>/` in it before it creates the container (`pkg/kubelet/kuberuntime/helpers.go`). No part can hold a `_`.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cgroup_path::pod_uid;
use crate::model::{Mono, Workload};

/// Names kept, of pods that are gone too.
const MAX_PODS: usize = 16_384;
/// Between two reads of a folder that did change.
const REREAD: Duration = Duration::from_millis(50);
/// A folder changed this recently may change again within the same time stamp.
const FRESH: Duration = Duration::from_secs(1);

/// A pod's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// UID, in the canonical hyphenated form.
    pub uid: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub pod: Arc<str>,
}

impl PodName {
    /// From the name of a log folder, `None` when it is not one.
    #[must_use]
    pub fn from_folder(name: &str) -> Option<Self> {
        let mut parts = name.split('_');
        let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !is_label(namespace) || !is_subdomain(pod) {
            return None;
        }
        Some(Self {
            uid: Arc::from(pod_uid(uid)?),
            namespace: Arc::from(namespace),
            pod: Arc::from(pod),
        })
    }
}

/// Everything known of pods' names.
#[derive(Debug, Default)]
pub(super) struct Pods {
    folders: Vec<Folder>,
    known: HashMap<Arc<str>, Known>,
    order: VecDeque<Arc<str>>,
    next_read: Mono,
    /// Told by folders or the cluster, and not yet taken.
    learned: Vec<PodName>,
    /// Counts up whenever a name is learned.
    pub(super) generation: u64,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Modification time at the last read, when it can be relied upon to change with the next entry.
    read: Option<SystemTime>,
}

#[derive(Debug)]
struct Known {
    name: PodName,
    folder: Option<PathBuf>,
}

impl Pods {
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        let folders = folders
            .into_iter()
            .map(|path| Folder { path, read: None })
            .collect();
        Self {
            folders,
            ..Self::default()
        }
    }

    /// Names of the pod, reading the folders again when they changed: at once for a cgroup that is `new`, because
    /// kubelet makes the folder before the container and the container may live for milliseconds; otherwise when it is
    /// [`due`](Self::due).
    pub(super) fn find(&mut self, uid: &str, now: Mono, new: bool) -> Option<&PodName> {
        if !self.known.contains_key(uid) && (new || self.due(now)) {
            self.next_read = now.after(REREAD);
            self.read();
        }
        self.known.get(uid).map(|known| &known.name)
    }

    /// Whether a look-up that failed before may read the folders again.
    pub(super) fn due(&self, now: Mono) -> bool {
        !self.folders.is_empty() && now >= self.next_read
    }

    /// Whether its log folder is known.
    pub(super) fn has_folder(&self, uid: &str) -> bool {
        self.known.get(uid).is_some_and(|known| known.folder.is_some())
    }

    /// The container's name, when the pod has only ever had one. Reads the pod's folder.
    pub(super) fn only_container(&self, uid: &str) -> Option<Arc<str>> {
        let folder = self.known.get(uid)?.folder.as_deref()?;
        let mut only = None;
        for name in subfolders(folder) {
            if only.is_some() || !is_label(&name) {
                return None;
            }
            only = Some(Arc::from(name));
        }
        only
    }

    pub(super) fn learn(&mut self, name: PodName, folder: Option<PathBuf>) {
        if self.known.contains_key(&name.uid) {
            return;
        }
        if self.known.len() >= MAX_PODS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(name.uid.clone());
        if folder.is_some() && self.learned.len() < MAX_PODS {
            self.learned.push(name.clone());
        }
        self.known.insert(name.uid.clone(), Known { name, folder });
        self.generation += 1;
    }

    /// Keeps names that the cluster told, for captures.
    pub(super) fn note(&mut self, workload: &Workload) {
        let (Some(uid), Some(namespace), Some(pod)) = (&workload.pod_uid, &workload.namespace, &workload.pod)
        else {
            return;
        };
        if self.learned.len() < MAX_PODS && !self.known.contains_key(uid) {
            self.learned.push(PodName {
                uid: Arc::clone(uid),
                namespace: Arc::clone(namespace),
                pod: Arc::clone(pod),
            });
        }
    }

    pub(super) fn take_learned(&mut self) -> Vec<PodName> {
        std::mem::take(&mut self.learned)
    }

    fn read(&mut self) {
        let mut found = Vec::new();
        for folder in &mut self.folders {
            let Ok(modified) = fs::metadata(&folder.path).and_then(|meta| meta.modified()) else {
                continue;
            };
            if folder.read == Some(modified) {
                continue;
            }
            let settled = SystemTime::now()
                .duration_since(modified)
                .is_ok_and(|age| age > FRESH);
            folder.read = settled.then_some(modified);
            for name in subfolders(&folder.path) {
                if let Some(pod) = PodName::from_folder(&name) {
                    found.push((pod, folder.path.join(name)));
                }
            }
        }
        for (pod, folder) in found {
            self.learn(pod, Some(folder));
        }
    }
}

/// Names of the folders in `path`, without links and without names that are not UTF-8.
fn subfolders(path: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
}

/// A DNS label (RFC 1123), which namespaces and containers are named by.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-') && !text.is_empty() && {
        let mut bytes = text.bytes();
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && is_label(label))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
