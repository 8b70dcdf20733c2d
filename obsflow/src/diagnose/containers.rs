//! The containers that export, or are expected to.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::model::expectation::ContainerKey;
use crate::model::observation::Observation;
use crate::model::workload::Workload;

use super::exporter::Container;

/// Cgroups whose container is remembered; beyond, they are looked up by key again.
const MAX_CGROUPS: usize = 32_768;

/// Containers of one network namespace that are looked through: a pod has few, and the host's namespace is no pod's.
const MAX_IN_NETNS: usize = 8;

/// Containers by slot, key and cgroup. A slot's generation tells its containers apart.
#[derive(Debug)]
pub(super) struct Containers {
    slots: Vec<Option<Box<Container>>>,
    free: Vec<u32>,
    by_key: HashMap<Arc<str>, u32>,
    by_cgroup: HashMap<u64, u32>,
    /// By inode of the network namespace, as many as one looks through.
    by_netns: HashMap<u32, Vec<u32>>,
    generation: u32,
    capacity: usize,
    /// Exporters of all of them.
    pub(super) exporters: usize,
}

impl Containers {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_cgroup: HashMap::new(),
            by_netns: HashMap::new(),
            generation: 0,
            capacity: capacity.max(1),
            exporters: 0,
        }
    }

    /// The container an observation is of.
    pub(super) fn of(&mut self, observation: &Observation) -> Option<u32> {
        let slot = match self.by_cgroup.get(&observation.cgroup) {
            Some(slot) if observation.cgroup != 0 => *slot,
            _ => {
                let workload = &observation.workload;
                let key = workload.container_id.as_ref().or(workload.cgroup_path.as_ref())?;
                let slot = *self.by_key.get(&**key)?;
                self.learn_cgroup(observation.cgroup, slot);
                slot
            }
        };
        let container = self.slots.get_mut(slot as usize)?.as_mut()?;
        if !Arc::ptr_eq(&container.workload, &observation.workload) {
            container.rename(&observation.workload);
        }
        if let Some(local) = observation.local
            && !local.ip().is_loopback()
            && !local.ip().is_unspecified()
        {
            container.ip = Some(local.ip().to_canonical());
        }
        if observation.netns != 0 && container.netns != observation.netns {
            let before = std::mem::replace(&mut container.netns, observation.netns);
            self.moved(slot, before, observation.netns);
        }
        Some(slot)
    }

    fn moved(&mut self, slot: u32, from: u32, to: u32) {
        if let Some(slots) = self.by_netns.get_mut(&from) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_netns.remove(&from);
            }
        }
        if to != 0 {
            let slots = self.by_netns.entry(to).or_default();
            if slots.len() < MAX_IN_NETNS {
                slots.push(slot);
            }
        }
    }

    /// Containers of a network namespace.
    pub(super) fn in_netns(&self, netns: u32) -> &[u32] {
        self.by_netns.get(&netns).map_or(&[], |slots| slots)
    }

    /// The container an observation is of, without learning from it.
    pub(super) fn find(&self, observation: &Observation) -> Option<u32> {
        if observation.cgroup != 0
            && let Some(slot) = self.by_cgroup.get(&observation.cgroup)
        {
            return Some(*slot);
        }
        let workload = &observation.workload;
        let key = workload.container_id.as_ref().or(workload.cgroup_path.as_ref())?;
        self.by_key.get(&**key).copied()
    }

    fn learn_cgroup(&mut self, cgroup: u64, slot: u32) {
        if cgroup == 0 {
            return;
        }
        if self.by_cgroup.len() >= MAX_CGROUPS {
            self.by_cgroup.clear();
        }
        self.by_cgroup.insert(cgroup, slot);
    }

    pub(super) fn by_key(&self, key: &ContainerKey) -> Option<u32> {
        self.by_key.get(&*key.0).copied()
    }

    pub(super) fn by_cgroup(&self, cgroup: u64) -> Option<u32> {
        self.by_cgroup.get(&cgroup).copied()
    }

    /// Adds a container; `None` when there are too many.
    pub(super) fn add(&mut self, key: ContainerKey, workload: &Arc<Workload>, cgroup: u64) -> Option<u32> {
        if self.by_key.len() >= self.capacity {
            return None;
        }
        self.generation = self.generation.wrapping_add(1);
        let name = Arc::clone(&key.0);
        let container = Some(Box::new(Container::new(
            key,
            Arc::clone(workload),
            cgroup,
            self.generation,
        )));
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot as usize) {
                    *place = container;
                }
                slot
            }
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(container);
                slot
            }
        };
        self.by_key.insert(name, slot);
        self.learn_cgroup(cgroup, slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Container>> {
        let container = self.slots.get_mut(slot as usize)?.take()?;
        self.exporters = self.exporters.saturating_sub(container.exporters.len());
        self.by_key.remove(&*container.key.0);
        self.moved(slot, container.netns, 0);
        self.by_cgroup.retain(|_, other| *other != slot);
        self.free.push(slot);
        Some(container)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Container> {
        self.slots.get(slot as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Container> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The container of a slot, if it is still the same.
    pub(super) fn same(&self, slot: u32, generation: u32) -> Option<&Container> {
        self.get(slot)
            .filter(|container| container.generation == generation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Container> {
        self.slots.iter().flatten().map(|container| &**container)
    }

    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }
}

impl Container {
    /// More may be known of whose it is by now.
    pub(super) fn rename(&mut self, workload: &Arc<Workload>) {
        if workload.container_key().as_ref() != Some(&self.key) || !workload.supersedes(&self.workload) {
            return;
        }
        self.workload = Arc::clone(workload);
        self.family = super::group::family(workload);
        for exporter in &mut self.exporters {
            // What was said of it: its end is to be told of the same workload as what stands in the report by then.
            if let Some(opened) = &mut exporter.held.opened {
                opened.workload = Arc::clone(workload);
            }
        }
    }
}
