//! Looks at processes that no record told of: forked ones that are left, relatives, and what was loaded since.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::Expectations;
use crate::expect::profile::Profile;
use crate::expect::reader::Outcome;
use crate::expect::tracked::{Known, State};
use crate::kernel::process;
use crate::model::expectation::ContainerKey;
use crate::model::{Mono, Workload};

/// When to look for a loaded SDK, after the container began and after the look before: at its start a process has loaded
/// nothing yet.
pub(super) const LOADED_AFTER: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// Processes read of a container whose own were all overwritten or untold.
const MAX_RELATIVES: usize = 8;

impl Expectations {
    /// A container whose last known process ended may have others that were only forked: these announce themselves
    /// with nothing.
    pub(super) fn look_whether_empty(&mut self, key: &ContainerKey, at: Mono) {
        let Some(tracked) = self.containers.get(key) else {
            return;
        };
        if !tracked.processes.is_empty() {
            return;
        }
        let (cgroup, workload) = (tracked.cgroup, Arc::clone(&tracked.workload));
        // A process stays in its cgroup until its last thread has ended, which may be after its exit was told.
        let left: Vec<u32> = self
            .processes_of(&workload)
            .filter(|pid| process::stat(&self.config.proc, *pid).is_some_and(|stat| !stat.is_exiting))
            .collect();
        if left.is_empty() {
            self.forget(key, at);
            return;
        }
        for pid in left {
            let Some(tracked) = self.containers.get_mut(key) else {
                return;
            };
            let known = Known {
                pid,
                cgroup,
                began: at,
                state: State::Unread,
            };
            if !tracked.add(known) {
                break;
            }
            self.by_pid.insert(pid, key.clone());
            self.enqueue(pid);
        }
    }

    /// Processes that the kernel says are in the workload's cgroup now.
    fn processes_of(&self, workload: &Workload) -> impl Iterator<Item = u32> + use<> {
        let path = workload.cgroup_path.as_deref().unwrap_or_default();
        let text = self
            .config
            .cgroups
            .as_ref()
            .filter(|_| self.config.host_pids && !path.is_empty())
            .and_then(|mount| {
                fs::read_to_string(mount.join(path.trim_start_matches('/')).join("cgroup.procs")).ok()
            })
            .unwrap_or_default();
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        pids.into_iter().filter(|pid| *pid != 0)
    }

    /// What a process whose environment was overwritten inherited, or handed down: its parent in the same container,
    /// else others there.
    pub(super) fn of_a_relative(
        &mut self,
        key: &ContainerKey,
        pid: u32,
        parent: u32,
    ) -> Option<Arc<Profile>> {
        let tracked = self.containers.get(key)?;
        if tracked.is_told() {
            return None;
        }
        let workload = Arc::clone(&tracked.workload);
        let mut others: Vec<u32> = self
            .processes_of(&workload)
            .filter(|other| *other != pid)
            .collect();
        others.sort_by_key(|other| *other != parent);
        others.into_iter().take(MAX_RELATIVES).find_map(|other| {
            let Outcome::Read(raw) = self.reader.read(other) else {
                return None;
            };
            let profile = self.profile(other, &raw);
            (!profile.overwritten && profile.concerns_telemetry()).then_some(profile)
        })
    }

    /// Looks whether a process that is set to export has loaded an SDK by now.
    pub(super) fn look_for_loaded(&mut self, now: Mono) {
        while self
            .loading
            .first_key_value()
            .is_some_and(|((due, _), _)| *due <= now)
        {
            let Some(((_, key), look)) = self.loading.pop_first() else {
                return;
            };
            let Some(tracked) = self.containers.get_mut(&key) else {
                continue;
            };
            let Some(pid) = tracked.unproved() else { continue };
            tracked.loaded = self.reader.loaded_sdk(pid);
            if tracked.loaded.is_some() {
                self.changed.push(key);
            } else if let Some(after) = LOADED_AFTER.get(look + 1) {
                self.loading.insert((now.after(*after), key), look + 1);
            }
        }
    }
}
